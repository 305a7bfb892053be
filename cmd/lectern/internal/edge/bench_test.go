package edge

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header         { return n.h }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// What the door adds to a request of net/http.
func BenchmarkBeacon(b *testing.B) {
	q := &testQueue{room: -1, kill: -1}
	e, err := Open(Options{
		Address: "127.0.0.1:0", ConnectionsMax: 1000, Dir: b.TempDir(), PagesMax: 1000, PageIdleMax: time.Hour, BudgetRate: 1e9, BudgetBurst: 1e9,
		Streams: []Stream{{Name: "site"}}, Dial: func(*Stream, string) (Queue, error) { return q, nil },
		Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer e.abandon()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		body := fmt.Appendf(nil, `{"stream":"site","page":"00000000000000ff","first":%d,"events":[{"kind":"read","content":"/a/story","age":0,"dwell":15000,"progress":40}]}`, n)
		n++
		r := &http.Request{
			Method: "POST", RemoteAddr: "127.0.0.1:4711", ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
			Header: http.Header{"User-Agent": {browser}, "Origin": {"https://news.example"}, "Content-Type": {"text/plain"}},
		}
		e.post(nowhere{http.Header{}}, r)
		q.events = q.events[:0]
	}
	if got := e.http.things[Taken].Get(); got != uint64(n) {
		b.Fatalf("%d of %d taken", got, n)
	}
}
