package emit_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// sendOne stands in README.md.
func sendOne(ctx context.Context, address string) error {
	out, err := emit.DialUDP(ctx, address, emit.Options{Stream: 1})
	if err != nil {
		return err
	}
	// Without a Time an event is one of now; ids of text are made by emit.ID.
	err = out.Add(emit.Event{Content: emit.ID("/a/slug"), User: 7, Kind: emit.Open})
	if err != nil {
		return err
	}
	return out.Close(ctx)
}

func ExampleID() {
	// In the place of a collector.
	collector, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer collector.Close()
	fmt.Println(sendOne(context.Background(), collector.LocalAddr().String()), emit.ID("abc"))
	// Output: <nil> 4952883123889572249
}

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
		Dwell: 10_000, Progress: emit.Percent(33)})
	if err := out.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Stats().Events, "events were sent")
	// Output: 2 events were sent
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

// collector stands in for one: it acknowledges whatever comes.
func collector(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			frame := make([]byte, wire.FrameSizeMax)
			durable := uint64(0)
			for {
				if _, err := io.ReadFull(conn, frame[:wire.HeaderSize]); err != nil {
					return
				}
				h, _ := wire.ParseHeader(frame)
				if _, err := io.ReadFull(conn, frame[wire.HeaderSize:h.Size]); err != nil {
					return
				}
				if h.Type == wire.TypeEvents {
					durable = h.Sequence + 1
				}
				ack := wire.Ack{Durable: durable, Credit: 1 << 20}
				if _, err := conn.Write(wire.AppendAck(nil, h.Stream, h.Source, 0, ack)); err != nil {
					return
				}
			}
		}()
	}
}

func ExampleDialTCP() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	go collector(listener)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := emit.DialTCP(ctx, listener.Addr().String(), emit.Options{Stream: 7})
	if err != nil {
		log.Fatal(err)
	}
	for user := range uint64(1000) {
		err := out.Add(emit.Event{Time: time.Now().UnixMilli(), Content: 1001, User: user, Kind: emit.Open})
		if err != nil {
			log.Fatal(err)
		}
	}
	// Close returns nil only when the collector has sealed all of it.
	if err := out.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Stats().Acked, "events are counted, once each")
	// Output: 1000 events are counted, once each
}

// What Add accepted is not lost when this process is killed, or its collector is
// away.
func ExampleOptions_queue() {
	dir, err := os.MkdirTemp("", "queue")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	options := emit.Options{Stream: 7, Queue: dir, Background: true, OnFull: emit.Drop}

	// Nobody answers yet.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	out, err := emit.DialTCP(ctx, listener.Addr().String(), options)
	if err != nil {
		log.Fatal(err)
	}
	_ = out.Add(emit.Event{Time: time.Now().UnixMilli(), Content: 1001, User: 42, Kind: emit.Open})
	if err := out.Close(ctx); err != nil {
		fmt.Println("left in the queue:", out.Stats().Buffered)
	}

	// The next start sends it.
	go collector(listener)
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if out, err = emit.DialTCP(ctx, listener.Addr().String(), options); err != nil {
		log.Fatal(err)
	}
	if err := out.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("acknowledged:", out.Stats().Acked)
	// Output:
	// left in the queue: 1
	// acknowledged: 1
}
