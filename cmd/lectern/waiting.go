package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/cmd/lectern/internal/progress"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/parquet"
	"github.com/lectern/lectern/storage/spool"
)

// waits is what was counted and is not in the store yet.
type waits struct {
	seals, rows    int
	sealed         int64 // when the oldest seal was received, Unix milliseconds
	blocks, frozen int   // frozen are the rows of the blocks
	received       int64 // when the oldest of their events were
}

// waiting looks into the spool that goes with a store. Where there is none, or it
// cannot be read, nothing waits: `lectern spool ls` says why.
func waiting(c *config.Config) (w waits) {
	if c == nil {
		return w
	}
	dirs, err := spool.Places(c.Spool.Dir)
	if err != nil {
		return w
	}
	for _, dir := range dirs {
		contents, err := spool.Inspect(dir)
		if err != nil {
			continue
		}
		seals, rows, since := contents.Sealed()
		if seals > 0 && (w.seals == 0 || since < w.sealed) {
			w.sealed = since
		}
		w.seals += seals
		w.rows += rows
		for _, r := range contents.Queue() {
			if len(r.Blocks) > 0 && (w.blocks == 0 || r.Window.Start < w.received) {
				w.received = r.Window.Start
			}
			for _, b := range r.Blocks {
				w.blocks++
				w.frozen += b.Rows
			}
		}
	}
	return w
}

func (w *waits) any() bool { return w.seals+w.blocks > 0 }

// say is what waits, where, since when, and for what.
func (w *waits) say(now time.Time, c *config.Config) string {
	ago := func(at int64) time.Duration { return max(0, now.Sub(time.UnixMilli(at)).Round(time.Second)) }
	var parts []string
	if w.seals > 0 {
		what := fmt.Sprintf("%d rows", w.rows)
		if w.rows == 0 {
			what = "books without rows"
		}
		parts = append(parts, fmt.Sprintf("%s for their minute or block, the oldest for %v (window.flush_interval is %s)", what, ago(w.sealed), config.FormatDuration(c.Window.FlushInterval)))
	}
	if w.blocks > 0 {
		parts = append(parts, fmt.Sprintf("%d blocks with %d rows for the store, the oldest for %v (lectern spool ls shows them)", w.blocks, w.frozen, ago(w.received)))
	}
	return fmt.Sprintf("in the spool %q wait %s", c.Spool.Dir, strings.Join(parts, ", and "))
}

// daemonTimeout is how long a daemon on this machine may take to say that it runs.
const daemonTimeout = 500 * time.Millisecond

// inMemory says what a daemon that runs by this configuration has not put into the
// spool yet, behind "; ", and nothing where none answers.
func inMemory(ctx context.Context, c *config.Config) string {
	if c == nil {
		return ""
	}
	ctx, done := context.WithTimeout(ctx, daemonTimeout)
	defer done()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Ops.Address+"/healthz", nil)
	if err != nil {
		return ""
	}
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		return ""
	}
	_ = answer.Body.Close() // that it answers says enough
	return fmt.Sprintf("; the daemon runs, and what it received in the last %s (window.ack_interval) is in its memory", config.FormatDuration(c.Window.AckInterval))
}

// watch shows on a terminal how far a question is, until the function that it
// returns is called. Elsewhere nothing shows.
func (p *process) watch(reader storage.Reader) (stop func()) {
	r, ok := reader.(*parquet.Reader)
	if !ok || !progress.IsTerminal(p.stderr) {
		return func() {}
	}
	var done, all atomic.Int64
	r.Progress = func(d, a int64) {
		done.Store(d)
		all.Store(a)
	}
	return progress.Start(p.stderr, func() progress.State {
		return progress.State{Events: uint64(done.Load()), Unit: "rows", Done: float64(done.Load()) / float64(max(1, all.Load()))}
	})
}
