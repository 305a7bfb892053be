package spool

import (
	"errors"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage/place"
)

// meters are what the spool counts.
type meters struct {
	seals       *metrics.Counter             // lectern_seals_total: seals that became durable
	failures    *metrics.Counter             // lectern_seal_failures_total: seals that could not be written when they came
	seconds     *metrics.PrometheusHistogram // lectern_seal_seconds: from the call to the record's being durable
	compactions *metrics.Counter             // lectern_spool_compactions_total: compactions that replaced segments
	damage      *Damage
}

// Damage counts what was found damaged. Spools of one process may share one: an alarm
// asks what is damaged, not whose it was.
type Damage struct {
	torn     *metrics.Counter // lectern_spool_torn_bytes_total: bytes that crashes cut off, found at the start
	setAside *metrics.Counter // lectern_spool_files_set_aside_total: damaged files
	events   *metrics.Counter // lectern_events_damaged_total: events of seals that are missing from the log, found at the start
}

func newDamage(set *metrics.Set) *Damage {
	return &Damage{
		torn:     set.NewCounter("lectern_spool_torn_bytes_total"),
		setAside: set.NewCounter("lectern_spool_files_set_aside_total"),
		events:   set.NewCounter("lectern_events_damaged_total"),
	}
}

// Damage is what counts the damage that is found here.
func (s *Spool) Damage() *Damage { return s.meters.damage }

// sealBuckets are the bounds of lectern_seal_seconds: a write and an fdatasync take
// 3 to 4 ms on a good disk, and more than a second is an alert.
var sealBuckets = []float64{5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60}

func (s *Spool) register(set *metrics.Set) {
	s.meters = meters{
		seals:       set.NewCounter("lectern_seals_total"),
		failures:    set.NewCounter("lectern_seal_failures_total"),
		seconds:     set.NewPrometheusHistogramExt("lectern_seal_seconds", sealBuckets),
		compactions: set.NewCounter("lectern_spool_compactions_total"),
		damage:      s.o.Damage,
	}
	if s.meters.damage == nil {
		s.meters.damage = newDamage(set)
	}
	// Bytes of all files that hold something, and the bound of them.
	set.NewGauge("lectern_spool_bytes", func() float64 { return float64(s.place.Bytes()) })
	set.NewGauge("lectern_spool_gone", func() float64 {
		if errors.Is(s.Present(), place.ErrGone) {
			return 1
		}
		return 0
	})
	set.NewGauge("lectern_spool_size_max_bytes", func() float64 { return float64(s.o.SizeMax) })
}

// Age is for how long the oldest block that is not stored has waited, parked and
// unreadable ones included: now less the start of its window. It is 0 where
// there is none.
func (s *Spool) Age() time.Duration {
	var oldest int64
	s.eachLeft(func(q *queued, _ int) {
		if oldest == 0 || q.Window.Start < oldest {
			oldest = q.Window.Start
		}
	})
	if oldest == 0 {
		return 0
	}
	return max(0, s.o.Clock().Sub(time.UnixMilli(oldest)))
}

// Blocks is how many blocks are flushed and not stored, parked ones included.
func (s *Spool) Blocks() (blocks int) {
	s.eachLeft(func(*queued, int) { blocks++ })
	return blocks
}

// Rows is how many rows stand in blocks that are not stored, parked ones included.
func (s *Spool) Rows() (rows int) {
	s.eachLeft(func(q *queued, i int) { rows += int(q.Blocks[i].Rows) })
	return rows
}

// Parked is how many blocks are parked now.
func (s *Spool) Parked() (blocks int) {
	s.eachLeft(func(q *queued, i int) {
		if q.states[i] == blockParked {
			blocks++
		}
	})
	return blocks
}

// quiet keeps a failure that goes on from filling the log.
type quiet struct {
	mu   sync.Mutex // protects last
	last time.Time
}

const quietFor = 10 * time.Second

// warn logs a failure that the spool goes on from, at most one in ten seconds.
func (s *Spool) warn(what string, err error) {
	now := s.o.Clock()
	s.quiet.mu.Lock()
	speak := s.quiet.last.IsZero() || now.Sub(s.quiet.last) >= quietFor
	if speak {
		s.quiet.last = now
	}
	s.quiet.mu.Unlock()
	if speak {
		s.o.Logger.Warn("spool: "+what, "dir", s.o.Dir, "error", err)
	}
}
