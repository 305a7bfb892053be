package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// interrupted is why the context of a command ends.
type interrupted struct {
	signal os.Signal
	next   <-chan os.Signal // gives the next signal to whoever waits for it just then
}

func (i *interrupted) Error() string { return i.signal.String() + " signal received" }

// untilInterrupted returns a context that ends with the first SIGINT or SIGTERM.
// A later one goes to whoever waits for it; where nobody does it ends the process at
// once.
func untilInterrupted() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		next := make(chan os.Signal)
		cancel(&interrupted{<-signals, next})
		for s := range signals {
			select {
			case next <- s:
			default:
				signal.Reset()
				_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
			}
		}
	}()
	return ctx
}

// outliveTerminal has the process go on when its terminal is closed, its logs are
// rotated, or nobody reads its standard error any more, until it is told to stop
// doing so: a SIGHUP goes to hangups, and a write to a closed pipe is an error of
// that write alone.
func outliveTerminal() (hangups <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	return signals, func() {
		signal.Stop(signals)
		signal.Reset(syscall.SIGPIPE)
	}
}

// terminated says whether ctx ended by SIGTERM, and returns the channel of the
// signals that follow.
func terminated(ctx context.Context) (next <-chan os.Signal, ok bool) {
	var i *interrupted
	if !errors.As(context.Cause(ctx), &i) {
		return nil, false
	}
	return i.next, i.signal == syscall.SIGTERM
}
