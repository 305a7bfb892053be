package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/now"
	"github.com/lectern/lectern/cmd/lectern/internal/readers"
	"github.com/lectern/lectern/wire"
)

// TestBenchNow is `make bench-now`: a crowd of readers who are there at once, sent to a daemon that is asked each second who reads now. At the
// end its answer is exactly what the sender counted. How long answers take, and what part
// of the daemon's CPU goes into what is known of readers, is printed.
//
// Without LECTERN_BENCH_NOW, the seconds of the load, it is a small crowd for two
// seconds: then it says that the answer is exact. LECTERN_BENCH_READERS is how many there
// are.
func TestBenchNow(t *testing.T) {
	b := &million{T: t, length: 2 * time.Second, readers: 20_000, builds: []*build{buildHere(t)}}
	if text := os.Getenv("LECTERN_BENCH_NOW"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 1 {
			t.Fatalf("LECTERN_BENCH_NOW is the seconds of the load, not %q", text)
		}
		b.length, b.readers = time.Duration(seconds)*time.Second, 1_000_000
	}
	if n, err := strconv.Atoi(os.Getenv("LECTERN_BENCH_READERS")); err == nil {
		b.readers = n
	}
	dir := b.dir()
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("listen.address = \"127.0.0.1:0\"\nops.address = \"127.0.0.1:0\"\nparquet.dir = %q\nspool.dir = %q\nspool.size_max = \"512MiB\"\n",
		filepath.Join(dir, "parquet"), filepath.Join(dir, "spool"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(b.builds[0].path, "serve", "--config", config)
	c.Env = append(plainEnviron(), profileVariable+"="+filepath.Join(dir, "profile"))
	d := serveBy(t, config, c)

	load, count := countedCrowd(b)
	began, spent := time.Now(), cpuOfDaemon(t, c.Process.Pid)
	took := askEachSecond(d.ops)
	late := nowSince(d, c.Process.Pid, b.length/2)
	sent := load.send(t, "tcp", d.address)
	lateShare := late()
	answer := nowAfter(t, d.ops, load.now)
	times := took()
	cpu := cpuOfDaemon(t, c.Process.Pid) - spent
	count.compare(t, answer)

	sums := map[string]uint64{}
	all := uint64(1)
	if path := d.profile(filepath.Join(dir, "profile")); path != "" {
		out, err := exec.Command("go", "tool", "pprof", "-traces", "-unit=us", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		sums, all = addTraces(string(out))
	}
	d.stop()
	slices.Sort(times)
	fmt.Printf("%d readers, %d events in %v; the daemon's CPU %.0f ns an event, of which readers now %.1f %%, in the latter half %.1f %% by its own metric; %d answers: median %v, the slowest %v\n",
		b.readers, sent, time.Since(began).Round(time.Second), float64(cpu.Nanoseconds())/float64(sent), 100*float64(sums[stageNow])/float64(max(1, all)),
		100*lateShare, len(times), times[len(times)/2].Round(100*time.Microsecond), times[len(times)-1].Round(100*time.Microsecond))
}

// nowSince says what part of a daemon's CPU readers now have been from a moment on until
// the function that it returns is called.
func nowSince(d *served, pid int, from time.Duration) func() float64 {
	type use struct{ now, cpu float64 }
	read := func() use {
		return use{metricOf(d, "lectern_now_seconds_total"), cpuOfDaemon(d.t, pid).Seconds()}
	}
	then := make(chan use, 1)
	time.AfterFunc(from, func() { then <- read() })
	return func() float64 {
		before, after := <-then, read()
		return (after.now - before.now) / (after.cpu - before.cpu)
	}
}

func cpuOfDaemon(t testing.TB, pid int) time.Duration {
	u, ok := useOf(pid)
	if !ok {
		t.Fatal("the daemon is gone")
	}
	return u.cpu
}

// steadyCrowd is readers who stay, each with a heartbeat every ten seconds on average, by
// chance; with one event in a hundred its reader goes on to another content.
func steadyCrowd(b *million) *crowdLoad {
	random := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(random, 1.1, 8, millionContents-1)
	l := &crowdLoad{length: b.length}
	reads := make([]uint64, b.readers)
	rate, n := float64(b.readers)/readers.Heartbeat.Seconds(), 0
	id := func(x, salt uint64) uint64 { return (x*2+salt)*0x9E3779B97F4A7C15 | 1<<63 }
	l.next = func(e *wire.Event) {
		reader := random.IntN(b.readers)
		*e = wire.Event{User: id(uint64(reader), 1), Dwell: 10_000, Kind: wire.KindRead}
		if reads[reader] == 0 || random.IntN(100) == 0 {
			reads[reader] = zipf.Uint64() + 1
			e.Kind, e.Dwell = wire.KindOpen, 0
		}
		e.Content = id(reads[reader], 0)
		n++
		l.after = time.Duration(float64(n) / rate * 1e9)
	}
	return l
}

// nowCount is what a sender counted, in plain maps.
type nowCount struct {
	last  map[[2]uint64]int64         // content and user: the second of the last event
	opens map[uint64]map[int64]uint64 // content: opens by second
}

// countedCrowd is a crowd of which every event is counted as it is sent.
func countedCrowd(b *million) (*crowdLoad, *nowCount) {
	c := &nowCount{last: make(map[[2]uint64]int64), opens: make(map[uint64]map[int64]uint64)}
	load := steadyCrowd(b)
	next := load.next
	load.next = func(e *wire.Event) {
		next(e)
		second := load.now.Unix()
		c.last[[2]uint64{e.Content, e.User}] = second
		if e.Kind == wire.KindOpen {
			if c.opens[e.Content] == nil {
				c.opens[e.Content] = make(map[int64]uint64)
			}
			c.opens[e.Content][second]++
		}
	}
	return load, c
}

// compare compares an answer with what was counted, exactly.
func (c *nowCount) compare(t *testing.T, p *now.Page) {
	type figures struct{ id, minute, five, opens uint64 }
	second := p.Time / 1000
	contents, users := map[uint64]*figures{}, map[uint64]int64{}
	for key, last := range c.last {
		f := contents[key[0]]
		if f == nil {
			f = &figures{id: key[0]}
			contents[key[0]] = f
		}
		if last > second-60 {
			f.minute++
		}
		if last > second-300 {
			f.five++
		}
		users[key[1]] = max(users[key[1]], last)
	}
	var minute, five uint64
	for _, last := range users {
		if last > second-60 {
			minute++
		}
		if last > second-300 {
			five++
		}
	}
	var all []*figures
	for id, f := range contents {
		for at, n := range c.opens[id] {
			if at/10 > second/10-6 {
				f.opens += n
			}
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *figures) int {
		return cmp.Or(cmp.Compare(b.minute, a.minute), cmp.Compare(b.five, a.five), cmp.Compare(b.opens, a.opens), cmp.Compare(a.id, b.id))
	})
	s := p.Streams[0]
	if s.Minute != minute || s.Five != five || s.MinuteError != 0 || s.Coarse != 0 || len(s.Contents) != min(100, len(all)) {
		t.Errorf("%d readers, %d of five minutes, %d events coarse, %d contents; want %d, %d, 0, %d", s.Minute, s.Five, s.Coarse, len(s.Contents), minute, five, min(100, len(all)))
	}
	for i := range s.Contents {
		got, want := &s.Contents[i], all[i]
		byMinute := make([]uint64, len(got.Minutes))
		for at, n := range c.opens[want.id] {
			if back := second/60 - at/60; back < int64(len(byMinute)) {
				byMinute[len(byMinute)-1-int(back)] += n
			}
		}
		if got.Content != fmt.Sprint(want.id) || got.Minute != want.minute || got.Five != want.five || !slices.Equal(got.Minutes, byMinute) {
			t.Fatalf("place %d: content %s with %d and %d readers, opens %v; want %d with %d and %d, %v",
				i+1, got.Content, got.Minute, got.Five, got.Minutes, want.id, want.minute, want.five, byMinute)
		}
	}
}

// askNow asks a daemon for all that one answer may have.
func askNow(ops string) (*now.Page, time.Duration, error) {
	began := time.Now()
	answer, err := http.Get(ops + nowPath + "?limit=100")
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	p := new(now.Page)
	err = json.NewDecoder(answer.Body).Decode(p)
	return p, time.Since(began), err
}

// askEachSecond asks until the function that it returns is called, which says how long
// each answer took.
func askEachSecond(ops string) func() []time.Duration {
	stop, done := make(chan struct{}), make(chan []time.Duration)
	go func() {
		var all []time.Duration
		for {
			if _, took, err := askNow(ops); err == nil {
				all = append(all, took)
			}
			select {
			case <-time.After(time.Second):
			case <-stop:
				done <- all
				return
			}
		}
	}()
	return func() []time.Duration { close(stop); return <-done }
}

// nowAfter is the first answer that has everything up to a moment.
func nowAfter(t *testing.T, ops string, moment time.Time) *now.Page {
	for range 600 {
		if p, _, err := askNow(ops); err == nil && p.Time > moment.UnixMilli()+1000 && len(p.Streams) > 0 {
			return p
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the daemon does not say who reads now")
	return nil
}
