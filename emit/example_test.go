package emit_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/lectern/lectern/emit"
)

func ExampleDialUDP() {
	// In the place of a collector.
	collector, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer collector.Close()

	ctx := context.Background()
	out, err := emit.DialUDP(ctx, collector.LocalAddr().String(), emit.Options{Stream: 7})
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now().UnixMilli()
	// Reader 42 opens content 1001 and has read a third of it ten seconds later.
	_ = out.Add(emit.Event{Time: now, Content: 1001, User: 42, Kind: emit.Open})
	_ = out.Add(emit.Event{Time: now + 10_000, Content: 1001, User: 42, Kind: emit.Read,
		Dwell: 10_000, Progress: 33, HasProgress: true})
	if err := out.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Stats().Events, "events were sent")
	// Output: 2 events were sent
}

func ExampleDialTCP() {
	// In the place of a collector: it reads everything, then ends its stream.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := emit.DialTCP(ctx, listener.Addr().String(), emit.Options{Stream: 7})
	if err != nil {
		log.Fatal(err)
	}
	for user := range uint64(1000) {
		err := out.Add(emit.Event{Time: time.Now().UnixMilli(), Content: 1001, User: user, Kind: emit.Open})
		if err != nil {
			log.Fatal(err) // a *emit.RefusedError holds the collector's reason
		}
	}
	// Close returns nil only when the collector has read all of it.
	if err := out.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Stats().Events, "events were read")
	// Output: 1000 events were read
}

func ExamplePacker() {
	packer, err := emit.NewPacker(7, emit.DatagramSizeDefault)
	if err != nil {
		log.Fatal(err)
	}
	send := func(frame []byte) { fmt.Println("a frame of", len(frame), "bytes") }

	frame := make([]byte, 0, 2*emit.DatagramSizeDefault)
	for user := range uint64(1000) {
		e := emit.Event{Time: 1_700_000_000_000, Content: 1001, User: user, Kind: emit.Open}
		err := packer.Add(&e)
		if err == emit.ErrFull {
			send(packer.Finish(frame[:0]))
			err = packer.Add(&e)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	send(packer.Finish(frame[:0]))
	// Output:
	// a frame of 1398 bytes
	// a frame of 1398 bytes
	// a frame of 1074 bytes
}
