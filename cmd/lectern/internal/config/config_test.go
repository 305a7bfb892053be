package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

const shipped = "../../../../config.toml"

func TestShippedFileIsTheDefaults(t *testing.T) {
	got, problems := Load(shipped, true, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := Defaults()
	want.File = shipped
	if !reflect.DeepEqual(got, want) {
		t.Errorf("config.toml says\n%+v, the defaults are\n%+v", got, want)
	}
}

// Every key stands in config.toml, in the order of the table of settings, and
// has a comment of its own right above it.
func TestShippedFileDocumentsEveryKey(t *testing.T) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	var any map[string]any
	meta, err := toml.Decode(string(text), &any)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, key := range meta.Keys() {
		if len(key) == 2 {
			got = append(got, key.String())
		}
	}
	c := Defaults()
	for _, s := range c.Settings() {
		want = append(want, s.Key)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("config.toml has\n%v, the keys are\n%v", got, want)
	}
	before := ""
	for i, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, " = ") && !strings.HasPrefix(line, "#") && !strings.HasPrefix(before, "# ") {
			t.Errorf("config.toml:%d: %s has no comment above it", i+1, line)
		}
		if len(line) > 82 {
			t.Errorf("config.toml:%d is %d characters long", i+1, len(line))
		}
		before = line
	}
}

// Settings are written as the file has them, whatever they are.
func TestSettingsCanBeReadBack(t *testing.T) {
	text := ""
	c := everythingElse(t)
	for _, s := range c.Settings() {
		text += fmt.Sprintf("%s = %s\n", s.Key, s.Value)
	}
	path := write(t, text)
	got, problems := Load(path, true, nil)
	c.File, got.File = "", ""
	if len(problems) > 0 || !reflect.DeepEqual(got, c) {
		t.Errorf("%v\n%s\ngave %+v", problems, text, got)
	}
}

const otherwise = `
[listen]
address = "[::]:9000"
share_port = true
loops = 3
receive_buffer = 123457
audience = "eu.1"
[tls]
address = ":9443"
certificate = "/etc/tls/tls.crt"
key = "/etc/tls/tls.key"
client_ca = "/etc/tls/ca.crt"
connections_max = 99
[ops]
address = ":9001"
allowed_hosts = "lectern,a.example"
token_file = "ops-token"
peers = "dns:lectern-ops:8421"
[stop]
drain_time = "10s"
unready_time = "8s"
grace = "55s"
[window]
ack_interval = "250ms"
flush_interval = "1m30s"
settle = "7s"
late_max = "0s"
future_max = "1h"
days_max = 4000
[limits]
keys_max = 262_144
sources_max = 7
address_sources_max = 6
source_idle_max = "90m"
session_idle_max = "26h"
connections_max = 8
connection_idle_max = "0s"
credit_max = "1MiB"
rows_waiting_max = 3_000_000
names_a_minute = 5000
names_memory = "2MiB"
[now]
readers_max = 0
contents_max = 5000
[streams]
unknown = "refuse"
unknown_share = 20
unknown_keys_max = 1000
unknown_rate_max = 2000
unknown_users = "none"
salt_file = "/etc/salt"
[stream.news-eu]
number = 65534
secret = "/etc/keys/news"
seal = "require"
share = 30
keys_max = 100
rate_max = 1_000_000_000
users = "daily"
clients = "edge,spiffe://a/b"
readers = "none"
origins = "https://a.example,http://b.example:8080"
key_file = "/etc/edge-key"
[stream.a]
number = 0
[spool]
dir = "/srv/spool"
share = true
size_max = "2GiB"
[storage]
driver = "clickhouse"
[parquet]
dir = '/srv/"reads"'
merge_interval = "1h0m1s"
[clickhouse]
address = "a:9000,[::1]:9001"
database = "reading"
user = "lectern"
password = "(hidden)"
password_file = ""
compression = "zstd"
tls = "on"
tls_ca = "/etc/ca.pem"
answer_max = "90s"
retention = "0s"
[edge]
address = ":8500"
demo = true
relay = "/run/relay"
syslog = "udp://:5140,unix:///run/log"
syslog_stream = "a"
syslog_format = "json"
syslog_skip = "*.x"
logs_token_file = "/etc/tokens"
logs_fields = "time=at,client=ip"
logs_skip = "*.y"
fastly_services = "s1,s2"
connections_max = 300
ops_address = ":8501"
collector = "tls://lectern:8420"
tls_ca = "/etc/ca"
tls_cert = "/etc/cert"
tls_key = "/etc/key"
audience = "node-1"
dir = "/srv/edge"
queue_size = "1GiB"
trusted_proxies = "10.0.0.0/8,::1"
pages_max = 100
page_idle_max = "1h"
budget_rate = 5
budget_burst = 50
origins = "off"
bots = "shadow"
previews = "off"
data_centers = "shadow"
budgets = "off"
data_center_file = "/etc/clouds"
[log]
level = "debug"
format = "json"
`

// everythingElse has every key at something else than its default.
func everythingElse(t *testing.T) Config {
	t.Helper()
	c, problems := Load(write(t, otherwise), true, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return c
}

func TestLoad(t *testing.T) {
	got := everythingElse(t)
	got.File = ""
	want := Config{
		Listen:  Listen{"[::]:9000", true, 3, 123457, "eu.1"},
		TLS:     TLS{":9443", "/etc/tls/tls.crt", "/etc/tls/tls.key", "/etc/tls/ca.crt", 99},
		Ops:     Ops{":9001", "lectern,a.example", "ops-token", "dns:lectern-ops:8421"},
		Stop:    Stop{10 * time.Second, 8 * time.Second, 55 * time.Second},
		Window:  Window{250 * time.Millisecond, 90 * time.Second, 7 * time.Second, 0, time.Hour, 4000},
		Limits:  Limits{262144, 7, 6, 90 * time.Minute, 26 * time.Hour, 8, 0, 1 << 20, 3_000_000, 5000, 2 << 20},
		Now:     Now{0, 5000},
		Streams: Streams{"refuse", 20, 1000, 2000, "none", "/etc/salt"},
		Named: []Stream{
			{"a", 0, "", "off", 1, 0, 0, "stored", "", "account", "", ""},
			{"news-eu", 65534, "/etc/keys/news", "require", 30, 100, 1_000_000_000, "daily", "edge,spiffe://a/b", "none", "https://a.example,http://b.example:8080", "/etc/edge-key"},
		},
		Spool:   Spool{"/srv/spool", true, 2 << 30},
		Storage: Storage{"clickhouse"},
		Parquet: Parquet{`/srv/"reads"`, time.Hour + time.Second},
		ClickHouse: ClickHouse{
			Address: "a:9000,[::1]:9001", Database: "reading", User: "lectern", Password: "(hidden)",
			Compression: "zstd", TLS: "on", TLSCA: "/etc/ca.pem", AnswerMax: 90 * time.Second,
		},
		Edge: Edge{
			":8500", true, "/run/relay", "udp://:5140,unix:///run/log", "a", "json", "*.x", "/etc/tokens", "time=at,client=ip", "*.y", "s1,s2", 300, ":8501", "tls://lectern:8420", "/etc/ca", "/etc/cert", "/etc/key", "node-1", "/srv/edge", 1 << 30, "10.0.0.0/8,::1", 100, time.Hour, 5, 50,
			"off", "shadow", "off", "shadow", "off", "/etc/clouds",
		},
		Log: Log{-4, "json"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lectern.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadFindsTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct {
		path     string
		explicit bool
		want     string
	}{
		{"", false, "[]"},
		{"other.toml", false, "[]"},
		{"other.toml", true, "[other.toml: cannot read the configuration: no such file or directory]"},
		{"", true, "[cannot read the configuration: the path is empty]"},
		{".", true, "[.: cannot read the configuration: is a directory]"},
	} {
		c, problems := Load(test.path, test.explicit, nil)
		if got := fmt.Sprint(problems); got != test.want {
			t.Errorf("%q, explicit %t: %s, want %s", test.path, test.explicit, got, test.want)
		}
		if c.File = ""; !reflect.DeepEqual(c, Defaults()) {
			t.Errorf("%q, explicit %t: not the defaults: %+v", test.path, test.explicit, c)
		}
	}
	if err := os.WriteFile("config.toml", []byte("listen.loops = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := Load("", false, nil)
	if c.Listen.Loops != 5 || c.File != "config.toml" || problems != nil {
		t.Errorf("./config.toml: %+v, %v", c, problems)
	}
	if err := os.WriteFile("config.toml", []byte(strings.Repeat("#\n", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, problems := Load("", false, nil); fmt.Sprint(problems) != "[config.toml: cannot read the configuration: it is larger than 1MiB]" {
		t.Error(problems)
	}
}

func TestProblems(t *testing.T) {
	const alone = `wants host:port alone, such as "127.0.0.1:9000" or "a:9000,b:9000"; a user and a password go to ` +
		`clickhouse.user and clickhouse.password_file (or clickhouse.password). What it has is not shown`
	for _, test := range []struct{ text, want string }{
		// Syntax.
		{"[listen]\nloops = \n", `:2: expected value but found '\n' instead`},
		{"[listen]\nloops = 1\n\nloops = 2\n", `:4: Key 'listen.loops' has already been defined.`},
		{"\n[listen\n", `:2: expected '.' or ']' to end table name, but got '\n' instead`},
		{"\na = 0x\n", `:2: not a hexadecimal number: '0x\n'`},
		{"a = \"\xff\"\n", `:1: invalid UTF-8 byte: 0xff`},

		// Keys that there are not.
		{"[window]\nlate_maxx = \"1s\"\n", `:2: window.late_maxx: unknown key; did you mean window.late_max?`},
		{"\n[listen]\nlate_max = \"1s\"\n", `:3: listen.late_max: unknown key; did you mean window.late_max?`},
		{"[storage]\ndir = \"x\"\n", `:2: storage.dir: unknown key; did you mean spool.dir?`},
		{"[edge]\nsize_max = 1\n", `:2: edge.size_max: unknown key; did you mean edge.queue_size?`},
		{"[listen]\nkeys_max = 1\n", `:2: listen.keys_max: unknown key; did you mean limits.keys_max?`},
		{"loops = 1\n", `:1: loops: unknown key; did you mean listen.loops?`},
		{"[windows]\n\nack_intervall = \"1s\"\n", `:3: windows.ack_intervall: unknown key; did you mean window.ack_interval?`},
		{"# none\n[windows]\n", `:2: windows: unknown key; did you mean [window]?`},
		{"[clickhouse]\naddresses = \"h:9000\"\n", `:2: clickhouse.addresses: unknown key; did you mean clickhouse.address?`},
		{"[listen]\n\"a b\\n\" = 1\n", `:2: listen."a b\n": unknown key`},
		{"[listen.loops]\nx = 1\n", `:1: listen.loops: wants an integer; got a table`},
		{"listen = 5\n", `:1: listen: wants a table: [listen]`},
		{"[[listen]]\nloops = 5\n", `:1: listen: wants a table: [listen]`},
		{"listen = { loops = 5, lops = 6 }\n", `:1: listen.lops: unknown key; did you mean listen.loops?`},
		{"[listen]\n" + strings.Repeat("x", 2000) + " = 1\n", ":2: listen." + strings.Repeat("x", 2000) + ": unknown key"},

		// Types.
		{"[listen]\nloops = \"1\"\n", `:2: listen.loops: wants an integer, without quotes; got "1"`},
		{"[listen]\nloops = 1.5\n", `:2: listen.loops: wants an integer; got 1.5`},
		{"[listen]\nloops = true\n", `:2: listen.loops: wants an integer; got true`},
		{"[listen]\nloops = [1]\n", `:2: listen.loops: wants an integer; got an array`},
		{"[listen]\nloops = 2026-01-01\n", `:2: listen.loops: wants an integer; got a date or a time`},
		{"[listen]\naddress = 8420\n", `:2: listen.address: wants a string, such as "127.0.0.1:8420"; got the integer 8420`},
		{"[listen]\nreceive_buffer = 1e6\n", `:2: listen.receive_buffer: wants a number of bytes, or a string such as "8MiB" (KiB, MiB, GiB); got 1e+06`},
		{"[window]\nack_interval = 1\n", `:2: window.ack_interval: wants a duration in quotes, such as "10s" (ms, s, m, h, d); got the integer 1`},
		{"[storage]\ndriver = 1\n", `:2: storage.driver: wants one of "parquet", "clickhouse"; got the integer 1`},
		{"[log]\nlevel = 1\n", `:2: log.level: wants one of "debug", "info", "warn", "error"; got the integer 1`},
		{"[clickhouse]\npassword = 12345\n", `:2: clickhouse.password: wants a string, in quotes`},
		{"[clickhouse]\npassword = 1.5\n", `:2: clickhouse.password: wants a string, in quotes`},
		{"[clickhouse]\npassword = secret\n", `:2: cannot be read: one string in quotes is wanted`},
		{"clickhouse.password=\"a\\secret\"\n", `:1: cannot be read: one string in quotes is wanted`},
		{"[parquet]\ndir = 1\n", `:2: parquet.dir: wants a string; got the integer 1`},

		// Values.
		{"[listen]\nloops = -1\n", `:2: listen.loops: -1 is out of range: 0 to 1024`},
		{"[listen]\nloops = 1025\n", `:2: listen.loops: 1025 is out of range: 0 to 1024`},
		{"[limits]\nkeys_max = 65535\n", `:2: limits.keys_max: 65535 is out of range: 65536 to 268435456`},
		{"[limits]\nsources_max = 0\n", `:2: limits.sources_max: 0 is out of range: 1 to 100000000`},
		{"[limits]\nconnections_max = 0\n", `:2: limits.connections_max: 0 is out of range: 1 to 1000000`},
		{"[limits]\nrows_waiting_max = 9223372036854775807\n", `:2: limits.rows_waiting_max: 9223372036854775807 is out of range: 65536 to 1000000000`},
		{"[listen]\nreceive_buffer = \"8MB\"\n", `:2: listen.receive_buffer: "8MB" is not a size: a number of bytes, or a string such as "8MiB" (KiB, MiB, GiB)`},
		{"[listen]\nreceive_buffer = \"MiB\"\n", `:2: listen.receive_buffer: "MiB" is not a size: a number of bytes, or a string such as "8MiB" (KiB, MiB, GiB)`},
		{"[listen]\nreceive_buffer = 0\n", `:2: listen.receive_buffer: 0 is out of range: 4KiB to 1GiB`},
		{"[listen]\nreceive_buffer = \"-1KiB\"\n", `:2: listen.receive_buffer: -1KiB is out of range: 4KiB to 1GiB`},
		{"[listen]\nreceive_buffer = \"2GiB\"\n", `:2: listen.receive_buffer: 2GiB is out of range: 4KiB to 1GiB`},
		{"[listen]\nreceive_buffer = \"17179869185GiB\"\n", `:2: listen.receive_buffer: 17179869185GiB is out of range: 4KiB to 1GiB`},
		{"[window]\nack_interval = \"1 s\"\n", `:2: window.ack_interval: "1 s" is not a duration, such as "10s" (ms, s, m, h, d)`},
		{"[window]\nack_interval = \"\"\n", `:2: window.ack_interval: "" is not a duration, such as "10s" (ms, s, m, h, d)`},
		{"[window]\nack_interval = \"0s\"\n", `:2: window.ack_interval: 0s is out of range: 1ms to 1m`},
		{"[window]\nack_interval = \"1.5h\"\n", `:2: window.ack_interval: 1.5h is out of range: 1ms to 1m`},
		{"[window]\nlate_max = \"-1s\"\n", `:2: window.late_max: -1s is out of range: 1s to 3650d, or 0s for no limit`},
		{"[limits]\nsource_idle_max = \"1ms\"\n", `:2: limits.source_idle_max: 1ms is out of range: 1s to 365d, or 0s for no limit`},
		{"[parquet]\nmerge_interval = \"0s\"\n", `:2: parquet.merge_interval: 0s is out of range: 1s to 24h`},
		{"[parquet]\ndir = \"\"\n", `:2: parquet.dir: "" is not a path`},
		{"[listen]\naddress = \"127.0.0.1\"\n", `:2: listen.address: "127.0.0.1" is not an address, such as "127.0.0.1:8420" or "[::]:8420"`},
		{"[listen]\naddress = \"udp://h:1\"\n", `:2: listen.address: "udp://h:1" is not an address, such as "127.0.0.1:8420" or "[::]:8420"`},
		{"[listen]\naddress = \"a b:1\"\n", `:2: listen.address: "a b:1" is not an address, such as "127.0.0.1:8420" or "[::]:8420"`},
		{"[ops]\naddress = \"localhost:http\"\n", `:2: ops.address: "localhost:http" has no port from 0 to 65535`},
		{"[ops]\naddress = \"localhost:65536\"\n", `:2: ops.address: "localhost:65536" has no port from 0 to 65535`},
		{"[ops]\nallowed_hosts = \"a,\"\n", `:2: ops.allowed_hosts: "" is not the name of a host without a port, such as "lectern.example.org"`},
		{"[ops]\nallowed_hosts = \"lectern:8421\"\n", `:2: ops.allowed_hosts: "lectern:8421" is not the name of a host without a port, such as "lectern.example.org"`},
		{"[ops]\nallowed_hosts = \"http://lectern\"\n", `:2: ops.allowed_hosts: "http://lectern" is not the name of a host without a port, such as "lectern.example.org"`},
		{"[storage]\ndriver = \"mysql\"\n", `:2: storage.driver: "mysql" is not one of "parquet", "clickhouse"`},
		{"[clickhouse]\naddress = \"a:9000,b\"\n", `:2: clickhouse.address: "b" is not an address, such as "127.0.0.1:8420" or "[::]:8420"`},
		{"[clickhouse]\naddress = \":9000\"\n", `:2: clickhouse.address: ":9000" has no host`},
		{"[clickhouse]\naddress = \"u:secret@h:9000\"\n", `:2: clickhouse.address: ` + alone},
		{"[clickhouse]\naddress = \"u:secret@h\"\n", `:2: clickhouse.address: ` + alone},
		{"[clickhouse]\naddress = \"a:9000,u:se,cret@h:9000\"\n", `:2: clickhouse.address: ` + alone},
		{"[clickhouse]\naddress = \"clickhouse://u:se/cret@h:9000/lectern\"\n", `:2: clickhouse.address: ` + alone},
		{"[clickhouse]\naddress = \"h:9000?username=u&password=secret\"\n", `:2: clickhouse.address: ` + alone},
		{"[clickhouse]\naddress = u:secret@h:9000\n", `:2: cannot be read: one string in quotes is wanted`},
		{"[clickhouse]\ndatabase = \"\"\n", `:2: clickhouse.database: "" is not a name`},
		{"[clickhouse]\ntls = true\n", `:2: clickhouse.tls: wants one of "off", "on"; got true`},
		{"[clickhouse]\nretention = \"1h\"\n", `:2: clickhouse.retention: 1h is out of range: 24h to 36500d, or 0s for no limit`},
		{"[log]\nlevel = \"INFO\"\n", `:2: log.level: "INFO" is not one of "debug", "info", "warn", "error"`},
		{"[log]\nformat = \"" + strings.Repeat("x", 81) + "\"\n", `:2: log.format: "` + strings.Repeat("x", 80) + `…" is not one of "text", "json"`},

		{"[listen]\nshare_port = \"true\"\n", `:2: listen.share_port: wants true or false, without quotes; got "true"`},
		{"[spool]\nshare = 1\n", `:2: spool.share: wants true or false; got the integer 1`},
		{"[stop]\ndrain_time = \"-1s\"\n", `:2: stop.drain_time: -1s is out of range: 0s to 1h`},
		{"[stop]\ngrace = \"4s\"\n", `:2: stop.grace: 4s is out of range: 5s to 1h`},

		{"[edge]\ncollector = \":8420\"\n", `:2: edge.collector: ":8420" leads nowhere: a host and its port are wanted`},
		{"[edge]\ntrusted_proxies = \"10.0.0.0/8,proxy\"\n", `:2: edge.trusted_proxies: "proxy" is not a network, such as "10.0.0.0/8" or "2001:db8::/32"`},
		{"[edge]\npage_idle_max = \"20m\"\n", `:2: edge.page_idle_max: 20m is out of range: 30m to 7d`},
		{"[edge]\nsyslog = \"127.0.0.1:514\"\n", `:2: edge.syslog: "127.0.0.1:514" is none of "udp://host:port", "tcp://host:port" and "unix:///path"`},
		{"[stream.a]\nnumber = 1\nkey_file = \"k\"\n",
			`:3: stream.a.key_file: there is a key, and edge.audience is empty: an edge seals for its collector by that name`},
		{"[edge]\nbots = \"on\"\n", `:2: edge.bots: "on" is not one of "refuse", "shadow", "off"`},
		{"[stream.a]\nnumber = 1\norigins = \"news.example\"\n",
			`:3: stream.a.origins: "news.example" is not an origin, such as "https://news.example": a scheme and a host, without a path`},
		{"[edge]\nsyslog = \"udp://:514\"\nsyslog_stream = \"z\"\n", `:3: edge.syslog_stream: there is no stream "z": the lines can be for default`},
		{"[edge]\nsyslog = \"udp://:514\"\n[stream.a]\nnumber = 1\n[stream.b]\nnumber = 2\n", `:2: edge.syslog: edge.syslog_stream is to say for which stream the lines are: a, b`},
		{"[edge]\nops_address = \"127.0.0.1:8480\"\n", `:2: edge.ops_address: edge.ops_address 127.0.0.1:8480 and edge.address 127.0.0.1:8480 have the same port`},

		// Keys that contradict each other.
		{"[stop]\ndrain_time = \"21s\"\n", `:2: stop.drain_time: drain_time 21s leaves less than 5s of grace 25s for the last cut, its seal and its block`},
		{"[stop]\ndrain_time = \"50s\"\ngrace = \"55s\"\n", ""},
		{"[window]\nflush_interval = \"500ms\"\n", `:2: window.flush_interval: flush_interval 500ms is shorter than ack_interval 1s: nothing can be flushed before it is cut`},
		{"[window]\nack_interval = \"11s\"\nflush_interval = \"10s\"\n", `:3: window.flush_interval: flush_interval 10s is shorter than ack_interval 11s: nothing can be flushed before it is cut`},
		{"[ops]\naddress = \"127.0.0.1:8420\"\n", `:2: ops.address: ops.address 127.0.0.1:8420 and listen.address 127.0.0.1:8420 have the same port`},
		{"[listen]\naddress = \"[::]:8421\"\n", `:2: listen.address: ops.address 127.0.0.1:8421 and listen.address [::]:8421 have the same port`},
		{"[ops]\naddress = \"localhost:8420\"\n", `:2: ops.address: ops.address localhost:8420 and listen.address 127.0.0.1:8420 have the same port`},
		{"[ops]\naddress = \"0.0.0.0:8420\"\n", `:2: ops.address: ops.address 0.0.0.0:8420 and listen.address 127.0.0.1:8420 have the same port`},
		{"[ops]\naddress = \"127.0.0.2:8420\"\n", ""},
		{"[tls]\naddress = \":8443\"\n", `:2: tls.address: TLS needs certificate and key, both files in PEM`},
		{"[tls]\naddress = \":8443\"\nkey = \"k\"\n", `:2: tls.address: TLS needs certificate and key, both files in PEM`},
		{"[tls]\naddress = \"8443\"\n", `:2: tls.address: "8443" is not an address, such as "127.0.0.1:8420" or "[::]:8420"`},
		{"[tls]\naddress = \":8420\"\ncertificate = \"c\"\nkey = \"k\"\n", `:2: tls.address: tls.address :8420 and listen.address 127.0.0.1:8420 have the same port`},
		{"[tls]\naddress = \":8421\"\ncertificate = \"c\"\nkey = \"k\"\n", `:2: tls.address: tls.address :8421 and ops.address 127.0.0.1:8421 have the same port`},
		{"[tls]\nclient_ca = \"c\"\n", `:2: tls.client_ca: there is no tls.address: nobody is asked for a certificate`},
		{"[tls]\naddress = \":8443\"\ncertificate = \"c\"\nkey = \"k\"\n", ""},
		{"[clickhouse]\nretention = \"48h\"\n", `:2: clickhouse.retention: retention 48h is shorter than late_max 48h and a day: a late event would be gone before it is surely stored`},
		{"[window]\nlate_max = \"0s\"\n[clickhouse]\nretention = \"9000h\"\n", `:4: clickhouse.retention: retention 375d with late_max 0s: an event of any age may come, and would be gone before it is surely stored`},
		{"[clickhouse]\npassword = \"x\"\npassword_file = \"y\"\n", `:3: clickhouse.password_file: password and password_file are both set: which one holds is not clear`},
		{"[clickhouse]\nretention = \"72h\"\n", ""},
		{"[listen]\naddress = \":0\"\n[ops]\naddress = \":0\"\n", ""},
		{"[listen]\nloops = 2\n[limits]\nkeys_max = 100_000\n", `:4: limits.keys_max: keys_max 100000 is too small for 2 loops: each needs 65536, together 131072`},
		{"[listen]\nloops = 17\n", `:2: listen.loops: keys_max 1048576 is too small for 17 loops: each needs 65536, together 1114112`},
		{"[limits]\nrows_waiting_max = 1_000_000\n", `:2: limits.rows_waiting_max: rows_waiting_max 1000000 is less than keys_max 1048576: the rows of one cut must find room`},
		{"listen.loops = 1\n[limits]\nkeys_max = 1_500_000\nrows_waiting_max = 1_500_000\n",
			`:4: limits.rows_waiting_max: rows_waiting_max 1500000 is less than the 1835008 rows that one cut may bring here: keys_max 1500000, for each of 1 loops rounded up to a power of two`},
		{"listen.loops = 1\nlimits.keys_max = 16_000_000\nlimits.rows_waiting_max = 30_000_000\n",
			`:2: limits.keys_max: size_max 1073741824 of the spool, with sources_max 100000, has room for 6498639 rows, and one cut may bring 14680064 with keys_max 16000000: full tables would never be emptied`},
		{"listen.loops = 1\nlimits.sources_max = 15_000_000\n",
			`:2: limits.sources_max: size_max 1073741824 of the spool, with sources_max 15000000, has room for 0 rows, and one cut may bring 917504 with keys_max 1048576: full tables would never be emptied`},
		{"spool.size_max = \"256MiB\"\n", ""},
		{"[window]\nack_interval = \"20s\"\nflush_interval = \"x\"\n", `:3: window.flush_interval: "x" is not a duration, such as "10s" (ms, s, m, h, d)`},
	} {
		wantProblem(t, test.text, test.want)
	}
}

// wantProblem loads a file that has this problem, behind its path, or none.
func wantProblem(t *testing.T, text, want string) {
	t.Helper()
	path := write(t, text)
	if want != "" {
		want = path + want
	}
	if _, problems := Load(path, true, nil); fmt.Sprint(problems) != "["+want+"]" {
		t.Errorf("%s\ngot  %v\nwant [%s]", text, problems, want)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	path := write(t, "[listen]\nloops = -1\nadress = \"x\"\n[log]\nformat = 3\n[window]\nflush_interval = \"20ms\"\n")
	_, problems := Load(path, true, []string{"LECTERN_LOG_LEVEL=loud", "LECTERN_BOGUS=1", "LECTERN_PARQUET_DIR="})
	want := []Problem{
		{path, 2, "listen.loops", "-1 is out of range: 0 to 1024"},
		{path, 3, "listen.adress", "unknown key; did you mean listen.address?"},
		{path, 5, "log.format", `wants one of "text", "json"; got the integer 3`},
		{path, 7, "window.flush_interval", "flush_interval 20ms is shorter than ack_interval 1s: nothing can be flushed before it is cut"},
		{"", 0, "LECTERN_BOGUS", "unknown variable"},
		{"", 0, "LECTERN_LOG_LEVEL", `"loud" is not one of "debug", "info", "warn", "error"`},
		{"", 0, "LECTERN_PARQUET_DIR", `"" is not a path`},
	}
	if fmt.Sprint(problems) != fmt.Sprint(want) {
		t.Errorf("got\n%v, want\n%v", problems, want)
	}
}

func TestEnvironment(t *testing.T) {
	path := write(t, "[window]\nlate_max = \"1h\"\nfuture_max = \"2h\"\n")
	c, problems := Load(path, true, []string{
		"PATH=/bin", "LECTERN_WINDOW_LATE_MAX=0s", "LECTERN_LISTEN_LOOPS=4", "LECTERN_LISTEN_RECEIVE_BUFFER=65536",
		"LECTERN_PARQUET_DIR=123=4", "LECTERN_LOG_LEVEL=warn",
		"LECTERN_TEST_SEED=1", "LECTERN_SERVICE_HOST=10.0.0.1", "LECTERN_PORT=tcp://10.0.0.1:8420", "LECTERN_PORT_8420_TCP_PORT=8420",
		"LECTERN_OPS_SERVICE_HOST=10.0.0.1", "LECTERN_OPS_SERVICE_PORT=8421", "LECTERN_OPS_SERVICE_PORT_METRICS=8421",
		"LECTERN_OPS_PORT=tcp://10.0.0.1:8421", "LECTERN_OPS_PORT_8421_TCP=tcp://10.0.0.1:8421", "LECTERN_OPS_PORT_8421_TCP_PROTO=tcp",
		"LECTERN_OPS_PORT_8421_TCP_PORT=8421", "LECTERN_OPS_PORT_8421_TCP_ADDR=10.0.0.1", "LECTERN_OPS_PORT_8420_UDP=udp://[fd00::1]:8420",
		"LECTERN_X_Y_SERVICE_HOST=fd00::1",
		"LECTERN=1", "not a variable",
	})
	want := Defaults()
	want.File = path
	want.Window.LateMax, want.Window.FutureMax = 0, 2*time.Hour
	want.Listen.Loops, want.Listen.ReceiveBuffer = 4, 65536
	want.Parquet.Dir, want.Log.Level = "123=4", 4
	if len(problems) > 0 || !reflect.DeepEqual(c, want) {
		t.Errorf("%v, got\n%+v, want\n%+v", problems, c, want)
	}
	for entry, want := range map[string]string{
		"LECTERN_WINDOW_LATEMAX=1s":          "[LECTERN_WINDOW_LATEMAX: unknown variable; did you mean LECTERN_WINDOW_LATE_MAX?]",
		"LECTERN_OPS_PORT=yes":               "[LECTERN_OPS_PORT: unknown variable; did you mean LECTERN_OPS_PEERS?]",
		"LECTERN_OPS_SERVICE_HOST=lectern":   "[LECTERN_OPS_SERVICE_HOST: unknown variable; did you mean LECTERN_OPS_ALLOWED_HOSTS?]",
		"LECTERN_SERVICE_HOSTS=10.0.0.1":     "[LECTERN_SERVICE_HOSTS: unknown variable; did you mean LECTERN_EDGE_BOTS?]",
		"LECTERN_PORTS=1":                    "[LECTERN_PORTS: unknown variable]",
		"LECTERN_LISTEN_LOOPS=x":             `[LECTERN_LISTEN_LOOPS: "x" is not an integer]`,
		"LECTERN_LISTEN_LOOPS=":              `[LECTERN_LISTEN_LOOPS: "" is not an integer]`,
		"LECTERN_WINDOW_FLUSH_INTERVAL=10ms": "[LECTERN_WINDOW_FLUSH_INTERVAL: flush_interval 10ms is shorter than ack_interval 1s: nothing can be flushed before it is cut]",
	} {
		if _, problems := Load(write(t, ""), true, []string{entry}); fmt.Sprint(problems) != want {
			t.Errorf("%s: %v, want %s", entry, problems, want)
		}
	}
}

func TestLoops(t *testing.T) {
	c := Defaults()
	for _, test := range []struct{ cpus, loops, keys, want int }{
		{1, 0, 1 << 20, 1},
		{4, 0, 1 << 20, 4},
		{64, 0, 1 << 20, 16}, // no more than keys_max has room for
		{4, 0, 1 << 16, 1},
		{4, 7, 1 << 20, 7},
	} {
		before := runtime.GOMAXPROCS(test.cpus)
		c.Listen.Loops, c.Limits.KeysMax = test.loops, test.keys
		if got := c.Loops(); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
		runtime.GOMAXPROCS(before)
	}
}

// The defaults fit together on a machine of any size.
func TestDefaultsFitEveryMachine(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for cpus := 1; cpus <= 256; cpus++ {
		runtime.GOMAXPROCS(cpus)
		if _, problems := Load(os.DevNull, true, nil); len(problems) > 0 {
			t.Errorf("%d CPUs: %v", cpus, problems)
		}
	}
}

func TestMemory(t *testing.T) {
	c := Defaults()
	c.Listen.Loops = 3
	want := map[string]int64{
		// 349526 slots a loop, rounded up to 524288, of which 458752 may be used.
		"tables":          2 * 3 * 524288 * 65,
		"rows of a cut":   2 * 3 * 458752 * 88,
		"a block":         88_000_000,
		"rows waiting":    288_000_000,
		"sources":         68_000_000 + 1<<20,
		"names":           16<<20 + 3*3<<20 + 4*4<<20,
		"connections":     16384*4096 + 3*(35<<20),
		"datagrams":       3 * (8 << 20),
		"receive buffers": 3 * (16 << 20),
		"operations":      2*32*(256<<10) + 2<<20,
		// 4194304 slots with their users, 2097152 readers of streams, lists of the wheel; 100000 contents.
		"readers now": 4194304*24 + 2097152*16 + 3_000_000*13 + 60*4096 + 36_000_000 + 16<<20,
		"base":        64 << 20,
	}
	for _, m := range c.Memory() {
		if m.Bytes != want[m.Part] || m.From == "" {
			t.Errorf("%+v, want %d bytes", m, want[m.Part])
		}
		delete(want, m.Part)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestNearest(t *testing.T) {
	all := []string{"serve", "check", "emit", "top", "books", "version", "help"}
	for word, want := range map[string]string{
		"sevre": "serve", "server": "serve", "chek": "check", "tpo": "top", "book": "books", "versoin": "version",
		"xyzzy": "", "": "", strings.Repeat("serve", 20): "",
	} {
		if got := Nearest(word, all); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

// A key of any length costs next to nothing to look at.
func TestNearestLeavesLongWordsAlone(t *testing.T) {
	long := strings.Repeat("x", 65)
	if got := Nearest(long, []string{long}); got != "" {
		t.Errorf("%q", got)
	}
	if got := Nearest(long[:64], []string{long}); got != long {
		t.Errorf("%q", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(otherwise)
	f.Add("listen = { loops = 5, a.b.\"c\" = [1, {x = 2}] }\n[[x.y]]\nz = 07:32:00\n")
	f.Add("\x01")
	f.Add("[a.b.c]\n\"\" = 1\n[\"\"]\n'' = '''\n'''")
	f.Fuzz(func(t *testing.T, text string) {
		c, problems := Load(write(t, text), true, []string{"LECTERN_LOG_LEVEL=" + text})
		for _, p := range problems {
			if p.Message == "" || p.Key == "" && p.Line == 0 || strings.Contains(p.String(), "\n") {
				t.Errorf("%q: %#v", text, p)
			}
		}
		for _, s := range c.Settings() {
			if s.Value == "" {
				t.Errorf("%q: %s has no value", text, s.Key)
			}
		}
	})
}

func TestListsMayHaveBlanks(t *testing.T) {
	c, problems := Load(write(t, `[ops]
allowed_hosts = "lectern, lectern.example.org"
[clickhouse]
address = " a:9000 ,b:9000"
[edge]
syslog = "udp://:5140, unix:///run/log"
syslog_skip = "*.css, *.js"
trusted_proxies = "10.0.0.0/8, fd00::/8"
[tls]
address = ":8422"
certificate = "a"
key = "b"
client_ca = "c"
[stream.x]
number = 1
clients = "a, b"
origins = "https://a.example, https://b.example"
`), true, nil)
	if problems != nil {
		t.Fatal(problems)
	}
	got := []string{c.Ops.AllowedHosts, c.ClickHouse.Address, c.Edge.Syslog, c.Edge.SyslogSkip, c.Edge.TrustedProxies, c.Named[0].Clients, c.Named[0].Origins}
	want := []string{
		"lectern,lectern.example.org", "a:9000,b:9000", "udp://:5140,unix:///run/log", "*.css,*.js", "10.0.0.0/8,fd00::/8",
		"a,b", "https://a.example,https://b.example",
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %q\nwant %q", got, want)
	}
}

// Check looks at what keys name; Load does not, since it may be another's.
func TestCheckOpensFiles(t *testing.T) {
	dir := t.TempDir()
	good, empty := filepath.Join(dir, "good"), filepath.Join(dir, "empty")
	for path, text := range map[string]string{good: "x", empty: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for _, s := range new(Config).settings() {
		if s.opens {
			keys = append(keys, s.key)
		}
	}
	if len(keys) < 10 {
		t.Fatalf("only %v are opened", keys)
	}
	keys = append(keys, "stream.a.secret", "stream.a.key_file")
	for _, key := range keys {
		for path, want := range map[string]string{good: "", dir: "", empty: "is empty", filepath.Join(dir, "none"): "no such file"} {
			text := "listen.audience = \"a\"\nedge.audience = \"a\"\nstream.a.number = 1\ntls.address = \":8422\"\nedge.relay = \"/nowhere/relay\"\n"
			for _, other := range []string{"tls.certificate", "tls.key", "edge.tls_cert", "edge.tls_key"} {
				if other != key {
					text += fmt.Sprintf("%s = %q\n", other, good)
				}
			}
			if key == "stream.a.secret" {
				text += "stream.a.seal = \"allow\"\n"
			}
			path := write(t, text+fmt.Sprintf("%s = %q\n", key, path))
			if _, problems := Load(path, true, nil); len(problems) > 0 {
				t.Errorf("%s: Load says %v", key, problems)
			}
			_, problems := Check(path, true, nil)
			switch {
			case want == "" && len(problems) > 0:
				t.Errorf("%s: %v", key, problems)
			case want != "" && (len(problems) != 1 || problems[0].Key != key || problems[0].Line == 0 || !strings.Contains(problems[0].Message, want)):
				t.Errorf("%s: %v, want %s", key, problems, want)
			}
		}
	}
}

func TestPeerNames(t *testing.T) {
	for text, want := range map[string][]string{
		"":                     nil,
		"dns:lectern-ops:8421": {"lectern-ops:8421"},
		"a:8421, dns:b:1":      {"a:8421", "b:1"},
		"[fd00::1]:8421":       {"[fd00::1]:8421"},
	} {
		c, problems := Load(write(t, "ops.peers = \""+text+"\"\n"), true, nil)
		if problems != nil {
			t.Fatalf("%q: %v", text, problems)
		}
		if got := c.Ops.PeerNames(); !slices.Equal(got, want) {
			t.Errorf("%q leads to %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"a", "a:", ":8421", "a:0", "a:65536", "a:8421,", "dns:", "http://a:8421"} {
		if _, problems := Load(write(t, "ops.peers = \""+text+"\"\n"), true, nil); problems == nil {
			t.Errorf("%q leads to daemons", text)
		}
	}
}
