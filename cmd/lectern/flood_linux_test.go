package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/internal/load"
	"github.com/lectern/lectern/wire"
)

// floodTime is for how long each flood is sent: LECTERN_TEST_FLOOD seconds.
func floodTime() time.Duration {
	seconds, _ := strconv.Atoi(os.Getenv("LECTERN_TEST_FLOOD"))
	return time.Duration(seconds) * time.Second
}

// A daemon is flooded with forged frames, then with frames of made-up sources, readers and
// contents, as fast as it takes them: it never has more in memory than `lectern check`
// says, an honest session and honest datagrams beside the floods are all counted, and the
// books add up.
func TestFloodStaysWithinWhatCheckSays(t *testing.T) {
	if floodTime() == 0 {
		t.Skip("not asked for: run `make test-flood`")
	}
	keys, file := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "key")
	text := newKeys(t, 1)[0]
	mounted(t, keys, map[string]string{"first": text})
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config := configure(t, filepath.Join(t.TempDir(), "reads"), fmt.Sprintf("listen.audience = \"here\"\nlisten.receive_buffer = \"8MiB\"\nspool.size_max = \"2GiB\"\n"+
		"limits.address_sources_max = 0\n[stream.honest]\nnumber = 2\nsecret = %q\nseal = \"require\"\n", keys))
	promised, buffers := promisedMemory(t, config)
	d := serveOn(t, config)
	stop, honest := make(chan struct{}), honestSenders(t, d.address, file)
	var sending sync.WaitGroup
	for _, e := range honest {
		sending.Go(func() { sendUntil(t, e, stop) })
	}
	forged, err := wire.NewSecret(0, [wire.SecretSize]byte{99}).FrameKey(2, "here")
	if err != nil {
		t.Fatal(err)
	}
	var sent uint64
	for _, flood := range []load.Shape{
		{Stream: 2, Sources: 1e6, Keys: 1 << 40, Events: 10, Size: 1400, Seed: 1, Key: forged},
		{Stream: 3, Sources: 1e6, Keys: 1 << 40, Events: 10, Size: 1400, Seed: 2},
	} {
		sent += d.flood(flood, sent)
	}
	close(stop)
	sending.Wait()
	most, now := memoryOf(t, d.command.Process.Pid, "VmHWM"), d.metrics()
	d.stop()
	t.Logf("%d datagrams of floods, %.0f forged, %.0f sources: at most %.0f MiB in memory; check says %.0f MiB, %.0f of them the kernel's",
		sent, now[`lectern_frames_refused_total{reason="sealed"}`], now["lectern_sources"], most, promised, buffers)
	if most > promised-buffers {
		t.Errorf("at most %.0f MiB in memory, and check promises %.0f MiB without the kernel's buffers", most, promised-buffers)
	}
	var books struct {
		Streams []struct {
			Stream, Class  string
			Sent, Accepted uint64
			AddsUp         bool `json:"adds_up"`
		}
	}
	if err := json.Unmarshal([]byte(succeed(t, "books", "--config", config, "--json")), &books); err != nil {
		t.Fatal(err)
	}
	events := honest[0].Stats().Events + honest[1].Stats().Events
	for _, b := range books.Streams {
		if !b.AddsUp || b.Class == "sealed" && (b.Sent != events || b.Accepted != events) {
			t.Errorf("%+v; honest clients sent %d events, the kernel dropped %.0f datagrams", b, events, now["lectern_udp_kernel_drops_total"])
		}
	}
}

// honestSenders are one over UDP and one over TCP, that seal by the key of a file.
func honestSenders(t *testing.T, address, key string) (all []emit.Emitter) {
	t.Helper()
	o := emit.Options{Stream: 2, KeyFile: key, Audience: "here"}
	udp, err := emit.DialUDP(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := emit.DialTCP(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	return []emit.Emitter{udp, tcp}
}

// sendUntil sends ten events each millisecond, and closes its sender when stop is closed.
func sendUntil(t *testing.T, e emit.Emitter, stop <-chan struct{}) {
	for i := uint64(0); ; i++ {
		select {
		case <-stop:
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
			return
		case <-time.After(time.Millisecond):
		}
		for n := range uint64(10) {
			if err := e.Add(emit.Event{Content: n, User: i % 1000}); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// flood sends as fast as the daemon takes it, which has had so many datagrams of floods,
// and never more at once than a small buffer holds: the kernel would drop those of the
// honest as well.
func (d *served) flood(shape load.Shape, before uint64) (sent uint64) {
	d.t.Helper()
	maker, err := load.NewMaker(shape)
	if err != nil {
		d.t.Fatal(err)
	}
	u, err := load.DialUDP(netip.MustParseAddrPort(d.address), load.UDPOptions{Flows: 64, Burst: 8})
	if err != nil {
		d.t.Fatal(err)
	}
	defer u.Close()
	for end := time.Now().Add(floodTime()); time.Now().Before(end); {
		maker.Tick(time.Now())
		if err := u.Send(maker, 2048); err != nil {
			d.t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < 10*time.Second; {
			if m := d.metrics(); m["lectern_udp_datagrams_total"]+m["lectern_udp_kernel_drops_total"] >= float64(before+maker.Frames) {
				break
			}
		}
	}
	return maker.Frames
}
