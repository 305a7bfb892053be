package collector

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/lectern/lectern/wire"
)

// refusedAs are the senders that were refused for a reason.
func (b *bench) refusedAs(why wire.Refusal) (all []RefusedSender) {
	for _, r := range refusedBy(b.shards) {
		if r.Why == why {
			all = append(all, r)
		}
	}
	return all
}

func TestRefusedSendersAreKept(t *testing.T) {
	b := newBench(2, nil)
	b.at("203.0.113.5", 999)
	b.receive(0, []byte("GET /secret?token=abcdef HTTP/1.1\r\nHost: a\r\n"))
	b.receive(0, []byte("hello, is this the port for strangers, then?"))
	first := b.now.UnixMilli()
	b.pass(time.Second)
	b.at("203.0.113.5", 1000)
	b.receive(1, []byte("SSH-2.0-OpenSSH_9.6 and whatever comes behind"))
	all := b.refusedAs(wire.RefusedMagic)
	if len(all) != 1 {
		t.Fatalf("%d senders of no frames, want 1 of both loops: %+v", len(all), all)
	}
	got := all[0]
	if got.Peer != "203.0.113.5:1000" || got.Times != 3 || got.First != first || got.Last != first+1000 || got.Transport != "udp" || got.Size != 45 {
		t.Errorf("it is %+v", got)
	}
	if string(got.Began) != "SSH-2.0-OpenSSH_" {
		t.Errorf("it began with %q, want 16 bytes and no more", got.Began)
	}

	// Of a frame the header, without the number that whoever knows it can send under.
	const source = 0x1122334455667788
	bad := frameOf(7, source, 5, 50, b.now, opens(3)...)
	bad[wire.HeaderSize+1] |= 7 // a kind without a name
	b.at("2001:db8:1:2::77", 4000)
	b.receive(0, bad)
	all = b.refusedAs(wire.RefusedKind)
	if len(all) != 1 {
		t.Fatalf("%d senders of a bad kind: %+v", len(all), all)
	}
	got = all[0]
	want := bytes.Clone(bad[:wire.HeaderSize])
	clear(want[16:24])
	if !bytes.Equal(got.Began, want) || !got.Sourced || got.Source != source || got.Peer != "[2001:db8:1:2::77]:4000" || got.Size != len(bad) {
		t.Errorf("it is %+v, want it to begin with %x", got, want)
	}
	if bytes.Contains(got.Began, binary.LittleEndian.AppendUint64(nil, source)) {
		t.Error("the source's number is shown")
	}
}

// What comes in the middle of a connection may be a part of a frame, of its source's
// number or of who read what.
func TestRefusedInTheMiddleShowsNothing(t *testing.T) {
	b := newBench(1, nil)
	k := &connection{via: overTCP, from: addressAt(&net.TCPAddr{IP: net.ParseIP("::1"), Port: 7})}
	good := frameOf(1, 0x1122334455667788, 0, 0, b.now, opens(3)...)
	if why := b.stream(0, k, good); why != wire.Accepted {
		t.Fatal(why)
	}
	if why := b.stream(0, k, good[3:]); why != wire.RefusedMagic {
		t.Fatal(why)
	}
	all := b.refusedAs(wire.RefusedMagic)
	if len(all) != 1 || !bytes.Equal(all[0].Began, good[3:5]) || all[0].Peer != "[::1]:7" || all[0].Transport != "tcp" || all[0].Sourced {
		t.Errorf("%+v", all)
	}
}

// Whoever makes up addresses makes nothing grow, and does not turn the list over at
// will; whoever was refused longest ago goes.
func TestRefusedSendersAreBounded(t *testing.T) {
	b := newBench(1, nil)
	knock := func(i int) {
		b.at(fmt.Sprintf("10.0.%d.%d", i/256, i%256), 1)
		b.receive(0, []byte("?"))
	}
	for i := range 1000 { // at once
		knock(i)
	}
	if all := b.refusedAs(wire.RefusedShort); len(all) != 1 || all[0].Peer != "10.0.0.0:1" || all[0].Times != 1 {
		t.Fatalf("at once there were %+v", all)
	}
	for i := range 10 {
		b.pass(refusedPause * time.Millisecond)
		knock(i)
		knock(0) // which stays, since it is still there
	}
	var peers []string
	for _, r := range b.refusedAs(wire.RefusedShort) {
		peers = append(peers, r.Peer)
	}
	if got, want := fmt.Sprint(peers), "[10.0.0.0:1 10.0.0.9:1 10.0.0.8:1 10.0.0.7:1 10.0.0.6:1 10.0.0.5:1 10.0.0.4:1 10.0.0.3:1]"; got != want {
		t.Errorf("kept are %s, want %s", got, want)
	}
	short := []byte("?")
	if allocs := testing.AllocsPerRun(1000, func() {
		b.pass(refusedPause * time.Millisecond)
		b.from.network++
		b.receive(0, short)
	}); allocs != 0 {
		t.Errorf("a refusal of a new sender allocates %v times", allocs)
	}
}

// Over TCP a client is kept for each way in which it is refused.
func TestRefusedClients(t *testing.T) {
	b := newBench(1, func(o *Options) { o.ConnectionIdleMax = time.Second })
	l := b.stopped([]byte("GET / HTTP/1.0\r\nHost: lectern.example.org\r\n\r\n"))
	if why := l.told(); why != wire.RefusedMagic {
		t.Fatal(why)
	}
	if all := b.refusedAs(wire.RefusedMagic); len(all) != 1 || string(all[0].Began) != "GET / HTTP/1.0\r\n" {
		t.Errorf("%+v", all)
	}
	b.stopped([]byte("LE"))
	b.pass(2 * time.Second)
	b.shards[0].sweep()
	if all := b.refusedAs(wire.RefusedIdle); len(all) != 1 || string(all[0].Began) != "LE" || all[0].Size != 2 {
		t.Errorf("%+v", all)
	}
}

func TestAddressIsReadable(t *testing.T) {
	for _, text := range []string{"127.0.0.1:1", "255.255.255.255:65535", "[::1]:2", "[2001:db8::2]:3", "[fe80::1]:0"} {
		at, err := net.ResolveUDPAddr("udp", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressAt(at).String(); got != text {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
	if got := addressOf(net.ParseIP("192.0.2.1").To16(), 5).String(); got != "192.0.2.1:5" {
		t.Errorf("version 4 on a socket for both is shown as %s", got)
	}
	if got := (address{}).String(); got != "" {
		t.Errorf("nobody is shown as %q", got)
	}
}
