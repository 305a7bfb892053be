package clickhouse

import (
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
)

// node is a daemon's storage: a spool on a disk, and a Store on a fake.
type node struct {
	t       *testing.T
	dir     string
	f       *fake
	spool   *spool.Spool
	store   *Store
	checked bool
	waiting map[rowKey]storage.Row // sealed, and in no block
	through uint64
	parked  bool
}

type rowKey struct {
	minute, stream uint32
	content, user  uint64
}

func keyOf(r *storage.Row) rowKey { return rowKey{r.Minute, uint32(r.Stream), r.Content, r.User} }

func addRow(to map[rowKey]storage.Row, r storage.Row) {
	if sum, ok := to[keyOf(&r)]; ok {
		sum.Add(&r)
		r = sum
	}
	to[keyOf(&r)] = r
}

// open starts the daemon, as after a kill.
func (n *node) open() {
	n.t.Helper()
	s, recovered, err := spool.Open(spool.Options{Dir: n.dir, LogSize: 64 << 10, SizeMax: 4 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.spool, n.waiting, n.through, n.checked, n.parked = s, map[rowKey]storage.Row{}, recovered.Last, false, false
	_ = recovered.Rows.Each(func(r *storage.Row) error {
		addRow(n.waiting, *r)
		return nil
	})
	o := Options{Addresses: []string{"x:1"}, Collector: s.Collector(), Tried: s.Opened(), Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()}
	if err := o.fill(); err != nil {
		n.t.Fatal(err)
	}
	o.Clock = n.f.clock
	o.Journal = s
	n.store = mustOpen(n.t, o, n.f)
}

// freeze makes blocks of what waits.
func (n *node) freeze() {
	rows := storage.NewMinutes()
	for _, r := range n.waiting {
		rows.Add([]storage.Row{r})
	}
	if err := n.spool.Flush(rows, nil, storage.Window{Start: 1, End: 2}, storage.Mark{Through: n.through, Before: storage.All}); err != nil {
		n.t.Fatal(err)
	}
	n.waiting = map[rowKey]storage.Row{}
}

// ship tries a block once: any, since those in doubt are passed over.
func (n *node) ship() (more bool) {
	b, ok, err := n.spool.Next(func(uint64) bool { return n.f.r.IntN(4) == 0 }, storage.Columns{})
	if !ok && err == nil {
		b, ok, err = n.spool.Oldest()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	if !ok {
		return false
	}
	if !n.checked {
		last, err := n.store.LastNumber(n.t.Context())
		if err != nil {
			return true
		}
		if err := n.spool.CheckStore(last); err != nil {
			n.t.Errorf("the directory was taken for an older copy: %v", err)
		}
		n.checked = true
	}
	answer, err := n.store.Store(n.t.Context(), b)
	n.f.log("block %d: answer %d, %v", b.Number, answer, err)
	switch answer {
	case storage.Stored:
		if count := n.f.times(b.Number); count != 1 {
			n.t.Errorf("block %d is called stored, and is there %d times", b.Number, count)
		}
		if err := n.spool.Stored(b.Number); err != nil {
			n.t.Error(err)
		}
	case storage.Never:
		n.spool.Park(b.Number)
		n.parked = true
	}
	return true
}

// The spool and the Store together, with seals, blocks, merges and kills in any
// order, on a ClickHouse on which everything goes wrong: at the end each row that
// was sealed is in the table as often as it was sealed.
func TestSimulationWithSpool(t *testing.T) {
	seed := seed(t)
	runs := 25
	if testing.Short() {
		runs = 3
	}
	for run := range runs {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		n := &node{t: t, dir: t.TempDir(), f: newFake(t, r)}
		n.open()
		want := map[rowKey]storage.Row{}
		for range 120 {
			n.f.pass(n.f.pause())
			switch r.IntN(12) {
			case 0, 1:
				seal := storage.Seal{Window: storage.Window{Start: 1, End: 2}}
				for range 1 + r.IntN(20) {
					day := uint32(testDay + r.IntN(2))
					row := storage.Row{Stream: 1, Minute: day*secondsPerDay + uint32(r.IntN(3))*60, Content: r.Uint64N(3), User: r.Uint64N(3), Opens: 1, First: 5, Last: 6}
					seal.Rows = append(seal.Rows, row)
					addRow(want, row)
					addRow(n.waiting, row)
				}
				var number uint64
				err := n.spool.Seal(&seal, func(n uint64) { number = n })
				if err != nil {
					t.Fatal(err)
				}
				n.through = number
			case 2, 3:
				n.freeze()
			case 4:
				if err := n.spool.Compact(t.Context()); err != nil {
					t.Fatal(err)
				}
			case 5:
				if r.IntN(3) == 0 {
					n.f.log("another daemon")
					_ = n.spool.Close() // all that is promised is on the disk
					n.open()
				}
			case 6:
				n.spool.Unpark()
			default:
				n.ship()
			}
		}
		n.f.quiet = true
		n.freeze()
		for left := 2000; n.ship() || n.parked; left-- {
			if n.parked {
				n.parked = false
				n.spool.Unpark()
			}
			n.f.pass(n.f.pause())
			if left == 0 {
				t.Fatalf("run %d: the spool does not get empty", run)
			}
		}
		n.f.pass(24 * 3600e9) // what is on its way lands
		got := map[rowKey]storage.Row{}
		numbers := map[uint64]bool{}
		for _, p := range n.f.parts {
			if numbers[p.number] {
				t.Errorf("block %d is there more than once", p.number)
			}
			numbers[p.number] = true
			for i := range p.rows.Len() {
				addRow(got, p.rows.Row(i))
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d keys are in the table, %d were sealed", len(got), len(want))
		}
		for k, w := range want {
			if got[k] != w {
				t.Errorf("%+v is in the table as %+v, and was sealed as %+v", k, got[k], w)
			}
		}
		_ = n.spool.Close()
		if t.Failed() {
			for _, line := range n.f.story {
				t.Log(line)
			}
			t.Fatalf("run %d of seed %d", run, seed)
		}
	}
}
