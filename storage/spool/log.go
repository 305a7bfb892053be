package spool

import (
	"fmt"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/wal"
)

// pendingSeal is a seal that is not durable yet, and who is to hear that it is. It is
// the only place in which one waits to be tried again.
type pendingSeal struct {
	seal    *storage.Seal
	durable func(number uint64)
}

// Seal makes what a cut brought durable, and calls durable with its number: 1, 2, 3, …
// With an error nothing may be acknowledged. The spool holds the seal then, which is
// to stay as it is, until a Retry has written it and called durable; where the error
// is ErrPending it holds an earlier one, and this one is not taken.
func (s *Spool) Seal(seal *storage.Seal, durable func(number uint64)) error {
	begin := time.Now()
	number, err := s.seal(pendingSeal{seal, durable})
	if err != nil {
		return err
	}
	s.meters.seconds.UpdateDuration(begin)
	durable(number)
	return nil
}

func (s *Spool) seal(p pendingSeal) (number uint64, err error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	switch {
	case s.closed:
		return 0, errClosed
	case s.pending.seal != nil:
		return 0, fmt.Errorf("spool: %w", ErrPending)
	}
	s.setPending(p)
	if err := s.writeSeal(p.seal); err != nil {
		s.meters.failures.Inc()
		return 0, err
	}
	s.setPending(pendingSeal{})
	return s.sealed, nil
}

// Retry writes the seal that is held. Without one it does nothing.
func (s *Spool) Retry() error {
	p, number, err := s.retry()
	if err != nil || p.seal == nil {
		return err
	}
	p.durable(number)
	return nil
}

func (s *Spool) retry() (p pendingSeal, number uint64, err error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	switch {
	case s.closed:
		return p, 0, errClosed
	case s.pending.seal == nil:
		return p, 0, nil
	}
	if err := s.writeSeal(s.pending.seal); err != nil {
		return p, 0, err
	}
	p = s.pending
	s.setPending(pendingSeal{})
	return p, s.sealed, nil
}

// setPending keeps a seal that is not written yet, or none. There is no room meanwhile. The
// caller has logMu.
func (s *Spool) setPending(p pendingSeal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = p
}

var emptyHeader [wal.HeaderSize]byte

// writeSeal makes a seal durable, and then takes it for true.
func (s *Spool) writeSeal(seal *storage.Seal) error {
	s.rows.Encode(seal.Rows)
	if n := sealSize(seal, &s.rows); n > wal.BodyMax {
		return fmt.Errorf("spool: a seal of %d rows and %d sources takes %d bytes, at most %d are possible: seal more often", len(seal.Rows), len(seal.Sources), n, wal.BodyMax)
	}
	s.buf = appendSeal(append(s.buf[:0], emptyHeader[:]...), seal, &s.rows, &s.sent)
	number := s.sealed + 1
	var err error
	if s.buf, err = s.log.Append(wal.Entry, number, s.buf); err != nil {
		return fmt.Errorf("spool: write seal %d: %w", number, err)
	}
	for _, id := range seal.Forgotten {
		delete(s.sources, id)
	}
	for _, source := range seal.Sources { // one that was forgotten came back
		s.sources[source.ID] = source
	}
	account := unknown
	for i := range seal.Books {
		account = seal.Books[i].Account()
		s.sent.set(account, s.sent.of[account]+seal.Books[i].Counts[storage.Sent])
	}
	s.sealed = number
	s.note = s.markBody(s.note[:0], account)
	s.log.Confirm(number, s.note)
	s.sealedRows(sealRows{number, len(seal.Rows), s.rows.Size() + storage.NamesCost(seal.Books), s.rows.Newest})
	s.meters.seals.Inc()
	return nil
}

// markBody is what a mark says of the entries before it, with the total of one account.
func (s *Spool) markBody(b []byte, account storage.Account) []byte {
	return appendTotal(le.AppendUint64(b, s.sent.all), account, s.sent.of[account])
}

// sealedRows keeps account of what waits to be in a segment.
func (s *Spool) sealedRows(r sealRows) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.rows > 0 && r.number > s.applied.Through {
		s.waiting = append(s.waiting, r)
	}
	s.snapshot = s.snapshotSize()
}

// snapshotSize is what the body of a snapshot takes, about. The caller has logMu.
func (s *Spool) snapshotSize() int64 {
	return int64(len(s.sources))*sourceSize + int64(len(s.sent.of))*totalSize
}

// newLog returns the log behind files that were found, of which the highest id ever
// given is last.
func (s *Spool) newLog(files []*wal.File, last uint64) *wal.Log {
	return wal.New(wal.Options{
		Place: s.place, Collector: s.collector, FileSize: s.o.LogSize, Spare: s.marksSize(), Clock: s.o.Clock, Nonce: s.o.nonce,
		Stamp:    func() wal.Stamp { return s.marks().stamp() },
		Snapshot: func(b []byte) []byte { return appendSnapshot(b, s.sources, &s.sent) },
		Durable:  s.stamped,
	}, files, last)
}

// marks are what the next record says.
func (s *Spool) marks() marks {
	s.mu.Lock()
	defer s.mu.Unlock()
	return marks{s.applied, s.last}
}

// stamped notes that a record with a stamp is durable, and how much room its file has
// left.
func (s *Spool) stamped(stamp wal.Stamp, left int64) {
	s.mu.Lock()
	s.durable, s.left = marksOf(stamp), left
	s.mu.Unlock()
}
