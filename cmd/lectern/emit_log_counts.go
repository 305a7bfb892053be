package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
)

// emitLogCounts is what became of the lines of a log. It belongs to the goroutine
// that reads; skipped may be read by others.
type emitLogCounts struct {
	lines, notOpens, bots, paths, ranges, already int64
	skipped                                       atomic.Int64
	unended                                       bool // a line without its end was left
	reasons                                       [accesslog.Reasons]int64
	first                                         [accesslog.Reasons]string // what the first of each says, and where
}

// emitLogSummary is the part of the JSON summary about the log.
type emitLogSummary struct {
	Lines    int64 `json:"lines"`
	NotOpens int64 `json:"not_opens"`
	Bots     int64 `json:"bots"`
	Paths    int64 `json:"left_out_paths"`
	Ranges   int64 `json:"further_ranges"`
	Already  int64 `json:"sent_already"`
}

func (c *emitLogCounts) summary() *emitLogSummary {
	return &emitLogSummary{c.lines, c.notOpens, c.bots, c.paths, c.ranges, c.already}
}

// firstMax is how much of a line is shown, in bytes.
const firstMax = 160

// skip notes a line that was not read.
func (c *emitLogCounts) skip(line []byte, why accesslog.Reason) {
	c.skipped.Add(1)
	if c.reasons[why]++; c.reasons[why] > 1 {
		return
	}
	c.first[why] = fmt.Sprintf("line %d", c.lines)
	if len(line) > 0 {
		shown := string(line[:min(len(line), firstMax)])
		c.first[why] += ": " + strconv.Quote(shown)
		if len(line) > firstMax {
			c.first[why] += "…"
		}
	}
}

// report says on w what was not sent, and why.
func (c *emitLogCounts) report(w io.Writer) {
	if n := c.skipped.Load(); n > 0 {
		fmt.Fprintf(w, "lectern emit: %d of %d lines could not be read:\n", n, c.lines)
		for why, n := range c.reasons {
			switch {
			case n == 1:
				fmt.Fprintf(w, "  1 %v: %s\n", accesslog.Reason(why), c.first[why])
			case n > 1:
				fmt.Fprintf(w, "  %d, each of which %v; the first is %s\n", n, accesslog.Reason(why), c.first[why])
			}
		}
	}
	var out []string
	for _, left := range []struct {
		n    int64
		what string
	}{
		{c.bots, "of bots"}, {c.paths, "by --only and --skip"}, {c.ranges, "further ranges of downloads"}, {c.already, "sent before the last run was killed"},
	} {
		if left.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", left.n, left.what))
		}
	}
	if len(out) > 0 {
		fmt.Fprintf(w, "lectern emit: left out: %s\n", strings.Join(out, ", "))
	}
	if c.unended {
		fmt.Fprintln(w, "lectern emit: the last line has no end yet, and is left for the next run")
	}
}

// err is the error of a log of which more than half could not be read.
func (c *emitLogCounts) err() error {
	if n := c.skipped.Load(); 2*n > c.lines {
		return fmt.Errorf("%d of %d lines could not be read: most of the log is missing; is it an access log, and --format right?", n, c.lines)
	}
	return nil
}
