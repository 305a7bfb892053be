package edge

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// nowhere is an answer that nobody reads.
type nowhere struct {
	h      http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.h }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(status int)      { n.status = status }

// beaconing sends an edge one heartbeat of a page after another, as net/http hands
// them over, and allocates nothing for it.
type beaconing struct {
	edge    *Edge
	queue   *testQueue
	body    []byte
	reader  bytes.Reader
	request http.Request
	answer  nowhere
	n       int64
}

func newBeaconing(t testing.TB, identity Identity) *beaconing {
	t.Helper()
	b := &beaconing{queue: &testQueue{room: -1, kill: -1, deaf: true}}
	var err error
	b.edge, err = Open(Options{
		Address: "127.0.0.1:0", ConnectionsMax: 1000, Dir: t.TempDir(), PagesMax: 1000, PageIdleMax: time.Hour, BudgetRate: 1e9, BudgetBurst: 1e9,
		Streams: []Stream{{Name: "site", Identity: identity, Origins: []string{"https://news.example"}}}, Dial: func(*Stream, string) (Queue, error) { return b.queue, nil },
		Salt: func(int64) Salt { return Salt{1} }, Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.edge.abandon() })
	b.answer.h = http.Header{}
	b.request = http.Request{
		Method: "POST", RemoteAddr: "127.0.0.1:4711", Body: io.NopCloser(&b.reader),
		Header: http.Header{"User-Agent": {browser}, "Origin": {"https://news.example"}, "Content-Type": {"text/plain;charset=UTF-8"}},
	}
	return b
}

func (b *beaconing) send() {
	b.body = append(b.body[:0], `{"stream":"site","page":"00000000000000ff","first":`...)
	b.body = strconv.AppendInt(b.body, b.n, 10)
	b.body = append(b.body, `,"events":[{"kind":"read","content":"/a/story/whose/path/is/as/long/as/they/are","age":0,"dwell":15000,"progress":40}]}`...)
	b.reader.Reset(b.body)
	b.request.ContentLength = int64(len(b.body))
	b.n++
	clear(b.answer.h)
	b.edge.post(&b.answer, &b.request)
	b.queue.events = b.queue.events[:0]
}

func (b *beaconing) check(t testing.TB) {
	t.Helper()
	if got := b.edge.http.things[Taken].Get(); got != uint64(b.n) || b.answer.status != http.StatusNoContent {
		t.Errorf("%d of %d taken, the last answered with %d", got, b.n, b.answer.status)
	}
}

// What the door adds to a request of net/http.
func BenchmarkBeacon(b *testing.B) {
	for name, identity := range map[string]Identity{"account": Account, "daily": Daily} {
		b.Run(name, func(b *testing.B) {
			all := newBeaconing(b, identity)
			b.ReportAllocs()
			for b.Loop() {
				all.send()
			}
			all.check(b)
		})
	}
}

var poolForgets bool

// A beacon of a page that is known costs no memory but what net/http takes for it.
func TestBeaconAllocatesNothing(t *testing.T) {
	for _, identity := range []Identity{Account, Daily} {
		all := newBeaconing(t, identity)
		all.send()
		if n := testing.AllocsPerRun(1000, all.send); n > 0 && !poolForgets {
			t.Errorf("identity %d: %v allocations a beacon", identity, n)
		}
		all.check(t)
	}
}
