//go:build go1.26 && (darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package emit

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/wire"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("LECTERN_TEST_QUEUE"); dir != "" {
		addUntilKilled(dir, os.Getenv("LECTERN_TEST_ADDRESS"), os.Getenv("LECTERN_TEST_FROM"))
	}
	os.Exit(m.Run())
}

func queueOptions(dir string) Options {
	return Options{Queue: dir, FrameSize: 300, BufferSize: 1 << 20, FlushAge: time.Millisecond, Background: true}
}

// addUntilKilled is the child: it says of each event that Add took it.
func addUntilKilled(dir, address, from string) {
	user, _ := strconv.ParseUint(from, 10, 64)
	s, err := DialTCP(context.Background(), address, queueOptions(dir))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for ; ; user++ {
		if err := s.Add(Event{Time: instant + int64(user), Content: user, User: user}); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString(strconv.FormatUint(user, 10) + "\n")
		if user%20 == 0 {
			time.Sleep(time.Millisecond) // for acknowledgements to come between
		}
	}
}

// An emitter that is killed at any moment goes on: what Add took is counted
// exactly once, by the collector's own count of sources and sequences.
func TestQueueKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	f := newFake(rand.New(rand.NewPCG(seed, 2)))
	addr, stop, err := listenFake(f)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	dir := t.TempDir()
	f.mu.Lock()
	f.forgetful, f.slow = false, false
	f.mu.Unlock()
	next := uint64(0)
	for round := range 25 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "LECTERN_TEST_QUEUE="+dir, "LECTERN_TEST_ADDRESS="+addr,
			"LECTERN_TEST_FROM="+strconv.FormatUint(next, 10))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, after := bufio.NewScanner(out), 1+r.IntN(3000)
		for n := 0; lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Fatalf("round %d: %s", round, lines.Text())
			}
			user, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil || user != next {
				t.Fatalf("round %d: %q after %d events", round, lines.Text(), next)
			}
			next++
			if n == after {
				_ = child.Process.Kill()
			}
		}
		_ = child.Wait()
		// The event after the last that was printed may have been taken, or not:
		// the next round begins behind it.
		next++
	}
	f.mu.Lock()
	f.chaos = false
	f.mu.Unlock()
	s, err := DialTCP(t.Context(), addr, queueOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events; %+v", next, s.Stats())
	f.mu.Lock()
	defer f.mu.Unlock()
	missing := 0
	for user := range next {
		switch n := f.counted[user]; {
		case n > 1:
			t.Fatalf("event %d was counted %d times", user, n)
		case n == 0:
			missing++
		}
	}
	// One at most in each round was not printed.
	if missing > 25 || uint64(len(f.counted)) > next || f.forgets == 0 && len(f.spools[0].sealed) != 1 {
		t.Errorf("%d of %d events are missing, %d sources", missing, next, len(f.spools[0].sealed))
	}
	for _, p := range f.problems {
		t.Error(p)
	}
}

// A kill between the two words that turn the open frame into a slot leaves its
// events in both: they are read back once.
func TestQueueKilledWhileItFinishes(t *testing.T) {
	q := newQueue(0, 300, 4096)
	q.mapped = true
	q.saveHead()
	for user := range uint64(5) {
		q.add(&Event{Time: instant + 1, Content: 9, User: user})
	}
	open := append([]byte(nil), q.mem[openAt:recordsAt]...)
	if !q.finish(0) {
		t.Fatal("no room")
	}
	for name, head := range map[string][]byte{"before the reset": open, "behind it": q.mem[openAt:recordsAt]} {
		mem := append([]byte(nil), q.mem...)
		copy(mem[openAt:], head)
		copy(mem, queueMagic)
		binary.LittleEndian.PutUint32(mem[versionAt:], queueVersion)
		binary.LittleEndian.PutUint64(mem[16:], uint64(len(q.records)/recordSize))
		binary.LittleEndian.PutUint64(mem[24:], uint64(len(q.ring)))
		readdress(mem, "x")
		back := &queue{frameSize: 300, mapped: true}
		if err := back.load(mem); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if back.opened() != 0 || back.next != q.next || back.source != q.source || back.head != q.head {
			t.Errorf("%s: %d events in the open frame, next %+v", name, back.opened(), back.next)
		}
	}
}

// Whoever sees a slot's serial sees all of the slot: the word is written last. A
// kill leaves what another goroutine could have seen.
func TestSlotIsWholeWhenItsSerialShows(t *testing.T) {
	for range 3000 {
		q := newQueue(0, 300, 4096)
		q.mapped = true
		slot, serial := q.ring, q.next.serial
		for user := range uint64(5) {
			q.add(&Event{Time: instant + 1, Content: 9, User: user})
		}
		ready, whole := make(chan struct{}), make(chan bool)
		go func() {
			close(ready)
			for word(slot, 0).Load() != serial {
			}
			size := int(binary.LittleEndian.Uint32(slot[slotSizeAt:]))
			whole <- size >= wire.HeaderSize && size <= 300 && slotSum(slot) == binary.LittleEndian.Uint32(slot[slotSumAt:])
		}()
		<-ready
		if !q.finish(0) {
			t.Fatal("no room")
		}
		if !<-whole {
			t.Fatal("a slot that counts is not what was written")
		}
	}
}

// left returns a queue's directory in which an emitter left n events, some of
// them in an open frame.
func left(t *testing.T, n uint64) string {
	t.Helper()
	dir := t.TempDir()
	o := queueOptions(dir)
	o.FlushAge = time.Hour
	s, err := DialTCP(t.Context(), "127.0.0.1:1", o)
	if err != nil {
		t.Fatal(err)
	}
	for user := range n {
		add(t, s, Event{Time: instant + int64(user), Content: user, User: user})
	}
	s.mu.Lock()
	killed := append([]byte(nil), s.queue.mem...) // as a kill would leave it
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = s.Close(ctx)
	if err == nil || !strings.Contains(err.Error(), strconv.FormatUint(n, 10)+" events") || !strings.Contains(err.Error(), dir) {
		t.Errorf("Close: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, queueName), killed, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestQueueBelongsToOne(t *testing.T) {
	dir := left(t, 10)
	s, err := DialTCP(t.Context(), "127.0.0.1:1", queueOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Recovered != 10 || got.Buffered != 10 {
		t.Errorf("stats %+v", got)
	}
	if _, err := DialTCP(t.Context(), "127.0.0.1:1", queueOptions(dir)); err == nil || !strings.Contains(err.Error(), "another emitter") {
		t.Errorf("a second emitter: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Close(ctx)
	o := queueOptions(dir)
	o.Stream = 3
	if _, err := DialTCP(t.Context(), "127.0.0.1:1", o); err == nil || !strings.Contains(err.Error(), "stream 0") {
		t.Errorf("another stream: %v", err)
	}
}

// Whatever byte is damaged, an emitter either does not notice, since nothing
// depends on it, or says so and sets the file aside.
func TestQueueDamaged(t *testing.T) {
	dir := left(t, 100)
	path := filepath.Join(dir, queueName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, ring := queueSize(recordsFor(300), 0)
	places := map[string]int{
		"magic": 0, "address": addressAt, "both heads": headsAt, "an event of the open frame": recordsAt + 9,
		"a frame": ring + slotHeader + 60, "a slot": ring + slotSizeAt,
	}
	for name, at := range places {
		bad := append([]byte(nil), good...)
		bad[at] ^= 0x40
		if name == "both heads" {
			bad[at+headSize] ^= 1
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(dir, queueBadName))
		_, err := DialTCP(t.Context(), "127.0.0.1:1", queueOptions(dir))
		if err == nil || !strings.Contains(err.Error(), queueBadName) {
			t.Errorf("%s: %v", name, err)
		}
		if aside, err := os.ReadFile(filepath.Join(dir, queueBadName)); err != nil || string(aside) != string(bad) {
			t.Errorf("%s: set aside: %v", name, err)
		}
	}
	if err := os.WriteFile(path, good[:len(good)-pageSize], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := DialTCP(t.Context(), "127.0.0.1:1", queueOptions(dir)); err == nil || !strings.Contains(err.Error(), "move both away") {
		t.Errorf("cut short, and another set aside already: %v", err)
	}
	_ = os.Remove(filepath.Join(dir, queueBadName))
	if _, err := DialTCP(t.Context(), "127.0.0.1:1", queueOptions(dir)); err == nil {
		t.Error("cut short: taken")
	}
	s, err := DialTCP(t.Context(), "127.0.0.1:1", queueOptions(dir))
	if err != nil {
		t.Fatalf("after all was set aside: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// After a restart of the machine the file may be older than what was sent last:
// no number is given a second time.
func TestQueueAfterARestartOfTheMachine(t *testing.T) {
	dir := left(t, 100)
	path := filepath.Join(dir, queueName)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	word(file, bootAt).Add(1)
	// The collector answers under the address that the queue belongs to.
	f := newFake(nil)
	addr, stop, err := listenFake(f)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	readdress(file, addr)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := DialTCP(t.Context(), addr, queueOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	for user := range uint64(50) {
		add(t, s, Event{Time: instant + 1, Content: 1, User: 100 + user})
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats := s.Stats()
	if stats.Recovered != 100 || stats.Events != 50 || stats.Unsure == 0 || stats.Unsure > 40 {
		t.Errorf("stats %+v", stats)
	}
	if len(f.spools[0].sources) != 2 {
		t.Errorf("%d sources, want the old one and a new one", len(f.spools[0].sources))
	}
	for _, bad := range f.check(150, stats) {
		t.Error(bad)
	}
}

func readdress(file []byte, addr string) {
	clear(file[addressAt : addressAt+addressMax])
	binary.LittleEndian.PutUint64(file[32:], uint64(len(addr)))
	copy(file[addressAt:], addr)
	binary.LittleEndian.PutUint32(file[fixedSumAt:], crc32.Checksum(file[:fixedSumAt], crc32.MakeTable(crc32.Castagnoli)))
}

// A queue that was restored from a copy gives numbers that its collector has
// already. It goes on with what is new, and sends nothing twice.
func TestQueueRestoredFromACopy(t *testing.T) {
	f := newFake(nil)
	addr, stop, err := listenFake(f)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	nowhere := func(context.Context) (net.Conn, error) { return nil, errors.New("nowhere") }
	there := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
	dir := t.TempDir()
	path, o := filepath.Join(dir, queueName), queueOptions(dir)
	o.FlushAge = time.Hour
	s, err := dialTCP(t.Context(), "collector", nowhere, o)
	if err != nil {
		t.Fatal(err)
	}
	for user := range uint64(100) { // in frames, and the last in an open one
		add(t, s, Event{Content: user, User: user})
	}
	s.mu.Lock()
	copied := append([]byte(nil), s.queue.mem...)
	s.mu.Unlock()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Close(ended)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	send := func(from, to uint64) Stats {
		t.Helper()
		s, err := dialTCP(ctx, "collector", there, o)
		if err != nil {
			t.Fatal(err)
		}
		for user := from; user < to; user++ {
			add(t, s, Event{Content: user, User: user})
		}
		if err := s.Close(ctx); err != nil {
			t.Fatalf("%v, %+v", err, s.Stats())
		}
		return s.Stats()
	}
	send(100, 150)
	if err := os.WriteFile(path, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	if stats := send(150, 220); stats.Recovered != 100 || stats.Unsure != 100 || stats.Acked != 70 {
		t.Errorf("after the copy came back: %+v", stats)
	}
	for user := range uint64(220) {
		if n := f.counted[user]; n != 1 {
			t.Errorf("event %d was counted %d times", user, n)
		}
	}
}
