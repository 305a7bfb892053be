package collector

import (
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
)

// Options configure a Collector. The caller has checked them: the collector
// applies no defaults but those said here.
type Options struct {
	Address       string        // host:port of both the UDP and the TCP socket; port 0 picks one
	Loops         int           // event loops, each with its shard; at least 1
	SharePort     bool          // other processes of the same user may listen on the port too (Linux)
	ReceiveBuffer int           // bytes asked for each loop's UDP socket
	TLS           *TLS          // another TCP socket, for TLS; nil: none
	CutInterval   time.Duration // the longest time between two cuts
	LateMax       time.Duration // an event older than this is clamped to its arrival; 0: none is
	FutureMax     time.Duration // an event further ahead than this is clamped to its arrival; 0: none is

	KeysMax           int           // slots of the tables of all loops together
	SourcesMax        int           // live sources
	AddressSourcesMax int           // of these, those of one IPv4 address or IPv6 network of 64 bits that proved nothing, and how many new ones it may bring a minute; 0: any number
	SourceIdleMax     time.Duration // a source silent for this long is forgotten; 0: never
	SessionIdleMax    time.Duration // the same for one that was acknowledged for some time: what its client still holds could be counted again; 0: never
	ConnectionsMax    int           // TCP clients
	NamesAMinute      int           // new names of contents that a stream's frames of one class may bring a minute, and a quarter of it one source that proved nothing; 0: none is kept
	NamesMemory       int           // bytes for which names are remembered, of all loops together
	CreditMax         int           // bytes that a session may send and not yet have acknowledged
	ConnectionIdleMax time.Duration // a TCP client that sends nothing whole for this long is refused; 0: never

	Streams Streams              // which streams there are, and what each may do
	Salt    func(day int64) Salt // of UsersDaily on a day since 1970, UTC; asked once a day. Without it: a random one, which a restart forgets
	Sources []storage.Source     // what a former process knew
	Company bool                 // other processes may know sources that come here later: see Alone
	Spool   uint64               // how clients are told which spool they were acknowledged by, below wire.NumberMax; 0: it has no name
	Sink    Sink                 // takes the cuts
	Metrics *metrics.Set         // gets the collector's metrics
	Logger  *slog.Logger         // gets what an operator should see

	// Clock is what tests set: the time that events are dated by, and the time that silence
	// is measured by, since some moment, which nobody sets. Without it they are the system's.
	Clock func() (wall time.Time, steady time.Duration)
}
