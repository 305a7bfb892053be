package emit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Position is how many events have been added under a source, the number that
// TCP gives its own. With it, whoever sends events from something that can be read
// again keeps account of how far it is: what was added since a Position that was
// written down is the difference to what QueuePosition says after a kill.
type Position struct {
	Source uint64 // it changes when a collector does not know the one before
	Events uint64 // added under it, by this emitter and those that had its queue before
}

// Position returns where this emitter is, false once it is closed.
func (t *TCP) Position() (p Position, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.queue.numbered(), !t.over
}

func (q *queue) numbered() Position {
	return Position{q.source, q.next.position + uint64(q.opened()) + q.skipped()}
}

// QueuePosition returns where the last emitter was that had the queue in dir
// (Options.Queue), false where there is no queue. No emitter may have it now. It
// changes nothing, and DialTCP, which gives a queue without events another
// source, is to be called behind it.
func QueuePosition(dir string) (p Position, ok bool, err error) {
	mem, err := os.ReadFile(filepath.Join(dir, queueName))
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("emit: cannot read the queue in %s: %w", dir, err)
	}
	q := &queue{mapped: true}
	if err := q.load(mem); err != nil {
		return p, false, fmt.Errorf("emit: the queue in %s cannot be read: %w", dir, err)
	}
	return q.numbered(), true, nil
}
