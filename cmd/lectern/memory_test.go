package main

import (
	"bytes"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage/pages"
)

// GOMEMLIMIT stands; without it a limit of the process leaves Go a share.
func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	small, large := config.Defaults(), config.Defaults()
	small.Listen.Loops = 1
	large.Limits.SourcesMax = 10_000_000
	for _, test := range []struct {
		environ []string
		c       config.Config
		want    int64
		warns   bool
	}{
		{nil, small, 800_000_000, false},
		{[]string{"GOMEMLIMIT="}, large, 800_000_000, true},
		{[]string{"A=B", "GOMEMLIMIT=700MiB"}, large, math.MaxInt64, true},
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		mapped := pages.Mapped()
		var said bytes.Buffer
		soft := limitMemory(&test.c, test.environ, memlimit.Limit(1_000_000_000), slog.New(slog.NewTextHandler(&said, nil)))
		if got := debug.SetMemoryLimit(-1); got != test.want-min(mapped, soft) || strings.Contains(said.String(), "limit_bytes=1000000000") != test.warns {
			t.Errorf("%v: %d, said %q", test.environ, got, said.String())
		}
		if soft == 0 {
			continue
		}
		// What stands beside the heap is in the limit, and Go does not count it.
		table := pages.Make[byte](200 << 20)
		mapped = pages.Mapped()
		limitHeap(soft)
		if got := debug.SetMemoryLimit(-1); got != soft-mapped {
			t.Errorf("the heap may have %d bytes beside %d that are mapped, of %d", got, mapped, soft)
		}
		table.Free()
	}
}
