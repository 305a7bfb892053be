package clickhouse

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// Collectors spread over the shards; where one is added, only what goes there moves,
// and where one is taken away, only what was there.
func TestRendezvous(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 20))
	const collectors = 10_000
	var before []uint64
	keys := make([]uint64, collectors)
	for i := range keys {
		keys[i] = r.Uint64()
	}
	for shards := 1; shards <= 8; shards++ {
		var numbers []uint64
		for i := range shards {
			numbers = append(numbers, uint64(i+1))
		}
		count := make([]int, shards+1)
		var now []uint64
		for i, key := range keys {
			r.Shuffle(len(numbers), func(i, j int) { numbers[i], numbers[j] = numbers[j], numbers[i] })
			n := rendezvous(key, append(slices.Clone(numbers), numbers[0])) // of several replicas each
			count[n]++
			now = append(now, n)
			if before != nil && n != before[i] && n != uint64(shards) {
				t.Fatalf("shard %d was added, and a collector moved from %d to %d", shards, before[i], n)
			}
		}
		for n := 1; n <= shards; n++ {
			if share := collectors / shards; count[n] < share*8/10 || count[n] > share*12/10 {
				t.Errorf("of %d shards, shard %d has %d of %d collectors", shards, n, count[n], collectors)
			}
		}
		before = now
	}
}

// Replicas with errors come last, and equal ones in an order of each collector's own.
func TestRanked(t *testing.T) {
	servers := []clusterServer{{1, "a:9000", 3}, {1, "b:9000", 0}, {1, "c:9000", 0}, {1, "d:9000", 1}}
	first := map[string]int{}
	for collector := range uint64(1000) {
		var order []string
		for _, s := range ranked(servers, collector) {
			order = append(order, s.address)
		}
		if order[2] != "d:9000" || order[3] != "a:9000" {
			t.Fatalf("the order is %v", order)
		}
		first[order[0]]++
	}
	if first["b:9000"] < 400 || first["c:9000"] < 400 {
		t.Errorf("first are %v", first)
	}
}

// remoteServers is a cluster of one replica each, as a server is told of it.
func remoteServers(addresses ...string) string {
	var b strings.Builder
	b.WriteString("<clickhouse><remote_servers><main>")
	for _, a := range addresses {
		host, port, _ := strings.Cut(a, ":")
		fmt.Fprintf(&b, "<shard><replica><host>%s</host><port>%s</port></replica></shard>", host, port)
	}
	b.WriteString("</main></remote_servers></clickhouse>")
	return b.String()
}

// A collector finds the shards in system.clusters and takes one of them. A shard is
// added while the answer to a block is lost: that block stays where it was sent,
// also over a restart, and what comes after goes to the new shard.
func TestShardsOfACluster(t *testing.T) {
	addresses := []string{clickhousetest.Address(), clickhousetest.Address()}
	var servers []*clickhousetest.Server
	var o Options
	for i, address := range addresses {
		server, options := started(t, clickhousetest.Options{Address: address, Configuration: remoteServers(addresses[:1]...)})
		servers = append(servers, server)
		if i == 0 {
			o = options
		}
	}
	o.Cluster = "main"
	for o.Collector = 1; rendezvous(o.Collector, []uint64{1, 2}) != 2; o.Collector++ {
	}
	n := newNotes()
	o.Journal = n
	r := rand.New(rand.NewPCG(seed(t), 21))
	var blocks []*storage.Block
	for number := range uint64(4) {
		b := randomBlock(r, number+1, 100)
		b.Collector = o.Collector
		blocks = append(blocks, b)
	}
	s := opened(t, o)
	if p, err := Place(t.Context(), o); err != nil || p.Shard != 1 || p.Shards != 1 || !slices.Equal(p.Replicas, addresses[:1]) {
		t.Errorf("%+v, %v", p, err)
	}
	stored(t, s, blocks[0])
	// The answer to the second is lost, and a shard added.
	servers[0].Fault(clickhousetest.Fault{Kind: clickhousetest.CutCommitted, Table: "reads", Times: 1})
	if answer, err := s.Store(t.Context(), blocks[1]); answer == storage.Stored {
		t.Fatalf("answer %d, %v", answer, err)
	}
	n.waiting[2] = true
	servers[0].Configure(remoteServers(addresses...))
	servers[0].Kill()
	servers[0].Restart()
	o.Tried = 2
	s = opened(t, o)
	if p, err := Place(t.Context(), o); err != nil || p.Shard != 2 || p.Shards != 2 || !slices.Equal(p.Replicas, addresses[1:]) {
		t.Errorf("%+v, %v", p, err)
	}
	stored(t, s, blocks[2]) // while the second is in doubt, it stays
	stored(t, s, blocks[1])
	delete(n.waiting, 2)
	kept := n.shard
	now := time.Now()
	s.server.(*native).o.Clock = func() time.Time { return now.Add(clusterEvery) }
	stored(t, s, blocks[3])
	if n.shard == kept {
		t.Error("the collector did not go to its new shard")
	}
	expectOf := func(server *clickhousetest.Server, numbers string) {
		t.Helper()
		if got := server.Query("SELECT toString(arraySort(groupArray(user))) FROM lectern.reads WHERE stream = 65535")[0][0]; got != numbers {
			t.Errorf("there are blocks %s, want %s", got, numbers)
		}
	}
	expectOf(servers[0], "[1,2,3]")
	expectOf(servers[1], "[4]")

	o.Cluster = "other"
	if _, err := opened(t, o).LastNumber(t.Context()); !errors.Is(err, storage.ErrBarred) || !strings.Contains(err.Error(), "knows of no cluster `other`") {
		t.Errorf("a cluster that is not there: %v", err)
	}
}
