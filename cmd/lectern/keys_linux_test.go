package main

import (
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// mounted puts files into a directory as Kubernetes mounts a Secret: the names are
// links through ..data, which changes at once.
func mounted(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(dir, 0o700))
	data, err := os.MkdirTemp(dir, "..data_")
	must(err)
	for name, text := range files {
		must(os.WriteFile(filepath.Join(data, name), []byte(text), 0o600))
	}
	link := filepath.Join(dir, "..data_tmp")
	must(os.Symlink(filepath.Base(data), link))
	must(os.Rename(link, filepath.Join(dir, "..data")))
	old, err := os.ReadDir(dir)
	must(err)
	for _, e := range old {
		if _, stays := files[e.Name()]; !stays && !strings.HasPrefix(e.Name(), ".") {
			must(os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	for name := range files {
		if err := os.Symlink("..data/"+name, filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
}

// newKeys makes so many keys.
func newKeys(t testing.TB, n int) (texts []string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made")
	for i := range n {
		succeed(t, "keys", "new", "--dir", dir)
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("key-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

// A key is replaced while clients send over UDP and TCP: first the collector learns
// the new one, then the emitters, then the collector forgets the old one. Nothing is
// refused, and every event is counted once.
func TestKeysAreReplacedUnderLoad(t *testing.T) {
	texts := newKeys(t, 2)
	keys, file := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "key")
	mounted(t, keys, map[string]string{"first": texts[0]})
	give := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	give(texts[0])
	dir := filepath.Join(t.TempDir(), "reads")
	d := serveOn(t, configure(t, dir, fmt.Sprintf("listen.audience = \"here\"\n"+
		"[stream.a]\nnumber = 1\nsecret = %q\nseal = \"require\"\n[stream.b]\nnumber = 2\nsecret = %q\nseal = \"require\"\n", keys, keys)))
	udp, err := emit.DialUDP(t.Context(), d.address, emit.Options{Stream: 1, KeyFile: file, Audience: "here"})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := emit.DialTCP(t.Context(), d.address, emit.Options{Stream: 2, KeyFile: file, Audience: "here"})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var sending sync.WaitGroup
	for _, e := range []emit.Emitter{udp, tcp} {
		sending.Go(func() { sendUntil(t, e, stop) })
	}
	used := func(stream, epoch int) string {
		return fmt.Sprintf(`lectern_key_last_used_timestamp_seconds{stream="%d",name="%c",epoch="%d"}`, stream, 'a'+stream-1, epoch)
	}
	mounted(t, keys, map[string]string{"first": texts[0], "second": texts[1]})
	poll.Until(t, "the collector knows the new key", func() bool { _, ok := d.metrics()[used(1, 1)]; return ok })
	give(texts[1])
	poll.Until(t, "both seal with the new key", func() bool { m := d.metrics(); return m[used(1, 1)] > 0 && m[used(2, 1)] > 0 })
	poll.Until(t, "nobody seals with the old one", func() bool {
		m := d.metrics()
		return m[used(1, 0)] < m[used(1, 1)]-2 && m[used(2, 0)] < m[used(2, 1)]-2
	})
	mounted(t, keys, map[string]string{"second": texts[1]})
	poll.Until(t, "the collector has forgotten the old key", func() bool { _, ok := d.metrics()[used(1, 0)]; return !ok })
	// A broken directory changes nothing.
	mounted(t, keys, map[string]string{"second": texts[1], "third": "nonsense"})
	poll.Until(t, "the broken directory is seen", func() bool { return d.metrics()["lectern_key_directories_unreadable"] == 1 })
	time.Sleep(200 * time.Millisecond) // some more events
	close(stop)
	sending.Wait()
	u, k := udp.Stats(), tcp.Stats()
	if k.Acked != k.Events || k.Refused+k.Unsure+k.Dropped != 0 || k.Reconnects != 1 || k.KeyErrors+u.KeyErrors != 0 {
		t.Errorf("over TCP: %+v", k)
	}
	m := d.metrics()
	for name, n := range m {
		if n > 0 && (strings.HasPrefix(name, "lectern_frames_refused_total") || strings.HasPrefix(name, "lectern_events_refused_total")) {
			t.Errorf("%s is %v", name, n)
		}
	}
	if got, want := m["lectern_events_accepted_total"], float64(u.Events+k.Events); got != want || m["lectern_events_lost_total"] != m["lectern_events_found_total"] {
		t.Errorf("%v events accepted of %v", got, want)
	}
	if said := d.said(); strings.Contains(said, texts[0][2:20]) || strings.Contains(said, texts[1][2:20]) {
		t.Error("the log has a key in it")
	}
	d.stop()
}

func TestKeysCommand(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	made := succeed(t, "keys", "new", "--dir", keys)
	succeed(t, "keys", "new", "--dir", keys)
	text, err := os.ReadFile(filepath.Join(keys, "key-0"))
	if err != nil || !strings.HasPrefix(made, filepath.Join(keys, "key-0")+": epoch 0, fingerprint ") {
		t.Fatalf("%q, %v", made, err)
	}
	list := succeed(t, "keys", "ls", "--dir", keys)
	if strings.Count(list, "\n") != 3 || !strings.Contains(list, strings.Fields(made)[4]) || strings.Contains(list, string(text[2:20])) {
		t.Errorf("%s", list)
	}
	config := configure(t, t.TempDir(), fmt.Sprintf("listen.audience = \"here\"\n[stream.news]\nnumber = 7\nsecret = %q\nseal = \"allow\"\n", keys))
	checked := succeed(t, "keys", "check", "--config", config)
	if !strings.Contains(checked, "7       news  1      ") || !strings.Contains(checked, "in hardware") && !strings.Contains(checked, "ten times") {
		t.Errorf("%s", checked)
	}
	if err := os.WriteFile(filepath.Join(keys, "key-2"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"keys check", "serve"} {
		_, stderr, code := lectern(t, nil, append(strings.Fields(command), "--config", config)...)
		if code != 1 || !strings.Contains(stderr, "both of epoch 0") || !strings.Contains(stderr, "stream news") {
			t.Errorf("%s with two keys of one epoch: exit %d, %s", command, code, stderr)
		}
	}
	for args, want := range map[string]string{
		"":                        "say what to do",
		"nwe":                     `did you mean "new"?`,
		"new":                     "new needs --dir",
		"ls --config x":           "--config goes with check",
		"check --dir x":           "--dir goes with new and ls",
		"new --dir x --epoch 300": "--epoch is not a flag",
	} {
		_, stderr, code := lectern(t, nil, append([]string{"keys"}, strings.Fields(args)...)...)
		if code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("keys %s: exit %d, %s", args, code, stderr)
		}
	}
}

// Whoever has seen the number of an honest source, and has no key, hurts nobody who
// seals: neither over UDP nor TCP, neither far ahead nor with a hello.
func TestSealedSourcesCannotBeTakenOver(t *testing.T) {
	texts := newKeys(t, 2)
	keys, file := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "key")
	mounted(t, keys, map[string]string{"key": texts[0]})
	if err := os.WriteFile(file, []byte(texts[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	stranger, err := wire.ParseSecret(texts[1])
	if err != nil {
		t.Fatal(err)
	}
	d := serveOn(t, configure(t, filepath.Join(t.TempDir(), "reads"), fmt.Sprintf("listen.audience = \"here\"\n"+
		"[stream.a]\nnumber = 1\nsecret = %q\nseal = \"allow\"\n[stream.b]\nnumber = 2\nsecret = %q\nseal = \"allow\"\n", keys, keys)))
	o := emit.Options{KeyFile: file, Audience: "here", FlushAge: 5 * time.Millisecond}
	o.Stream = 1
	udp, err := emit.DialUDP(t.Context(), d.address, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Stream = 2
	tcp, err := emit.DialTCP(t.Context(), d.address, o)
	if err != nil {
		t.Fatal(err)
	}
	attack := func(source uint64, stream uint16, round int) {
		beat := func(sequence, position uint64) []byte {
			return wire.AppendHeader(nil, wire.Header{Type: wire.TypeEvents, Size: wire.HeaderSize, Stream: stream,
				Time: time.Now().UnixMilli(), Source: source, Sequence: sequence, Position: position})
		}
		key, err := stranger.FrameKey(stream, "here")
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		datagrams := [][]byte{beat(1<<47, 1<<40), beat(uint64(10*round), 0), key.Seal(beat(1<<47, 1<<40), 0)}
		streams := [][]byte{
			wire.AppendHello(nil, stream, source, now), beat(1<<47, 1<<40),
			wire.AppendSealedHello(nil, stream, source, now, new([wire.RandomSize]byte), stranger.HelloKey(stream, "here")),
		}
		for network, list := range map[string][][]byte{"udp": datagrams, "tcp": streams} {
			for _, b := range list {
				conn, err := net.Dial(network, d.address)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = conn.Write(b)
				_ = conn.Close()
			}
		}
	}
	for round := range 20 {
		for i := range uint64(50) {
			for _, e := range []emit.Emitter{udp, tcp} {
				if err := e.Add(emit.Event{Content: i, User: i}); err != nil {
					t.Fatal(err)
				}
			}
		}
		attack(udp.Source(), 1, round)
		attack(tcp.Source(), 2, round)
		time.Sleep(10 * time.Millisecond)
	}
	for _, e := range []emit.Emitter{udp, tcp} {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if s := tcp.Stats(); s.Acked != 1000 || s.Reconnects != 0 {
		t.Errorf("over TCP: %+v", s)
	}
	m := d.metrics()
	if m["lectern_events_accepted_total"] != 2000 || m["lectern_events_lost_total"] != m["lectern_events_found_total"] || m["lectern_events_stale_total"] != 0 ||
		m[`lectern_frames_refused_total{reason="unsealed"}`] == 0 || m[`lectern_frames_refused_total{reason="sealed"}`] == 0 {
		t.Errorf("accepted %v, lost %v, stale %v, refused as unsealed %v and sealed %v", m["lectern_events_accepted_total"], m["lectern_events_lost_total"],
			m["lectern_events_stale_total"], m[`lectern_frames_refused_total{reason="unsealed"}`], m[`lectern_frames_refused_total{reason="sealed"}`])
	}
	d.stop()
}

// An edge in front of a collector that takes sealed frames alone seals with the one
// key in a directory.
func TestEdgeSeals(t *testing.T) {
	h, url := edgeHome(t)
	keys := filepath.Join(t.TempDir(), "keys")
	succeed(t, "keys", "new", "--dir", keys)
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	more := fmt.Sprintf("\nlisten.audience = \"here\"\nstream.site.secret = %q\nstream.site.seal = \"require\"\n"+
		"stream.site.key_file = %q\nedge.audience = \"here\"\n", keys, keys)
	if err := os.WriteFile(h.config, append(text, more...), 0o600); err != nil {
		t.Fatal(err)
	}
	d, e := serveOn(t, h.config), edgeOn(t, h.config)
	var over atomic.Bool
	var answered int
	var page sync.WaitGroup
	page.Go(func() { answered = readPage(url, 1, over.Load) })
	poll.Until(t, "events are counted", func() bool { return d.metrics()["lectern_events_accepted_total"] > 0 })
	over.Store(true)
	page.Wait()
	e.stop()
	if m := d.metrics(); m["lectern_events_accepted_total"] != float64(answered) || m[`lectern_key_last_used_timestamp_seconds{stream="7",name="site",epoch="0"}`] == 0 {
		t.Errorf("%d events were answered, %v accepted", answered, m["lectern_events_accepted_total"])
	}
	d.stop()
}
