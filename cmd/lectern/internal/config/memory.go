package config

import (
	"math/bits"
	"slices"

	"github.com/lectern/lectern/cmd/lectern/internal/now"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/live"
)

// Memory is what one part of the daemon takes at its limit.
type Memory struct {
	Part  string
	Bytes int64
	From  string // the keys that it depends on, as a formula
}

const (
	slotBytes       = 64              // collector's slot: a cache line
	tagBytes        = 1               // beside each slot
	rowBytes        = 88              // storage.Row, and in a seal
	waitingBytes    = 72              // storage's slot of a row, 32, in a table that is 46 of a hundred full at the least
	sourceBytes     = 680             // collector's source, 320, its entries in the index, the spool's copy, and its span on its way, twice
	budgetBytes     = 1 << 20         // collector's budgets of addresses
	namesWindow     = 1 << 20         // collector's new names of a cut, a loop: in it, in the cut, and in its seal
	namesWaiting    = 4 << 20         // pipeline's names that wait for the end of a minute, those before in a flush, in a block, and encoded
	connectionBytes = 4 << 10         // gnet's connection and ours
	sealBytes       = 3 << 10         // the keys of a sealed session
	tlsBytes        = 64 << 10        // a connection of TLS: its goroutine, its buffers, and those of crypto/tls
	partialMax      = 32 << 20        // half-received frames, a loop
	partialSpare    = 3 << 20         // memory that is kept ready for them, a loop
	frameBytes      = 64 << 10        // the largest of them
	batchBytes      = 8 << 20         // 64 datagrams of 64 KiB, in large pages, a loop
	edgeConnBytes   = 28 << 10        // a connection of pages: net/http's goroutine, stack and buffers, and a quarter as much garbage
	pageBytes       = 300             // what an edge knows of a page
	pageJournal     = 4 * 96          // and its records in a file that is mapped
	networkBytes    = 24 << 20        // an edge's budgets of networks
	downloadsBytes  = 16 << 20        // the downloads that a door of lines remembers
	syslogBytes     = 256 * 192 << 10 // connections of proxies
	pushBytes       = 48 << 20        // a push of logs, while it is read: four of them
	unpackBytes     = 160 << 20       // and the one that is unpacked, with the window of zstd
	opsBytes        = 256 << 10       // a connection of the operations server, with the page that it is sent
	pastBytes       = 2 << 20         // what the page keeps of the last hour
	baseBytes       = 64 << 20        // the program, its stacks, the buffers of the store and of compaction
	nowAnswers      = 16 << 20        // of /now.json, of at most 32 streams with 100 contents, 8 of them, and the figures that they are made of
)

// slots is the size of each loop's tables.
func (c *Config) slots() int {
	loops := c.Loops()
	return 1 << bits.Len(uint(max(slotsMin, (c.Limits.KeysMax+loops-1)/loops)-1))
}

// keysPerTable is how many of a table's slots may be used.
func keysPerTable(slots int) int { return slots / 8 * 7 }

func (c *Config) blockCopies() int64 {
	if c.Storage.Driver == "clickhouse" && c.ClickHouse.Compression != "none" {
		return 3
	}
	return 2
}

// Memory is what the daemon takes when every limit is reached, part by part. It
// is a budget for a container, not a measurement.
func (c *Config) Memory() []Memory {
	loops, slots := int64(c.Loops()), int64(c.slots())
	keys := loops * int64(keysPerTable(int(slots)))
	connections := int64(c.Limits.ConnectionsMax)
	all := []Memory{
		{"tables", 2 * loops * slots * (slotBytes + tagBytes), "limits.keys_max, twice, rounded up to a power of two for each loop"},
		{"rows of a cut", 2 * keys * rowBytes, "limits.keys_max, as rows and as a seal"},
		{"rows waiting", int64(c.Limits.RowsWaitingMax) * waitingBytes, "limits.rows_waiting_max"},
		{"a block", c.blockCopies() * storage.BlockRowsMax * rowBytes, "a block and its encoded form, and for ClickHouse its compressed one"},
		{"sources", int64(c.Limits.SourcesMax)*sourceBytes + budgetBytes, "limits.sources_max, and what addresses may bring"},
		{"names", int64(c.Limits.NamesMemory) + 3*loops*namesWindow + 4*namesWaiting, "limits.names_memory, and new names on their way to the store"},
		{"connections", connections*connectionBytes + min(connections*frameBytes, loops*partialMax) + loops*partialSpare, "limits.connections_max, and frames half received"},
		{"datagrams", loops * batchBytes, "listen.loops"},
		{"receive buffers", 2 * loops * int64(c.Listen.ReceiveBuffer), "listen.receive_buffer for each loop, doubled and kept by the kernel"},
		{"operations", 2*OpsConnectionsMax*opsBytes + pastBytes, "/metrics and the page: 32 connections, as many that are being closed, and an hour's history"},
		{"base", baseBytes, "the program itself"},
	}
	if c.Now.ReadersMax > 0 {
		o := live.Options{ReadersMax: c.Now.ReadersMax, ContentsMax: c.Now.ContentsMax}
		all = append(all, Memory{"readers now", o.Bytes() + nowAnswers, "now.readers_max and now.contents_max"})
	}
	if c.Now.ReadersMax > 0 && c.Ops.Peers != "" {
		all = append(all, Memory{"peers", now.MemoryBytes, "what other daemons say of their readers: ops.peers"})
	}
	if slices.ContainsFunc(c.Named, func(s Stream) bool { return s.Secret != "" }) {
		all = append(all, Memory{"seals", connections * sealBytes, "keys of sealed sessions: limits.connections_max"})
	}
	if c.TLS.Address != "" {
		all = append(all, Memory{"TLS", int64(c.TLS.ConnectionsMax) * tlsBytes, "tls.connections_max"})
	}
	return all
}

// EdgeMemory is what an edge takes when every limit is reached, part by part. The
// first of them are files that are mapped: their pages are the kernel's to write back.
func (c *Config) EdgeMemory() []Memory {
	e := &c.Edge
	streams := int64(max(1, len(c.Named)))
	all := []Memory{
		{"queues", streams * int64(e.QueueSize), "edge.queue_size for each stream, mapped"},
		{"journals", streams * max(4<<20, int64(e.PagesMax)*pageJournal), "edge.pages_max for each stream, mapped"},
		{"pages", streams * int64(e.PagesMax) * pageBytes, "edge.pages_max for each stream"},
		{"connections", int64(e.ConnectionsMax) * edgeConnBytes, "edge.connections_max"},
		{"budgets", networkBytes, "networks that send"},
		{"operations", 2 * OpsConnectionsMax * opsBytes, "/metrics and the like: 32 connections, and as many that are being closed"},
		{"base", baseBytes, "the program itself"},
	}
	if e.Syslog != "" {
		all = append(all, Memory{"syslog", downloadsBytes + syslogBytes, "lines of 256 proxies at once"})
	}
	if e.LogsTokenFile != "" {
		all = append(all, Memory{"pushed logs", downloadsBytes + 4*pushBytes + unpackBytes, "four bodies, of which one is unpacked"})
	}
	return all
}
