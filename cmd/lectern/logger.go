package main

import (
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

// logOutput is where the daemon's log goes. A line that cannot be written (its
// reader is gone, the disk is full) is counted, and nothing else comes of it.
type logOutput struct {
	to   io.Writer
	lost atomic.Uint64 // lines
}

// Write is given a whole line by slog's handlers. It never fails.
func (o *logOutput) Write(line []byte) (int, error) {
	if n, err := o.to.Write(line); err != nil || n < len(line) {
		o.lost.Add(1)
	}
	return len(line), nil
}

// writeMetrics writes how much of the log was lost.
func (o *logOutput) writeMetrics(w io.Writer) {
	metrics.WriteCounterUint64(w, "lectern_log_lines_lost_total", o.lost.Load())
}

func newLogger(c *config.Config, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Log.Level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
