package main

import (
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

// logOutput is where the daemon's log goes. Nobody who logs waits for who reads
// it: a line that cannot be written (its reader is gone, or hangs, or the disk is
// full) is counted, and nothing else comes of it.
type logOutput struct {
	lines   chan []byte
	ending  chan struct{} // closed by close
	written chan struct{} // closed when all that was logged before that is written
	lost    atomic.Uint64 // lines
}

// logWaiting is how many lines wait at the most to be written.
const logWaiting = 1000

// logGrace is how long close waits for a reader.
const logGrace = time.Second

// newLogOutput returns an output that writes until it is closed.
func newLogOutput(to io.Writer) *logOutput {
	o := &logOutput{lines: make(chan []byte, logWaiting), ending: make(chan struct{}), written: make(chan struct{})}
	go o.run(to)
	return o
}

func (o *logOutput) run(to io.Writer) {
	defer close(o.written)
	for {
		select {
		case line := <-o.lines:
			o.write(to, line)
			continue
		default:
		}
		select { // nothing waits
		case line := <-o.lines:
			o.write(to, line)
		case <-o.ending:
			return
		}
	}
}

func (o *logOutput) write(to io.Writer, line []byte) {
	if n, err := to.Write(line); err != nil || n < len(line) {
		o.lost.Add(1)
	}
}

// Write is given a whole line by slog's handlers. It never waits and never fails.
func (o *logOutput) Write(line []byte) (int, error) {
	select {
	case o.lines <- slices.Clone(line):
	default:
		o.lost.Add(1)
	}
	return len(line), nil
}

// close writes what waits. What is logged behind it is not written.
func (o *logOutput) close() {
	close(o.ending)
	select {
	case <-o.written:
	case <-time.After(logGrace):
	}
}

// writeMetrics writes how much of the log was lost.
func (o *logOutput) writeMetrics(w io.Writer) {
	metrics.WriteCounterUint64(w, "lectern_log_lines_lost_total", o.lost.Load())
}

// newLogger returns the daemon's log, and what its level can be changed by.
func newLogger(c *config.Config, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.Log.Level)
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), level
	}
	return slog.New(slog.NewTextHandler(w, o)), level
}
