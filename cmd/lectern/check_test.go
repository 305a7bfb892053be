package main

import (
	"strings"
	"testing"
)

func TestCheckFindsProblems(t *testing.T) {
	path := file(t, "c.toml", "[listen]\nadress = \"x\"\n\n[window]\nack_interval = 1\n")
	code, stdout, stderr := runWith(t, nil, []string{"LECTERN_LOG_LEVEL=loud"}, "check", "--config", path)
	want := path + ":2: listen.adress: unknown key; did you mean listen.address?\n" +
		path + ":5: window.ack_interval: wants a duration in quotes, such as \"10s\" (ms, s, m, h, d); got the integer 1\n" +
		"LECTERN_LOG_LEVEL: \"loud\" is not one of \"debug\", \"info\", \"warn\", \"error\"\n"
	if code != 1 || stdout != "" || stderr != want {
		t.Errorf("exit %d, %q\n%s", code, stdout, stderr)
	}
	code, stdout, stderr = runWith(t, nil, nil, "check", "--config=/nowhere/c.toml")
	if code != 1 || stdout != "" || stderr != "/nowhere/c.toml: cannot read the configuration: no such file or directory\n" {
		t.Errorf("exit %d, %q\n%s", code, stdout, stderr)
	}
	if code, _, _ = runWith(t, nil, nil, "check", "--config="); code != 1 {
		t.Errorf("an empty path: exit %d", code)
	}
}

const checked = ` is good. In effect:

  listen.address              "127.0.0.1:8420"
  listen.share_port           false
  listen.loops                2
  listen.receive_buffer       "4MiB"
  listen.audience             "eu-1"
  tls.address                 ""
  tls.certificate             ""
  tls.key                     ""
  tls.client_ca               ""
  tls.connections_max         1024
  ops.address                 "127.0.0.1:8421"
  ops.allowed_hosts           ""
  ops.token_file              ""
  ops.peers                   ""
  stop.drain_time             "0s"
  stop.unready_time           "5s"
  stop.grace                  "25s"
  window.ack_interval         "1s"
  window.flush_interval       "1m"
  window.settle               "5s"
  window.late_max             "0s"
  window.future_max           "5m"
  window.days_max             400
  limits.keys_max             1048576
  limits.sources_max          100000
  limits.address_sources_max  10000
  limits.source_idle_max      "1h"
  limits.session_idle_max     "7d"
  limits.connections_max      16384
  limits.connection_idle_max  "1m"
  limits.credit_max           "64MiB"
  limits.rows_waiting_max     4000000
  limits.names_a_minute       60000
  limits.names_memory         "16MiB"
  now.readers_max             3000000
  now.contents_max            100000
  streams.unknown             "take"
  streams.unknown_share       1
  streams.unknown_keys_max    0
  streams.unknown_rate_max    0
  streams.unknown_users       "none"
  streams.salt_file           ""
  spool.dir                   "data/spool"
  spool.share                 false
  spool.size_max              "1GiB"
  storage.driver              "parquet"
  parquet.dir                 "data/parquet"
  parquet.merge_interval      "5m"
  clickhouse.address          "127.0.0.1:9000"
  clickhouse.cluster          ""
  clickhouse.database         "lectern"
  clickhouse.user             "default"
  clickhouse.password         ""
  clickhouse.password_file    ""
  clickhouse.compression      "lz4"
  clickhouse.tls              "off"
  clickhouse.tls_ca           ""
  clickhouse.answer_max       "5m"
  clickhouse.retention        "0s"
  edge.address                "127.0.0.1:8480"
  edge.demo                   false
  edge.relay                  ""
  edge.syslog                 ""
  edge.syslog_stream          ""
  edge.syslog_format          "auto"
  edge.syslog_skip            "*.css,*.js,*.ico,*.png,*.jpg,*.gif,*.svg,*.webp,*.woff,*.woff2"
  edge.logs_token_file        ""
  edge.logs_fields            ""
  edge.logs_skip              "*.css,*.js,*.ico,*.png,*.jpg,*.gif,*.svg,*.webp,*.woff,*.woff2"
  edge.fastly_services        ""
  edge.connections_max        20000
  edge.ops_address            "127.0.0.1:8481"
  edge.collector              "127.0.0.1:8420"
  edge.tls_ca                 ""
  edge.tls_cert               ""
  edge.tls_key                ""
  edge.audience               ""
  edge.dir                    "data/edge"
  edge.queue_size             "64MiB"
  edge.trusted_proxies        ""
  edge.pages_max              200000
  edge.page_idle_max          "45m"
  edge.budget_rate            200
  edge.budget_burst           2000
  edge.origins                "refuse"
  edge.bots                   "refuse"
  edge.previews               "refuse"
  edge.data_centers           "refuse"
  edge.budgets                "refuse"
  edge.data_center_file       ""
  log.level                   "info"
  log.format                  "text"

Streams:

  STREAM  NAME     SEAL     SHARE  SURE OF  KEYS MAX  RATE MAX   USERS
  0       video    off          1    10.0%         -         -  stored
  7       news-eu  require      8    80.0%      5000    100000   daily
  others           off          1    10.0%         -         -    none

Memory at the limits, with loops = 2:

  tables              130.0 MiB   limits.keys_max, twice, rounded up to a power of two for each loop
  rows of a cut       154.0 MiB   limits.keys_max, as rows and as a seal
  rows waiting        274.7 MiB   limits.rows_waiting_max
  a block              83.9 MiB   a block and its encoded form, and for ClickHouse its compressed one
  sources              65.8 MiB   limits.sources_max, and what addresses may bring
  names                38.0 MiB   limits.names_memory, and new names on their way to the store
  connections         134.0 MiB   limits.connections_max, and frames half received
  datagrams            16.0 MiB   listen.loops
  receive buffers      16.0 MiB   listen.receive_buffer for each loop, doubled and kept by the kernel
  operations           18.0 MiB   /metrics and the page: 32 connections, as many that are being closed, and an hour's history
  base                 64.0 MiB   the program itself
  readers now         215.8 MiB   now.readers_max and now.contents_max
  seals                48.0 MiB   keys of sealed sessions: limits.connections_max
  together           1258.2 MiB

Memory of an edge at its limits:

  queues              128.0 MiB   edge.queue_size for each stream, mapped
  journals            146.5 MiB   edge.pages_max for each stream, mapped
  pages               114.4 MiB   edge.pages_max for each stream
  connections         546.9 MiB   edge.connections_max
  budgets              24.0 MiB   networks that send
  operations           16.0 MiB   /metrics and the like: 32 connections, and as many that are being closed
  base                 64.0 MiB   the program itself
  together           1039.8 MiB

Disk:

  1GiB in data/spool, taken at the first start: spool.size_max
  what was counted in data/parquet, without a limit: parquet.dir
`

func TestCheckShowsWhatIsInEffect(t *testing.T) {
	path := file(t, "c.toml", "listen.loops = 2\nlisten.audience = \"eu-1\"\nlisten.receive_buffer = 4194304\nstreams.unknown_users = \"none\"\n"+
		"[stream.news-eu]\nnumber = 7\nsecret = \"/\"\nseal = \"require\"\nshare = 8\nkeys_max = 5000\nrate_max = 100000\nusers = \"daily\"\n"+
		"[stream.video]\nnumber = 0\n")
	code, stdout, stderr := runWith(t, nil, []string{"LECTERN_WINDOW_LATE_MAX=0s"}, "check", "--config", path)
	if code != 0 || stdout != path+checked || stderr != "" {
		t.Errorf("exit %d, %s\n%s", code, stdout, stderr)
	}
	t.Chdir(t.TempDir())
	code, stdout, stderr = runWith(t, nil, nil, "check")
	if code != 0 || !strings.HasPrefix(stdout, "There is no config.toml here. The defaults are good:\n\n  listen.address ") || stderr != "" {
		t.Errorf("without a file: exit %d, %s\n%s", code, stdout, stderr)
	}
}
