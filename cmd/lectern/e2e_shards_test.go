package main

import (
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage/clickhouse"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
	"github.com/lectern/lectern/storage/spool"
)

var _ clickhouse.Journal = (*spool.Spool)(nil)

// shardsXML is a cluster of one replica each, as a server is told of it.
func shardsXML(addresses ...string) string {
	var b strings.Builder
	for _, a := range addresses {
		host, port, _ := strings.Cut(a, ":")
		fmt.Fprintf(&b, "<shard><replica><host>%s</host><port>%s</port></replica></shard>", host, port)
	}
	return "<clickhouse><remote_servers><main>" + b.String() + "</main></remote_servers></clickhouse>"
}

// A daemon of a cluster says which shard it takes, stores there over restarts, and
// what was in doubt when that shard went for good is sent to another one when a
// person says so, and not before.
func TestShardGoneForGood(t *testing.T) {
	addresses := []string{clickhousetest.Address(), clickhousetest.Address()}
	servers := map[string]*clickhousetest.Server{}
	for _, a := range addresses {
		servers[a] = clickhousetest.Start(t, clickhousetest.Options{Address: a, Configuration: shardsXML(addresses...)})
		tables(t, servers[a])
	}
	dir := filepath.Join(t.TempDir(), "spool")
	config := onClickHouse(t, servers[addresses[0]], dir, "clickhouse.cluster = \"main\"\nwindow.ack_interval = \"50ms\"\nwindow.flush_interval = \"100ms\"\nstop.grace = \"6s\"")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever answers is asked for the cluster.
	both := strings.Replace(string(text), fmt.Sprintf("%q", addresses[0]), fmt.Sprintf("%q", strings.Join(addresses, ",")), 1)
	if err := os.WriteFile(config, []byte(both), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := succeed(t, "check", "--config", config); !strings.Contains(out, "Cluster main: a shard is chosen when the spool in") {
		t.Errorf("check says %s", out)
	}
	d := serveOn(t, config)
	d.emit("tcp", "--events", "1000", "--seed", "1")
	poll.Until(t, "1000 are stored", func() bool { return d.metrics()["lectern_events_stored_total"] == 1000 })
	out := succeed(t, "check", "--config", config)
	mine, other := addresses[0], addresses[1]
	if strings.Contains(out, "go to shard 2 of 2 ("+other+")") {
		mine, other = other, mine
	} else if !strings.Contains(out, "go to shard 1 of 2 ("+mine+")") {
		t.Fatalf("check says %s", out)
	}
	const count = "SELECT toUInt64(sum(opens + reads + finishes + saves + shares)) FROM lectern.reads WHERE stream != 65535"
	if n := servers[mine].Query(count)[0][0]; n != "1000" {
		t.Errorf("%s events are on the shard", n)
	}
	servers[mine].Fault(clickhousetest.Fault{Kind: clickhousetest.CutBefore, Table: "reads", Times: 1_000_000})
	d.emit("tcp", "--events", "1000", "--seed", "2")
	poll.Until(t, "a block is in doubt", func() bool { return d.metrics()["lectern_blocks_unsure"] > 0 })
	d.stop()
	servers[mine].Kill()
	servers[other].Configure(shardsXML(other))
	servers[other].Kill()
	servers[other].Restart()

	d = serveOn(t, config)
	poll.Until(t, "the other shard is refused", func() bool { return d.metrics()[`lectern_clickhouse_barred_total{reason="shard"}`] >= 2 })
	if n := servers[other].Query(count)[0][0]; n != "0" {
		t.Errorf("%s events are on the other shard", n)
	}
	if stdout, stderr, code := lectern(t, nil, "spool", "resend", "--all", "--config", config); code != 1 || !strings.Contains(stdout, "is there twice when that comes back") || !strings.Contains(stderr, "nothing was changed") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if out := succeed(t, "spool", "resend", "--all", "--yes", "--config", config); !strings.Contains(out, "are sent again, each once") {
		t.Errorf("resend says %s", out)
	}
	poll.Until(t, "all is on the other shard", func() bool { return servers[other].Query(count)[0][0] == "1000" })
	poll.Until(t, "nothing is in doubt", func() bool {
		m := d.metrics()
		return m["lectern_blocks_unsure"] == 0 && m["lectern_spool_blocks"] == 0
	})
	d.stop()
	if left, err := filepath.Glob(filepath.Join(dir, "resend-*")); len(left) > 0 || err != nil {
		t.Errorf("left are %v, %v", left, err)
	}
	if out := succeed(t, "spool", "resend", "--all", "--config", config); out != "No blocks wait for the store.\n" {
		t.Errorf("resend says %s", out)
	}
	if _, stderr, code := lectern(t, nil, "spool", "resend", "--block", "77", "--config", config); code != 1 || !strings.Contains(stderr, "no block 77 waits") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// What makes no sense is said.
func TestResendArguments(t *testing.T) {
	for _, args := range [][]string{{"spool", "resend"}, {"spool", "resend", "--all", "--block", "1"}, {"spool", "ls", "--all"}, {"spool", "ls", "--block", "1"}, {"spool", "verify", "--yes"}} {
		if _, stderr, code := lectern(t, nil, args...); code != 2 || stderr == "" {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
}
