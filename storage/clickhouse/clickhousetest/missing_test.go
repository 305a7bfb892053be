//go:build linux && amd64

package clickhousetest

import (
	"fmt"
	"testing"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
)

// recorder is a test that notes how it was ended.
type recorder struct {
	testing.TB
	end string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.end = "failed: " + fmt.Sprintf(format, args...)
	panic(r)
}

func (r *recorder) Skipf(format string, args ...any) {
	r.end = "skipped: " + fmt.Sprintf(format, args...)
	panic(r)
}

// TestMissing: without the engine a test is skipped and says why, and with
// CI=true it fails.
func TestMissing(t *testing.T) {
	t.Setenv("LECTERN_TEST_CLICKHOUSE", "")
	t.Setenv(chdb.CacheVariable, t.TempDir())
	for ci, want := range map[string]string{
		"":     "skipped: NOT RUN: the ClickHouse engine is not here; fetch it with: make clickhouse-engine",
		"true": "failed: NOT RUN: the ClickHouse engine is not here; fetch it with: make clickhouse-engine",
	} {
		t.Setenv("CI", ci)
		r := &recorder{}
		func() {
			defer func() { _ = recover() }()
			Start(r, Options{})
		}()
		if r.end != want {
			t.Errorf("CI=%q: %q, should be %q", ci, r.end, want)
		}
	}
}
