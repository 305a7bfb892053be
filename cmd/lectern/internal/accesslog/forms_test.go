package accesslog

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
)

// What other programs write in front of a line changes nothing of it.
func TestPrefixes(t *testing.T) {
	for _, prefix := range []string{
		"web-1  | ", "web_2.x | ", "\x1b[36mweb-1  | \x1b[0m", "[pod/web-0/nginx] ", "2026-11-28T20:00:01.000000001Z ", "[pod/web-0/nginx] 2026-11-28T20:00:01Z ",
		"2026-11-28T20:00:01.000000001Z stdout F ", "2026-11-28T20:00:01.000000001+01:00 stderr F ", "web-1  | 2026-11-28T20:00:01.5Z ",
		"<190>Nov 28 20:00:01 host nginx: ", "<190>Nov  8 20:00:01 nginx: ", "Nov 28 20:00:01 host.example.org nginx[123]: ", "Nov 28 20:00:01 10.0.0.7 haproxy/a[1]: ",
		"2026-11-28T20:00:01.123456+00:00 host nginx[7]: ", "<190>1 2026-11-28T20:00:01.1Z host nginx 7 - - ", "<13>1 - - - - - - \xef\xbb\xbf",
		`<190>1 2026-11-28T20:00:01Z host nginx - ID47 [a@1 k="v]\" ] x"][b@1 k=""] `,
	} {
		want, _ := parse(t, Auto, good)
		for _, format := range []Format{Auto, Combined} {
			if got, why := parse(t, format, prefix+good); why != Read || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%v: behind %q: %v, %+v, want %+v", format, prefix, why, got, want)
			}
		}
	}
	docker := `{"log":"` + strings.ReplaceAll(good, `"`, `\"`) + `\n","stream":"stdout","time":"2026-11-28T20:00:01.1Z"}`
	if got, why := parse(t, Auto, docker); why != Read || string(got.Client) != "83.149.9.216" || string(got.Target) != "/a/b.png?x=1" {
		t.Errorf("Docker's file: %v, %+v", why, got)
	}
}

// Each format takes its own, and refuses what it would read wrongly.
func TestFormats(t *testing.T) {
	common := good[:strings.Index(good, " \"http")]
	vhost, object := "www.example.org:443 "+good, `{"time":"2026-11-28T20:00:01Z","client":"h","request":"GET / HTTP/1.1","status":200}`
	for _, test := range []struct {
		format Format
		line   string
		want   Reason
	}{
		{Common, common, Read}, {Common, good, Read}, {Common, vhost, BadHead}, {Common, object, BadTime},
		{Combined, common, NoAgent}, {Combined, good, Read}, {Combined, vhost, BadHead}, {Combined, object, BadTime},
		{VhostCombined, common, BadHead}, {VhostCombined, good, BadHead}, {VhostCombined, vhost, Read}, {VhostCombined, "www.example.org " + good, Read},
		{VhostCombined, "192.0.2.1 " + good, Read}, {VhostCombined, "[2001:db8::1]:443 " + good, Read}, {VhostCombined, "www.example.org:443 " + common, NoAgent},
		{JSON, common, NotJSON}, {JSON, good, NotJSON}, {JSON, vhost, NotJSON}, {JSON, object, Read},
		{Auto, common, Read}, {Auto, good, Read}, {Auto, vhost, Read}, {Auto, object, Read}, {Auto, "192.0.2.1:443 " + good, Read}, {Auto, "[2001:db8::1]:443 " + good, Read},
		{Auto, "", Empty}, {Auto, "# Fields", Comment}, {JSON, "{}", NoTime}, {JSON, "{", BadJSON}, {JSON, "{} {}", BadJSON},
		{JSON, strings.Replace(object, "client", "c", 1), NoClient}, {JSON, strings.Replace(object, `"h"`, `"a b"`, 1), NoClient},
		{JSON, strings.Replace(object, "request", "r", 1), NoRequest}, {JSON, strings.Replace(object, "200", "20", 1), NoStatus},
	} {
		got, why := parse(t, test.format, test.line)
		if why != test.want {
			t.Errorf("%v: %q: the line %v, want %v", test.format, test.line, why, test.want)
		}
		if why == Read && test.line != object && string(got.Client) != "83.149.9.216" {
			t.Errorf("%v: %q: the client is %q", test.format, test.line, got.Client)
		}
	}
	for i := range 5 {
		if f, err := ParseFormat(Format(i).String()); err != nil || f != Format(i) {
			t.Errorf("%v: %v, %v", Format(i), f, err)
		}
	}
	if _, err := ParseFormat("clf"); err == nil {
		t.Error("clf is a format")
	}
}

func TestJSON(t *testing.T) {
	const ms = 1792267201123 // date -u -d '2026-10-17T20:00:01.123Z' +%s%3N
	for name, test := range map[string]struct {
		line   string
		fields map[string]string
		time   int64
	}{
		"nginx":            {`{"time":"2026-10-17T22:00:01+02:00","remote_addr":"192.0.2.10","request":"GET /a?x HTTP/1.1","status":200,"http_user_agent":"UA"}`, nil, ms - 123},
		"nginx, variables": {`{"msec":"1792267201.123","remote_addr":"192.0.2.10","request_method":"GET","request_uri":"/a?x","uri":"/b","status":"200","http_user_agent":"UA"}`, nil, ms},
		"nginx, local":     {`{"time_local":"17/Oct/2026:20:00:01.123 +0000","remote_addr":"192.0.2.10","request":"GET /a?x HTTP/1.1","status":"200","http_user_agent":"UA"}`, nil, ms},
		"Caddy": {`{"level":"info","ts":1792267201.1234567,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.1","remote_port":"41342","client_ip":"192.0.2.10",` +
			`"proto":"HTTP/2.0","method":"GET","host":"localhost","uri":"/a?x","headers":{"User-Agent":["UA"],"Accept":["*/*"]}},"bytes_read":0,"user_id":"","duration":0.0009,"size":10900,"status":200}`, nil, ms},
		"Traefik": {`{"ClientAddr":"192.0.2.10:33542","ClientHost":"192.0.2.10","ClientPort":"33542","ClientUsername":"-","DownstreamStatus":200,"Duration":1,"OriginStatus":200,` +
			`"RequestMethod":"GET","RequestPath":"/a?x","RequestProtocol":"HTTP/1.1","StartUTC":"2026-10-17T20:00:01.123456789Z","level":"info","msg":"","request_User-Agent":"UA","time":"2026-10-17T20:00:01.123Z"}`, nil, ms},
		"Envoy, Istio": {`{"start_time":"2026-10-17T20:00:01.123Z","method":"GET","path":"/a?x","protocol":"HTTP/1.1","response_code":200,"downstream_remote_address":"192.0.2.10:5012","user_agent":"UA","x_forwarded_for":null}`, nil, ms},
		"Envoy":        {`{"start_time":"2026-10-17T20:00:01.123Z","method":"GET","x-envoy-original-path":"/a?x","path":"/b","response_code":200,"downstream_remote_address":"192.0.2.10:5012","user-agent":"UA"}`, nil, ms},
		"named": {`{"time":"bad","t":{"at":1792267201123},"who":"192.0.2.10","what":{"m":"GET","url":"/a?x"},"code":200,"ua":["UA"]}`, map[string]string{
			"time": "t.at", "client": "who", "method": "what.m", "target": "what.url", "status": "code", "agent": "ua"}, ms},
		"escaped": {`{"ts":1792267201.123,"remote_addr":"192.0.2.10","request":"GET \/\u0061?x HTTP/1.1","status":200,"agent":"UA"}`, nil, ms},
	} {
		p, err := NewParser(Auto, test.fields)
		if err != nil {
			t.Fatal(err)
		}
		l, why := p.Parse([]byte(test.line))
		client := (&Clients{}).Of(&l)
		if why != Read || l.Time != test.time || string(client) != "192.0.2.10" || string(l.Method) != "GET" || string(l.Target) != "/a?x" || l.Status != 200 || string(l.Agent) != "UA" || l.Forwarded != nil {
			t.Errorf("%s: %v, %+v of %s, target %s, agent %s", name, why, l, client, l.Target, l.Agent)
		}
	}
	for text, want := range map[string]float64{
		"": 1, `,"sample_interval":10`: 10, `,"sample_rate":0.25`: 4, `,"SampleInterval":"1"`: 1, `,"sample_rate":2.5`: 2.5,
		`,"sample_rate":0`: 0, `,"sample_rate":-1`: 0, `,"sample_rate":"all"`: 0, `,"sample_interval":65537`: 0, `,"sample_rate":"NaN"`: 0, `,"sample_rate":1e-9`: 0,
	} {
		l, why := parse(t, Auto, `{"EdgeStartTimestamp":1792267201123000000,"ClientIP":"192.0.2.10","ClientRequestMethod":"GET","ClientRequestURI":"/a","EdgeResponseStatus":200`+text+`}`)
		if (why == Read) != (want > 0) || want == 0 && why != BadSampled || want > 0 && (l.OneOf != want || l.Time != ms) {
			t.Errorf("%s: %v, one of %v, %d", text, why, l.OneOf, l.Time)
		}
	}
	for _, named := range []map[string]string{{"clock": "x"}, {"time": ""}} {
		if _, err := NewParser(Auto, named); err == nil {
			t.Errorf("%v is taken", named)
		}
	}
}

// Proxies are counted from the right.
func TestClients(t *testing.T) {
	const peer = `10.9.9.9 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1 "-" "UA"`
	far := strings.Replace(peer, "10.9.9.9", "203.0.113.7", 1)
	for _, test := range []struct {
		from ClientFrom
		line string
		want string
	}{
		{FromFront, "192.0.2.10, 10.0.0.1 " + peer, "192.0.2.10"},
		{FromFront, "192.0.2.10,10.0.0.1 " + peer, "192.0.2.10"},
		{FromFront, "192.0.2.10 " + peer, "192.0.2.10"},
		{FromFront, "- " + peer, "10.9.9.9"},
		{FromFront, "6.6.6.6, 192.0.2.10, 10.0.0.1 " + peer, "192.0.2.10"}, // the first one the client made up
		{FromFront, "unknown, 192.0.2.10, 10.0.0.1 " + peer, "192.0.2.10"},
		{FromFront, "10.1.1.1, 10.0.0.1 " + peer, "10.1.1.1"}, // all are trusted: the one farthest away
		{FromFront, "unknown, 10.0.0.1 " + peer, "10.0.0.1"},
		{FromFront, "192.0.2.10 " + far, "203.0.113.7"}, // not trusted to say so
		{FromFront, strings.Replace(peer, "10.9.9.9", "192.0.2.10, 10.0.0.1", 1), "192.0.2.10"},
		{FromFront, peer + ` "192.0.2.10"`, "10.9.9.9"},
		{FromPeer, "192.0.2.10, 10.0.0.1 " + peer, "10.9.9.9"},
		{FromForwarded, peer + ` "192.0.2.10"`, "192.0.2.10"},
		{FromForwarded, peer + ` "192.0.2.10:5012, [2001:db8::1]:80"`, "2001:db8::1"},
		{FromForwarded, peer + ` "-"`, "10.9.9.9"},
		{FromForwarded, peer + ` 0.003 "192.0.2.99" [default-svc-80] 10.1.1.1:8080`, "192.0.2.99"},
		{FromForwarded, strings.Replace(peer, "10.9.9.9", "unix:", 1) + ` "192.0.2.10"`, "192.0.2.10"},
		{FromForwarded, `{"ts":1,"remote_addr":"10.9.9.9","request":"GET /a","status":200,"http_x_forwarded_for":"6.6.6.6, 192.0.2.10, 10.0.0.1"}`, "192.0.2.10"},
		{FromForwarded, `{"ts":1,"request":{"remote_ip":"10.9.9.9","method":"GET","uri":"/a","headers":{"X-Forwarded-For":["192.0.2.10, 10.0.0.1"]}},"status":200}`, "192.0.2.10"},
		// One address has one form.
		{FromFront, strings.Replace(peer, "10.9.9.9", "2001:DB8:0:0:0:0:0:5", 1), "2001:db8::5"},
		{FromFront, strings.Replace(peer, "10.9.9.9", "::ffff:192.0.2.10", 1), "192.0.2.10"},
		{FromFront, strings.Replace(peer, "10.9.9.9", "192.0.2.10:5012", 1), "192.0.2.10"},
		{FromFront, strings.Replace(peer, "10.9.9.9", "fe80::a00:27ff:fe4e:66a1%eth0", 1), "fe80::a00:27ff:fe4e:66a1%eth0"},
		{FromFront, strings.Replace(peer, "10.9.9.9", "dialup-7.example.org", 1), "dialup-7.example.org"},
		{FromFront, strings.Replace(peer, "10.9.9.9", "unix:", 1), "unix:"},
	} {
		l, why := parse(t, Auto, test.line)
		c := Clients{From: test.from, Trusted: TrustedDefault}
		if got := string(c.Of(&l)); why != Read || got != test.want {
			t.Errorf("%s\n%v, the client is %q, want %q", test.line, why, got, test.want)
		}
	}
	l, _ := parse(t, Auto, "192.0.2.10 "+far)
	c := Clients{Trusted: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	if got := string(c.Of(&l)); got != "192.0.2.10" {
		t.Errorf("behind a proxy that is named as trusted: %q", got)
	}
}

func TestTargets(t *testing.T) {
	for _, test := range []struct{ target, want, query string }{
		{"/", "/", "/"}, {"/a?", "/a", "/a"}, {"/a?b?c", "/a", "/a?b?c"}, {"/?q", "/", "/?q"}, {"?", "/", "/"},
		{"/a?x=1", "/a", "/a?x=1"}, {"http://www.example.org/a?x=1", "/a", "/a?x=1"}, {"HTTPS://h:443", "/", "/"}, {"/a#top", "/a", "/a"},
		{"/%61", "/a", "/a"}, {"/a%3Fb", "/a%3Fb", "/a%3Fb"}, {"/a%3fb", "/a%3Fb", "/a%3Fb"}, {"/%7Euser", "/~user", "/~user"}, {"/%", "/%", "/%"}, {"/%zz%4", "/%zz%4", "/%zz%4"},
		{"/\xc3\xa9", "/%C3%A9", "/%C3%A9"}, {`/\xC3\xa9`, "/%C3%A9", "/%C3%A9"}, {`/q\x22uote`, "/q%22uote", "/q%22uote"}, {`/q\"uote`, "/q%22uote", "/q%22uote"}, {"/a b", "/a%20b", "/a%20b"},
		{"/a;jsessionid=1A2B", "/a", "/a"}, {"/a;JSESSIONID=1A2B/b;v=1?x", "/a/b;v=1", "/a/b;v=1?x"}, {"/a/", "/a/", "/a/"},
		{"/a/./b/../c", "/a/c", "/a/c"}, {"/a/%2e%2E/c", "/c", "/c"}, {"/../..", "/", "/"}, {"/a/.", "/a/", "/a/"}, {"/a/..", "/", "/"}, {"/.well-known/..x", "/.well-known/..x", "/.well-known/..x"},
		{"/a?x=%7e%2f é", "/a", "/a?x=~%2F%20%C3%A9"}, {"*", "*", "*"}, {"//a", "//a", "//a"},
	} {
		l := Line{Target: []byte(test.target), Escaped: true}
		content, path := new(Targets).Of(&l)
		if string(content) != test.want || string(path) != test.want {
			t.Errorf("%q is %q, of %q, want %q", test.target, content, path, test.want)
		}
		content, path = (&Targets{KeepQuery: true}).Of(&l)
		if string(content) != test.query || string(path) != test.want {
			t.Errorf("%q with its query is %q, of %q, want %q", test.target, content, path, test.query)
		}
		// The standard library reads the same path.
		if u, err := url.Parse(test.target); err == nil && !strings.Contains(u.Path, ".") && !strings.Contains(strings.ToLower(test.target), "jsession") && !strings.Contains(test.target, `\`) && u.Path != "" {
			if v, err := url.Parse(test.want); err != nil || u.Path != v.Path {
				t.Errorf("%q is the path %q, and %q is %q", test.target, u.Path, test.want, v.Path)
			}
		}
	}
	trim := Targets{TrimSlash: true}
	for target, want := range map[string]string{"/a/": "/a", "/": "/", "/a/?x": "/a", "/a": "/a"} {
		if got, _ := trim.Of(&Line{Target: []byte(target)}); string(got) != want {
			t.Errorf("trimmed, %q is %q", target, got)
		}
	}
	if got, _ := new(Targets).Of(&Line{Target: []byte(`/a\x22`)}); string(got) != "/a%5Cx22" {
		t.Errorf("of JSON: %q", got)
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, path string
		want          bool
	}{
		{"/a", "/a", true}, {"/a", "/ab", false}, {"/a*", "/ab", true}, {"/a*", "/a", true}, {"*.css", "/x/y.css", true}, {"*.css", "/x.css/y", false},
		{"/x/*/y", "/x/a/b/y", true}, {"/x/*/y", "/x/y", false}, {"*", "", true}, {"", "", true}, {"", "/", false}, {"**a*", "bab", true}, {"*ab*ab", "abab", true}, {"*ab*ab", "ab", false},
	} {
		if Match(test.pattern, []byte(test.path)) != test.want {
			t.Errorf("%q matches %q: not %v", test.pattern, test.path, test.want)
		}
	}
	p := Paths{Only: []string{"/a/*", "/b"}, Skip: []string{"*.css"}}
	for path, want := range map[string]bool{"/a/x": true, "/b": true, "/c": false, "/a/x.css": false} {
		if p.Wants([]byte(path)) != want {
			t.Errorf("%s: not %v", path, want)
		}
	}
}

func TestBots(t *testing.T) {
	for agent, want := range map[string]bool{
		"": true, "-": true, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": true, "kube-probe/1.33": true, "curl/8.5.0": true, "Go-http-client/2.0": true,
		"facebookexternalhit/1.1": true, "Mediapartners-Google": true, "ELB-HealthChecker/2.0": true, "Feedly/1.0": true, "GPTBot/1.2": true, "python-requests/2.32": true,
		"Mozilla/5.0": false, "Mozilla/5.0 (Linux; Android 13; CUBOT P80) Chrome/131.0": false, "Mozilla/5.0 (CUBOT) Googlebot": true,
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36":                         false,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1": false,
		"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0":                                                          false,
	} {
		if IsBot([]byte(agent)) != want {
			t.Errorf("%q: not %v", agent, want)
		}
	}
}

// Every word of bots.txt is found wherever it stands in an agent, in any case, and what
// makes previews is told from what reads for nobody.
func TestEachBotIsFound(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	words := map[string]Program{"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": Browser}
	for line := range strings.Lines(botsText) {
		switch word := strings.TrimSpace(line); {
		case word == "" || word[0] == '#' || word[0] == '!':
		case word[0] == '>':
			words[word[1:]] = Expander
		default:
			words[word] = Bot
		}
	}
	if len(words) < 100 {
		t.Fatalf("%d words", len(words))
	}
	const agent = "Mozilla/5.0 (X11; U; en-US) "
	for word, want := range words {
		mixed := []byte(word)
		for i := range mixed {
			if rng.IntN(2) == 0 {
				mixed[i] = bytes.ToUpper(mixed[i : i+1])[0]
			}
		}
		at := rng.IntN(len(agent) + 1)
		if is := ProgramOf([]byte(agent[:at] + string(mixed) + agent[at:])); is != want {
			t.Errorf("%s in an agent: %v, want %v", word, is, want)
		}
	}
	if is := ProgramOf([]byte("Twitterbot/1.0 facebookexternalhit/1.1 crawler")); is != Expander {
		t.Errorf("what is both: %v", is)
	}
}

func TestDownloads(t *testing.T) {
	var d Downloads
	for i, test := range []struct {
		content, user uint64
		status        int
		at            int64
		want          bool
	}{
		{1, 1, 206, 1000, false}, {1, 1, 206, 2000, true}, {1, 2, 206, 2000, false}, {2, 1, 206, 2000, false},
		{1, 1, 206, 1500, true},                   // out of order
		{1, 1, 206, 2000 + downloadSilence, true}, // each part goes on for as long again
		{1, 1, 206, 2001 + 2*downloadSilence, false},
		{1, 1, 200, 2002 + 2*downloadSilence, false}, // the whole is a new one
		{1, 1, 206, 2003 + 2*downloadSilence, true},
		{3, 1, 304, 5000, false}, {3, 1, 206, 5001, false},
	} {
		if got := d.Further(test.content, test.user, test.status, test.at); got != test.want {
			t.Errorf("line %d: %v", i, got)
		}
	}
	for i := range uint64(10 * downloadsMax) {
		d.Further(i, 1, 206, 0)
	}
	if n := len(d.now) + len(d.before); n > 2*downloadsMax {
		t.Errorf("%d downloads are remembered", n)
	}
}

// What can be read of a compressed log that was cut off is read: as many lines as
// the standard library unpacks, but for one that is not whole.
func TestReaderOfCutOffGzip(t *testing.T) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "line %d of a log\n", i*7919)
	}
	all := zipped(text.String())
	for _, size := range []int{20, 1000, 5000, len(all) / 2, len(all) - 9, len(all) - 1} {
		got, err := lines(t, strings.NewReader(all[:size]))
		z, _ := gzip.NewReader(strings.NewReader(all[:size]))
		var unpacked bytes.Buffer
		_, _ = unpacked.ReadFrom(z)
		least := strings.Count(unpacked.String(), "\n")
		if err == nil || len(got) != least || !strings.HasPrefix(text.String(), strings.Join(got, "\n")) {
			t.Errorf("%d of %d bytes: %d lines, at least %d; %v", size, len(all), len(got), least, err)
		}
	}
}

func TestReaderOfALogThatGrows(t *testing.T) {
	path := t.TempDir() + "/log"
	w, _ := os.Create(path)
	f, _ := os.Open(path)
	defer f.Close()
	r := NewPlainReader(f, 0)
	for i, step := range []struct{ write, want string }{{"a\nb", "a"}, {"", ""}, {"c", ""}, {"\n", "bc"}, {"\n", ""}} {
		_, _ = w.WriteString(step.write)
		line, err := r.Next()
		if string(line) != step.want || (err == nil) != (step.want != "" || i == 4) {
			t.Errorf("step %d: %q, %v", i, line, err)
		}
	}
	if r.Offset() != 6 {
		t.Errorf("the offset is %d", r.Offset())
	}
	_ = w.Close()
}
