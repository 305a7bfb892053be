package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/progress"
	"github.com/lectern/lectern/emit"
)

// emitGrace is how long an interrupted run may take to send what waits.
const emitGrace = 5 * time.Second

// emitter is a way to the collector: emit.UDP or emit.TCP.
type emitter interface {
	Add(emit.Event) error
	Name(text string) error
	Stats() emit.Stats
	Close(context.Context) error
}

// emitSource brings the events of one run.
type emitSource interface {
	// run sends events until there are no more, ctx ends or out fails.
	run(ctx context.Context, out emitter, pace *emitPace) error
	// done is the share that is done, 0 to 1, negative where nobody knows. It
	// may be called while run runs.
	done(sent uint64) float64
	// skipped is how many lines could not be read. It may be called while run runs.
	skipped() int64
}

// runEmit is `lectern emit`: it sends the events of an access log, or made-up
// ones, to a collector. It returns the exit code: 0 when all was sent, 1 when
// something failed or ctx ended first, 2 when the arguments make no sense.
func (p *process) runEmit(ctx context.Context, args []string) int {
	o := newEmitOptions()
	if code, done := p.parse(o.flags, args, emitHelp); done {
		return code
	}
	if err := o.complete(); err != nil {
		return p.usage("emit", err)
	}
	source, err := emitOpen(ctx, o, p.stdin)
	if err != nil {
		emitComplain(p.stderr, err)
		return 1
	}
	if o.network != "udp" {
		o.client.SourceEnded = func(err *emit.SourceEndedError) { emitComplain(p.stderr, err) }
	}
	out, err := o.dial(ctx)
	if err != nil {
		emitComplain(p.stderr, err)
		return 1
	}
	began := time.Now()
	err = emitAll(ctx, source, out, newEmitPace(o.rate), p.stderr)
	stats := out.Stats()
	log, logErr := emitLogEnd(source, p.stderr)
	err = errors.Join(err, logErr)
	code := 0
	if err != nil {
		emitComplain(p.stderr, err)
		code = 1
	}
	if q, ok := out.(*emitQueue); ok && q.kept != nil {
		emitComplain(p.stderr, q.kept)
	}
	summary := summarize(stats, o)
	summary.SkippedLines, summary.Log = source.skipped(), log
	summary.Seconds = math.Round(time.Since(began).Seconds()*1e3) / 1e3
	line, _ := json.Marshal(summary) // plain numbers always marshal
	if _, err := fmt.Fprintf(p.stdout, "%s\n", line); err != nil {
		emitComplain(p.stderr, fmt.Errorf("cannot write the summary: %w", err))
		code = 1
	}
	return code
}

// emitOpen opens the source of events. To open a pipe waits for its writer,
// which an interrupt ends.
func emitOpen(ctx context.Context, o *emitOptions, stdin io.Reader) (emitSource, error) {
	type opened struct {
		source emitSource
		err    error
	}
	done := make(chan opened, 1)
	go func() {
		source, err := o.open(stdin)
		done <- opened{source, err}
	}()
	select {
	case r := <-done:
		return r.source, r.err
	case <-ctx.Done():
		return nil, errors.New("interrupted before there was anything to read: a pipe is open only when somebody writes to it")
	}
}

// emitComplain says what went wrong, a line for each part of err.
func emitComplain(w io.Writer, err error) {
	for part := range strings.Lines(err.Error()) {
		// The client library puts the same word in front.
		fmt.Fprintf(w, "lectern emit: %s\n", strings.TrimPrefix(strings.TrimSpace(part), "emit: "))
	}
}

// emitAll runs the source to its end, or to ctx's, and closes out. The error
// says all that went wrong.
func emitAll(ctx context.Context, source emitSource, out emitter, pace *emitPace, stderr io.Writer) error {
	if progress.IsTerminal(stderr) {
		stop := progress.Start(stderr, func() progress.State {
			sent := out.Stats().Events
			return progress.State{Events: sent, Done: source.done(sent)}
		})
		defer stop()
	}
	// In a goroutine of its own, since reading a log may block for good.
	finished := make(chan error, 1)
	go func() { finished <- source.run(ctx, out, pace) }()
	var err error
	select {
	case err = <-finished:
	case <-ctx.Done():
	}
	if l, ok := source.(interface{ endless() bool }); ctx.Err() != nil && !(ok && l.endless()) {
		err = errors.New("interrupted before all was sent")
	}
	closing, done := emitClosing(ctx)
	defer done()
	return errors.Join(err, out.Close(closing), emitUncounted(out.Stats()))
}

// errEmitGrace is why the waiting for the last acks ends.
var errEmitGrace = fmt.Errorf("interrupted, and %v have passed since", emitGrace)

// emitClosing returns a context that ends emitGrace after ctx does: an
// interrupt, however late, leaves time for what was sent to be acknowledged.
func emitClosing(ctx context.Context) (context.Context, func()) {
	closing, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(emitGrace):
			end(errEmitGrace)
		case <-closing.Done():
		}
	})
	return closing, func() {
		stop()
		end(nil)
	}
}

// emitUncounted is the error for events that the collector has not counted, or
// perhaps not, though nothing failed on this side.
func emitUncounted(s emit.Stats) error {
	var refused, unsure error
	if s.Refused > 0 {
		refused = fmt.Errorf("the collector refused %d events", s.Refused)
	}
	if s.Unsure > 0 {
		unsure = fmt.Errorf("whether the collector counted %d events is not known", s.Unsure)
	}
	return errors.Join(refused, unsure)
}
