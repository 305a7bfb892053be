//go:build !(linux && amd64)

package clickhousetest

import (
	"errors"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/trace"
)

func attach(int, string) (*trace.Tracer, error) {
	return nil, errors.New("the engine cannot be traced on this system")
}
