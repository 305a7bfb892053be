package edge

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/emit"
)

const testToken = "a-token-of-some-length"

func withPushes(o *Options) {
	o.Pushes = Pushes{
		Tokens: func() []string { return []string{"another-token-of-some", testToken} },
		Paths:  accesslog.Paths{Skip: []string{"*.css"}},
		Fastly: []string{"SU1Z0isxPaozGVKXdv0eY", "*"},
	}
}

// pushOf makes a push as a CDN does.
func (e *testEdge) pushOf(t *testing.T, query, body string, headers ...string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequest("POST", e.url+"/v1/logs"+query, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testToken)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	status, text, _ = do(t, r)
	return status, text
}

func pushedLine(path, more string) string {
	return fmt.Sprintf(`{"ClientIP":"203.0.113.7","ClientRequestMethod":"GET","ClientRequestURI":%q,"EdgeResponseStatus":200,"EdgeStartTimestamp":"2026-11-29T05:00:00Z","ClientRequestUserAgent":%q%s}`+"\n",
		path, browser, more)
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Lines come plain and compressed, each GET that was answered is an open, and what is
// none is counted and harms no other.
func TestPushes(t *testing.T) {
	e := newTestEdge(t, withPushes)
	want := map[uint64]int{}
	lines := func(of string) (text string) {
		for i := range 100 {
			path := fmt.Sprintf("/%s/%d", of, i)
			want[emit.ID(path)]++
			text += pushedLine(path, "")
		}
		return text
	}
	odd := pushedLine("/style.css", "") + strings.Replace(pushedLine("/gone", ""), ":200,", ":404,", 1) +
		strings.Replace(pushedLine("/a", ""), browser, "curl/8.5", 1) + `{"content":"tests"}` + "\n" + pushedLine("/odd", `,"sample_rate":0`)
	for _, body := range []string{lines("plain") + odd, packed(t, lines("packed")), strings.TrimSuffix(lines("unended"), "\n")} {
		if status, text := e.pushOf(t, "?stream=news", body); status != 204 {
			t.Errorf("%d %s", status, text)
		}
	}
	for outcome, n := range map[Reason]uint64{Taken: 300, NotRead: 2, Bot: 1, Malformed: 2} {
		if got := e.pushes.door.things[outcome].Get(); got != n {
			t.Errorf("%d lines are %s, want %d", got, outcome, n)
		}
	}
	for _, one := range e.queues["news"].events {
		want[one.Content]--
		if one.Skipped != 0 || one.Kind != emit.Open || one.User == 0 {
			t.Errorf("%+v", one)
		}
	}
	for id, n := range want {
		if n != 0 {
			t.Errorf("content %d: %d events are missing", id, n)
		}
	}
}

// What a line stands for is kept, as it says or the address of the push does, and is
// right in the sum where it is no whole number.
func TestPushesAreSampled(t *testing.T) {
	for _, test := range []struct {
		query, more string
		least, most uint16
		oneOf       float64
	}{
		{"", "", 0, 0, 1}, {"", `,"sample_rate":0.1`, 9, 9, 10}, {"", `,"sample_interval":"100"`, 99, 99, 100}, {"&sampled=10", "", 9, 9, 10},
		{"&sampled=10", `,"sample_interval":5`, 4, 4, 5}, {"&sampled=0.37", "", 1, 2, 1 / 0.37}, {"", `,"SampleInterval":65536`, 65535, 65535, 65536},
	} {
		e := newTestEdge(t, withPushes)
		const n = 20_000
		if status, text := e.pushOf(t, "?stream=site"+test.query, strings.Repeat(pushedLine("/a", test.more), n)); status != 204 {
			t.Fatalf("%d %s", status, text)
		}
		sum := 0.0
		events := e.queues["site"].events
		for _, one := range events {
			if one.Skipped < test.least || one.Skipped > test.most {
				t.Fatalf("%s %s: %d were left out", test.query, test.more, one.Skipped)
			}
			sum += 1 + float64(one.Skipped)
		}
		// Six standard deviations of a rounding that is at worst even.
		if want := n * test.oneOf; len(events) != n || math.Abs(sum-want) > 6*0.5*math.Sqrt(n) {
			t.Errorf("%s %s: %d events stand for %.0f, want %.0f", test.query, test.more, len(events), sum, want)
		}
	}
}

func TestPushesRefused(t *testing.T) {
	line := pushedLine("/a", "")
	for _, test := range []struct {
		why           Reason
		status        int
		query, body   string
		authorization string
	}{
		{Token, 401, "?stream=site", line, ""},
		{Token, 401, "?stream=site", line, "Bearer "},
		{Token, 401, "?stream=site", line, "Bearer a-token-of-some-lengt"},
		{Token, 401, "?stream=site", line, testToken},
		{NoStream, 404, "", line, "Bearer " + testToken}, // there are several
		{NoStream, 404, "?stream=other", line, "Bearer " + testToken},
		{Malformed, 400, "?streams=site", line, "Bearer " + testToken},
		{Malformed, 400, "?stream=site&stream=site", line, "Bearer " + testToken},
		{OutOfRange, 400, "?stream=site&sampled=0", line, "Bearer " + testToken},
		{OutOfRange, 400, "?stream=site&sampled=NaN", line, "Bearer " + testToken},
		{OutOfRange, 400, "?stream=site&sampled=100000", line, "Bearer " + testToken},
		{Malformed, 400, "?stream=site", "\x1f\x8bnot gzip", "Bearer " + testToken},
		{TooLarge, 413, "?stream=site", strings.Repeat(" ", pushSizeMax+1), "Bearer " + testToken},
		{TooLarge, 413, "?stream=site", packed(t, strings.Repeat(strings.Repeat(" ", 1<<10)+"\n", 1<<10)), "Bearer " + testToken},
	} {
		e := newTestEdge(t, withPushes)
		e.pushes.most = 1 << 20
		status, text := e.pushOf(t, test.query, test.body, "Authorization: "+test.authorization)
		if status != test.status || !strings.HasPrefix(text, test.why.String()) {
			t.Errorf("%s %.30q: %d %q, want %d %s", test.query, test.body, status, text, test.status, test.why)
		}
		if n := e.pushes.door.things[test.why].Get(); n != 1 {
			t.Errorf("%s %.30q: %d counted as %s", test.query, test.body, n, test.why)
		}
		for name, q := range e.queues {
			if len(q.events) > 0 {
				t.Errorf("%s %.30q: %d events in the queue of %s", test.query, test.body, len(q.events), name)
			}
		}
	}
	e := newTestEdge(t, nil)
	if status, _ := e.pushOf(t, "?stream=site", line); status != 404 {
		t.Errorf("without tokens: %d", status)
	}
}

// A push that found no room comes again, and so does one whose answer was lost: no
// line of it counts twice.
func TestPushComesAgain(t *testing.T) {
	e := newTestEdge(t, withPushes)
	var body string
	for i := range 100 {
		body += pushedLine(fmt.Sprintf("/%d", i), "")
	}
	q := e.queues["site"]
	q.room = 30
	if status, text := e.pushOf(t, "?stream=site", body); status != 503 || text != "full" {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := e.pushOf(t, "?stream=site", body); status != 503 {
		t.Errorf("still without room: %d", status)
	}
	q.room = -1
	for range 2 {
		if status, _ := e.pushOf(t, "?stream=site", body); status != 204 {
			t.Errorf("with room: %d", status)
		}
	}
	if status, _ := e.pushOf(t, "?stream=quiet", body); status != 204 || len(e.queues["quiet"].events) != 100 {
		t.Errorf("the same lines of another stream: %d, %d events", status, len(e.queues["quiet"].events))
	}
	seen := map[uint64]int{}
	for _, one := range q.events {
		seen[one.Content]++
	}
	for i := range 100 {
		if n := seen[emit.ID(fmt.Sprintf("/%d", i))]; n != 1 {
			t.Errorf("line %d counts %d times", i, n)
		}
	}
}

// Bodies are held in memory, and only so many at once.
func TestPushesAtOnce(t *testing.T) {
	e := newTestEdge(t, withPushes)
	for range pushesMax {
		e.pushes.slots <- struct{}{}
	}
	if status, text := e.pushOf(t, "?stream=site", pushedLine("/a", "")); status != 429 || !strings.HasPrefix(text, "budget") {
		t.Errorf("%d %s", status, text)
	}
	<-e.pushes.slots
	if status, text := e.pushOf(t, "?stream=site", pushedLine("/a", "")); status != 204 {
		t.Errorf("%d %s", status, text)
	}
}

func TestRecentPushesAreBounded(t *testing.T) {
	var r recentPushes
	key := func(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	for i := range 3 * recentPushesMax {
		r.keep(key(i), i+1)
		r.keep(key(i), i+2)
	}
	if len(r.of) != recentPushesMax || r.of[key(3*recentPushesMax-1)] != 3*recentPushesMax+1 || r.of[key(2*recentPushesMax)] == 0 || r.of[key(2*recentPushesMax-1)] != 0 {
		t.Errorf("%d are remembered", len(r.of))
	}
}

// Fastly asks whether a service may log here, and wants the hash of its number, as
// its documentation has it.
func TestFastlyChallenge(t *testing.T) {
	e := newTestEdge(t, withPushes)
	answer := getText(t, e.url+"/.well-known/fastly/logging/challenge")
	if want := fmt.Sprintf("%x\n*", sha256.Sum256([]byte("SU1Z0isxPaozGVKXdv0eY"))); answer != want {
		t.Errorf("%q, want %q", answer, want)
	}
	e = newTestEdge(t, nil)
	if status, _, _ := do(t, mustGet(t, e.url+"/.well-known/fastly/logging/challenge")); status != 404 {
		t.Errorf("without services: %d", status)
	}
}

func mustGet(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func getText(t *testing.T, url string) string {
	t.Helper()
	status, text, _ := do(t, mustGet(t, url))
	if status != 200 {
		t.Fatal(errors.New(text))
	}
	return text
}
