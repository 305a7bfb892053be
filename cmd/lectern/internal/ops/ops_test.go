package ops

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/collector"
)

// tame is a daemon of which a test says everything.
type tame struct {
	full   bool
	parked atomic.Int64
	worst  []collector.SourceState
	hangs  chan struct{} // WorstSources waits for it
	silent time.Duration
	gone   error
	flush  func(context.Context) error
}

func (d *tame) WorstSources(n int, _ string) []collector.SourceState {
	if d.hangs != nil {
		<-d.hangs
	}
	return d.worst[:min(n, len(d.worst))]
}

func (d *tame) SinceHeartbeat() time.Duration { return d.silent }
func (d *tame) Gone() error                   { return d.gone }
func (d *tame) Full() bool                    { return d.full }
func (d *tame) Unpark() int                   { return int(d.parked.Swap(0)) }

func (d *tame) Flush(ctx context.Context) error { return d.flush(ctx) }
func (d *tame) Number() uint64                  { return 0xabc }

// newServer is a Server for a daemon, without a listener.
func newServer(d Daemon, log io.Writer, hosts ...string) *Server {
	s := New(Options{
		Address: "127.0.0.1:0", Hosts: hosts, TokenFile: "testdata/token", ConnectionsMax: 4, Version: "v1",
		Metrics: metrics.NewSet(), Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	s.daemon = d
	return s
}

// listening is a Server on loopback, closed when the test ends.
func listening(t *testing.T, d Daemon, log io.Writer) *Server {
	t.Helper()
	s := newServer(d, log)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// bearer is what who may change something shows.
const bearer = "Bearer a-token-of-a-test-and-nothing-else"

// ask is the status and the text that a request gets.
func ask(s *Server, method, path string, header ...string) (int, string) {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "127.0.0.1:8421"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.server.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestProbes(t *testing.T) {
	d := new(tame)
	s := newServer(d, io.Discard)
	want := func(path string, code int, text string) {
		t.Helper()
		if got, said := ask(s, "GET", path); got != code || !strings.HasPrefix(said, text) {
			t.Errorf("%s: %d %q, want %d %q", path, got, said, code, text)
		}
	}
	want("/healthz", 200, "ok\n")
	want("/readyz", 200, "ok\n")
	d.full = true
	want("/readyz", 503, "full: ")
	d.full = false
	d.gone = errors.New("the directory was removed")
	want("/readyz", 503, "gone: the directory was removed\n")
	d.gone = nil
	d.silent = time.Hour
	want("/healthz", 503, "a loop hangs, for 1h0m0")
	want("/readyz", 200, "ok\n")
	s.NotReady("about to stop")
	want("/readyz", 503, "about to stop\n")
	want("/healthz", 503, "a loop hangs")
	s.Stopping()
	want("/readyz", 503, "stopping\n")
	want("/healthz", 200, "ok\n")
	want("/debug/pprof/", 404, "")
	if code, _ := ask(s, "GET", "/retry"); code != 405 {
		t.Errorf("GET /retry: %d", code)
	}
}

// A page of a stranger, under whatever name it stands, learns nothing and changes
// nothing.
func TestHostsAndOrigins(t *testing.T) {
	for _, c := range []struct {
		name, method, path string
		header             []string
		code               int
	}{
		{"curl", "POST", "/retry", nil, 200},
		{"curl by name", "POST", "/retry", []string{"Host", "localhost:8421"}, 200},
		{"an address of version 6", "GET", "/metrics", []string{"Host", "[::1]:8421"}, 200},
		{"the same without a port", "GET", "/metrics", []string{"Host", "[fe80::1]"}, 200},
		{"a name of ours", "GET", "/metrics", []string{"Host", "Lectern.Example:8421"}, 200},
		{"a name of ours that ends in a dot", "GET", "/sources", []string{"Host", "lectern.example."}, 200},
		{"a health check of HTTP/1.0", "GET", "/readyz", []string{"Host", ""}, 200},
		{"the same page", "POST", "/retry", []string{"Origin", "http://127.0.0.1:8421", "Sec-Fetch-Site", "same-origin"}, 200},
		{"another name", "GET", "/sources", []string{"Host", "evil.example"}, 421},
		{"another name, to write", "POST", "/retry", []string{"Host", "evil.example"}, 421},
		{"a name that begins as ours", "GET", "/metrics", []string{"Host", "lectern.example.evil.example"}, 421},
		{"a name that begins as localhost", "GET", "/metrics", []string{"Host", "localhost.evil.example"}, 421},
		{"a name that begins as an address", "GET", "/metrics", []string{"Host", "127.0.0.1.evil.example"}, 421},
		{"another page of the same name", "POST", "/retry", []string{"Host", "evil.example", "Origin", "http://evil.example"}, 421},
		{"another page", "POST", "/retry", []string{"Origin", "http://evil.example"}, 403},
		{"another page, says the browser", "POST", "/retry", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a page in a frame", "POST", "/retry", []string{"Origin", "null"}, 403},
	} {
		d := new(tame)
		d.parked.Store(3)
		s := newServer(d, io.Discard, "lectern.example")
		code, _ := ask(s, c.method, c.path, append(c.header, "Authorization", bearer)...)
		if tried := d.parked.Load() == 0; code != c.code || tried != (c.path == "/retry" && code == 200) {
			t.Errorf("%s: %d, want %d; tried again: %t", c.name, code, c.code, tried)
		}
	}
}

// Whoever does not show the token changes nothing, and where there is none nobody does.
func TestChangesNeedTheToken(t *testing.T) {
	d := new(tame)
	d.parked.Store(3)
	s := newServer(d, io.Discard)
	want := func(code int, header ...string) {
		t.Helper()
		if got, said := ask(s, "POST", "/retry", header...); got != code || code != 200 && d.parked.Load() != 3 {
			t.Errorf("%.60q: %d %q, want %d; parked are %d", header, got, said, code, d.parked.Load())
		}
	}
	want(401)
	want(401, "Authorization", "Bearer ")
	want(401, "Authorization", "Bearer a-token-of-a-test-and-nothing-els")
	want(401, "Authorization", bearer+" ")
	want(401, "Authorization", strings.TrimPrefix(bearer, "Bearer "))
	want(401, "Authorization", "Basic "+strings.TrimPrefix(bearer, "Bearer "))
	s.options.TokenFile = ""
	want(403, "Authorization", bearer)
	want(403, "Authorization", "Bearer ")
	other := filepath.Join(t.TempDir(), "token")
	s.options.TokenFile = other
	want(500, "Authorization", bearer)
	for _, bad := range []string{"", "\n", "too-short\n", strings.Repeat("x", 1<<15)} {
		if err := os.WriteFile(other, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		want(500, "Authorization", "Bearer "+strings.TrimSpace(bad))
		if err := s.Listen(); err == nil || !strings.Contains(err.Error(), "ops.token_file") {
			t.Errorf("a server with the token %.60q begins: %v", bad, err)
		}
	}
	if err := os.WriteFile(other, []byte("  another-one-of-thirty-two-bytes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(401, "Authorization", bearer)
	want(200, "Authorization", "Bearer another-one-of-thirty-two-bytes")
	if d.parked.Load() != 0 {
		t.Error("who shows the token changes nothing")
	}
	// While one is replaced both hold.
	if err := os.WriteFile(other, []byte("a-new-one-of-thirty-two-bytes\nanother-one-of-thirty-two-bytes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(200, "Authorization", "Bearer a-new-one-of-thirty-two-bytes")
	want(200, "Authorization", "Bearer another-one-of-thirty-two-bytes")
}

// Whoever asks for retries all the time does not fill the log.
func TestRetryIsLoggedWhereItDoesSomething(t *testing.T) {
	var log strings.Builder
	d := new(tame)
	d.parked.Store(2)
	s := newServer(d, &log)
	for _, want := range []string{"2 blocks are tried again\n", "0 blocks are tried again\n", "0 blocks are tried again\n"} {
		if _, said := ask(s, "POST", "/retry", "Authorization", bearer); said != want {
			t.Errorf("%q, want %q", said, want)
		}
	}
	if strings.Count(log.String(), "\n") != 1 {
		t.Errorf("the log says\n%s", log.String())
	}
}

// /sources names sources without their ids.
func TestSourcesDoNotTellIds(t *testing.T) {
	d := &tame{worst: []collector.SourceState{{Source: 0x1122334455667788, Stream: 7, Sent: 10, Lost: 3, LastSeen: 5}}}
	_, said := ask(newServer(d, io.Discard), "GET", "/sources?n=5&by=lost")
	// printf '\x88\x77\x66\x55\x44\x33\x22\x11' | sha256sum
	want := `[{"source":"NAME","stream":7,"sent":10,"lost":3,"duplicate":0,"stale":0,"reordered":0,"middle":false,"session":false,"last_seen_ms":5}]` + "\n"
	if want = strings.Replace(want, "NAME", "804d562d2247", 1); said != want {
		t.Errorf("\n got %s\nwant %s", said, want)
	}
	for _, query := range []string{"n=0", "n=1001", "n=x", "by=%0alevel=ERROR"} {
		if code, _ := ask(newServer(d, io.Discard), "GET", "/sources?"+query); code != 400 {
			t.Errorf("%s: %d", query, code)
		}
	}
	if _, said := ask(newServer(new(tame), io.Discard), "GET", "/sources"); said != "[]\n" {
		t.Errorf("no sources: %q", said)
	}
}

// scrape asks as Prometheus does, on a connection of its own.
func scrape(address string) error {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err == nil && !strings.Contains(string(page), "\nlectern_build_info{") {
		err = fmt.Errorf("%s: %s", answer.Status, page)
	}
	return err
}

// Strangers hold connections, idle, with half of a request, or without reading
// their answers: Prometheus is answered all the same, and no more connections are
// open than there may be.
func TestStrangersKeepNobodyOut(t *testing.T) {
	for _, c := range []struct {
		name, sends string
		reads       bool
	}{
		{"they say nothing", "", false},
		{"they send half of a request", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nA: ", false},
		{"they are idle behind an answer", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", true},
		{"they do not read", strings.Repeat("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 1000), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listening(t, nil, io.Discard)
			s.Start(new(tame))
			for i := range 12 * s.options.ConnectionsMax {
				k, err := net.Dial("tcp", s.Address())
				if err != nil {
					t.Fatal(err)
				}
				defer k.Close()
				_ = k.SetDeadline(time.Now().Add(30 * time.Second))
				go func() { _, _ = io.WriteString(k, c.sends) }()
				if c.reads {
					if _, err := bufio.NewReader(k).ReadString('\n'); err != nil {
						t.Fatalf("connection %d: %v", i, err)
					}
				}
				if i%s.options.ConnectionsMax == 0 {
					if err := scrape(s.Address()); err != nil {
						t.Errorf("with %d strangers: %v", i+1, err)
					}
				}
				if n := s.limits.count(); n > s.options.ConnectionsMax {
					t.Fatalf("%d connections are open, of at most %d", n, s.options.ConnectionsMax)
				}
			}
		})
	}
}

// The one that was idle for longest goes first, one that is being answered last.
func TestWhoIsEvicted(t *testing.T) { synctest.Test(t, testWhoIsEvicted) }

func testWhoIsEvicted(t *testing.T) {
	l := newLimits(3, metrics.NewSet().NewCounter("x"))
	come := func() *connection { a, _ := net.Pipe(); return l.take(a) }
	a, b, c := come(), come(), come()
	a.answering(true)
	a.answering(false) // after b and c
	d := come()        // b goes
	c.answering(true)
	e := come() // a goes: it was answered before d came
	d.answering(true)
	e.answering(true)
	f := come() // all are being answered: c for longest
	for i, k := range []*connection{a, b, c} {
		if !k.evicted {
			t.Errorf("connection %d was not evicted", i)
		}
	}
	for i, k := range []*connection{d, e, f} {
		if k.evicted || l.count() != 3 {
			t.Errorf("of the %d connections, %d was evicted", l.count(), 3+i)
		}
	}
	// As many as there may be are being closed, and the server is not done with
	// them: a new one waits until it is with one.
	came := make(chan *connection, 2)
	for range cap(came) {
		go func() { came <- come() }()
	}
	synctest.Wait()
	if len(came) != 0 {
		t.Error("a connection was taken beyond those that are being closed")
	}
	_ = b.Close()
	_ = b.Close() // the server may say it twice
	synctest.Wait()
	if len(came) != 1 || l.dying != 3 || l.count() != 3 {
		t.Errorf("%d were taken, %d are being closed, %d are open", len(came), l.dying, l.count())
	}
	_ = (<-came).Close() // one that was not evicted makes room as well
	synctest.Wait()
	if len(came) != 1 || l.count() != 3 {
		t.Errorf("%d were taken, %d are open", len(came), l.count())
	}
}

// A page that does not come to an end holds nobody up for more than a moment, and
// what asks again and again does not pile up behind it.
func TestPagesThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &tame{hangs: make(chan struct{})}
		s := newServer(d, io.Discard)
		for range rendersMax {
			go ask(s, "GET", "/sources")
		}
		synctest.Wait()
		began := time.Now()
		if code, _ := ask(s, "GET", "/metrics"); code != 503 || time.Since(began) != rendersWait {
			t.Errorf("%d after %v", code, time.Since(began))
		}
		if code, _ := ask(s, "GET", "/healthz"); code != 200 {
			t.Errorf("/healthz: %d", code)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		s.server.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "http://127.0.0.1/metrics", nil))
		if time.Since(began) != 0 {
			t.Errorf("one that has hung up waits for %v", time.Since(began))
		}
		close(d.hangs)
		synctest.Wait()
		if code, _ := ask(s, "GET", "/metrics"); code != 200 {
			t.Errorf("/metrics afterwards: %d", code)
		}
	})
}

// What clients can make net/http say is said once in a while.
func TestServerIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := newServer(new(tame), &log)
		for range 100 {
			s.server.ErrorLog.Print("http: Accept error: too many open files")
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines for a hundred errors", n)
		}
		time.Sleep(quietFor)
		s.server.ErrorLog.Print("http: again")
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), `msg="operations server: http: again"`) {
			t.Errorf("after a while:\n%s", log.String())
		}
	})
}

// Every metric of ours has a type and a meaning, those of docs/METRICS.md.
func TestMetadata(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `(lectern_[a-z_]+)[^|]*\\| ([^|]+) \\| (.+) \\|$").FindAllStringSubmatch(string(page), -1)
	var names []string
	for _, row := range rows {
		names = append(names, row[1])
		if text := help[row[1]]; text == "" || strings.ContainsAny(text, "`\n") || strings.Contains(text, "](") {
			t.Errorf("%s has the meaning %q", row[1], text)
		}
		if !slices.Contains([]string{"counter", "gauge", "histogram"}, row[2]) {
			t.Errorf("%s is a %q", row[1], row[2])
		}
	}
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(help)); len(got) < 50 || !slices.Equal(got, names) {
		t.Errorf("there are meanings for\n%v\nthe page has\n%v", got, names)
	}
	_, said := ask(newServer(new(tame), io.Discard), "GET", "/metrics")
	for _, want := range []string{
		"# HELP lectern_build_info " + help["lectern_build_info"] + "\n# TYPE lectern_build_info gauge\nlectern_build_info{",
		"# HELP lectern_ops_connections " + help["lectern_ops_connections"] + "\n# TYPE lectern_ops_connections gauge\nlectern_ops_connections 0\n",
		"\n# TYPE process_start_time_seconds gauge\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("/metrics lacks\n%s", want)
		}
	}
	if regexp.MustCompile(`(?m)^# HELP \S+ *$`).MatchString(said) {
		t.Error("/metrics has an empty meaning")
	}
}

// What others answer is behind the same door.
func TestHandlersAreBehindTheDoor(t *testing.T) {
	s := newServer(new(tame), io.Discard, "lectern.example")
	s.Handle(map[string]http.Handler{"GET /{$}": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a page") })})
	for host, want := range map[string]int{"127.0.0.1:8421": 200, "localhost": 200, "lectern.example": 200, "evil.example": 421, "127.0.0.1.evil.example": 421} {
		if code, said := ask(s, "GET", "/", "Host", host); code != want || (said == "a page\n") != (want == 200) {
			t.Errorf("asked as %s: %d %q, want %d", host, code, said, want)
		}
	}
	if code, _ := ask(s, "POST", "/"); code != 405 {
		t.Errorf("POST /: %d", code)
	}
	if code, _ := ask(s, "GET", "/else"); code != 404 {
		t.Errorf("GET /else: %d", code)
	}
}

// A flush is answered when the daemon is done with it, one at a time, and not for ever.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &tame{flush: func(context.Context) error { return nil }}
		s := newServer(d, io.Discard)
		want := func(code int, text string) {
			t.Helper()
			if got, said := ask(s, "POST", "/flush", "Authorization", bearer); got != code || said != text {
				t.Errorf("%d %q, want %d %q", got, said, code, text)
			}
		}
		want(200, `{"collector":"0000000000000abc"}`+"\n")
		d.flush = func(ctx context.Context) error {
			<-ctx.Done()
			return errors.New("3 blocks wait")
		}
		go want(503, "3 blocks wait\n")
		synctest.Wait()
		want(503, "busy: another flush is under way\n")
		began := time.Now()
		time.Sleep(flushMax)
		synctest.Wait()
		d.flush = func(context.Context) error { return nil }
		want(200, `{"collector":"0000000000000abc"}`+"\n")
		if took := time.Since(began); took > answerMax {
			t.Errorf("it took %v, and an answer may take %v", took, answerMax)
		}
		if code, _ := ask(s, "GET", "/flush"); code != 405 {
			t.Errorf("GET /flush: %d", code)
		}
		d.flush = func(context.Context) error { t.Error("without the token"); return nil }
		if code, _ := ask(s, "POST", "/flush"); code != 401 {
			t.Errorf("without the token: %d", code)
		}
	})
}
