package live

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage"
)

// crowd makes the cuts of so many readers, each with a heartbeat every ten seconds, on
// 50,000 contents by a law like Zipf's; one of so many events is of somebody who goes on to
// another content, or who comes for somebody else.
type crowd struct {
	random  *rand.Rand
	zipf    *rand.Zipf
	content []uint64
	user    []uint64
	goes    int // one in so many
	comes   int
	users   uint64
	own     bool // each reader has a content of his own
	end     int64
	rows    []storage.Row
}

func newCrowd(readers int) *crowd {
	random := rand.New(rand.NewPCG(1, 1))
	c := &crowd{
		random: random, zipf: rand.NewZipf(random, 1.1, 8, 49_999), content: make([]uint64, readers), user: make([]uint64, readers),
		goes: 100, comes: 1 << 40, users: uint64(readers), end: 1_700_000_000_000,
	}
	for i := range c.content {
		c.content[i], c.user[i] = c.zipf.Uint64(), uint64(i)
	}
	return c
}

// cut is that of the next second.
func (c *crowd) cut() (storage.Window, []storage.Row) {
	window := storage.Window{Start: c.end, End: c.end + 1000}
	c.end += 1000
	c.rows = c.rows[:0]
	for range len(c.content) / 10 {
		reader := c.random.IntN(len(c.content))
		opens := uint32(0)
		switch {
		case c.own:
			c.content[reader] = c.user[reader]
		case c.random.IntN(c.comes) == 0:
			c.user[reader] = c.users
			c.users++
			fallthrough
		case c.random.IntN(c.goes) == 0:
			c.content[reader], opens = c.zipf.Uint64(), 1
		}
		at := window.Start + c.random.Int64N(1000)
		c.rows = append(c.rows, storage.Row{
			Stream: 1, User: c.user[reader] * 0x9E3779B97F4A7C15, Content: (c.content[reader] + 1) * 0xD6E8FEB86659FD93,
			First: at, Last: at, Minute: uint32(at / 60_000 * 60), Reads: 1 - opens, Opens: opens,
		})
	}
	return window, c.rows
}

// adds adds cuts to the rows of minutes, and has those leave that are over.
func adds(m *storage.Minutes) func(storage.Window, []storage.Row) {
	minute := uint64(0)
	return func(w storage.Window, rows []storage.Row) {
		if m.AddCut(w, rows); uint64(w.End/60_000) != minute {
			minute = uint64(w.End / 60_000)
			m.Take(minute*60 - 60).Free()
		}
	}
}

// threadTime is the CPU time of this thread: what others do on the machine counts less.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// What a row costs in its minute, with and without Readers that follow: of readers who
// stay; who come, more than there is room for; who read more contents than there is room
// for.
func BenchmarkAdd(b *testing.B) {
	crowds := map[string]func(*crowd){
		"stay": func(*crowd) {}, "come": func(c *crowd) { c.comes = 6 }, "nameless": func(c *crowd) { c.own = true },
	}
	for _, name := range slices.Sorted(maps.Keys(crowds)) {
		for _, now := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/now=%t", name, now), func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				m, c := storage.NewMinutes(), newCrowd(1_000_000)
				crowds[name](c)
				if now {
					m.Watch(New(Options{ReadersMax: 3_000_000, ContentsMax: 100_000}), storage.Window{})
				}
				add := adds(m)
				for range 70 {
					add(c.cut())
				}
				took, count := time.Duration(0), 0
				for range b.N {
					w, rows := c.cut()
					began := threadTime()
					add(w, rows)
					took += threadTime() - began
					count += len(rows)
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(count), "cpu-ns/row")
			})
		}
	}
}

// What an answer costs with a million readers.
func BenchmarkTop(b *testing.B) {
	r, c := follow(Options{ReadersMax: 3 << 20, ContentsMax: 100_000}), newCrowd(1_000_000)
	for range 70 {
		r.cut(c.cut())
	}
	for b.Loop() {
		r.Top(100)
	}
}

// What a peer's question costs.
func BenchmarkSample(b *testing.B) {
	r, c := follow(Options{ReadersMax: 3 << 20, ContentsMax: 100_000}), newCrowd(1_000_000)
	for range 70 {
		r.cut(c.cut())
	}
	var keys []Key
	for _, x := range r.Top(100).Streams[0].Contents {
		keys = append(keys, x.Key)
	}
	for b.Loop() {
		r.Sample(keys, []uint16{1}, ContentSampleMax, StreamSampleMax)
	}
}
