package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/emit"
)

// testEdge is an edge whose queues are a test's.
type testEdge struct {
	*Edge
	queues map[string]*testQueue
	now    time.Time
	url    string
}

const browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

func newTestEdge(t *testing.T, change func(*Options)) *testEdge {
	t.Helper()
	e := &testEdge{queues: map[string]*testQueue{}, now: time.Unix(1_800_000_000, 0)}
	o := Options{
		Address: "127.0.0.1:0", ConnectionsMax: 1000, Dir: t.TempDir(), PagesMax: 1000, PageIdleMax: time.Hour, BudgetRate: 1000, BudgetBurst: 100_000,
		Streams: []Stream{
			{Name: "site", Number: 7, Identity: Account},
			{Name: "news", Number: 8, Identity: Daily, Origins: []string{"https://news.example"}},
			{Name: "quiet", Number: 9, Identity: None},
		},
		Salt: func(day int64) Salt { return Salt{byte(day), 1} },
		Dial: func(s *Stream, dir string) (Queue, error) {
			q := &testQueue{room: -1, kill: -1}
			e.queues[s.Name] = q
			return q, nil
		},
		Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return e.now },
	}
	if change != nil {
		change(&o)
	}
	var err error
	if e.Edge, err = Open(o); err != nil {
		t.Fatal(err)
	}
	e.Start()
	e.url = "http://" + e.Address()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

// post sends a body as a browser does, with more headers: "Name: value".
func (e *testEdge) post(t *testing.T, body string, headers ...string) (status int, text string, h http.Header) {
	t.Helper()
	r, err := http.NewRequest("POST", e.url+"/v1/read", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", browser)
	r.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	return do(t, r)
}

func do(t *testing.T, r *http.Request) (int, string, http.Header) {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, strings.TrimSpace(string(text)), answer.Header
}

const open = `{"stream":"site","page":"00000000000000ff","first":0,"user":"u1","events":[{"kind":"open","content":"/a","age":1000}]}`

func TestBeacon(t *testing.T) {
	e := newTestEdge(t, nil)
	status, _, h := e.post(t, open, "Origin: https://any.example")
	if status != 204 || h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "https://any.example" || h.Get("Vary") != "Origin" {
		t.Errorf("%d, %v", status, h)
	}
	e.post(t, open) // again, as after a lost answer
	e.post(t, `{"stream":"7","page":"00000000000000ff","first":1,"events":[{"kind":"read","content":"/a","dwell":1500,"progress":40},{"kind":"finish","content":"/a"},{"kind":"impression","content":"/b"},{"kind":"click","content":"/b","variant":255}]}`)
	at := e.now.UnixMilli()
	want := []emit.Event{
		{Time: at - 1000, Content: emit.ID("/a"), User: emit.ID("u1"), Kind: emit.Open},
		{Time: at, Content: emit.ID("/a"), Kind: emit.Read, Dwell: 1500, Progress: emit.Percent(40)},
		{Time: at, Content: emit.ID("/a"), Kind: emit.Finish},
		{Time: at, Content: emit.ID("/b"), Kind: emit.Impression},
		{Time: at, Content: emit.ID("/b"), Kind: emit.Click, Variant: 255},
	}
	if got := e.queues["site"].events; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v, want\n%v", got, want)
	}
	if got := fmt.Sprint(e.queues["site"].names); got != "[/a /a /a /b]" { // the client sends it once
		t.Errorf("names are %s", got)
	}
}

func TestPixelAndPreflight(t *testing.T) {
	e := newTestEdge(t, nil)
	r, _ := http.NewRequest("GET", e.url+"/v1/read.gif?b="+strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D").Replace(open), nil)
	r.Header.Set("User-Agent", browser)
	status, text, h := do(t, r)
	if status != 200 || !strings.HasPrefix(text, "GIF89a") || h.Get("Content-Type") != "image/gif" || len(e.queues["site"].events) != 1 {
		t.Errorf("%d %q %v, %d events", status, text, h, len(e.queues["site"].events))
	}
	r, _ = http.NewRequest("OPTIONS", e.url+"/v1/read", nil)
	r.Header.Set("Origin", "https://news.example")
	if status, _, h := do(t, r); status != 204 || h.Get("Access-Control-Allow-Origin") != "https://news.example" || h.Get("Access-Control-Allow-Headers") != "content-type" {
		t.Errorf("%d %v", status, h)
	}
}

func TestScriptIsServed(t *testing.T) {
	e := newTestEdge(t, nil)
	r, _ := http.NewRequest("GET", e.url+"/lectern.js", nil)
	status, text, h := do(t, r)
	if status != 200 || !strings.HasPrefix(text, "(()=>{") || !strings.HasPrefix(h.Get("Content-Type"), "text/javascript") {
		t.Errorf("%d %v", status, h)
	}
	r.Header.Set("If-None-Match", h.Get("ETag"))
	if status, _, _ := do(t, r); status != 304 {
		t.Errorf("known already: %d", status)
	}
	r, _ = http.NewRequest("GET", e.url+"/lectern.js.sri", nil)
	if status, text, _ := do(t, r); status != 200 || !strings.HasPrefix(text, "sha384-") {
		t.Errorf("%d %q", status, text)
	}
}

// Each refusal has its word and its status, is counted under it, and leaves nothing
// in the queues. Each shows in CORS, so that a page may learn of it.
func TestRefusals(t *testing.T) {
	event := func(e string) string { return `{"stream":"site","events":[` + e + `]}` }
	for _, test := range []struct {
		why     Reason
		status  int
		body    string
		headers []string
	}{
		{TooLarge, 413, `{"stream":"site","user":"` + strings.Repeat("x", 8200) + `"}`, nil},
		{Malformed, 400, ``, nil},
		{Malformed, 400, `[]`, nil},
		{Malformed, 400, `{"stream":"site"}`, nil},
		{Malformed, 400, `{"stream":"site","events":[]}`, nil},
		{Malformed, 400, event(`{"kind":"open","contents":"/a"}`), nil},
		{Malformed, 400, event(`{"kind":"opened","content":"/a"}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/a","dwell":"1"}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/a","dwell":1.5}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/a","dwell":1e30}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/a"}`) + `{}`, nil},
		{Malformed, 400, event(`{"kind":"open","content":"/a","content":"/b"}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/a","dwell":1,"dwell":1}`), nil},
		{Malformed, 400, `{"stream":"site","stream":"quiet","events":[{"kind":"open","content":"/a"}]}`, nil},
		{Malformed, 400, `{"stream":"site","events":[{"kind":"open","content":"/a"}],"events":[{"kind":"open","content":"/a"}]}`, nil},
		{Malformed, 400, event(`{"kind":"open","content":"/\ud83d"}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/\ude00"}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/\ud83d\ud83d\ude00"}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/\ud83dx\ude00"}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/\ud83d\n\ude00"}`), nil},
		{Malformed, 400, event("{\"kind\":\"open\",\"content\":\"/\xff\"}"), nil},
		{Malformed, 400, `{"stream":"site","page":"00000000000000ff","events":[{"kind":"open","content":"/a"}]}`, nil},
		{Malformed, 400, `{"stream":"site","page":"ff","first":0,"events":[{"kind":"open","content":"/a"}]}`, nil},
		{Malformed, 400, `{"stream":"site","page":"0000000000000000","first":0,"events":[{"kind":"open","content":"/a"}]}`, nil},
		{OutOfRange, 400, `{"stream":"site","page":"00000000000000ff","first":1001,"events":[{"kind":"open","content":"/a"}]}`, nil},
		{OutOfRange, 400, event(`{"kind":"open","content":""}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"` + strings.Repeat("x", 513) + `"}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/<script>alert(1)</script>"}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/a>"}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/\u003cb"}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/a\nb"}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/a\u009bb"}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/a","age":-1}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/a","age":86400001}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/a","dwell":16777216}`), nil},
		{OutOfRange, 400, event(`{"kind":"open","content":"/a","progress":101}`), nil},
		{Malformed, 400, event(`{"kind":"click","content":"/a","variant":0}`), nil},
		{OutOfRange, 400, event(`{"kind":"click","content":"/a","variant":256}`), nil},
		{Malformed, 400, event(`{"kind":"click","content":"/a","dwell":1}`), nil},
		{Malformed, 400, event(`{"kind":"click","content":"/a","progress":0}`), nil},
		{Malformed, 400, event(`{"kind":"open","content":"/a","variant":1}`), nil},
		{NoStream, 404, `{"stream":"other","events":[{"kind":"open","content":"/a"}]}`, nil},
		{Origin, 403, `{"stream":"news","events":[{"kind":"open","content":"/a"}]}`, []string{"Origin: https://evil.example"}},
		{Origin, 403, `{"stream":"news","events":[{"kind":"open","content":"/a"}]}`, []string{"Origin: null"}},
		{Bot, 403, open, []string{"User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1)"}},
		{Bot, 403, open, []string{"User-Agent: curl/8.5"}},
		{Preview, 403, open, []string{"Sec-Purpose: prefetch;prerender"}},
		{Preview, 403, open, []string{"Purpose: prefetch"}},
		{Preview, 403, open, []string{"User-Agent: facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"}},
		{Preview, 403, open, []string{"User-Agent: Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}},
	} {
		e := newTestEdge(t, nil)
		status, text, h := e.post(t, test.body, append([]string{"Origin: https://page.example"}, test.headers...)...)
		if status != test.status || !strings.HasPrefix(text, test.why.String()) {
			t.Errorf("%.80s %v: %d %q, want %d %s", test.body, test.headers, status, text, test.status, test.why)
		}
		if h.Get("Access-Control-Allow-Origin") == "" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%.80s: headers %v", test.body, h)
		}
		if n := e.http.things[test.why].Get(); n != 1 {
			t.Errorf("%.80s: %d counted as %s", test.body, n, test.why)
		}
		for name, q := range e.queues {
			if len(q.events) > 0 {
				t.Errorf("%.80s: %d events in the queue of %s", test.body, len(q.events), name)
			}
		}
	}
}

// What is refused is told with its reason, where there is more to say than the word.
func TestRefusalsAreTold(t *testing.T) {
	for body, want := range map[string]string{
		`{"stream":"site","page":"00000000000000ff","first":1001,"events":[{"kind":"open","content":"/a"}]}`: `outcome=out_of_range error="first 1001 is more than 1000 ahead of what the page numbered before, 0"`,
		`{"stream":"nowhere","events":[{"kind":"open","content":"/a"}]}`:                                     "outcome=no_stream",
	} {
		var log strings.Builder
		e := newTestEdge(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		_, text, _ := e.post(t, body)
		if !strings.HasSuffix(log.String(), want+"\n") {
			t.Errorf("%s: the log says %q, want %s", body, log.String(), want)
		}
		if _, why, _ := strings.Cut(want, "error="); !strings.Contains(text, strings.Trim(why, `"`)) {
			t.Errorf("%s: the answer is %q", body, text)
		}
	}
}

// The log says why the collector is away, each minute and not each second, and when it
// is there again.
func TestAwayIsTold(t *testing.T) {
	var log strings.Builder
	e := newTestEdge(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	told := func(of string) int { return strings.Count(log.String(), of) }
	const away, back = `level=WARN msg="no connection to the collector: events are taken, and wait on disk; it is tried again" stream=site error="nobody listens"`, `msg="the collector is there again" stream=site`
	for second := range 130 {
		if e.queues["site"].err = errors.New("nobody listens"); second >= 125 {
			e.queues["site"].err = nil
		}
		e.tick(e.now.Add(time.Duration(second) * time.Second))
	}
	if told(away) != 3 || told(back) != 1 || told("\n") != 4 {
		t.Errorf("told %d times, back %d times:\n%s", told(away), told(back), log.String())
	}
	for second := range 49 { // one that comes and goes
		if e.queues["site"].err = nil; second%2 == 0 {
			e.queues["site"].err = errors.New("nobody listens")
		}
		e.tick(e.now.Add(time.Duration(130+second) * time.Second))
	}
	if told("\n") != 4 {
		t.Errorf("one that comes and goes fills the log:\n%s", log.String())
	}
}

// Each rule refuses, counts in the shadow what it would refuse, or is off.
func TestRulesHaveModes(t *testing.T) {
	for _, rule := range []struct {
		why     Reason
		mode    func(*Rules) *Mode
		headers []string
	}{
		{Origin, func(r *Rules) *Mode { return &r.Origin }, []string{"Origin: https://evil.example"}},
		{Bot, func(r *Rules) *Mode { return &r.Bot }, []string{"User-Agent: curl/8.5"}},
		{Preview, func(r *Rules) *Mode { return &r.Preview }, []string{"Purpose: prefetch"}},
		{DataCenter, func(r *Rules) *Mode { return &r.DataCenter }, []string{"X-Forwarded-For: 198.51.100.9"}},
		{Budget, func(r *Rules) *Mode { return &r.Budget }, []string{"X-Forwarded-For: 203.0.113.9"}},
	} {
		for mode, status := range map[Mode]int{Refuse: answers[rule.why], Shadow: 204, Off: 204} {
			e := newTestEdge(t, func(o *Options) {
				o.Proxies, o.Rules.DataCenters = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
				o.BudgetRate, o.BudgetBurst = 1, 1
				*rule.mode(&o.Rules) = mode
			})
			body := `{"stream":"news","events":[{"kind":"open","content":"/a"}]}`
			if rule.why == Budget { // all of it is spent
				e.post(t, body, rule.headers...)
			}
			before := len(e.queues["news"].events)
			got, text, _ := e.post(t, body, rule.headers...)
			taken := len(e.queues["news"].events) - before
			if want := mode != Refuse; got != status || (taken == 1) != want {
				t.Errorf("%v, mode %d: %d %q, %d taken", rule.why, mode, got, text, taken)
			}
			if n := e.http.shadows[rule.why].Get(); (n == 1) != (mode == Shadow) {
				t.Errorf("%v, mode %d: %d in the shadow", rule.why, mode, n)
			}
		}
	}
}

// The images of docs/edge/HTTP.md are taken as they stand there.
func TestImagesOfDocs(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/edge/HTTP.md")
	if err != nil {
		t.Fatal(err)
	}
	e := newTestEdge(t, nil)
	for _, m := range regexp.MustCompile(`src="https://edge\.example(/v1/read\.gif[^"]*)"`).FindAllSubmatch(page, -1) {
		r, err := http.NewRequest("GET", e.url+string(m[1]), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("User-Agent", browser)
		if status, text, h := do(t, r); status != 200 || h.Get("Content-Type") != "image/gif" {
			t.Errorf("%s: %d %s", m[1], status, text)
		}
	}
	if got := fmt.Sprint(e.queues["site"].names); got != "[/letter/2026-11-29 CANONICAL_PATH]" {
		t.Errorf("read was %s", got)
	}
}

func TestFullQueueIsTriedAgain(t *testing.T) {
	e := newTestEdge(t, nil)
	e.queues["site"].room = 0
	status, _, h := e.post(t, open)
	if status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("%d %v", status, h)
	}
	e.queues["site"].room = -1
	if status, _, _ := e.post(t, open); status != 204 || len(e.queues["site"].events) != 1 {
		t.Errorf("%d, %d events", status, len(e.queues["site"].events))
	}
}

// Budgets are of networks: an address of IPv4, a /64 of IPv6, of which only the part
// that a trusted proxy wrote is believed.
func TestBudgets(t *testing.T) {
	e := newTestEdge(t, func(o *Options) {
		o.BudgetRate, o.BudgetBurst = 1, 3
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	send := func(forwarded string) int {
		status, _, _ := e.post(t, `{"stream":"site","events":[{"kind":"open","content":"/a"}]}`, "X-Forwarded-For: "+forwarded)
		return status
	}
	for i, forwarded := range []string{"1.2.3.4", "9.9.9.9, 1.2.3.4", "8.8.8.8,1.2.3.4 , 10.0.0.1"} {
		if status := send(forwarded); status != 204 {
			t.Fatalf("%d: %d", i, status)
		}
	}
	if status := send("7.7.7.7, 1.2.3.4"); status != 429 {
		t.Errorf("over its budget: %d", status)
	}
	if status := send("1.2.3.5"); status != 204 {
		t.Errorf("another address: %d", status)
	}
	for i := range 4 {
		want := 204
		if i == 3 {
			want = 429
		}
		if status := send(fmt.Sprintf("2001:db8::%d", i)); status != want {
			t.Errorf("%d of one /64: %d", i, status)
		}
	}
	e.now = e.now.Add(time.Second)
	if status := send("1.2.3.4"); status != 204 {
		t.Errorf("a second later: %d", status)
	}
}

func TestBudgetsAreBounded(t *testing.T) {
	b := newBudgets(1, 2)
	now := time.Unix(1_800_000_000, 0)
	for i := range 4 * budgetNetworks {
		a := netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
		b.spend(a, 1, now)
	}
	sum := 0
	for i := range b.parts {
		sum += len(b.parts[i].of)
	}
	if sum > budgetNetworks {
		t.Errorf("%d networks", sum)
	}
}

func TestIdentity(t *testing.T) {
	e := newTestEdge(t, func(o *Options) {
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	ids := map[string]uint64{}
	send := func(name, stream, address string, headers ...string) {
		t.Helper()
		body := `{"stream":"` + stream + `","user":"u1","events":[{"kind":"open","content":"/a"}]}`
		if status, text, _ := e.post(t, body, append(headers, "X-Forwarded-For: "+address)...); status != 204 {
			t.Fatalf("%s: %d %s", name, status, text)
		}
		q := e.queues[stream]
		ids[name] = q.events[len(q.events)-1].User
	}
	send("a", "news", "1.2.3.4")
	send("a again", "news", "1.2.3.4")
	send("b", "news", "1.2.3.5")
	send("a6", "news", "2001:db8::1")
	send("a6 again", "news", "2001:db8::2")
	send("other agent", "news", "1.2.3.4", "User-Agent: "+browser+" x")
	send("private", "news", "1.2.3.4", "Sec-GPC: 1")
	send("dnt", "site", "1.2.3.4", "DNT: 1")
	send("account", "site", "1.2.3.4")
	send("none", "quiet", "1.2.3.4")
	e.now = e.now.Add(24 * time.Hour)
	send("a tomorrow", "news", "1.2.3.4")
	salt := Salt{byte(e.now.Add(-24*time.Hour).Unix() / 86400), 1}
	mac := hmac.New(sha256.New, salt[:])
	for _, part := range []string{strings.Repeat("\x00", 10) + "\xff\xff\x01\x02\x03\x04", browser, "news"} {
		_ = binary.Write(mac, binary.LittleEndian, uint32(len(part)))
		_, _ = io.WriteString(mac, part)
	}
	if want := binary.LittleEndian.Uint64(mac.Sum(nil)); ids["a"] != want {
		t.Errorf("a is %x, want %x", ids["a"], want)
	}
	for _, same := range [][2]string{{"a", "a again"}, {"a6", "a6 again"}} {
		if ids[same[0]] != ids[same[1]] {
			t.Errorf("%v are two readers", same)
		}
	}
	for _, other := range []string{"b", "a6", "other agent", "a tomorrow"} {
		if ids["a"] == ids[other] || ids[other] == 0 {
			t.Errorf("%q is %x, and a is %x", other, ids[other], ids["a"])
		}
	}
	for _, nobody := range []string{"private", "dnt", "none"} {
		if ids[nobody] != 0 {
			t.Errorf("%q is somebody", nobody)
		}
	}
	if ids["account"] != emit.ID("u1") {
		t.Errorf("an account is %x", ids["account"])
	}
}

// A client that sends its header or its body drop by drop, or too much of them,
// keeps nobody else out, and nothing of it is counted.
func TestSlowAndHugeRequests(t *testing.T) {
	e := newTestEdge(t, nil)
	for range 50 {
		c, err := net.Dial("tcp", e.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/read HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"stream\":")
	}
	c, err := net.Dial("tcp", e.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go fmt.Fprintf(c, "POST /v1/read HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", 1<<20))
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of a mebibyte: %v, %v", answer, err)
	}
	if status, _, _ := e.post(t, open); status != 204 {
		t.Errorf("beside them: %d", status)
	}
	if n := len(e.queues["site"].events); n != 1 {
		t.Errorf("%d events", n)
	}
}

// Bodies by chance, out of good ones: each is taken or refused with a word, and
// what is taken is what a strict reader of the page would have.
func TestHostileBodies(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	e := newTestEdge(t, nil)
	taken := uint64(0)
	for range 1000 {
		body := []byte(`{"stream":"site","page":"00000000000000ff","first":0,"events":[{"kind":"open","content":"/a/story","age":1}]}`)
		for range 1 + rng.IntN(3) {
			switch i := rng.IntN(len(body)); rng.IntN(4) {
			case 0:
				body[i] = byte(rng.IntN(256))
			case 1:
				body = body[:i+1]
			case 2:
				body = append(body[:i:i], append([]byte(`99999999999999999999`), body[i:]...)...)
			case 3:
				body = append(body[:i:i], append(bytes.Repeat([]byte{'['}, rng.IntN(3000)), body[i:]...)...)
			}
		}
		status, text, _ := e.post(t, string(body))
		switch {
		case status == 204:
			taken++
		case status < 400 || status > 499 || text == "":
			t.Errorf("%.200q: %d %q", body, status, text)
		}
	}
	var counted uint64
	for r := range reasons {
		counted += e.http.things[r].Get()
	}
	if counted != 1000 || e.http.things[Taken].Get() != taken {
		t.Errorf("%d of 1000 are counted, %d as taken of %d", counted, e.http.things[Taken].Get(), taken)
	}
}

// What is no half of a character is taken as it is meant.
func TestEscapesInBodies(t *testing.T) {
	for text, want := range map[string]string{
		`/\ud83d\ude00`: "/😀", `/\\ud83d`: `/\ud83d`, `/\u0041\"\ud83d\ude00\ud83d\ude00`: `/A"😀😀`, `/\\\ud83d\ude00`: `/\😀`, `/😀`: "/😀",
	} {
		e := newTestEdge(t, nil)
		status, said, _ := e.post(t, `{"stream":"site","events":[{"kind":"open","content":"`+text+`"}]}`)
		if status != 204 || len(e.queues["site"].events) != 1 || e.queues["site"].events[0].Content != emit.ID(want) {
			t.Errorf("%s: %d %s, %v", text, status, said, e.queues["site"].events)
		}
	}
}

// A body that says it is larger than any is refused before anything of it is read.
func TestLargeBodyIsRefusedAtOnce(t *testing.T) {
	e := newTestEdge(t, nil)
	c, err := net.Dial("tcp", e.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/read HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\nContent-Length: 1000000000000000000\r\n\r\n", browser)
	_ = c.SetReadDeadline(time.Now().Add(bodyWait / 2))
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 413 || e.http.things[TooLarge].Get() != 1 {
		t.Errorf("%s, %d counted", answer.Status, e.http.things[TooLarge].Get())
	}
}

// A thousand hostile requests of each sort that pages are attacked with: each gets its
// reason, in the answer and in the count, and not one is a read. Connections that send
// their body for ever stand beside them.
func TestThousandHostileRequests(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	e := newTestEdge(t, func(o *Options) {
		o.Proxies, o.Rules.DataCenters = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	})
	spent := newTestEdge(t, func(o *Options) { o.BudgetRate, o.BudgetBurst = 1, 25 })
	for range 25 { // all that this address may
		if status, text, _ := spent.post(t, `{"stream":"quiet","events":[{"kind":"open","content":"/a"}]}`); status != 204 {
			t.Fatalf("%d %s", status, text)
		}
	}
	var slow [100]net.Conn
	for i := range slow {
		header := fmt.Sprintf("POST /v1/read HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\nContent-Length: %d\r\n\r\n{\"stream\":\"site\"", browser, 100+rng.IntN(8000))
		if i%4 == 0 {
			header = header[:1+rng.IntN(60)]
		}
		slow[i] = e.dial(t, header)
	}
	event := func(fields string) string {
		return `{"stream":"site","events":[{"kind":"open","content":"/a"` + fields + `}]}`
	}
	address := func() string {
		return fmt.Sprintf("%d.%d.%d.%d", 1+rng.IntN(223), rng.IntN(256), rng.IntN(256), rng.IntN(256))
	}
	number := func() string {
		return []string{"-1", "16777216", "4294967296", "9223372036854775807"}[rng.IntN(4)]
	}
	sorts := []struct {
		why  Reason
		make func() (body string, headers []string)
	}{
		{TooLarge, func() (string, []string) {
			return event(`,"x":"` + strings.Repeat("x", bodySizeMax+rng.IntN(100_000)) + `"`), nil
		}},
		{Origin, func() (string, []string) {
			return strings.Replace(event(""), "site", "news", 1), []string{"Origin: https://" + address() + ".example"}
		}},
		{Budget, func() (string, []string) { // whoever it says that it asks for
			return event(""), []string{"X-Forwarded-For: " + address() + ", " + address()}
		}},
		{Malformed, func() (string, []string) {
			return `{"stream":"site","events":[{"kind":"<script>alert(` + number() + `)</script>","content":"/a"}]}`, nil
		}},
		{OutOfRange, func() (string, []string) { // markup in a slug, of any length
			return `{"stream":"site","events":[{"kind":"open","content":"/` + address() + strings.Repeat("<script>alert(1)</script>", 1+rng.IntN(200)) + `"}]}`, nil
		}},
		{Malformed, func() (string, []string) {
			return `{"stream":"site","events":[{"kind":"open","content":"/` + string([]byte{0xC0 | byte(rng.IntN(64))}) + `"}]}`, nil
		}},
		{Malformed, func() (string, []string) { return event(`,"content":"/` + address() + `"`), nil }},
		{OutOfRange, func() (string, []string) { return event(`,"dwell":` + number()), nil }},
		{OutOfRange, func() (string, []string) { return event(fmt.Sprintf(`,"progress":%d`, 101+rng.IntN(1_000_000))), nil }},
		{NoStream, func() (string, []string) { return strings.Replace(event(""), "site", address(), 1), nil }},
		{Bot, func() (string, []string) { return event(""), []string{"User-Agent: python-requests/2." + address()} }},
		{Preview, func() (string, []string) { return event(""), []string{"Sec-Purpose: prefetch;prerender"} }},
		{Preview, func() (string, []string) { return event(""), []string{"User-Agent: WhatsApp/2." + address()} }},
		{DataCenter, func() (string, []string) {
			return event(""), []string{"X-Forwarded-For: " + address() + ", 198.51.100." + strconv.Itoa(rng.IntN(256))}
		}},
	}
	want := map[Reason]uint64{}
	for i := range 1000 {
		sort := sorts[i%len(sorts)]
		body, headers := sort.make()
		at := e
		if sort.why == Budget {
			at = spent
		}
		status, text, _ := at.post(t, body, headers...)
		if status != answers[sort.why] || !strings.HasPrefix(text, sort.why.String()) {
			t.Fatalf("%.100q %v: %d %.100q, want %s", body, headers, status, text, sort.why)
		}
		want[sort.why]++
	}
	for why, n := range want {
		if got := e.http.things[why].Get() + spent.http.things[why].Get(); got != n {
			t.Errorf("%d are counted as %s, want %d", got, why, n)
		}
	}
	for name, q := range e.queues {
		if len(q.events)+len(spent.queues["site"].events) > 0 {
			t.Errorf("%d events are in the queue of %s", len(q.events), name)
		}
	}
	t.Logf("%v", want)

	// The slow ones are ended, those whose header came with an answer.
	e.listener.sweep(time.Now().Add(bodyWait + time.Second))
	for i, c := range slow {
		text, err := io.ReadAll(c)
		if whole := i%4 > 0; err != nil || bytes.Contains(text, []byte(" 408 ")) != whole || bytes.HasSuffix(text, []byte("unfinished\n")) != whole {
			t.Errorf("slow connection %d is told %q, %v", i, text, err)
		}
	}
	if n := e.http.things[Unfinished].Get(); n != 100 {
		t.Errorf("%d of 100 slow requests are counted", n)
	}
}

// dial sends what begins a request.
func (e *testEdge) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", e.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}
