//go:build go1.26

package emit

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

var beDriver = flag.Bool("driver", false, "be the driver for lectern conform (../wire/SPEC.md, section 14)")

// driverEpoch is where the clocks of a driver stand when it starts.
const driverEpoch = 1767225600000

// TestDriver is a driver for lectern conform:
//
//	go test -c -o emit.test ./emit
//	lectern conform -- ./emit.test -test.run '^TestDriver$' -driver
//
// Its clock is that of a synctest bubble, which stands while the driver waits for
// a line, and the bubble knows when the emitter can do no more.
func TestDriver(t *testing.T) {
	if !*beDriver {
		t.Skip("it is for lectern conform: -driver")
	}
	synctest.Test(t, func(*testing.T) {
		time.Sleep(time.Until(time.UnixMilli(driverEpoch)))
		d := &driver{hosts: map[string]string{}}
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			said := d.answer(strings.Fields(lines.Text()))
			if _, err := fmt.Println(said); err != nil {
				break
			}
		}
		os.Exit(0) // an emitter that was not closed would hold up the bubble's end
	})
}

// driver is what TestDriver has between two lines.
type driver struct {
	hosts map[string]string // addresses by name
	jam   int               // datagrams that the kernel does not take
	links []*bridge

	emitter Emitter
	added   uint64
	closed  uint64        // events that came after Close, or that it gave up
	ended   chan struct{} // closed when Close has returned
}

// arguments are the words of a line behind the first, and those with a key. What
// seals stays text.
func arguments(words []string) (plain []string, keys map[string]int64, err error) {
	keys = map[string]int64{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "key" || key == "audience" {
			plain = append(plain, word)
		} else if keys[key], err = strconv.ParseInt(value, 10, 64); err != nil {
			return nil, nil, err
		}
	}
	return plain, keys, nil
}

func (d *driver) answer(words []string) string {
	if len(words) == 0 {
		return "error an empty line"
	}
	plain, keys, err := arguments(words[1:])
	if err != nil {
		return "error " + err.Error()
	}
	said := "error no such command"
	switch words[0] {
	case "hello":
		return "ok client=go has=udp,tcp,sealed,resolve,jam,names,attributes"
	case "resolve":
		d.hosts[plain[0]] = plain[1]
		said = "ok"
	case "hash":
		return hash(plain)
	case "jam":
		d.jam, err = strconv.Atoi(plain[0])
		said = "ok"
	case "dial":
		said = d.dial(plain, keys)
	case "add":
		said = d.add(plain, keys)
	case "name":
		said = d.name(plain)
	case "describe":
		said = d.describe(plain)
	case "key":
		said = d.key(plain[0])
	case "flush":
		said = "ok"
		if d.emitter == nil || d.emitter.Flush() != nil {
			said = "no closed"
		}
	case "poll":
		said = "ok"
	case "clock":
		ms, _ := strconv.Atoi(plain[0])
		time.Sleep(time.Duration(ms) * time.Millisecond)
		said = "ok"
	case "stats":
		d.quiet()
		return d.stats()
	case "close":
		ms, _ := strconv.Atoi(plain[0])
		said = d.close(time.Duration(ms) * time.Millisecond)
	}
	if err != nil {
		return "error " + err.Error()
	}
	d.quiet()
	if d.ended != nil && said == "ok" {
		said = d.closing()
	}
	return said
}

func hash(words []string) string {
	text, err := hex.DecodeString(strings.Join(words, ""))
	if err != nil {
		return "error " + err.Error()
	}
	return fmt.Sprintf("ok id=%d", ID(string(text)))
}

// name says what a content is called.
func (d *driver) name(words []string) string {
	text, err := hex.DecodeString(strings.Join(words, ""))
	if err != nil {
		return "error " + err.Error()
	}
	if d.emitter == nil {
		return "no closed"
	}
	return answerOf(d.emitter.Name(string(text)))
}

// describe says more of a content.
func (d *driver) describe(words []string) string {
	content, err := strconv.ParseUint(words[0], 10, 64)
	attribute, ok := wire.AttributeNamed(words[1])
	text, err2 := hex.DecodeString(strings.Join(words[2:], ""))
	if err = errors.Join(err, err2); err != nil || !ok {
		return fmt.Sprintf("error attribute %q, %v", words[1], err)
	}
	if d.emitter == nil {
		return "no closed"
	}
	return answerOf(d.emitter.Describe(content, attribute, string(text)))
}

// answerOf is the answer to a name or an attribute.
func answerOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrName):
		return "no invalid"
	}
	return "no closed"
}

func (d *driver) dial(plain []string, keys map[string]int64) string {
	o := Options{
		Stream: uint16(keys["stream"]), FlushAge: time.Duration(keys["flush"]) * time.Millisecond,
		DatagramSize: int(keys["datagram"]), SocketAge: time.Duration(keys["age"]) * time.Millisecond,
		FrameSize: int(keys["frame"]), BufferSize: int(keys["buffer"]),
	}
	var err error
	d.emitter, d.added, d.closed, d.ended = nil, 0, 0, nil
	for _, word := range plain[2:] {
		if text, ok := strings.CutPrefix(word, "key="); ok {
			if o.Key, err = wire.ParseSecret(text); err != nil {
				return "no invalid"
			}
		}
		if text, ok := strings.CutPrefix(word, "audience="); ok {
			o.Audience = text
		}
	}
	if plain[0] == "udp" {
		var u *UDP
		if u, err = dialUDP(context.Background(), plain[1], func(context.Context) (net.Conn, error) { return d.datagrams(plain[1]) }, o); err == nil {
			d.emitter = u
		}
	} else {
		o.Background, o.OnFull = true, Drop
		var c *TCP
		if c, err = dialTCP(context.Background(), plain[1], func(context.Context) (net.Conn, error) { return d.connect(plain[1]) }, o); err == nil {
			d.emitter = c
		}
	}
	if err != nil {
		return "no invalid"
	}
	return "ok"
}

// key has the emitter go on with another.
func (d *driver) key(text string) string {
	key, err := wire.ParseSecret(text)
	keyed, ok := d.emitter.(interface{ SetKey(*wire.Secret) error })
	if err != nil || !ok || keyed.SetKey(key) != nil {
		return "no invalid"
	}
	return "ok"
}

// address is where a name leads now.
func (d *driver) address(hostPort string) string {
	host, port, _ := net.SplitHostPort(hostPort)
	if at, ok := d.hosts[host]; ok {
		host = at
	}
	return net.JoinHostPort(host, port)
}

// jammed is a socket that sometimes takes nothing.
type jammed struct {
	net.Conn
	driver *driver
}

func (j *jammed) Write(b []byte) (int, error) {
	if j.driver.jam > 0 {
		j.driver.jam--
		return 0, &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendto", syscall.ENOBUFS)}
	}
	return j.Conn.Write(b)
}

func (d *driver) datagrams(addr string) (net.Conn, error) {
	c, err := net.Dial("udp", d.address(addr))
	if err != nil {
		return nil, err
	}
	return &jammed{c, d}, nil
}

// bridge is a connection between the emitter, which has one end of a pipe in the
// bubble, and a real one, which is read when a command is answered. In between
// nothing waits for the network, so that the bubble's clock can stand.
type bridge struct {
	real *net.TCPConn
	pipe net.Conn
	// again is told that the real connection may take something.
	again chan struct{}
	mu    sync.Mutex
	over  bool
}

func (d *driver) connect(addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", d.address(addr))
	if err != nil {
		return nil, err
	}
	mine, its := net.Pipe()
	l := &bridge{real: c.(*net.TCPConn), pipe: mine, again: make(chan struct{})}
	d.links = append(d.links, l)
	go l.send()
	return its, nil
}

// send takes what the emitter writes to the real connection. Where that takes
// nothing, it waits in the bubble until a command is answered.
func (l *bridge) send() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.pipe.Read(buffer)
		for rest := buffer[:n]; err == nil && len(rest) > 0; {
			if n, err = l.try(rest); n == 0 && err == nil {
				<-l.again
			}
			rest = rest[n:]
		}
		if err != nil {
			l.end()
			return
		}
	}
}

// try writes what the kernel takes now.
func (l *bridge) try(b []byte) (n int, err error) {
	raw, err := l.real.SyscallConn()
	if err != nil {
		return 0, err
	}
	werr := raw.Write(func(fd uintptr) bool {
		n, err = syscall.Write(int(fd), b)
		return true
	})
	if errors.Is(err, syscall.EAGAIN) {
		return 0, nil
	}
	return max(n, 0), errors.Join(err, werr)
}

func (l *bridge) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	_ = l.pipe.Close()
	_ = l.real.Close()
}

// receive takes what came to the emitter, and says whether that was anything.
func (l *bridge) receive() bool {
	l.mu.Lock()
	over := l.over
	l.mu.Unlock()
	if over {
		return false
	}
	raw, err := l.real.SyscallConn()
	if err != nil {
		l.end()
		return true
	}
	buffer := make([]byte, 64<<10)
	n, readErr := 0, error(nil)
	if err := raw.Read(func(fd uintptr) bool {
		n, readErr = syscall.Read(int(fd), buffer)
		return true
	}); err != nil {
		readErr = err
	}
	switch {
	case errors.Is(readErr, syscall.EAGAIN):
		return false
	case readErr != nil || n == 0:
		_ = l.pipe.Close()
		l.end()
	default:
		go func() { _, _ = l.pipe.Write(buffer[:n]) }()
	}
	return true
}

// quiet lets the emitter do all that it can without time passing.
func (d *driver) quiet() {
	for more := true; more; {
		synctest.Wait()
		more = false
		for _, l := range d.links {
			select {
			case l.again <- struct{}{}:
			default:
			}
			more = l.receive() || more
		}
	}
}

func (d *driver) add(plain []string, keys map[string]int64) string {
	kinds := map[string]Kind{"open": Open, "read": Read, "finish": Finish, "save": Save, "share": Share, "impression": Impression, "click": Click}
	kind, ok := kinds[plain[0]]
	content, err := strconv.ParseUint(plain[1], 10, 64)
	user, err2 := strconv.ParseUint(plain[2], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return "error " + err.Error()
	}
	if !ok || d.emitter == nil {
		return "no invalid"
	}
	e := Event{Content: content, User: user, Kind: kind, Time: keys["at"], Dwell: uint32(keys["dwell"])}
	if kind == Impression || kind == Click {
		e.Variant, e.Dwell = uint8(e.Dwell), 0
	}
	if progress, ok := keys["progress"]; ok {
		e.Progress = Percent(uint8(progress))
	}
	for range max(keys["n"], 1) {
		err := d.emitter.Add(e)
		switch {
		case errors.Is(err, ErrEvent):
			return "no invalid"
		case errors.Is(err, ErrClosed):
			d.closed++
			d.added++
			return "no closed"
		}
		d.added++
		e.User++
	}
	return "ok"
}

func (d *driver) close(wait time.Duration) string {
	if d.emitter == nil || d.ended != nil {
		return "no closed"
	}
	d.ended = make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	go func() {
		defer cancel()
		_ = d.emitter.Close(ctx)
		close(d.ended)
	}()
	return "ok"
}

func (d *driver) closing() string {
	select {
	case <-d.ended:
		return "ok closed"
	default:
		return "ok closing"
	}
}

// stats are the emitter's numbers in the words of all clients.
func (d *driver) stats() string {
	if d.emitter == nil {
		return "no closed"
	}
	s := d.emitter.Stats()
	if _, udp := d.emitter.(*UDP); udp {
		waits := d.added - d.closed - s.Events
		return fmt.Sprintf("ok added=%d sent=%d buffered=%d socket=%d closed=%d", d.added, s.Events-s.Dropped, waits, s.Dropped, d.closed)
	}
	closed, buffered := d.closed, s.Buffered
	if d.ended != nil && d.closing() == "ok closed" {
		closed, buffered = closed+buffered, 0
	}
	return fmt.Sprintf("ok added=%d acked=%d buffered=%d queue=%d closed=%d refused=%d unsure=%d", d.added, s.Acked, buffered, s.Dropped, closed, s.Refused, s.Unsure)
}
