package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/trace"
)

// order is what a client of its own process is to do: TestCrashClient.
type order struct {
	Address string
	Queue   string // directory
	Ledger  string // file: what became of each event, a fate a byte
	Stream  uint16
	Events  int           // how many to add; 0 is for ever
	Pause   time.Duration // after each four
	TLS     string        // directory of certificates; "" for plain TCP
}

// orderVariable carries an order into the process.
const orderVariable = "LECTERN_TEST_CLIENT"

// ledgerSize is how many events a client can send in all its lives.
const ledgerSize = 16 << 20

// TestCrashClient is no test: it is the client that the others kill. It goes on
// with the first event that no life of it has tried before, and writes into its
// ledger, which is memory that outlives it, that Add is called and that Add
// has returned.
func TestCrashClient(t *testing.T) {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(orderVariable)), &o); err != nil {
		t.Skip("the other tests run it")
	}
	ledger := openLedger(t, o.Ledger)
	next := bytes.IndexByte(ledger, byte(unsent))
	to := emitOptions{network: "tcp", address: o.Address, client: emit.Options{
		Stream: o.Stream, Queue: o.Queue, Background: true, FrameSize: 512, BufferSize: 64 << 10, FlushAge: 2 * time.Millisecond,
	}}
	if o.TLS != "" {
		to.network, to.tls = "tls", emitTLS{filepath.Join(o.TLS, "ca.crt"), filepath.Join(o.TLS, "tls.crt"), filepath.Join(o.TLS, "tls.key"), "--tls-"}
	}
	out, err := to.dialTCP(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for added := 0; o.Events == 0 || added < o.Events; added++ {
		ledger[next] = byte(maybe)
		if err := out.Add(crashEvent(uint64(next)+1, time.Now().UnixMilli())); err != nil {
			t.Fatal(err)
		}
		ledger[next] = byte(counted)
		next++
		if added%4 == 3 {
			time.Sleep(o.Pause)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err = out.Close(ctx)
	if s := out.Stats(); err != nil || s.Acked != s.Events+s.Recovered {
		t.Fatalf("not everything was acknowledged: %v, %+v", err, s)
	}
	os.Exit(0) // without TestMain, which asks for the program once more
}

// openLedger maps the file of a ledger, which is made where there is none.
func openLedger(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(ledgerSize); err != nil {
		t.Fatal(err)
	}
	ledger, err := unix.Mmap(int(f.Fd()), 0, ledgerSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	return ledger
}

// readLedger returns the fates of all events of a client, none of one that was
// killed before it had a ledger.
func readLedger(t *testing.T, path string) []fate {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var fates []fate
	for buffer := make([]byte, 1<<16); ; {
		n, err := f.Read(buffer)
		for _, b := range buffer[:n] {
			if fate(b) == unsent {
				return fates
			}
			fates = append(fates, fate(b))
		}
		if err == io.EOF {
			return fates
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// environ is the environment of a client with this order.
func (o order) environ(t *testing.T) []string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), orderVariable+"="+string(text))
}

// clientArgs make the test's binary a client.
var clientArgs = []string{"-test.run=^TestCrashClient$", "-test.timeout=20m"}

// start starts a client, which is killed at the end of the test. What it says
// comes when it has ended.
func (o order) start(t *testing.T) (c *exec.Cmd, said *bytes.Buffer) {
	t.Helper()
	said = new(bytes.Buffer)
	c = exec.Command(os.Args[0], clientArgs...)
	c.Env, c.Stdout, c.Stderr = o.environ(t), said, said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, said
}

// drain has a client send a few events more, and all that its queue holds.
func (o order) drain(t *testing.T) {
	t.Helper()
	o.Events = 50
	c, said := o.start(t)
	if err := c.Wait(); err != nil {
		t.Errorf("stream %d: the last client: %v\n%s", o.Stream, err, said)
	}
}

// The parts of a client's life in which it is killed.
const (
	inFirst = "first" // with a new queue, from its start to its end
	inAgain = "again" // with a queue that a kill has left
)

// A client that is killed at any of its system calls, and started again with the
// same queue, has every event counted once that Add took.
func TestClientCrashPoints(t *testing.T) {
	seed := crashSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	h := home(t, crashWindow)
	d := serveOn(t, h.config)
	dir := t.TempDir()
	var streams atomic.Uint32
	next := func() order {
		n := streams.Add(1)
		return order{
			Address: h.address, Queue: filepath.Join(dir, fmt.Sprint("queue", n)), Ledger: filepath.Join(dir, fmt.Sprint("ledger", n)),
			Stream: uint16(n), Events: 300, Pause: time.Millisecond,
		}
	}
	calls := make(map[string]map[string]int)
	for _, phase := range []string{inFirst, inAgain} {
		r := next().live(t, phase, nil)
		calls[phase] = r.Begin(nil)
		t.Logf("%s: %v", phase, calls[phase])
	}
	eachCrashPoint(t, choosePoints(rng, calls, crashCount(8)), func(t *testing.T, p crashPoint) (reached bool, came string) {
		o := next()
		reached = o.live(t, p.phase, &p.Aim).Killed()
		taken := len(readLedger(t, o.Ledger))
		o.drain(t)
		return reached, fmt.Sprintf("stream %d: %d taken then, %d in the end", o.Stream, taken, len(readLedger(t, o.Ledger)))
	})
	d.stop()
	checkBooks(t, h.config, h.spool)
	events := storedEvents(t, h.parquet)
	total := 0
	for n := range streams.Load() {
		stream := uint16(n + 1)
		fates := readLedger(t, filepath.Join(dir, fmt.Sprint("ledger", stream)))
		if err := compare(events[stream], fates); err != nil {
			t.Errorf("stream %d: %v", stream, err)
		}
		total += len(events[stream])
	}
	t.Logf("%d events stored", total)
}

// live leads a client's life up to a kill, or its end.
func (o order) live(t *testing.T, phase string, at *trace.Aim) *trace.Tracer {
	t.Helper()
	if phase == inAgain {
		first := o
		first.Events, first.Pause = 0, 0 // so that it is mostly in Add
		c, _ := first.start(t)
		for len(readLedger(t, o.Ledger)) == 0 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r := traced(t, at, trace.Start{Path: path, Args: clientArgs, Environ: o.environ(t), Dir: t.TempDir(), Files: []*os.File{null, null, null}})
	select {
	case <-r.Finished:
	case <-time.After(time.Minute):
		t.Fatal("the client neither ends nor is killed")
	}
	if !r.Killed() && r.ExitStatus() != 0 {
		t.Errorf("stream %d: the client ended by itself with status %d", o.Stream, r.ExitStatus())
	}
	return r
}
