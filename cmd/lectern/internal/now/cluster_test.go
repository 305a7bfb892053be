package now

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
)

// counter counts.
type counter struct{ atomic.Int64 }

func (c *counter) Inc() { c.Add(1) }

// daemons are Boards that listen on loopback and know one another.
type daemons struct {
	boards  []*board
	servers []*httptest.Server
	ahead   atomic.Int64 // of the clock
}

// newDaemons starts so many, beside others that are peers as well.
func newDaemons(t *testing.T, n int, others ...string) *daemons {
	d := &daemons{}
	var list []string
	for range n {
		s := httptest.NewUnstartedServer(nil)
		d.servers = append(d.servers, s)
		list = append(list, s.Listener.Addr().String())
	}
	list = append(list, others...)
	for i, s := range d.servers {
		b := newBoard(uint64(i) + 1)
		o := b.o
		o.Peers, o.Failed, o.Address = list, new(counter), s.Listener.Addr().String
		o.Clock = func() time.Time { return time.UnixMilli(b.end).Add(time.Duration(d.ahead.Load())) }
		b.Board = New(o)
		b.peers.wait = time.Minute // however busy the machine is
		mux := http.NewServeMux()
		mux.Handle("GET /now.json", b)
		mux.Handle("POST "+PeerPath, b.Peer())
		s.Config.Handler = mux
		s.Start()
		t.Cleanup(s.Close)
		d.boards = append(d.boards, b)
	}
	return d
}

// page is what the first says, of new figures.
func (d *daemons) page(t *testing.T, query string) Page {
	t.Helper()
	d.ahead.Add(int64(gatherRest))
	return d.boards[0].page(t, query)
}

// states are the nodes, without their addresses.
func states(p Page) string {
	var all []string
	for _, n := range p.Nodes {
		all = append(all, strings.TrimSpace(n.State+" "+strings.TrimLeft(n.Collector, "0")))
	}
	return strings.Join(all, ", ")
}

// Three daemons, whose readers overlap: every figure is that of a map of all of them.
// Then one is killed, and the page says which.
func TestCluster(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	d := newDaemons(t, 3)
	type key struct {
		stream  uint16
		content uint64
	}
	known := make([]map[key]map[uint64]bool, 3) // by daemon
	opens := make([]map[key]uint64, 3)
	for n, b := range d.boards {
		known[n], opens[n] = map[key]map[uint64]bool{}, map[key]uint64{}
		var rows []storage.Row
		for range 20_000 {
			k := key{uint16(7 + 2*random.IntN(2)), random.Uint64N(30) * random.Uint64N(30) / 10}
			user := random.Uint64N(5000)
			rows = append(rows, open(k.stream, k.content, user))
			if known[n][k] == nil {
				known[n][k] = map[uint64]bool{}
			}
			known[n][k][user] = true
			opens[n][k]++
		}
		b.cut(1, rows...)
	}
	check := func(alive ...int) {
		t.Helper()
		p := d.page(t, "?limit=100")
		streams, contents, opened := map[string]map[uint64]bool{}, map[string]map[uint64]bool{}, map[string]uint64{}
		for _, n := range alive {
			for k, users := range known[n] {
				s, c := fmt.Sprint(k.stream), fmt.Sprint(k.stream, "/", k.content)
				if streams[s] == nil {
					streams[s] = map[uint64]bool{}
				}
				if contents[c] == nil {
					contents[c] = map[uint64]bool{}
				}
				maps.Copy(streams[s], users)
				maps.Copy(contents[c], users)
				opened[c] += opens[n][k]
			}
		}
		if len(p.Streams) != 2 {
			t.Fatalf("%d streams", len(p.Streams))
		}
		for _, s := range p.Streams {
			if s.Minute != uint64(len(streams[s.Stream])) || s.MinuteError != 0 || s.Five != s.Minute {
				t.Errorf("stream %s: %d readers with an error of %v, want %d", s.Stream, s.Minute, s.MinuteError, len(streams[s.Stream]))
			}
			for _, c := range s.Contents {
				name := s.Stream + "/" + c.Content
				if c.Minute != uint64(len(contents[name])) || c.MinuteError != 0 || c.Minutes[minutesShown-1] != opened[name] {
					t.Errorf("content %s: %d readers, %d opens, want %d, %d", name, c.Minute, c.Minutes[minutesShown-1], len(contents[name]), opened[name])
				}
				delete(contents, name)
			}
		}
		if len(contents) != 0 {
			t.Errorf("missing: %v", slices.Collect(maps.Keys(contents)))
		}
	}
	check(0, 1, 2)
	if p := d.page(t, ""); states(p) != "own 1, asked 2, asked 3" && states(p) != "own 1, asked 3, asked 2" {
		t.Errorf("%+v", p.Nodes)
	}
	if p := d.boards[0].page(t, "?nodes=own"); len(p.Nodes) != 1 || p.Cluster || p.Streams[0].Minute >= d.page(t, "").Streams[0].Minute {
		t.Errorf("of one daemon alone: %v", p.Nodes)
	}
	// A content that nobody has in front is asked for.
	p := d.page(t, "?stream=7&limit=1&content=81&content=999999")
	want := map[uint64]bool{}
	for n := range known {
		maps.Copy(want, known[n][key{7, 81}])
	}
	if c := p.Streams[0].Contents; len(c) != 3 || c[1].Minute != uint64(len(want)) || c[2].Minute != 0 {
		t.Errorf("%+v, want %d readers", c, len(want))
	}

	killed := d.servers[1].Listener.Addr().String()
	d.servers[1].Close()
	check(0, 2)
	p = d.page(t, "")
	i := slices.IndexFunc(p.Nodes, func(n Node) bool { return n.State == stateLeftOut })
	if i < 0 || p.Nodes[i].Node != killed || !strings.Contains(p.Nodes[i].Why, "refused") || p.Nodes[i].Collector != "0000000000000002" || len(p.Nodes) != 3 {
		t.Errorf("%+v", p.Nodes)
	}
}

// Sets that are too large to be told whole are united by samples, with the error said.
func TestClusterOfManyReaders(t *testing.T) {
	d := newDaemons(t, 2)
	for n, b := range d.boards {
		var rows []storage.Row
		for i := range uint64(60_000) { // a half of them with both
			rows = append(rows, open(7, 1, i+uint64(n)*30_000))
		}
		b.cut(1, rows...)
	}
	c := d.page(t, "").Streams[0].Contents[0]
	off := math.Abs(float64(c.Minute)/90_000 - 1)
	if c.MinuteError == 0 || c.MinuteError > 0.02 || off > 5*c.MinuteError {
		t.Errorf("%d readers with an error of %v, want 90000", c.Minute, c.MinuteError)
	}
	if s := d.page(t, "").Streams[0]; math.Abs(float64(s.Minute)/90_000-1) > 5*s.MinuteError || s.MinuteError > 0.006 {
		t.Errorf("%d readers of the stream with an error of %v, want 90000", s.Minute, s.MinuteError)
	}
	if s := d.page(t, "").Streams[0]; s.Minutes[minutesShown-1] != 120_000 {
		t.Errorf("%d opens, want 120000", s.Minutes[minutesShown-1])
	}
}

// Whatever a peer answers, or does not, the others are there, and it is named.
func TestBadPeers(t *testing.T) {
	// What an endless answer may be ahead of whoever reads it: in the buffers of both sockets.
	const ahead = 64 << 20
	answers := map[string]struct {
		answer http.HandlerFunc
		why    string
	}{
		"garbage":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x00\xff{{{") }, "makes no sense"},
		"nothing":  {func(http.ResponseWriter, *http.Request) {}, "makes no sense"},
		"another":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":9}`) }, "version 9"},
		"an error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no\nway", http.StatusForbidden) }, "403 Forbidden: no way"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, "sends elsewhere"},
		"stale": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":1,"clock":99999,"time":1}`) }, "does not cut"},
		"other numbers": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"version":1,"collector":77,"streams":[{"number":7,"top":[{"id":1,"minute":18446744073709551615}]}]}`)
		}, "not to what it was asked"},
		"gigabytes": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"version":1,"streams":[`)
			line := bytes.Repeat([]byte(`{"number":1},`), 1<<12)
			for sent := 0; sent < replyBytesMax+ahead; sent += len(line) {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
			t.Errorf("a peer could say more than %d bytes", replyBytesMax+ahead)
		}, "larger than"},
		"never": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "did not answer within"},
	}
	for name, test := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				_, _ = http.MaxBytesReader(w, r.Body, questionBytesMax).Read(make([]byte, questionBytesMax))
				test.answer(w, r)
			}))
			t.Cleanup(func() { bad.CloseClientConnections(); bad.Close() })
			d := newDaemons(t, 2, bad.Listener.Addr().String())
			if name == "never" {
				d.boards[0].peers.wait = 3 * time.Second // the good one has no longer
			}
			d.boards[0].cut(1, open(7, 1, 1), open(7, 1, 2))
			d.boards[1].cut(1, open(7, 1, 2), open(7, 1, 3))
			p := d.page(t, "")
			i := slices.IndexFunc(p.Nodes, func(n Node) bool { return n.Node == bad.Listener.Addr().String() })
			if i < 0 || p.Nodes[i].State != stateLeftOut || !strings.Contains(p.Nodes[i].Why, test.why) || strings.Contains(p.Nodes[i].Why, "\n") {
				t.Errorf("%+v", p.Nodes)
			}
			if s := p.Streams[0]; s.Minute != 3 || s.Contents[0].Minute != 3 {
				t.Errorf("the others have %d readers, want 3: %+v", s.Minute, p.Nodes)
			}
			// It is left alone for a while, and named all the same.
			before := asked.Load()
			if p := d.page(t, ""); asked.Load() != before || !strings.Contains(p.Nodes[i].Why, test.why) {
				t.Errorf("asked again at once: %+v", p.Nodes)
			}
			d.ahead.Add(int64(peerRest))
			if d.page(t, ""); asked.Load() == before {
				t.Error("never asked again")
			}
		})
	}
}

// A hundred addresses are not asked, and the page says how many are not. Answers to
// peers come from memory: no question leads to another.
func TestPeersAreBounded(t *testing.T) {
	var asked atomic.Int64
	d := newDaemons(t, 1)
	b := d.boards[0]
	b.peers.names = []string{"many.example:8421"}
	b.peers.resolve = func(context.Context, string, string) (all []netip.Addr, err error) {
		asked.Add(1)
		for i := range 100 {
			all = append(all, netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}))
		}
		return all, nil
	}
	b.peers.client.Transport = transport(func(r *http.Request) (*http.Response, error) { return nil, errors.New("nobody is there") })
	b.cut(1, open(7, 1, 1))
	if p := d.page(t, ""); p.Unasked != 36 || len(p.Nodes) != 65 {
		t.Errorf("%d nodes, %d not asked", len(p.Nodes), p.Unasked)
	}
	for range 5 {
		d.boards[0].page(t, "")
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the name was looked up %d times within a second", n)
	}
	d.ahead.Add(int64(resolveRest))
	b.peers.resolve = func(context.Context, string, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	if p := d.page(t, ""); len(p.Nodes) != 66 || !strings.Contains(p.Nodes[65].Why, "no such host") || p.Nodes[65].Node != "many.example:8421" {
		t.Errorf("%+v", p.Nodes[len(p.Nodes)-1])
	}
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// Only peers may ask for hashes of readers, and not for more than there may be.
func TestPeerQuestions(t *testing.T) {
	d := newDaemons(t, 1)
	b := d.boards[0]
	b.cut(1, open(7, 1, 1))
	var others atomic.Int64
	b.peers.client.Transport = transport(func(*http.Request) (*http.Response, error) {
		others.Add(1)
		return nil, errors.New("nobody is there")
	})
	ask := func(from, body string) int {
		r := httptest.NewRequest("POST", PeerPath, strings.NewReader(body))
		r.RemoteAddr = net.JoinHostPort(from, "4711")
		w := httptest.NewRecorder()
		b.Peer().ServeHTTP(w, r)
		return w.Code
	}
	for body, want := range map[string]int{
		`{"version":1,"limit":10}`: 200, `{"version":1,"stream_sample":16384,"streams":[7]}`: 200,
		`{"version":2}`: 400, `{"version":1,"limit":1000000}`: 400, `{"version":1,"content_sample":1000000}`: 400, `x`: 400,
		`{"version":1,"contents":[` + strings.Repeat(`{"Stream":1,"ID":1},`, 2000) + `{}]}`: 400, strings.Repeat(" ", questionBytesMax+1): 400,
	} {
		if got := ask("127.0.0.1", body); got != want {
			t.Errorf("%.60s: %d, want %d", body, got, want)
		}
		if got := ask("192.0.2.9", body); got != http.StatusForbidden {
			t.Errorf("a stranger got %d", got)
		}
	}
	if ask("::ffff:127.0.0.1", `{"version":1}`) != 200 {
		t.Error("an IPv4 address in IPv6 is another")
	}
	if others.Load() != 0 {
		t.Errorf("%d questions came of a peer's question", others.Load())
	}
}

// The figures of a cluster are gathered once for all who ask within a second.
func TestClusterIsAskedOnceASecond(t *testing.T) {
	var asked atomic.Int64
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, `{"version":1,"collector":9}`)
	}))
	defer counting.Close()
	d := newDaemons(t, 1, counting.Listener.Addr().String())
	d.boards[0].cut(1, open(7, 1, 1))
	d.page(t, "")
	first := asked.Load()
	for i := range 20 {
		d.boards[0].page(t, fmt.Sprintf("?limit=%d", i))
	}
	if asked.Load() != first || first == 0 {
		t.Errorf("asked %d times, then %d", first, asked.Load())
	}
}
