package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
)

// fake is a ClickHouse that does what real ones were seen to do: answers get
// lost on either side of the commit, inserts land long after they were given up,
// and a kill at the wrong moment spends a token for nothing. Its table is a plain
// list of parts.
type fake struct {
	t       *testing.T
	r       *rand.Rand
	now     time.Time
	started time.Time
	parts   []part
	tokens  map[string]bool // the deduplication log
	late    []lateInsert
	quiet   bool // nothing goes wrong any more
	policy  bool // receipts cannot be read
	inserts int
	booked  map[uint64]uint64 // one above the largest generation
	dropped bool
	did     map[string]int // how often each thing happened
	story   []string
}

type part struct {
	number   uint64
	checksum uint32
	rows     *storage.Columns // of the block that it was
}

// lateInsert has been sent and is not there yet.
type lateInsert struct {
	part
	token string
	seen  time.Time // when it shows in system.processes
	lands time.Time
}

var errLost = errors.New("read: connection reset by peer")

func newFake(t *testing.T, r *rand.Rand) *fake {
	now := time.Unix(1_800_000_000, 0)
	return &fake{t: t, r: r, now: now, started: now.Add(-time.Hour), tokens: map[string]bool{}, booked: map[uint64]uint64{}, did: map[string]int{}}
}

// pass lets time pass, and late inserts land.
func (f *fake) pass(d time.Duration) {
	f.now = f.now.Add(d)
	left := f.late[:0]
	for _, l := range f.late {
		if l.lands.After(f.now) {
			left = append(left, l)
		} else {
			f.commit(l.part, l.token)
		}
	}
	f.late = left
}

func (f *fake) clock() time.Time { return f.now }

// pause is how long it may be until the next try.
func (f *fake) pause() time.Duration { return time.Duration(f.r.IntN(10_000)) * time.Millisecond }

// commit is what the server does with a whole block: the token decides.
func (f *fake) commit(p part, token string) {
	if f.tokens[token] {
		return
	}
	f.tokens[token] = true
	f.parts = append(f.parts, p)
	f.log("%s is committed", token)
}

// log keeps what happened, for a run that fails.
func (f *fake) log(format string, args ...any) {
	f.story = append(f.story, f.now.Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// restart kills what is under way.
func (f *fake) restart() {
	f.late = nil
	f.started = f.now
}

func (f *fake) flaky() error {
	if f.dropped {
		f.t.Error("a question was asked over a connection that was closed")
	}
	f.pass(time.Duration(f.r.IntN(20)) * time.Millisecond)
	if !f.quiet && f.r.IntN(12) == 0 {
		return errLost
	}
	return nil
}

func (f *fake) prepare(context.Context, string) error {
	f.dropped = false
	return f.flaky()
}
func (f *fake) shard() string { return "the one server" }
func (f *fake) progress(context.Context, *storage.Block) (progress, error) {
	return progress{}, errors.New("it is no replica")
}
func (f *fake) hidden(context.Context) (bool, error) { return f.policy && len(f.parts) > 0, f.flaky() }

func (f *fake) drop()            { f.dropped = true }
func (f *fake) replicated() bool { return false }

func (f *fake) last(context.Context) (last uint64, err error) {
	for _, p := range f.parts { // of the one collector there is
		last = max(last, p.number)
	}
	return last, f.flaky()
}

func (f *fake) receipts(_ context.Context, b *storage.Block) (mine, others uint64, err error) {
	err = f.flaky()
	for _, p := range f.parts {
		switch {
		case f.policy:
		case p.number == b.Number && p.checksum == b.Checksum:
			mine++
		case p.number == b.Number:
			others++
		}
	}
	return mine, others, err
}

func (f *fake) book(_ context.Context, b *storage.Block, generation uint64) error {
	if !f.quiet && f.r.IntN(10) == 0 {
		return errLost
	}
	f.booked[b.Number] = max(f.booked[b.Number], 1+generation)
	return f.flaky()
}

func (f *fake) generation(_ context.Context, b *storage.Block) (uint64, error) {
	return max(f.booked[b.Number], 1) - 1, f.flaky()
}

func (f *fake) running(_ context.Context, prefix string) (bool, error) {
	for _, l := range f.late {
		if strings.HasPrefix(l.token, prefix) && !l.seen.After(f.now) {
			return true, f.flaky()
		}
	}
	return false, f.flaky()
}

func (f *fake) up(context.Context) (time.Duration, error) {
	return f.now.Sub(f.started).Truncate(time.Second), f.flaky()
}

func (f *fake) insert(_ context.Context, b *storage.Block, token string) error {
	if f.dropped {
		f.t.Error("a block was sent over a connection that was closed")
	}
	if f.booked[b.Number] == 0 {
		f.t.Errorf("block %d was sent before its books were written", b.Number)
	}
	f.inserts++
	p := part{b.Number, b.Checksum, &b.Rows}
	for _, l := range f.late {
		if l.token == token && !l.seen.After(f.now) {
			return &ch.Exception{Code: 216, Name: "DB::Exception", Message: "query with this id is already running"}
		}
	}
	what := "clean"
	if !f.quiet {
		// Half of them go well.
		what = []string{"clean", "clean", "clean", "clean", "clean", "clean", "clean", "clean",
			"cut before", "cut after", "late", "slow", "killed before", "token spent", "killed after", "lie", "pressure", "barred", "faulty", "power"}[f.r.IntN(20)]
	}
	f.did[what]++
	f.log("insert %s: %s", token, what)
	f.pass(time.Duration(f.r.IntN(2000)) * time.Millisecond)
	switch what {
	case "clean":
		f.commit(p, token)
		return nil
	case "cut before":
		return errLost
	case "cut after":
		f.commit(p, token)
		return errLost
	case "late": // it is somewhere on the way for up to half a minute
		seen := f.now.Add(time.Duration(f.r.IntN(30_000)) * time.Millisecond)
		f.late = append(f.late, lateInsert{p, token, seen, seen.Add(time.Duration(f.r.IntN(600_000)) * time.Millisecond)})
		return errLost
	case "slow": // the server works on it, and the connection is gone
		f.late = append(f.late, lateInsert{p, token, f.now, f.now.Add(time.Duration(f.r.IntN(600_000)) * time.Millisecond)})
		return errLost
	case "killed before":
		f.restart()
		return errLost
	case "token spent": // killed between the log and the rename
		f.tokens[token] = true
		f.restart()
		return errLost
	case "killed after":
		f.commit(p, token)
		f.restart()
		return errLost
	case "power": // the part is synced, the log never is
		f.commit(p, token)
		delete(f.tokens, token)
		f.restart()
		return errLost
	case "lie":
		return nil
	case "pressure":
		return &ch.Exception{Code: proto.ErrTooManyParts}
	case "barred":
		return &ch.Exception{Code: proto.ErrUnknownTable}
	default:
		return &ch.Exception{Code: proto.ErrViolatedConstraint}
	}
}

// seed is that of LECTERN_TEST_SEED, or a new one.
func seed(t *testing.T) uint64 {
	n := rand.Uint64()
	if text := os.Getenv("LECTERN_TEST_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d: LECTERN_TEST_SEED=%d repeats it", n, n)
	return n
}

const testCollector = 0xc0113c

// storeOn is a Store on a fake, by its clock.
func storeOn(f *fake, tried uint64) *Store {
	o := Options{Addresses: []string{"x:1"}, Collector: testCollector, Tried: tried, Clock: f.clock,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()}
	if err := o.fill(); err != nil {
		f.t.Fatal(err)
	}
	return mustOpen(f.t, o, f)
}

func mustOpen(t *testing.T, o Options, n server) *Store {
	t.Helper()
	s, err := open(o, n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Blocks are brought to a server on which everything goes wrong, by daemons that
// are killed. Whatever happens: what the store calls stored is in the table once,
// and stays there once when all that was on its way has landed.
func TestSimulation(t *testing.T) {
	n := seed(t)
	runs := 3000
	if testing.Short() {
		runs = 300
	}
	did := map[string]int{}
	for run := range runs {
		f := newFake(t, rand.New(rand.NewPCG(n, uint64(run))))
		simulate(t, f)
		for what, times := range f.did {
			did[what] += times
		}
		if t.Failed() {
			t.Fatalf("run %d of seed %d:\n%s", run, n, strings.Join(f.story, "\n"))
		}
	}
	for _, what := range []string{"clean", "cut before", "cut after", "late", "slow", "killed before", "token spent", "killed after", "power", "lie", "pressure", "barred", "faulty"} {
		if did[what] == 0 {
			t.Errorf("%q never happened", what)
		}
	}
	t.Logf("%d runs, of inserts: %v", runs, did)
}

func simulate(t *testing.T, f *fake) {
	const blocks = 8
	s := storeOn(f, 0)
	stored := map[uint64]bool{}
	for number := uint64(1); number <= blocks; {
		b := &storage.Block{Collector: testCollector, Number: number, Checksum: uint32(number * 7)}
		for step := 0; !stored[number]; step++ {
			f.quiet = step > 200
			if step > 600 {
				t.Fatalf("block %d is not stored after %d tries: %+v, table %v", number, step, s.attempts[number], f.parts)
			}
			answer, err := s.Store(t.Context(), b)
			f.log("block %d: answer %d, %v", number, answer, err)
			switch {
			case answer == storage.Stored && err == nil:
				stored[number] = true
				if n := f.times(number); n != 1 {
					t.Errorf("block %d is called stored, and is there %d times", number, n)
				}
			case err == nil:
				t.Fatalf("answer %d without a reason", answer)
			}
			f.pass(f.pause())
			if f.r.IntN(20) == 0 {
				s = storeOn(f, number) // killed, and started again
				f.log("another daemon")
			}
		}
		number++
	}
	f.pass(24 * time.Hour) // what is on its way lands
	for number := uint64(1); number <= blocks; number++ {
		if n := f.times(number); n != 1 {
			t.Errorf("at the end block %d is there %d times", number, n)
		}
	}
}

// times is how often a block is in the table.
func (f *fake) times(number uint64) (n int) {
	for _, p := range f.parts {
		if p.number == number {
			n++
		}
	}
	return n
}

// What each thing that happens to an insert leads to, without chance.
func TestAnswers(t *testing.T) {
	block := &storage.Block{Collector: testCollector, Number: 5, Checksum: 9}
	quiet := func() (*fake, *Store) {
		f := newFake(t, rand.New(rand.NewPCG(1, 1)))
		f.quiet = true
		return f, storeOn(f, 0)
	}
	store := func(f *fake, s *Store, want storage.Answer, says string) {
		t.Helper()
		answer, err := s.Store(t.Context(), block)
		if answer != want || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("answer %d, %v; want %d, %q", answer, err, want, says)
		}
	}

	t.Run("a clean one", func(t *testing.T) {
		f, s := quiet()
		store(f, s, storage.Stored, "")
		store(f, s, storage.Stored, "") // again: its receipt is there
		if f.inserts != 1 {
			t.Errorf("%d inserts", f.inserts)
		}
	})
	t.Run("two copies are stored and an alarm", func(t *testing.T) {
		f, s := quiet()
		f.parts = []part{{number: 5, checksum: 9}, {number: 5, checksum: 9}}
		store(f, s, storage.Stored, "")
		if s.meters.duplicates.Get() != 1 || f.inserts != 0 {
			t.Errorf("%d alarms, %d inserts", s.meters.duplicates.Get(), f.inserts)
		}
	})
	t.Run("another block by this name", func(t *testing.T) {
		f, s := quiet()
		f.parts = []part{{number: 5, checksum: 8}}
		store(f, s, storage.Never, "another daemon uses a copy of this spool")
		if s.meters.foreign.Get() != 1 || f.inserts != 0 {
			t.Errorf("%d alarms, %d inserts", s.meters.foreign.Get(), f.inserts)
		}
	})
	t.Run("a spent token is renewed after the guards alone", func(t *testing.T) {
		f, s := quiet()
		a := &attempt{tried: true, began: f.now, given: f.now}
		s.attempts[5] = a
		f.tokens[a.token(block)] = true
		store(f, s, storage.Unsure, "has no receipt")
		f.pass(time.Second)
		store(f, s, storage.Unsure, "its token may be spent") // too soon
		f.pass(2 * time.Second)
		store(f, s, storage.Unsure, "its token may be spent") // the first may be under way yet
		f.late = []lateInsert{{part{number: 5, checksum: 9}, a.token(block), f.now, f.now.Add(time.Hour)}}
		f.pass(2 * time.Minute)
		store(f, s, storage.Unsure, "still running")
		f.restart()
		f.pass(2 * time.Second)
		store(f, s, storage.Stored, "")
		if f.times(5) != 1 || s.meters.renewed.Get() != 1 {
			t.Errorf("%d times, %d renewed", f.times(5), s.meters.renewed.Get())
		}
	})
	t.Run("receipts that cannot be read", func(t *testing.T) {
		f, s := quiet()
		f.policy = true
		store(f, s, storage.Unsure, "has no receipt")
		f.pass(time.Hour)
		for range 5 {
			store(f, s, storage.Retry, "a row policy may hide")
			f.pass(time.Hour)
		}
		if f.times(5) != 1 || f.inserts != 1 {
			t.Errorf("%d times, %d inserts", f.times(5), f.inserts)
		}
		f.policy = false
		store(f, s, storage.Stored, "")
	})
	t.Run("a malformed block", func(t *testing.T) {
		f, s := quiet()
		for _, b := range []*storage.Block{
			{Collector: testCollector}, {Number: 1}, {Collector: testCollector, Number: 1, Rows: storage.Columns{Stream: []uint16{1}}},
		} {
			if answer, err := s.Store(t.Context(), b); answer != storage.Never || err == nil {
				t.Errorf("%+v: %d, %v", b, answer, err)
			}
		}
		if f.inserts != 0 {
			t.Error("it was sent")
		}
	})
}

// At the first contact a store that is away is told from one that will not do.
func TestLastNumber(t *testing.T) {
	f := newFake(t, rand.New(rand.NewPCG(1, 1)))
	f.quiet = true
	f.parts = []part{{number: 7}, {number: 3}}
	s := storeOn(f, 0)
	if n, err := s.LastNumber(t.Context()); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	s.server = refusing{f, errLost}
	if _, err := s.LastNumber(t.Context()); !errors.Is(err, storage.ErrAway) || !errors.Is(err, errLost) {
		t.Errorf("a lost connection: %v", err)
	}
	s.server = refusing{f, &problem{barredTables, "no", "fix"}}
	if _, err := s.LastNumber(t.Context()); errors.Is(err, storage.ErrAway) || !errors.Is(err, storage.ErrBarred) {
		t.Errorf("a table that will not do: %v", err)
	}
}

type refusing struct {
	*fake
	err error
}

func (r refusing) prepare(context.Context, string) error { return r.err }
