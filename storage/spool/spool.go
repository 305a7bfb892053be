package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/storage/wal"
)

// Options configure a Spool.
type Options struct {
	Dir     string       // made where it is missing; one process at a time
	SizeMax int64        // bytes that all files of Dir may take, allocated at Open; at least four times LogSize
	LogSize int64        // bytes of one log file; 0: 56 MiB
	Files   vfs.FS       // nil: the operating system's
	Logger  *slog.Logger // nil: the default one
	Metrics *metrics.Set // nil: one that nobody sees
	Damage  *Damage      // another spool's, which counts the damage found here as well; nil: one of its own, in Metrics
	Clock   func() time.Time

	LockWait time.Duration // how long to wait for another process that has the directory

	blockRows int           // rows of a block; tests make it small
	compactAt int           // segments of one class that are compacted; tests make it small
	nonce     func() uint64 // of a log file; tests know it
}

const logSizeDefault = 56 << 20

// SizeMin is the least Options.SizeMax with logs of the usual size, in bytes: four of
// them, and so much that tables of the usual size find room.
const SizeMin = 256 << 20

// Recovered is what Open found. Rows and Books are those of the seals that are
// in no segment: they are to be flushed, with all that comes, as any others. Sources
// holds all live sources, in no order.
type Recovered struct {
	Sources  []storage.Source
	Rows     *storage.Minutes
	Books    []storage.Book // added up, one a stream
	Window   storage.Window
	Before   uint64   // of seals that are in segments in part, the minutes before this one are, Unix seconds; 0: there are none
	Last     uint64   // number of the last seal that is in Rows, Books, Sources or a segment
	Torn     int64    // bytes of a write that a crash cut off; never acknowledged
	SetAside []string // names of damaged files: acknowledged data may be missing
	Damaged  uint64   // events of acknowledged seals that are missing; they are in Books
	Seals    int      // that are in no segment
	Segments int      // that wait for the store
}

// ErrPending is what Seal returns while an earlier seal is not written. The new one
// was not taken.
var ErrPending = errors.New("an earlier seal is not written yet")

// errClosed is what a closed spool answers.
var errClosed = errors.New("spool: it is closed")

// Spool is an open spool directory. All methods may be called concurrently.
type Spool struct {
	o         Options
	files     vfs.FS
	collector uint64
	root      uint64 // collector id of the directory that the places are below
	lock      io.Closer
	meters    meters
	quiet     quiet
	place     *place.Place
	wake      chan struct{}

	// Locks are taken in the order logMu, place, mu.

	logMu   sync.Mutex // protects the log's end and the fields below
	log     *wal.Log
	sealed  uint64 // number of the last durable seal
	sources map[uint64]storage.Source
	sent    totals
	buf     []byte // the record being written
	rows    codec.RowGroups
	note    []byte      // the mark behind it
	pending pendingSeal // its seal is nil: none. Changed with mu as well
	closed  bool

	// The lock of place protects the fields below.
	base    uint64 // the last block number given before any that no store was asked about; CheckStore compares with it
	noted   bool   // and there is a file that says so,
	noting  bool   // or there may be one: it was tried
	checked bool   // CheckStore had no objection

	mu       sync.Mutex      // protects the fields below
	queue    []*queued       // ordered by their first number
	last     uint64          // the last block number given
	opened   uint64          // the last one given before Open
	applied  segment.Applied // in segments whose names are durable, or that are stored
	durable  marks           // the largest marks of durable records
	waiting  []sealRows      // seals with rows above through
	snapshot int64           // bytes of a snapshot
	left     int64           // bytes that seals may still take in the log that is written

	unread    []*queued // that the disk does not give, and Next does not try now
	skippedAt time.Time
}

// marks are what every record says.
type marks struct {
	applied segment.Applied
	last    uint64
}

// Open takes the directory for this process, makes it where it is missing, and
// recovers what is in it. It takes time in proportion to the log files, not to
// the segments.
func Open(o Options) (*Spool, *Recovered, error) {
	o.fill()
	if o.SizeMax < 4*o.LogSize {
		return nil, nil, fmt.Errorf("spool: %d bytes for %s are too few: set at least %d", o.SizeMax, o.Dir, 4*o.LogSize)
	}
	s := &Spool{o: o, files: o.Files, wake: make(chan struct{}, 1), sources: map[uint64]storage.Source{}, sent: newTotals()}
	s.place = place.New(o.Files, o.Dir, o.SizeMax)
	s.place.Synced, s.place.Warn = s.synced, s.warn
	if err := s.files.MakeDir(o.Dir); err != nil {
		return nil, nil, fmt.Errorf("spool: make the directory of spool.dir: %w", err)
	}
	lock, err := lockWithin(s.files, s.place.Path(lockName), o.LockWait)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, nil, fmt.Errorf("spool: %s belongs to another process that runs: stop it, or give this one a directory of its own", o.Dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("spool: lock %s: %w", o.Dir, err)
	}
	s.lock = lock
	if _, err := s.Shard(); errors.Is(err, errShardNewer) {
		return nil, nil, errors.Join(err, lock.Close())
	}
	recovered, err := s.recover()
	if err != nil {
		if s.log != nil {
			_ = s.log.Close()
		}
		_ = lock.Close()
		return nil, nil, err
	}
	s.opened, s.root = s.last, s.collector
	s.register(o.Metrics)
	s.meters.damage.torn.Add(int(recovered.Torn))
	s.meters.damage.setAside.Add(len(recovered.SetAside))
	s.meters.damage.events.AddInt64(int64(recovered.Damaged))
	s.token()
	return s, recovered, nil
}

func (o *Options) fill() {
	o.LogSize = cmp.Or(o.LogSize, logSizeDefault)
	o.Files = cmp.Or[vfs.FS](o.Files, vfs.OS{})
	o.Logger = cmp.Or(o.Logger, slog.Default())
	o.Metrics = cmp.Or(o.Metrics, metrics.NewSet())
	o.blockRows = cmp.Or(o.blockRows, storage.BlockRowsMax)
	o.compactAt = cmp.Or(o.compactAt, 8)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.nonce == nil {
		o.nonce = rand.Uint64
	}
}

// Collector is the id that the directory drew when it was new. It numbers the
// blocks.
func (s *Spool) Collector() uint64 { return s.collector }

// ID is how clients know the spool: the same for all places below one directory,
// and another after Renew. It is at least 1 and below 2^48, a part of the collector
// id of the directory itself.
func (s *Spool) ID() uint64 { return max(s.root&(1<<48-1), 1) }

// LastNumber is the last block number given, 0 for none. Numbers have gaps:
// compacted segments get new ones.
func (s *Spool) LastNumber() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Opened is the last block number given before Open: blocks up to it may have
// been tried by an earlier process, those behind it by none.
func (s *Spool) Opened() uint64 { return s.opened }

// CheckStore compares with the last number that the store has seen of this
// collector, before this process has stored anything. An error says that the
// directory is an older copy, whose numbers were given to other blocks already:
// nothing may be stored from it, nor by a later process, however many blocks are
// made meanwhile.
func (s *Spool) CheckStore(last uint64) error {
	s.place.Lock()
	defer s.place.Unlock()
	mine := s.base
	if last <= mine {
		return s.passed()
	}
	return fmt.Errorf("spool: the store has block %d of collector %016x, and %s knows of %d only: the directory is an older copy, or its newest records are damaged. "+
		"What it holds may be stored already, so nothing of it is. If another process has the original, use that. "+
		"Else run `lectern spool verify`, and `lectern spool renew --dir %s` while no process has it: that moves what it holds to a directory in it, "+
		"from which `lectern spool export` writes the blocks, and the next start gets a new collector id",
		last, s.collector, s.o.Dir, mine, s.o.Dir)
}

// Dir is the directory, which Claim may have chosen.
func (s *Spool) Dir() string { return s.o.Dir }

// Wait returns a channel that gets a token when Next may have something new.
func (s *Spool) Wait() <-chan struct{} { return s.wake }

func (s *Spool) token() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Sources returns the durable state of all live sources, in no order.
func (s *Spool) Sources() []storage.Source {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return slices.Collect(maps.Values(s.sources))
}

// Close releases the directory. What it holds stays for the next Open. The
// error says that a seal is pending, which is then not in it. No other call may
// follow, and Compact must have returned.
func (s *Spool) Close() error {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.pending.seal != nil {
		err = fmt.Errorf("spool: seal %d is not written: its frames were not acknowledged and will come again over streams", s.sealed+1)
	}
	return errors.Join(err, s.log.Close(), s.place.Close(), s.lock.Close())
}

// Present says, as an error that is place.ErrGone, that the directory is no longer the
// one that was opened.
func (s *Spool) Present() error { return s.place.Present() }
