package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/cmd/lectern/internal/logfile"
	"github.com/lectern/lectern/emit"
)

// emitLog sends the reads of an access log.
type emitLog struct {
	options   *emitLogOptions
	stdin     io.Reader
	parser    *accesslog.Parser
	downloads accesslog.Downloads
	counts    emitLogCounts
	progress  *emitLogOnce                 // nil without --once
	file      atomic.Pointer[logfile.File] // that is being read
	stream    bool                         // no file: reading it may wait for ever
	ended     chan struct{}                // closed when run has returned

	// Of run alone.
	out  emitter
	pace *emitPace
}

// openEmitLog prepares to read a log. Nothing of it is read yet; a pipe is not even
// opened, since that may wait for who writes to it.
func openEmitLog(o *emitOptions, stdin io.Reader) (*emitLog, error) {
	l := &emitLog{options: &o.log, stdin: stdin, ended: make(chan struct{})}
	var err error
	if l.parser, err = accesslog.NewParser(l.options.format, l.options.fields); err != nil {
		return nil, err
	}
	l.stream = l.options.path == "-"
	if l.stream {
		return l, nil
	}
	info, err := os.Stat(l.options.path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot open the log: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("cannot open the log: %s is a directory", l.options.path)
	case !info.Mode().IsRegular() && (l.options.follow || l.options.once != ""):
		return nil, fmt.Errorf("--follow and --once are for a file, and %s is none", l.options.path)
	}
	l.stream = !info.Mode().IsRegular()
	if l.options.once != "" {
		l.progress, err = openEmitLogOnce(o)
	}
	return l, err
}

func (l *emitLog) run(ctx context.Context, out emitter, pace *emitPace) error {
	defer close(l.ended)
	l.out, l.pace = out, pace
	if l.options.path == "-" {
		log, err := accesslog.NewReader(l.stdin)
		if err != nil {
			return fmt.Errorf("cannot read standard input: %w", err)
		}
		return l.named(l.read(ctx, log, true))
	}
	if l.progress != nil {
		l.progress.out = out
		if err := l.finishRenamed(ctx); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		again, err := l.readFile(ctx, l.options.path, l.options.follow)
		if !again || err != nil {
			return err
		}
	}
	return nil
}

// finishRenamed sends the rest of the log that was sent from last, where it is by
// another name now, and another log has its name.
func (l *emitLog) finishRenamed(ctx context.Context) error {
	path, ok := l.progress.renamed(l.options.path)
	if !ok {
		return nil
	}
	_, err := l.readFile(ctx, path, false)
	return err
}

// readFile sends a file from where it was left to its end, and follows it. again
// says that the same name is to be opened once more.
func (l *emitLog) readFile(ctx context.Context, path string, follow bool) (again bool, err error) {
	head := 0
	if follow || l.progress != nil {
		head = logfile.HeadSize
	}
	f, err := logfile.Open(path, head)
	if err != nil {
		return false, err
	}
	l.file.Store(f)
	defer f.Close() // only read
	if err := f.Start(); err != nil {
		return false, err
	}
	if follow && f.Packed() {
		return false, fmt.Errorf("%s is compressed: --follow is for the log that is written now", path)
	}
	if l.progress != nil {
		l.downloads = accesslog.Downloads{} // as a run that goes on in this file would have it
		if err := l.goOn(ctx, f); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, l.progress.save()) }()
	}
	for {
		// The last line may still be written, unless nothing follows.
		whole := f.Packed() || !follow && (l.progress == nil || path != l.options.path)
		if err := l.named(l.read(ctx, f.Reader, whole)); err != nil || !follow || ctx.Err() != nil {
			return false, err
		}
		change, err := f.Wait(ctx, l.progress.tick)
		switch {
		case ctx.Err() != nil:
			return false, nil
		case err != nil:
			return false, err
		case change == logfile.Replaced:
			return true, l.named(l.read(ctx, f.Reader, true))
		case change == logfile.Cut && l.progress != nil:
			return true, errors.Join(l.progress.save(), l.finishRenamed(ctx)) // its end may be in a copy
		case change == logfile.Cut:
			return true, nil
		}
	}
}

// goOn brings a file to where its log was left. What is before that is read for
// what was downloaded in it.
func (l *emitLog) goOn(ctx context.Context, f *logfile.File) error {
	// Under its first name also where it has another now: until it is finished, the
	// next run looks for it again.
	until := l.progress.begin(l.options.path, f)
	for f.Offset() < until && ctx.Err() == nil {
		line, err := f.Next()
		if err == io.EOF {
			break // it was cut
		}
		if err == accesslog.ErrLineTooLong {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read the log %s to where it was sent: %w", l.options.path, err)
		}
		if entry, why := l.parser.Parse(line); why == accesslog.Read {
			l.judge(&entry)
		}
	}
	return l.progress.save()
}

// named adds the log's name to an error of its reader.
func (l *emitLog) named(err error) error {
	var sending *emitLogSendError
	if err == nil || errors.As(err, &sending) {
		return err
	}
	name := l.options.path
	if name == "-" {
		name = "standard input"
	}
	return fmt.Errorf("cannot read the log %s to its end: %w; what came before was sent", name, err)
}

// emitLogSendError is an error of the collector's side.
type emitLogSendError struct{ error }

func (e *emitLogSendError) Unwrap() error { return e.error }

// read sends all lines that are there. With whole, what is left without a line
// ending is a line too.
func (l *emitLog) read(ctx context.Context, log *accesslog.Reader, whole bool) error {
	for ctx.Err() == nil {
		line, err := log.Next()
		if err == io.EOF {
			if !whole {
				l.counts.unended = log.Pending()
				return nil
			}
			if line, err = log.Rest(); line == nil && err == nil {
				return nil
			}
			whole = false
		}
		if err != nil && err != accesslog.ErrLineTooLong {
			return err
		}
		if err := l.take(ctx, line, err); err != nil {
			return &emitLogSendError{err}
		}
	}
	return nil
}

// take sends what a line stands for, if it stands for anything. why is nil, or
// ErrLineTooLong.
func (l *emitLog) take(ctx context.Context, line []byte, why error) error {
	l.counts.lines++
	if why != nil {
		l.counts.skip(nil, accesslog.TooLong)
		return l.progress.taken()
	}
	entry, reason := l.parser.Parse(line)
	if reason != accesslog.Read {
		l.counts.skip(line, reason)
		return l.progress.taken()
	}
	event, path, left := l.judge(&entry)
	switch {
	case left != nil:
		*left++
	case l.progress.sentAlready():
		l.counts.already++
	default:
		l.pace.wait(ctx)
		if err := l.out.Name(path); err != nil && !errors.Is(err, emit.ErrName) {
			return err
		}
		switch err := l.out.Add(event); {
		case errors.Is(err, emit.ErrEvent): // from before there was a web
			l.counts.skip(line, accesslog.BadTime)
		case err != nil:
			return err
		}
	}
	return l.progress.taken()
}

// judge returns the event that a line stands for and what its content is called, or
// where lines are counted that stand for none.
func (l *emitLog) judge(entry *accesslog.Line) (e emit.Event, name string, left *int64) {
	if !entry.Opened() {
		return e, "", &l.counts.notOpens
	}
	if l.options.noBots && accesslog.IsBot(entry.Agent) {
		return e, "", &l.counts.bots
	}
	content, path := l.options.targets.Of(entry)
	if !l.options.paths.Wants(path) {
		return e, "", &l.counts.paths
	}
	e = emit.Event{
		Time:    entry.Time,
		Content: xxhash.Sum64(content),
		User:    xxhash.Sum64(l.options.clients.Of(entry)),
		Kind:    emit.Open,
		Skipped: entry.Skipped(),
	}
	if l.downloads.Further(e.Content, e.User, entry.Status, entry.Time) {
		return e, "", &l.counts.ranges
	}
	return e, string(content), nil
}

func (l *emitLog) done(uint64) float64 {
	f := l.file.Load()
	if f == nil || l.options.follow {
		return -1
	}
	return f.Progress()
}

func (l *emitLog) skipped() int64 { return l.counts.skipped.Load() }

// endless reports whether an interrupt is how this run ends, and no failure.
func (l *emitLog) endless() bool { return l.options.follow }

// emitLogEnd says on stderr what was not sent of a log, once everything is closed,
// and returns what the summary says of it, nil for another source. Where the run
// was interrupted, reading may not have ended: standard input does not.
func emitLogEnd(source emitSource, stderr io.Writer) (*emitLogSummary, error) {
	l, ok := source.(*emitLog)
	if !ok {
		return nil, nil
	}
	select {
	case <-l.ended:
	default:
		if l.stream {
			return nil, nil // it still reads, and its counts are its own
		}
		<-l.ended
	}
	l.counts.report(stderr)
	return l.counts.summary(), errors.Join(l.counts.err(), l.progress.close())
}
