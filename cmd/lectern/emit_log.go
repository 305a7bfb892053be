package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/emit"
)

// emitLog sends the reads of an access log.
type emitLog struct {
	name  string
	file  io.Closer // nil for standard input
	bytes *counter
	size  int64 // of the file, 0 where nobody knows
	bad   atomic.Int64
}

// openEmitLog opens a log by its name; "-" is stdin. Nothing is read yet.
func openEmitLog(name string, stdin io.Reader) (*emitLog, error) {
	if name == "-" {
		return &emitLog{name: "standard input", bytes: &counter{Reader: stdin}}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	l := &emitLog{name: name, file: f, bytes: &counter{Reader: f}}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		l.size = info.Size()
	}
	return l, nil
}

func (l *emitLog) run(ctx context.Context, out emitter, pace *emitPace) error {
	if l.file != nil {
		defer func() { _ = l.file.Close() }() // only read
	}
	log, err := accesslog.NewReader(l.bytes)
	if err != nil {
		return fmt.Errorf("cannot read the log %s: %w", l.name, err)
	}
	for ctx.Err() == nil {
		line, err := log.Next()
		if err == accesslog.ErrLineTooLong {
			l.bad.Add(1)
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the log %s to its end: %w; what came before was sent", l.name, err)
		}
		entry, ok := accesslog.Parse(line)
		if !ok {
			l.bad.Add(1)
			continue
		}
		if !entry.Opened() {
			continue
		}
		pace.wait(ctx)
		if err := out.Add(openEvent(&entry)); err != nil {
			return err
		}
	}
	return nil
}

// openEvent is the event that a line stands for.
func openEvent(l *accesslog.Line) emit.Event {
	return emit.Event{
		Time:    l.Time,
		Content: xxhash.Sum64(l.Path()),
		User:    xxhash.Sum64(l.Client),
		Kind:    emit.Open,
	}
}

func (l *emitLog) done(uint64) float64 {
	if l.size == 0 {
		return -1
	}
	return float64(l.bytes.n.Load()) / float64(l.size)
}

func (l *emitLog) skipped() int64 { return l.bad.Load() }
