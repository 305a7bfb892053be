package clickhouse

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
)

// With clickhouse.cluster the shards and their replicas are those that a server at
// clickhouse.address names in system.clusters. Each collector takes one shard, by
// rendezvous hashing: where a shard is added, only what goes to the new one moves.

// clusterEvery is how old the list of servers may get while a connection lasts.
const clusterEvery = 5 * time.Minute

// clusterServer is one replica of one shard, as system.clusters has it.
type clusterServer struct {
	shard   uint64
	address string
	errors  uint64 // and slow answers, to the server that was asked, lately
}

// addresses are those to try, the best first. Of a cluster they are the replicas of
// the collector's shard; where another one is wanted, those of all others follow.
func (n *native) addresses(ctx context.Context, want string) ([]string, error) {
	if n.o.Cluster == "" {
		return n.o.Addresses, nil
	}
	if err := n.ask(ctx); err != nil && len(n.servers) == 0 {
		return nil, err
	}
	mine := n.shardNumber()
	var first, others []string
	for _, s := range ranked(n.servers, n.o.Collector) {
		if s.shard == mine {
			first = append(first, s.address)
		} else {
			others = append(others, s.address)
		}
	}
	if want == "" {
		return first, nil
	}
	return append(first, others...), nil
}

// ask asks a server at clickhouse.address for the servers of the cluster.
func (n *native) ask(ctx context.Context) error {
	c, err := n.dialer.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := n.learn(ctx, c); err != nil {
		n.dialer.rotate()
		return err
	}
	return nil
}

// learn asks a server for the servers of the cluster.
func (n *native) learn(ctx context.Context, c *connection) error {
	servers, err := c.cluster(ctx, &n.o)
	if err == nil {
		n.servers, n.asked = servers, n.o.Clock()
	}
	return err
}

// shardNumber is the shard of the cluster that this collector takes.
func (n *native) shardNumber() uint64 {
	var numbers []uint64
	for _, s := range n.servers {
		numbers = append(numbers, s.shard)
	}
	return rendezvous(n.o.Collector, numbers)
}

// moves says whether the collector is to go to another shard than that of the
// connection, which only one may that is wanted nowhere. It looks now and then.
func (n *native) moves(ctx context.Context, want string) (bool, error) {
	if n.o.Cluster == "" || want != "" || n.o.Clock().Sub(n.asked).Abs() < clusterEvery { // or the clock was set back
		return false, nil
	}
	if err := n.learn(ctx, n.c); err != nil {
		return false, err
	}
	mine := n.shardNumber()
	here := slices.IndexFunc(n.servers, func(s clusterServer) bool { return s.address == n.c.address && s.shard == mine })
	return here < 0, nil
}

// cluster asks for the servers of the cluster.
func (c *connection) cluster(ctx context.Context, o *Options) (servers []clusterServer, err error) {
	rows, err := c.texts(ctx, o.AnswerMax, "SELECT toString(shard_num), host_name, toString(port), toString(errors_count + slowdowns_count) FROM system.clusters WHERE cluster = "+
		text(o.Cluster)+" ORDER BY shard_num, replica_num", 4)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		shard, err := strconv.ParseUint(r[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("clickhouse: %s: system.clusters has a shard %q", c.address, r[0])
		}
		errors, _ := strconv.ParseUint(r[3], 10, 64) // what is no number is no reason to be last
		servers = append(servers, clusterServer{shard, net.JoinHostPort(r[1], o.port(r[2])), errors})
	}
	if len(servers) == 0 {
		return nil, &problem{barredTables, fmt.Sprintf("%s knows of no cluster %s", c.address, quote(o.Cluster)),
			"let clickhouse.cluster be one of SELECT DISTINCT cluster FROM system.clusters"}
	}
	return servers, nil
}

// port is where the servers of the cluster are spoken to: with TLS at that of
// clickhouse.address, since theirs is for each other.
func (o *Options) port(theirs string) string {
	if _, port, err := net.SplitHostPort(o.Addresses[0]); err == nil && o.TLS {
		return port
	}
	return theirs
}

// rendezvous picks one of several numbers for a key: the one whose hash with it is
// the largest. Every other choice stays when one is added, and none but those of
// one that goes moves.
func rendezvous(key uint64, among []uint64) (best uint64) {
	var most uint64
	for i, n := range among {
		if h := hashOf(key, n); i == 0 || h > most || h == most && n < best {
			best, most = n, h
		}
	}
	return best
}

func hashOf(a, b uint64) uint64 {
	var bytes [16]byte
	binary.LittleEndian.PutUint64(bytes[:], a)
	binary.LittleEndian.PutUint64(bytes[8:], b)
	return xxhash.Sum64(bytes[:])
}

// ranked orders servers by their errors; equal ones differently for each collector,
// so that these spread over the replicas.
func ranked(servers []clusterServer, collector uint64) []clusterServer {
	servers = slices.Clone(servers)
	slices.SortStableFunc(servers, func(a, b clusterServer) int {
		if a.errors != b.errors {
			if a.errors < b.errors {
				return -1
			}
			return 1
		}
		if hashOf(collector, xxhash.Sum64String(a.address)) > hashOf(collector, xxhash.Sum64String(b.address)) {
			return -1
		}
		return 1
	})
	return servers
}

// Placement says where the blocks of a collector go, in a cluster.
type Placement struct {
	Shard    uint64   // its number in system.clusters
	Shards   int      // how many there are
	Replicas []string // of the shard, host:port, the one that is tried first at the front
}

// Place asks a server at the addresses which shard of the cluster the collector
// takes.
func Place(ctx context.Context, o Options) (Placement, error) {
	if err := o.fill(); err != nil {
		return Placement{}, err
	}
	n := newNative(o)
	if err := n.ask(ctx); err != nil {
		return Placement{}, err
	}
	p := Placement{Shard: n.shardNumber()}
	numbers := map[uint64]bool{}
	for _, s := range ranked(n.servers, o.Collector) {
		numbers[s.shard] = true
		if s.shard == p.Shard {
			p.Replicas = append(p.Replicas, s.address)
		}
	}
	p.Shards = len(numbers)
	return p, nil
}
