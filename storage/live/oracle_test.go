package live

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/lectern/lectern/storage"
)

// event is one that a test sends.
type event struct {
	stream        uint16
	content, user uint64
	at            int64 // Unix milliseconds
	open          bool
	opened        int64 // at, or the end of the cut that brought it before that
}

// oracle knows all events, and adds them up with maps each time that it is asked.
type oracle struct {
	events []event
	now    int64 // the second of the last cut
}

func (o *oracle) cut(end int64, events []event) {
	for _, e := range events {
		e.opened = min(e.at, end/1000*1000)
		o.events = append(o.events, e)
	}
	o.now = max(o.now, end/1000)
	o.events = slices.DeleteFunc(o.events, func(e event) bool { return e.at/60_000 < o.now/60-70 })
}

// leave has the rows of all minutes leave: what is dated ahead was seen now.
func (o *oracle) leave() {
	for i := range o.events {
		o.events[i].at = min(o.events[i].at, o.now*1000)
	}
}

// counts are those of the events that are chosen.
func (o *oracle) counts(of func(*event) bool) (c Counts) {
	minute, five := map[uint64]bool{}, map[uint64]bool{}
	for i := range o.events {
		e := &o.events[i]
		if !of(e) {
			continue
		}
		second, begun := e.at/1000, e.at/60_000 <= o.now/60
		if begun && second > o.now-60 {
			minute[e.user] = true
		}
		if begun && second > o.now-300 {
			five[e.user] = true
		}
		if !e.open {
			continue
		}
		second = e.opened / 1000
		if back := o.now/60 - second/60; back < MinutesKept {
			c.Minutes[MinutesKept-1-back]++
		}
		if o.now/10-second/10 < 6 {
			c.Opens++
		}
	}
	c.Minute, c.Five = uint64(len(minute)), uint64(len(five))
	return c
}

// rowsOf adds events up, as a cut of one loop does.
func rowsOf(events []event) []storage.Row {
	type key struct {
		stream        uint16
		content, user uint64
		minute        int64
	}
	rows := map[key]*storage.Row{}
	for _, e := range events {
		k := key{e.stream, e.content, e.user, e.at / 60_000}
		r := rows[k]
		if r == nil {
			r = &storage.Row{Stream: e.stream, Content: e.content, User: e.user, Minute: uint32(k.minute) * 60, First: e.at, Last: e.at}
			rows[k] = r
		}
		r.First, r.Last = min(r.First, e.at), max(r.Last, e.at)
		if e.open {
			r.Opens++
		} else {
			r.Reads++
		}
	}
	all := []storage.Row{}
	for _, k := range slices.SortedFunc(maps.Keys(rows), func(a, b key) int { return int(a.user) - int(b.user) }) {
		all = append(all, *rows[k])
	}
	return all
}

// compare compares everything with the oracle.
func (o *oracle) compare(t *testing.T, r *fed) {
	t.Helper()
	type set map[uint16]map[uint64]bool
	known := set{}
	for _, e := range o.events {
		if known[e.stream] == nil {
			known[e.stream] = map[uint64]bool{}
		}
		known[e.stream][e.content] = true
	}
	f := r.Top(1 << 20)
	if f.Time/1000 > o.now {
		t.Fatalf("the figures are of %d, the oracle's of %d", f.Time/1000, o.now)
	}
	seen := map[uint16]bool{}
	for _, s := range f.Streams {
		seen[s.Number] = true
		if want := o.counts(func(e *event) bool { return e.stream == s.Number }); s.Counts != want {
			t.Fatalf("second %d, stream %d: %+v, want %+v", o.now, s.Number, s.Counts, want)
		}
		var before *Content
		for i := range s.Contents {
			c := &s.Contents[i]
			if before != nil && before.Compare(c) >= 0 {
				t.Fatalf("second %d: %+v stands before %+v", o.now, before, c)
			}
			before = c
			if want := o.counts(func(e *event) bool { return e.stream == s.Number && e.content == c.ID }); c.Counts != want {
				t.Fatalf("second %d, stream %d, content %d: %+v, want %+v", o.now, s.Number, c.ID, c.Counts, want)
			}
			delete(known[s.Number], c.ID)
		}
	}
	for stream, contents := range known {
		for id := range contents {
			if want := o.counts(func(e *event) bool { return e.stream == stream && e.content == id }); want != (Counts{}) {
				t.Fatalf("second %d, stream %d, content %d is missing: %+v", o.now, stream, id, want)
			}
		}
	}
}

// seedOf is a random number, or what LECTERN_TEST_SEED says.
func seedOf(t *testing.T) uint64 {
	seed := rand.Uint64()
	if text := os.Getenv("LECTERN_TEST_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("LECTERN_TEST_SEED=%d", seed)
	return seed
}

// Random readers who come, stay, fall silent and come back; events that are late, dated
// ahead, on borders of seconds and minutes; cuts that are missing for a while, and a
// machine that sleeps: every figure is what a map of all events says.
func TestAgainstAMap(t *testing.T) {
	seed := seedOf(t)
	random := rand.New(rand.NewPCG(seed, 1))
	for round := range 6 {
		r := follow(Options{ReadersMax: 1 << 16, ContentsMax: 1 << 12})
		o := &oracle{}
		end := int64(1_700_000_000_000) + random.Int64N(120_000)
		users, contents := 1+random.Uint64N(60), 1+random.Uint64N(8)
		for range 500 {
			step := 900 + random.Int64N(200)
			switch random.IntN(40) {
			case 0:
				step = random.Int64N(20)
			case 1:
				step = random.Int64N(70_000)
			case 2:
				step = 301_000 + random.Int64N(700_000)
			case 3, 4:
				step = 20_000 - end%1000
			}
			if random.IntN(150) == 0 {
				step += 3_600_000 // most of what is known is over then
			}
			begin := end
			end += step
			var events []event
			for range random.IntN(8) {
				at := begin + random.Int64N(step+1)
				switch random.IntN(12) {
				case 0:
					at -= random.Int64N(400_000)
				case 1:
					at -= random.Int64N(5_000_000)
				case 2:
					at = (at - random.Int64N(310_000)) / 1000 * 1000
				case 4:
					at -= random.Int64N(48 * 3_600_000) // whatever is left of such a time in 16 bits
				case 3:
					at += random.Int64N(300_000)
				}
				e := event{
					stream: uint16(random.IntN(3)), content: 1 + random.Uint64N(contents), user: random.Uint64N(users),
					at: at, open: random.IntN(3) == 0,
				}
				// One reader's events on one content in one cut are one row, with one
				// moment for its opens.
				if !slices.ContainsFunc(events, func(x event) bool { return x.stream == e.stream && x.content == e.content && x.user == e.user }) {
					events = append(events, e)
				}
			}
			r.cut(storage.Window{Start: begin, End: end}, rowsOf(events))
			o.cut(end, events)
			if o.compare(t, r); random.IntN(15) == 0 {
				r.minutes.Take(storage.All).Free()
				o.leave()
				o.compare(t, r)
			}
		}
		t.Logf("round %d: %+v", round, r.Size())
		// Nobody comes any more: all of it is forgotten, and nothing is left behind.
		for range 4000 {
			r.cut(storage.Window{Start: end, End: end + 1000}, nil)
			end += 1000
		}
		r.mu.Lock()
		left := fmt.Sprint(r.readers(), r.table.used, r.contents.used(), len(r.streams.of), r.streams.others)
		for _, l := range r.wheel {
			if len(l) > 0 {
				left += " and a wheel that is not empty"
			}
		}
		r.mu.Unlock()
		if left != "0 0 0 0 {0 0}" {
			t.Fatalf("an hour after the last event there is %s", left)
		}
	}
}
