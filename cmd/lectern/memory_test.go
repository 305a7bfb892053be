package main

import (
	"bytes"
	"fmt"
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
	var limit int64 // just above what the small one adds up to
	for _, m := range small.Memory() {
		limit += m.Bytes
	}
	limit = (limit/100 + 1) * 101
	share := limit / 100 * memoryShare
	for _, test := range []struct {
		environ []string
		c       config.Config
		want    int64
		warns   bool
	}{
		{nil, small, share, false},
		{[]string{"GOMEMLIMIT="}, large, share, true},
		{[]string{"A=B", "GOMEMLIMIT=700MiB"}, large, math.MaxInt64, true},
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		mapped := pages.Mapped()
		var said bytes.Buffer
		soft := limitMemory(&test.c, test.environ, memlimit.Limit(uint64(limit)), slog.New(slog.NewTextHandler(&said, nil)))
		if got := debug.SetMemoryLimit(-1); got != test.want-min(mapped, soft) || strings.Contains(said.String(), fmt.Sprint("limit_bytes=", limit)) != test.warns {
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
