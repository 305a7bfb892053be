package caddylectern

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// collector takes datagrams, and the events in them.
type collector struct {
	conn net.PacketConn

	mu      sync.Mutex // protects the fields below
	events  map[uint64]int
	readers map[uint64]bool
	sources map[uint64]bool
	names   map[string]int
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &collector{conn: conn, events: map[uint64]int{}, readers: map[uint64]bool{}, sources: map[uint64]bool{}, names: map[string]int{}}
	go func() {
		b := make([]byte, wire.FrameSizeMax)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			c.take(b[:n])
		}
	}()
	return c
}

func (c *collector) take(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, why := wire.ParseHeader(b)
	if why != wire.Accepted || h.Stream != 7 {
		c.events[0]++ // no content of the test
		return
	}
	for body := h.Body(b); h.Type == wire.TypeNames && len(body) > 0; {
		var n wire.Name
		if n, body, why = wire.ReadName(body); why != wire.Accepted {
			return
		}
		c.names[string(n.Text)]++
	}
	events, _ := wire.DecodeEvents(make([]wire.Event, h.Count), h.Body(b), h.Count)
	for _, e := range events {
		c.events[e.Content]++
		c.readers[e.User] = true
		c.sources[h.Source] = true
	}
}

// wants waits until the events are these, and no others, and each content was named once.
func (c *collector) wants(t *testing.T, want map[string]int) {
	t.Helper()
	ids, names := map[uint64]int{}, map[string]int{}
	for path, n := range want {
		ids[emit.ID(path)], names[path] = n, 1
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		same := maps.Equal(c.events, ids) && maps.Equal(c.names, names)
		have := fmt.Sprint(c.events, c.names)
		c.mu.Unlock()
		if same {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the events and names are %s, want %v", have, want)
		}
	}
}

func load(t *testing.T, text string) {
	t.Helper()
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	config, _, err := adapter.Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	var c caddy.Config
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Run(&c); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, at, path string, headers ...string) {
	t.Helper()
	r, err := http.NewRequest("GET", "http://"+at, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = path // as it is
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
}

// What Caddy answers with content counts, once, under the path that was asked for,
// also while its configuration is loaded anew, and under one source.
func TestCounts(t *testing.T) {
	c := newCollector(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	_ = l.Close()
	config := func(more string) string {
		return fmt.Sprintf(`{
	admin off
}
http://%s {
	bind 127.0.0.1
	lectern {
		to udp://%s
		stream 7
		skip *.css /health
		%s
	}
	handle /gone {
		error 404
	}
	redir /moved /a
	rewrite /old /rewritten
	handle /files/* {
		uri strip_prefix /files
		root testdata
		file_server
	}
	respond "a page"
}
`, at, c.conn.LocalAddr(), more)
	}
	load(t, config(""))
	t.Cleanup(func() { _ = caddy.Stop() })
	want := map[string]int{}
	for i := range 300 {
		if i == 150 {
			load(t, config("user none"))
		}
		path := fmt.Sprintf("/page/%d", i%17)
		want[path]++
		get(t, at, path)
	}
	for _, path := range []string{"/style.css", "/health", "/gone", "/files/none"} {
		get(t, at, path)
	}
	get(t, at, "/old")
	want["/old"]++
	get(t, at, "/moved") // the client goes on to /a
	want["/a"]++
	get(t, at, "/files/text.txt", "Range: bytes=0-3")
	get(t, at, "/files/text.txt", "Range: bytes=4-7")
	want["/files/text.txt"]++
	if answer, err := http.Post("http://"+at+"/page/1", "text/plain", nil); err != nil || answer.Body.Close() != nil {
		t.Error(err)
	}
	c.wants(t, want)
	if len(c.sources) != 1 || !c.readers[emit.ID("127.0.0.1")] || !c.readers[0] || len(c.readers) != 2 {
		t.Errorf("sources %v, readers %v", c.sources, c.readers)
	}
}

func TestCaddyfile(t *testing.T) {
	for text, want := range map[string]string{
		"lectern": "to and stream are wanted", "lectern {\n to tcp://a:1\n}": "to and stream are wanted", "lectern x {\n}": "argument",
		"lectern {\n stream 65536\n}": "65534", "lectern {\n to tcp://a:1\n to tcp://a:1\n}": "twice", "lectern {\n to\n}": "one value",
		"lectern {\n skip\n}": "one value", "lectern {\n queue_size many\n}": "queue_size", "lectern {\n collector a\n}": "there is no collector",
	} {
		if err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	var h Handler
	err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("lectern {\n to tls://a:1\n stream 7\n queue /q\n queue_size 64MiB\n user {http.auth.user.id}\n skip *.css /a*\n" +
		" key_file /k\n audience b\n tls_ca /ca\n tls_cert /c\n tls_key /d\n}"))
	want := Handler{To: "tls://a:1", Stream: 7, Queue: "/q", QueueSize: 64 << 20, User: "{http.auth.user.id}", Skip: []string{"*.css", "/a*"}, KeyFile: "/k", Audience: "b", TLSCA: "/ca", TLSCert: "/c", TLSKey: "/d"}
	if err != nil || fmt.Sprint(h) != fmt.Sprint(want) || h.check() != nil {
		t.Errorf("%+v, %v, %v", h, err, h.check())
	}
}

func TestCheck(t *testing.T) {
	for _, h := range []Handler{
		{}, {To: "a:1"}, {To: "http://a:1"}, {To: "tcp://a"}, {To: "tcp://a:"}, {To: "udp://a:1", Queue: "q"}, {To: "tcp://a:1", TLSCA: "c"},
		{To: "tls://a:1", TLSCert: "c"}, {To: "tcp://a:1", KeyFile: "k"}, {To: "tcp://a:1", Audience: "k"},
	} {
		if err := h.check(); err == nil {
			t.Errorf("%+v is taken", h)
		}
	}
}

// The paths and their forms are those of the access logs' tests, from
// cmd/lectern/internal/accesslog.
func TestNormalPath(t *testing.T) {
	for target, want := range map[string]string{
		"/": "/", "/a?x=1": "/a", "/%61": "/a", "/a%3Fb": "/a%3Fb", "/a%3fb": "/a%3Fb", "/%7Euser": "/~user", "/%C3%A9": "/%C3%A9", "/é": "/%C3%A9",
		"/a%20b": "/a%20b", "/a;jsessionid=1A2B": "/a", "/a;JSESSIONID=1A2B/b;v=1?x": "/a/b;v=1", "/a/": "/a/", "/a/./b/../c": "/a/c", "/a/%2e%2E/c": "/c",
		"/../..": "/", "/a/.": "/a/", "/a/..": "/", "/.well-known/..x": "/.well-known/..x", "//a": "//a", "/a%2Fb": "/a%2Fb", "/a%25": "/a%25", "/!$&'()*+,=:@": "/!$&'()*+,=:@",
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if got := normalPath(u); got != want {
			t.Errorf("%s is %s, want %s", target, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, path string
		want          bool
	}{
		{"/a", "/a", true}, {"/a", "/ab", false}, {"*.css", "/a.css", true}, {"*.css", "/a.cssx", false}, {"/a/*", "/a/b/c", true}, {"/a/*", "/b/a/", false},
		{"*", "", true}, {"/*/b*c", "/a/b/bc", true}, {"/*/b*c", "/a/c", false}, {"a*a", "a", false}, {"a*b*b", "ab", false},
	} {
		if got := match(test.pattern, test.path); got != test.want {
			t.Errorf("%q of %q: %v", test.pattern, test.path, got)
		}
	}
}
