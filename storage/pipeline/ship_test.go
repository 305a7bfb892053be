package pipeline

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/lectern/lectern/storage"
)

// places is a store that notes where the rows of each block are in memory.
type places struct {
	shelf
	at []*uint64
}

func (p *places) Store(ctx context.Context, b *storage.Block) (storage.Answer, error) {
	p.at = append(p.at, &b.Rows.User[0])
	return p.shelf.Store(ctx, b)
}

// Blocks that are shipped one after the other have the same memory, and none is kept
// when all are.
func TestBlocksAreShippedInTheSameMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, spool := &places{}, newTestSpool(t, 0)
		const day = storage.SecondsPerDay // a block each
		rows := minutesOf(storage.Row{Minute: day, Opens: 1}, storage.Row{Minute: 2 * day, Opens: 1}, storage.Row{Minute: 3 * day, Opens: 1})
		if err := spool.Flush(rows, nil, storage.Window{}, storage.Mark{Before: storage.All}); err != nil {
			t.Fatal(err)
		}
		g := newTestGatherer(s, spool, 1000)
		synctest.Wait()
		if len(s.at) != 3 || s.at[0] != s.at[1] || s.at[1] != s.at[2] {
			t.Errorf("blocks had their rows at %p", s.at)
		}
		if cap(g.spare.User) > 0 {
			t.Errorf("memory for %d rows is kept", cap(g.spare.User))
		}
		if rows, _ := s.contents(t); len(rows) != 3 {
			t.Errorf("%d rows are stored, want 3", len(rows))
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
