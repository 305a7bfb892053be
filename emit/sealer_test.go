//go:build go1.26

package emit

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

func frameKey(t *testing.T, s *wire.Secret, stream uint16) *wire.EventsKey {
	t.Helper()
	key, err := s.FrameKey(stream, testAudience)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Every datagram has a good tag, none is larger than it may be, no nonce comes
// twice, and a beat goes out every 16 s under load, too.
func TestUDPSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := secretOf(2, 7)
		u, tap := tapped(t, Options{Stream: 5, DatagramSize: 300, Key: secret, Audience: testAudience})
		for i := range int64(3000) {
			add(t, u, Event{Time: instant + i, Content: uint64(i), User: 1 << 60})
			time.Sleep(20 * time.Millisecond)
		}
		if err := u.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		key := frameKey(t, secret, 5)
		nonces := map[string]bool{}
		beat := tap.at[beats-1]
		for i, b := range tap.writes {
			h, why := wire.ParseHeader(b)
			if why != wire.Accepted || h.Size != len(b) || h.Epoch() != 2 || !h.Sealed() || !key.Opens(b) {
				t.Fatalf("datagram %d is not sealed: %+v %v", i, h, why)
			}
			if len(b) > 300 {
				t.Errorf("datagram %d has %d bytes", i, len(b))
			}
			if nonce := string(b[8:32]); nonces[nonce] {
				t.Errorf("the nonce of datagram %d is not its own", i)
			} else {
				nonces[nonce] = true
			}
			if h.Count == 0 {
				if gap := tap.at[i] - beat; gap > 17*time.Second {
					t.Errorf("%v without a beat", gap)
				}
				beat = tap.at[i]
			}
		}
		if len(tap.writes) < 100 {
			t.Errorf("%d datagrams", len(tap.writes))
		}
	})
}

// A key that changes in its file, as Kubernetes changes it, seals what follows; one
// that is broken does not.
func TestUDPKeyFile(t *testing.T) {
	dir := t.TempDir()
	put := func(version, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "key"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(version, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	first, second := secretOf(0, 1), secretOf(1, 2)
	put("..1", first.Text())
	file := filepath.Join(dir, "key")
	if err := os.Symlink("..data/key", file); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		u, tap := tapped(t, Options{KeyFile: file, Audience: testAudience})
		last := func(want *wire.Secret) {
			t.Helper()
			add(t, u, Event{Time: instant, Content: 1, User: 1})
			if err := u.Flush(); err != nil {
				t.Fatal(err)
			}
			b := tap.writes[len(tap.writes)-1]
			if b[3] != wire.FlagSealed|want.Epoch()<<2 || !frameKey(t, want, 0).Opens(b) {
				t.Errorf("it is not sealed with %v", want)
			}
		}
		last(first)
		put("..2", second.Text())
		time.Sleep(20 * time.Second)
		last(second)
		put("..3", "not a key")
		time.Sleep(20 * time.Second)
		last(second)
		if n := u.Stats().KeyErrors; n == 0 {
			t.Error("a broken file is not counted")
		}
		put("..4", first.Text())
		time.Sleep(20 * time.Second)
		last(first)
		_ = u.Close(t.Context())
	})
}

// A directory has one key, whatever its name is, also when that changes.
func TestKeyDirectory(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, s *wire.Secret) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s.Text()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newSealer(&Options{KeyFile: dir, Audience: testAudience}); err == nil || !strings.Contains(err.Error(), "has no key") {
		t.Error(err)
	}
	put("key-0", secretOf(0, 1))
	put("..data", secretOf(3, 3))
	s, err := newSealer(&Options{KeyFile: dir, Audience: testAudience})
	if err != nil || *s.secret != *secretOf(0, 1) {
		t.Fatal(s, err)
	}
	put("key-1", secretOf(1, 2))
	now := time.Now()
	if s.look(now); *s.secret != *secretOf(0, 1) || s.failures != 1 {
		t.Errorf("with two keys: %v, %d failures", s.secret, s.failures)
	}
	if err := os.Remove(filepath.Join(dir, "key-0")); err != nil {
		t.Fatal(err)
	}
	if s.look(now.Add(keyFileWait)); *s.secret != *secretOf(1, 2) {
		t.Errorf("the other key: %v", s.secret)
	}
}

func TestSealingOptions(t *testing.T) {
	key := secretOf(0, 1)
	bad := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(bad, []byte("0:00112233\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Key: key}, "audience"}, {Options{Audience: "a"}, "no key"}, {Options{Key: key, Audience: "a b"}, "audience"},
		{Options{Key: key, KeyFile: bad, Audience: "a"}, "both"}, {Options{KeyFile: bad, Audience: "a"}, "not a key"},
		{Options{KeyFile: bad + "er", Audience: "a"}, "no such file"},
		{Options{Key: key, Audience: "a", DatagramSize: SizeMin + wire.TagSize - 1, FrameSize: SizeMin + wire.TagSize - 1}, "size 82"},
	} {
		udp, tcp := c.o, c.o
		udp.FrameSize, tcp.DatagramSize = 0, 0
		if _, err := DialUDP(t.Context(), "127.0.0.1:1", udp); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "0011") {
			t.Errorf("UDP, %+v: %v, want %q", udp, err, c.want)
		}
		tcp.Background = true
		if _, err := DialTCP(t.Context(), "127.0.0.1:1", tcp); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("TCP, %+v: %v, want %q", tcp, err, c.want)
		}
	}
	u, _ := tapped(t, Options{})
	if err := u.SetKey(key); err != errNotSealing {
		t.Errorf("a key for who does not seal: %v", err)
	}
}

// What is not the collector's word has no consequence for a frame, wherever it
// comes: each is kept, and sent again.
func TestTCPForgedAnswers(t *testing.T) {
	secret := secretOf(1, 9)
	for name, answer := range map[string]func(k *fakeSession, h wire.Header) []byte{
		"an ack without a tag": func(_ *fakeSession, h wire.Header) []byte {
			return wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: h.Sequence + 1, Credit: 1 << 20})
		},
		"an ack of another connection": func(k *fakeSession, h wire.Header) []byte {
			other := *k
			other.random.Collector[3]++
			other.down = secret.DownKey(&other.random, testAudience)
			return other.say(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: h.Sequence + 1, Credit: 1 << 20}))
		},
		"a final ack of another secret": func(k *fakeSession, h wire.Header) []byte {
			other := *k
			other.down = secretOf(1, 8).DownKey(&other.random, testAudience)
			return other.say(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Final: true}))
		},
		"a refusal without a tag": func(_ *fakeSession, h wire.Header) []byte {
			return wire.AppendRefusal(nil, h, 0, wire.RefusedKind, "")
		},
		"a refusal that ends the source": func(_ *fakeSession, h wire.Header) []byte {
			return wire.AppendRefusal(nil, h, 0, wire.RefusedPosition, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seal := &fakeSeal{secrets: map[uint8]*wire.Secret{1: secret}, tags: map[string][]byte{}}
				f := newFake(nil)
				greet := func(conn net.Conn) (*fakeSession, wire.Header) {
					h, hello := readFrame(conn)
					k, err := seal.greet(newRand(3), &h, hello)
					if err != nil {
						t.Error(err)
						return nil, h
					}
					_, _ = conn.Write(k.say(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Credit: 1 << 20})))
					return k, h
				}
				lies, frames := 0, map[uint64]int{}
				s, err := scripted(t, Options{Key: secret, Audience: testAudience, FlushAge: 10 * time.Millisecond}, func(conn net.Conn) {
					k, _ := greet(conn)
					for {
						h, frame := readFrame(conn)
						if frame == nil {
							return
						}
						if _, err := k.open(frame); err != nil {
							t.Error(err)
						}
						f.mu.Lock()
						frames[h.Sequence]++
						lie := lies < 3 && h.Count > 0
						if lie {
							lies++
						}
						f.mu.Unlock()
						if lie {
							_, _ = conn.Write(answer(k, h))
							continue
						}
						_, _ = conn.Write(k.say(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: h.Sequence + 1, Credit: 1 << 20})))
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				add(t, s, Event{Time: instant, Content: 1, User: 1})
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
				got := s.Stats()
				if got.Acked != 1 || got.Refused+got.Unsure+got.Dropped+got.Buffered != 0 || got.Reconnects != 3 || lies != 3 {
					t.Errorf("%+v, after %d lies", got, lies)
				}
			})
		})
	}
}

// Who cannot prove to be the collector gets no frame.
func TestTCPUnprovedCollector(t *testing.T) {
	secret := secretOf(1, 9)
	for name, answer := range map[string]func(h wire.Header) []byte{
		"an ack without a tag": func(h wire.Header) []byte {
			return wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Credit: 1 << 20})
		},
		"an ack of another secret": func(h wire.Header) []byte {
			return wire.AppendSealedAck(nil, h.Stream, h.Source, 0, wire.Ack{Credit: 1 << 20},
				secretOf(1, 8).DownKey(&wire.Session{Stream: h.Stream, Source: h.Source}, testAudience))
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := scripted(t, Options{Key: secret, Audience: testAudience}, func(conn net.Conn) {
				h, _ := readFrame(conn)
				_, _ = conn.Write(answer(h))
				if _, frame := readFrame(conn); frame != nil {
					t.Error("it sends a frame")
				}
			})
			if err == nil || !strings.Contains(err.Error(), "not sealed as it should be") {
				t.Error(err)
			}
		})
	}
	// A refusal in front of the first ack says why, without a tag.
	_, err := scripted(t, Options{Key: secret, Audience: testAudience}, func(conn net.Conn) {
		h, _ := readFrame(conn)
		_, _ = conn.Write(wire.AppendRefusal(nil, h, 0, wire.RefusedSealed, "no secret of epoch 1 for stream 0"))
	})
	if err == nil || !strings.Contains(err.Error(), "sealed") || !strings.Contains(err.Error(), "epoch 1") {
		t.Error(err)
	}
	// And an emitter without a key takes nothing that is sealed.
	_, err = scripted(t, Options{}, func(conn net.Conn) {
		h, _ := readFrame(conn)
		_, _ = conn.Write(wire.AppendSealedAck(nil, h.Stream, h.Source, 0, wire.Ack{Credit: 1 << 20}, secret.DownKey(&wire.Session{}, "a")))
	})
	if err == nil || !strings.Contains(err.Error(), "does not answer like a collector") {
		t.Error(err)
	}
}

// Another key ends the connection when what is in flight is acknowledged, and
// nothing is refused, lost or sent twice.
func TestTCPSetKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(nil)
		f.rand = newRand(5)
		first, second := secretOf(0, 1), secretOf(1, 2)
		f.seal = &fakeSeal{secrets: map[uint8]*wire.Secret{0: first}, tags: map[string][]byte{}}
		s, err := dialTCP(t.Context(), "fake", func(context.Context) (net.Conn, error) {
			a, b := net.Pipe()
			go f.serve(f.spools[0], b)
			return a, nil
		}, Options{FrameSize: 300, Key: first, Audience: testAudience})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(2000) {
			switch i {
			case 500:
				f.mu.Lock()
				f.seal.secrets[1] = second
				f.mu.Unlock()
			case 1000:
				if err := s.SetKey(second); err != nil {
					t.Fatal(err)
				}
			case 1500:
				time.Sleep(time.Minute)
				f.mu.Lock()
				delete(f.seal.secrets, 0)
				f.mu.Unlock()
			}
			add(t, s, Event{Time: instant + int64(i), Content: i, User: i})
			time.Sleep(time.Millisecond)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		stats := s.Stats()
		if stats.Acked != 2000 || stats.Refused+stats.Unsure+stats.Dropped != 0 || stats.Reconnects != 1 {
			t.Errorf("%+v", stats)
		}
		for _, bad := range f.check(2000, stats) {
			t.Error(bad)
		}
	})
}

// A queue is sent by the next emitter with another key, and its frames, with the
// numbers they had, are sealed with it.
func TestQueueIsSealedAnew(t *testing.T) {
	dir := t.TempDir()
	away := func(context.Context) (net.Conn, error) { return nil, os.ErrDeadlineExceeded }
	o := Options{Queue: dir, Background: true, FrameSize: 300, BufferSize: 1 << 16, Key: secretOf(0, 1), Audience: testAudience}
	s, err := dialTCP(t.Context(), "fake", away, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(100) {
		add(t, s, Event{Time: instant, Content: i, User: i})
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Close(gone)
	f := newFake(nil)
	f.rand = newRand(5)
	second := secretOf(1, 2)
	f.seal = &fakeSeal{secrets: map[uint8]*wire.Secret{1: second}, tags: map[string][]byte{}}
	o.Key = second
	s, err = dialTCP(t.Context(), "fake", func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		go f.serve(f.spools[0], b)
		return a, nil
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range f.check(100, s.Stats()) {
		t.Error(bad)
	}
}

// A million restarts, and copies of a queue that go on side by side: no nonce
// serves two frames under one key.
func TestNoNonceTwice(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	secret := secretOf(0, 1)
	sealer := &sealer{audience: testAudience, secret: secret}
	frames := make([]byte, 0, 1000)
	seen := make([][32]byte, 0, n*5)
	note := func(key, frame []byte) {
		var b [32]byte
		copy(b[:8], key) // of a session: some of its random; of the frame key: nothing
		copy(b[8:], frame[8:32])
		seen = append(seen, b)
	}
	packer, err := NewPacker(0, SizeMin+wire.TagSize)
	if err != nil {
		t.Fatal(err)
	}
	packer.Seal(frameKey(t, secret, 0))
	var copied [wire.HeaderSize]byte // a frame of a queue that all copies have
	wire.AppendHeader(copied[:0], wire.Header{Type: wire.TypeEvents, Size: wire.HeaderSize, Source: 77, Sequence: 5, Time: instant})
	for i := range n {
		switch i % 2 {
		case 0: // a restart over UDP, all in one millisecond
			packer.renew()
			for range beats {
				frames = packer.Beat(frames[:0], instant)
				note(nil, frames)
			}
		case 1: // the next copy sends another frame of the same number
			_, keys := sealer.hello(77)
			note(keys.session.Emitter[:8], copied[:])
		}
	}
	slices.SortFunc(seen, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for i := 1; i < len(seen); i++ {
		if seen[i] == seen[i-1] {
			t.Fatalf("a nonce came twice under one key: %x", seen[i])
		}
	}
	if len(seen) < n {
		t.Error(fmt.Sprint(len(seen), " frames"))
	}
}

// The frames of a packer that seals fit their size, and cost no allocation.
func TestPackerSeals(t *testing.T) {
	key := frameKey(t, secretOf(3, 4), 9)
	p, err := NewPacker(9, 200)
	if err != nil {
		t.Fatal(err)
	}
	p.Seal(key)
	dst := make([]byte, 0, 1000)
	i := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		i++
		if p.Add(&Event{Time: instant + int64(i), Content: i, User: 1 << 50}) != ErrFull {
			return
		}
		if dst = p.Finish(dst[:0]); len(dst) > 200 || len(dst) < 150 || !key.Opens(dst) {
			t.Fatalf("a frame of %d bytes", len(dst))
		}
		if dst = p.Beat(dst[:0], instant); len(dst) != wire.HeaderSize+wire.TagSize || !key.Opens(dst) {
			t.Fatalf("a beat of %d bytes", len(dst))
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
