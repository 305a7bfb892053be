package ops

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quiet lets one message through each quietFor: what net/http has to say, clients
// can make it say.
type quiet struct {
	slog.Handler

	mu   sync.Mutex // protects next
	next time.Time
}

const quietFor = 10 * time.Second

// Handle is part of slog.Handler.
func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	now := time.Now()
	q.mu.Lock()
	speak := !now.Before(q.next)
	if speak {
		q.next = now.Add(quietFor)
	}
	q.mu.Unlock()
	if !speak {
		return nil
	}
	r.Message = "operations server: " + r.Message
	return q.Handler.Handle(ctx, r)
}
