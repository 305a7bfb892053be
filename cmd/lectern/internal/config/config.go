// Package config is what an operator may set: config.toml, and the environment
// above it.
package config

import (
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/lectern/lectern/storage/clickhouse"
)

// Config is every key of config.toml. A Config from Load without problems is
// within the ranges of all keys, and no key contradicts another.
type Config struct {
	File string // what Load read; empty where there was no file

	Listen  Listen
	TLS     TLS
	Ops     Ops
	Stop    Stop
	Window  Window
	Limits  Limits
	Now     Now
	Streams Streams
	Named   []Stream // every [stream.NAME], by name
	Spool   Spool
	Storage Storage
	Parquet Parquet

	ClickHouse ClickHouse

	Edge Edge

	Log Log
}

// Listen is where events come in.
type Listen struct {
	Address       string // host:port, UDP and TCP; an empty host is every interface, port 0 picks one
	SharePort     bool   // other processes may listen on it too
	Loops         int    // event loops; 0: see Config.Loops
	ReceiveBuffer int    // bytes asked for each loop's UDP socket
	Audience      string // what emitters call it where they seal; empty: nothing is sealed
}

// TLS is where events come in over TLS.
type TLS struct {
	Address        string // host:port, as in Listen; empty: nowhere
	Certificate    string // files in PEM
	Key            string
	ClientCA       string // empty: clients need no certificate
	ConnectionsMax int
}

// Ops is where the operations server listens.
type Ops struct {
	Address      string // host:port, as in Listen
	AllowedHosts string // names by which it may be asked, with commas between them; empty: none but localhost and IP addresses
	TokenFile    string // has the token of who may change something; empty: nobody may
	Peers        string // where the other daemons' are: "dns:NAME:PORT", or host:port with commas between them; empty: there is none
}

// Hosts are the names of AllowedHosts, one by one.
func (o *Ops) Hosts() []string {
	if o.AllowedHosts == "" {
		return nil
	}
	return strings.Split(o.AllowedHosts, ",")
}

// PeerNames are the names of Peers, host:port, one by one. Each may lead to several
// daemons.
func (o *Ops) PeerNames() []string {
	if o.Peers == "" {
		return nil
	}
	names := strings.Split(o.Peers, ",")
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, "dns:")
	}
	return names
}

// OpsConnectionsMax is how many connections the operations server holds at once.
// It is no setting: nobody who may ask needs more, and each takes from the
// descriptors that the event port leaves.
const OpsConnectionsMax = 32

// Stop says how the daemon ends.
type Stop struct {
	DrainTime   time.Duration // after SIGTERM, for which traffic is still taken
	UnreadyTime time.Duration // the last part of DrainTime, all of it where it is longer: not ready
	Grace       time.Duration // the longest that ending may take, DrainTime included
}

// StopRest is the least of Stop.Grace that is left behind Stop.DrainTime: for the
// last cut, its seal, and a try to store it.
const StopRest = 5 * time.Second

// Window says when windows end and which events' own times are believed.
type Window struct {
	AckInterval   time.Duration // the longest time between two cuts
	FlushInterval time.Duration // between two flushes of rows into blocks; from a minute on, of whole minutes
	Settle        time.Duration // how long after its end a minute is flushed
	LateMax       time.Duration // 0: no limit
	FutureMax     time.Duration // 0: no limit
	DaysMax       int           // days of event time, beside those around today, in one FlushInterval
}

// Limits bound memory and descriptors.
type Limits struct {
	KeysMax           int // slots of the tables of all loops together
	SourcesMax        int
	AddressSourcesMax int           // 0: any number
	SourceIdleMax     time.Duration // 0: never
	SessionIdleMax    time.Duration // 0: never
	ConnectionsMax    int
	ConnectionIdleMax time.Duration // 0: never
	CreditMax         int           // bytes
	RowsWaitingMax    int
	NamesAMinute      int // of one stream and class; 0: none is kept
	NamesMemory       int // bytes
}

// Now bounds what is known of readers at this moment.
type Now struct {
	ReadersMax  int // readers of contents and of streams together; 0: nothing is known
	ContentsMax int
}

// Spool is where everything stands until the store has it.
type Spool struct {
	Dir     string
	Share   bool // other processes may have their spools below it
	SizeMax int  // bytes
}

// Storage names the store.
type Storage struct {
	Driver string // "parquet" or "clickhouse"
}

// Parquet is for the parquet driver.
type Parquet struct {
	Dir           string
	MergeInterval time.Duration
}

// ClickHouse is for the clickhouse driver.
type ClickHouse struct {
	Address      string // host:port, or several with commas between them
	Cluster      string // empty: none
	Database     string
	User         string
	Password     clickhouse.Secret
	PasswordFile string // empty: none
	Compression  string // "lz4", "zstd" or "none"
	TLS          string // "off" or "on"
	TLSCA        string // empty: the system's
	AnswerMax    time.Duration
	Retention    time.Duration // 0: for ever
}

// Addresses are those of Address, one by one.
func (c *ClickHouse) Addresses() []string { return strings.Split(c.Address, ",") }

// Log says what is logged, and how.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// Defaults is what holds for every key that nobody sets.
func Defaults() Config {
	return Config{
		Listen: Listen{Address: "127.0.0.1:8420", ReceiveBuffer: 8 << 20},
		TLS:    TLS{ConnectionsMax: 1024},
		Ops:    Ops{Address: "127.0.0.1:8421"},
		Stop:   Stop{UnreadyTime: 5 * time.Second, Grace: 25 * time.Second},
		Window: Window{
			AckInterval: time.Second, FlushInterval: time.Minute, Settle: 5 * time.Second,
			LateMax: 48 * time.Hour, FutureMax: 5 * time.Minute, DaysMax: 400,
		},
		Limits: Limits{
			KeysMax:    1 << 20,
			SourcesMax: 100_000, AddressSourcesMax: 10_000, SourceIdleMax: time.Hour, SessionIdleMax: 7 * 24 * time.Hour,
			ConnectionsMax: 16_384, ConnectionIdleMax: time.Minute,
			CreditMax:      64 << 20,
			RowsWaitingMax: 4_000_000,
			NamesAMinute:   60_000, NamesMemory: 16 << 20,
		},
		Now:     Now{ReadersMax: 3_000_000, ContentsMax: 100_000},
		Streams: Streams{Unknown: "take", UnknownShare: 1, UnknownUsers: "stored"},
		Spool:   Spool{Dir: "data/spool", SizeMax: 1 << 30},
		Storage: Storage{Driver: "parquet"},
		Parquet: Parquet{Dir: "data/parquet", MergeInterval: 5 * time.Minute},
		ClickHouse: ClickHouse{
			Address: "127.0.0.1:9000", Database: "lectern", User: "default",
			Compression: "lz4", TLS: "off", AnswerMax: 5 * time.Minute,
		},
		Edge: edgeDefaults,
		Log:  Log{Level: slog.LevelInfo, Format: "text"},
	}
}

// slotsMin is the least that the collector gives a loop's table.
const slotsMin = 1 << 16

// Loops is how many event loops run: listen.loops, or one for each CPU that the
// process may use, as far as keys_max has enough slots for each of them.
func (c *Config) Loops() int {
	if c.Listen.Loops > 0 {
		return c.Listen.Loops
	}
	return max(1, min(runtime.GOMAXPROCS(0), c.Limits.KeysMax/slotsMin))
}
