package storage

import (
	"context"
	"math"
	"slices"

	"github.com/lectern/lectern/storage/internal/merge"
)

// Minutes adds up rows by their key until they are taken out in the order of
// CompareKeys: a table for each minute of a stream, and for the variants of its headlines
// and what is coarse or sampled of it. It belongs to one goroutine at a time.
type Minutes struct {
	seed   KeySeed
	tables map[period]*minuteTable
	recent *minuteTable // of the row before, which mostly is that of the next
	last   period       // recent's
	rows   int
	beside int // of them, rows that no slot can hold
	ahead  rowsAhead
	watch  watch

	// Opened is told the day of each minute that begins to have rows; nil: nobody is.
	Opened func(day uint32)
}

// period is a minute of a stream, and what else all rows of a table have in common.
type period struct {
	minute  uint32 // its start, Unix seconds
	skipped uint32
	stream  uint16
	variant uint8
	coarse  Coarse
}

func periodOf(r *Row) period { return period{r.Minute, r.Skipped, r.Stream, r.Variant, r.Coarse} }

// NewMinutes returns an empty one.
func NewMinutes() *Minutes {
	return &Minutes{seed: randomSeed(), tables: make(map[period]*minuteTable)}
}

// Len is the number of rows.
func (m *Minutes) Len() int { return m.rows }

// tableRows is about what a table takes beside its rows, in rows.
const tableRows = 5

// Footprint is how many rows of a few large minutes would take the memory that is taken, of
// 72 bytes each at the most. A row that no slot can hold takes twice that.
func (m *Minutes) Footprint() int { return m.rows + m.beside + tableRows*len(m.tables) }

// Add adds up rows, which it only reads.
func (m *Minutes) Add(rows []Row) {
	for len(rows) > 0 {
		p := periodOf(&rows[0])
		n := 1
		for n < len(rows) && periodOf(&rows[n]) == p {
			n++
		}
		t := m.table(p)
		before, beside := t.len(), len(t.beside)
		m.ahead.shown, m.ahead.show = m.watch.of(p), &m.watch.rowsShown
		t.add(rows[:n], &m.ahead)
		m.rows += t.len() - before
		m.beside += len(t.beside) - beside
		rows = rows[n:]
	}
}

// table returns the table of a period, a new one where it has none.
func (m *Minutes) table(p period) *minuteTable {
	if m.recent != nil && m.last == p {
		return m.recent
	}
	t := m.tables[p]
	if t == nil {
		t = newMinuteTable(p, m.seed)
		m.tables[p] = t
		if m.Opened != nil {
			m.Opened(p.minute / SecondsPerDay)
		}
	}
	m.recent, m.last = t, p
	return t
}

// Take takes out the rows of all minutes that begin before the one given, in Unix
// seconds, and leaves the others.
func (m *Minutes) Take(before uint64) *Minutes {
	taken := &Minutes{seed: m.seed, tables: make(map[period]*minuteTable)}
	for p, t := range m.tables {
		if uint64(p.minute) < before {
			taken.tables[p] = t
			taken.rows += t.len()
			taken.beside += len(t.beside)
			delete(m.tables, p)
		}
	}
	if len(taken.tables) == 0 {
		return taken
	}
	m.leave(taken.tables)
	m.rows -= taken.rows
	m.beside -= taken.beside
	m.recent = nil
	return taken
}

// All is every minute, for Take.
const All = math.MaxUint64

// Events is how many events the rows of each stream are, of minutes from this one
// on, in Unix seconds.
func (m *Minutes) Events(from uint64) map[uint16]uint64 {
	events := make(map[uint16]uint64)
	for p, t := range m.tables {
		if uint64(p.minute) >= from {
			events[p.stream] += t.events
		}
	}
	return events
}

// Days calls f with the day of each minute that has rows, in no order.
func (m *Minutes) Days(f func(day uint32)) {
	for p := range m.tables {
		f(p.minute / SecondsPerDay)
	}
}

// Each gives all rows to f, ordered by CompareKeys, until f returns an error,
// which it returns. No key comes twice but where its counters would not fit into
// one row. f must not keep the row. After it no more rows can be added.
func (m *Minutes) Each(f func(*Row) error) error {
	tables := make([]*minuteTable, 0, len(m.tables))
	for _, t := range m.tables {
		if t.len() > 0 {
			tables = append(tables, t)
		}
	}
	slices.SortFunc(tables, func(a, b *minuteTable) int {
		x, y := Row{Minute: a.minute, Stream: a.stream}, Row{Minute: b.minute, Stream: b.stream}
		return CompareKeys(&x, &y)
	})
	for len(tables) > 0 {
		n := 1
		for n < len(tables) && tables[n].stream == tables[0].stream && tables[n].minute/SecondsPerDay == tables[0].minute/SecondsPerDay {
			n++
		}
		if err := eachOf(tables[:n], f); err != nil {
			return err
		}
		tables = tables[n:]
	}
	return nil
}

// eachOf gives f the rows of several minutes of one stream and day: contents are in
// order before minutes are.
func eachOf(tables []*minuteTable, f func(*Row) error) error {
	sources := make([]merge.Source[Row], len(tables))
	for i, t := range tables {
		t.sort()
		sources[i] = &cursor{t: t}
	}
	return merge.Sorted(context.Background(), sources, CompareKeys, f)
}

// Free gives the memory back; the Minutes is empty then.
func (m *Minutes) Free() {
	for _, t := range m.tables {
		t.free()
	}
	clear(m.tables)
	m.recent, m.rows, m.beside = nil, 0, 0
}
