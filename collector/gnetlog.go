package collector

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// notes is gnet's logger: what gnet says goes to ours, at most one line each
// notesInterval, since clients can make it speak. The rest is counted.
type notes struct {
	logger *slog.Logger
	said   atomic.Uint64

	mu   sync.Mutex // protects next
	next time.Time
}

const notesInterval = 10 * time.Second

func newNotes(logger *slog.Logger) *notes { return &notes{logger: logger} }

func (n *notes) note(level slog.Level, format string, args []any) {
	total := n.said.Add(1)
	n.mu.Lock()
	now := time.Now()
	quiet := now.Before(n.next)
	if !quiet {
		n.next = now.Add(notesInterval)
	}
	n.mu.Unlock()
	if !quiet {
		n.logger.Log(context.Background(), level, "event loop: "+fmt.Sprintf(format, args...), "notes_so_far", total)
	}
}

// Debugf and Infof say nothing: gnet tells each start.
func (n *notes) Debugf(string, ...any) {}

// Infof says nothing.
func (n *notes) Infof(string, ...any) {}

// Warnf is part of gnet's logging.Logger.
func (n *notes) Warnf(format string, args ...any) { n.note(slog.LevelWarn, format, args) }

// Errorf is part of gnet's logging.Logger.
func (n *notes) Errorf(format string, args ...any) { n.note(slog.LevelError, format, args) }

// Fatalf is part of gnet's logging.Logger; it does not end the process.
func (n *notes) Fatalf(format string, args ...any) { n.note(slog.LevelError, format, args) }
