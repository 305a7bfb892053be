package edge

import (
	"bufio"
	"errors"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/emit"
)

const (
	nginx3164   = `<190>Nov 29 05:00:00 web nginx: 203.0.113.7 - - [29/Nov/2026:05:00:00 +0000] "GET %s HTTP/1.1" 200 512 "-" "` + browser + `"`
	haproxy5424 = `<134>1 2026-11-29T05:00:00.000000+00:00 web haproxy 7 - - 203.0.113.8 - - [29/Nov/2026:05:00:00 +0000] "GET %s HTTP/1.1" 200 512 "" "` + browser + `"`
)

// Proxies send lines by each way, and each GET that was answered is an open.
func TestSyslog(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "log")
	e := newTestEdge(t, func(o *Options) {
		o.Syslog = Syslog{Listen: []string{"udp://127.0.0.1:0", "tcp://127.0.0.1:0", "unix://" + at}, Stream: "news", Paths: accesslog.Paths{Skip: []string{"*.css"}}}
	})
	dial := func(network, address string) net.Conn {
		c, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	udp := dial("udp", e.syslogs.packets[0].LocalAddr().String())
	unix := dial("unixgram", at)
	counted := dial("tcp", e.syslogs.listeners[0].Addr().String())
	lined := dial("tcp", e.syslogs.listeners[0].Addr().String())
	want := map[uint64]int{}
	for i := range 100 {
		path := func(way string) string {
			text := fmt.Sprintf("/%s/%d", way, i)
			want[emit.ID(text)]++
			return text
		}
		fmt.Fprintf(udp, nginx3164, path("udp"))
		fmt.Fprintf(unix, haproxy5424+"\n", path("unix"))
		message := fmt.Sprintf(haproxy5424, path("counted"))
		fmt.Fprintf(counted, "%d %s", len(message), message)
		fmt.Fprintf(lined, nginx3164+"\n", path("lined"))
	}
	fmt.Fprintf(lined, nginx3164+"\n", "/style.css")
	fmt.Fprintf(lined, strings.Replace(nginx3164, `" 200`, `" 404`, 1)+"\n", "/gone")
	fmt.Fprintf(lined, strings.Replace(nginx3164, browser, "curl/8.5", 1)+"\n", "/a")
	fmt.Fprintf(lined, "<190>Nov 29 05:00:00 web nginx: nonsense\n")
	d := e.syslogs.door
	poll.Until(t, "line of nonsense", func() bool { return d.things[Malformed].Get() == 1 })
	poll.Until(t, "400 lines", func() bool { return d.things[Taken].Get() == 400 })
	if d.things[NotRead].Get() != 2 || d.things[Bot].Get() != 1 {
		t.Errorf("%d stand for no reading, %d are of bots", d.things[NotRead].Get(), d.things[Bot].Get())
	}
	for _, name := range e.queues["news"].names {
		if want[emit.ID(name)] != 1 {
			t.Errorf("a content is called %s", name)
		}
	}
	if n := len(e.queues["news"].names); n < 400 {
		t.Errorf("%d names came", n)
	}
	users := map[uint64]bool{}
	for _, one := range e.queues["news"].events {
		want[one.Content]--
		users[one.User] = true
		if one.Time != time.Date(2026, 11, 29, 5, 0, 0, 0, time.UTC).UnixMilli() || one.Kind != emit.Open {
			t.Errorf("%+v", one)
		}
	}
	for content, n := range want {
		if n != 0 {
			t.Errorf("content %d was opened %d times too few", content, n)
		}
	}
	if len(users) != 2 || users[0] {
		t.Errorf("%d readers, want those of two addresses", len(users))
	}
}

func TestMessages(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
		err  error
	}{
		{"5 hello5 world", []string{"hello", "world"}, nil},
		{"<1>a\n<2>b\r\n", []string{"<1>a", "<2>b"}, nil},
		{"2 <1<2>b\n", []string{"<1", "<2>b"}, nil},
		{"6 a\nb\n\n\n3 <1>", []string{"a\nb", "<1>"}, nil},
		{"70000 x", nil, errFraming},
		{"99999999999999999999 x", nil, errFraming},
		{"1x x", nil, errFraming},
		{"<1>" + strings.Repeat("x", syslogSizeMax), nil, errFraming},
	} {
		in := bufio.NewReaderSize(strings.NewReader(test.text), syslogSizeMax)
		var got []string
		var err error
		for {
			var message []byte
			if message, err = nextMessage(in); err != nil {
				break
			}
			got = append(got, string(trimMessage(message)))
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) || errors.Is(err, errFraming) != (test.err != nil) {
			t.Errorf("%.40q: %q, %v; want %q", test.text, got, err, test.want)
		}
	}
}

// More proxies than there may be are turned away, and keep nobody out for good.
func TestSyslogConnectionsAreBounded(t *testing.T) {
	e := newTestEdge(t, func(o *Options) { o.Syslog = Syslog{Listen: []string{"tcp://127.0.0.1:0"}, Stream: "news"} })
	address := e.syslogs.listeners[0].Addr().String()
	var all []net.Conn
	for range syslogConnectionsMax + 10 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
	}
	poll.Until(t, "refusal", func() bool { return e.syslogs.door.things[Budget].Get() == 10 })
	for _, c := range all {
		_ = c.Close()
	}
	poll.Until(t, "room", func() bool { return len(e.syslogs.slots) == 0 })
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, nginx3164+"\n", "/a")
	poll.Until(t, "line", func() bool { return e.syslogs.door.things[Taken].Get() == 1 })
}
