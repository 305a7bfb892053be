package edge

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// The example of wire/SPEC.md, section 15, as bytes.
const relayExample = "01 00 00 07 00 00 a8 da 76 9b 01 11 00 2a 09"

func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRelayed(t *testing.T) {
	at := int64(1767225600000)
	for _, test := range []struct {
		datagram string
		want     relayed
	}{
		{string(fromHex(t, relayExample)), relayed{stream: "7", event: emit.Event{Time: at, Content: 42, User: 9}}},
		{string(fromHex(t, relayExample+"00")), relayed{stream: "7", event: emit.Event{Time: at, Content: 42, User: 9}}},
		{string(fromHex(t, "01 02 01 07 00 00 a8 da 76 9b 01 11 c1 2a 00 10 27 1e")), relayed{
			stream: "7", dropped: 258, event: emit.Event{Time: at, Content: 42, Kind: emit.Read, Dwell: 10000, Progress: emit.Percent(30)}}},
		{"open stream=site content=/a/slug user=reader-7", relayed{stream: "site", user: "reader-7", content: "/a/slug", event: emit.Event{Content: emit.ID("/a/slug")}}},
		{"open stream=site content=/a/slug user=reader-7\n", relayed{stream: "site", user: "reader-7", content: "/a/slug", event: emit.Event{Content: emit.ID("/a/slug")}}},
		{"open stream=site content=/a/slug\x00", relayed{stream: "site", content: "/a/slug", event: emit.Event{Content: emit.ID("/a/slug")}}},
		{"read stream=7 content_id=42 user_id=9 at=1767225600000 dwell=10000 progress=30 dropped=2", relayed{
			stream: "7", dropped: 2, event: emit.Event{Time: at, Content: 42, User: 9, Kind: emit.Read, Dwell: 10000, Progress: emit.Percent(30)}}},
		{"impression stream=site content=/a/slug variant=2", relayed{stream: "site", content: "/a/slug", event: emit.Event{Content: emit.ID("/a/slug"), Kind: emit.Impression, Variant: 2}}},
		{"click stream=site content=/a/slug", relayed{stream: "site", content: "/a/slug", event: emit.Event{Content: emit.ID("/a/slug"), Kind: emit.Click}}},
		{string(fromHex(t, "01 00 00 07 00 00 a8 da 76 9b 01 11 26 2a 09 ff")), relayed{
			stream: "7", event: emit.Event{Time: at, Content: 42, User: 9, Kind: emit.Click, Variant: 255}}},
		{"share content=%2Fa%20b+c%C3%A9 stream=s", relayed{stream: "s", content: "/a b+cé", event: emit.Event{Content: emit.ID("/a b+cé"), Kind: emit.Share}}},
		{"open stream=1 content_id=5 title=A%20title section= words=1200", relayed{stream: "1", event: emit.Event{Content: 5},
			about: [wire.Attributes]string{wire.AttributeTitle: "A title", wire.AttributeWords: "1200"},
			says:  [wire.Attributes]bool{wire.AttributeTitle: true, wire.AttributeSection: true, wire.AttributeWords: true}}},
		{"name stream=site content=/a/slug\n", relayed{naming: true, stream: "site", content: "/a/slug", event: emit.Event{Content: emit.ID("/a/slug")}}},
		{"name stream=1 content_id=5 title=", relayed{naming: true, stream: "1", event: emit.Event{Content: 5}, says: [wire.Attributes]bool{wire.AttributeTitle: true}}},
	} {
		var got relayed
		if why, err := got.parse([]byte(test.datagram)); why != Taken || err != nil || got != test.want {
			t.Errorf("%q: %v, %v\ngot  %+v\nwant %+v", test.datagram, why, err, got, test.want)
		}
	}
}

func TestRelayedRefused(t *testing.T) {
	for datagram, want := range map[string]Reason{
		"":                                     Malformed,
		"\x00":                                 Malformed,
		"\x02":                                 Malformed,
		"Open stream=1 content=a":              Malformed,
		"opened stream=1 content=a":            Malformed,
		"open":                                 Malformed,
		"open content=a":                       Malformed,
		"open stream=1":                        Malformed,
		"open stream=1 content=a ":             Malformed,
		"open  stream=1 content=a":             Malformed,
		"open stream=1 content=a content_id=1": Malformed,
		"open stream=1 content=a user=b user_id=1":                            Malformed,
		"open stream=1 content=a content=b":                                   Malformed,
		"open stream=1 contents=a":                                            Malformed,
		"open stream=1 content=a\tb":                                          Malformed,
		"open stream=1 content=é":                                             Malformed,
		"open stream=1 content=a%2":                                           Malformed,
		"open stream=1 content=a%zz":                                          Malformed,
		"open stream=1 content=a dwell=-1":                                    Malformed,
		"open stream=1 content=a dwell=16777216":                              OutOfRange,
		"click stream=1 content=a dwell=0":                                    Malformed,
		"click stream=1 content=a progress=0":                                 Malformed,
		"open stream=1 content=a variant=1":                                   Malformed,
		"click stream=1 content=a variant=0":                                  OutOfRange,
		"click stream=1 content=a variant=256":                                OutOfRange,
		"open stream=1 content=a progress=101":                                OutOfRange,
		"open stream=1 content=a dropped=65536":                               OutOfRange,
		"open stream=1 content=a words=many":                                  OutOfRange,
		"open stream=1 content=a title=%FF":                                   OutOfRange,
		"open stream=1 content=a name=a":                                      Malformed,
		"name":                                                                Malformed,
		"name content=a":                                                      Malformed,
		"name stream=1":                                                       Malformed,
		"name stream=1 content_id=5":                                          Malformed,
		"name stream=1 content=a user=b":                                      Malformed,
		"name stream=1 content=a at=1767225600000":                            Malformed,
		"name stream=1 content=a dwell=0":                                     Malformed,
		"name stream=1 content=a dropped=1":                                   Malformed,
		"open stream=1 content=a at=281474976710656":                          OutOfRange,
		"open stream=1 content_id=18446744073709551616":                       OutOfRange,
		"open stream=1 content=":                                              OutOfRange,
		"open stream=1 content=" + strings.Repeat("x", 513):                   OutOfRange,
		"open stream=1 content=" + strings.Repeat("%41", 700):                 TooLarge,
		string(fromHex(t, relayExample[:len(relayExample)-3])):                Malformed,
		string(fromHex(t, relayExample+"01")):                                 Malformed,
		string(fromHex(t, "01 00 00 07 00 00 a8 da 76 9b 01 00 00 2a 09")):    Malformed, // it inherits
		string(fromHex(t, "01 00 00 07 00 00 a8 da 76 9b 01 11 08 2a 09 01")): Malformed, // an at
		string(fromHex(t, "01 00 00 07 00 00 a8 da 76 9b 01 11 07 2a 09")):    Malformed, // a kind without a name
	} {
		var got relayed
		if why, _ := got.parse([]byte(datagram)); why != want {
			t.Errorf("%.80q: %v, want %v", datagram, why, want)
		}
	}
}

func FuzzRelayed(f *testing.F) {
	f.Add([]byte("read stream=7 content_id=42 user_id=9 at=1767225600000 dwell=10000 progress=30 dropped=2"))
	f.Add([]byte{1, 0, 0, 7, 0, 0, 0xa8, 0xda, 0x76, 0x9b, 1, 0x11, 0, 0x2a, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		var one relayed
		why, err := one.parse(b)
		if why == Taken && (err != nil || one.stream == "" || one.dropped > 65535) {
			t.Errorf("%q: %+v, %v", b, one, err)
		}
	})
}

// Local processes hand events over, and what they dropped shows as lost.
func TestRelay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay")
	left, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}) // by a process that was killed
	if err != nil {
		t.Fatal(err)
	}
	_ = left.Close()
	e := newTestEdge(t, func(o *Options) { o.Relay = path })
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", info, err)
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, datagram := range []string{
		"open stream=site content=/a user=u1 title=A", "open stream=9 content=/a user=u1 dropped=5", "open stream=other content=/a",
		"name stream=site content=/b title=B", "nonsense",
	} {
		if _, err := c.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); e.relay.door.things[Malformed].Get() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the datagrams are not read")
		}
	}
	site, quiet := e.queues["site"], e.queues["quiet"]
	if len(site.events) != 1 || site.events[0].User != emit.ID("u1") || len(quiet.events) != 1 || quiet.events[0].User != 0 || quiet.skipped != 5 {
		t.Errorf("site has %v, quiet %v and %d dropped", site.events, quiet.events, quiet.skipped)
	}
	if got, want := fmt.Sprint(site.names, quiet.names), fmt.Sprintf("[/a %d title A /b %d title B] [/a]", emit.ID("/a"), emit.ID("/b")); got != want {
		t.Errorf("names are %s, want %s", got, want)
	}
	if got := fmt.Sprint(e.relay.door.things[Taken].Get(), e.relay.door.things[NoStream].Get(), e.relay.door.things[Malformed].Get()); got != "3 1 1" {
		t.Errorf("counted %s", got)
	}
	if n := e.relay.door.events[Taken].Get(); n != 2 {
		t.Errorf("%d events are counted, and a name is none", n)
	}
}

// A socket goes with its edge, but not one that another process has made at its place.
func TestSocketsAreRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	there := func() bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	u, err := listenUnixgram(path)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := listenUnixgram(path); err == nil {
		_ = other.Close()
		t.Error("two listen on one socket")
	}
	if err := u.Close(); err != nil || there() {
		t.Errorf("%v, and it is there: %v", err, there())
	}
	if u, err = listenUnixgram(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := listenUnixgram(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := u.Close(); err != nil || !there() {
		t.Errorf("%v; another's socket is there: %v", err, there())
	}
}
