package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/storage/wal"
)

// recovery is the state of a start.
type recovery struct {
	s       *Spool
	out     *Recovered
	logs    []*wal.File
	newest  uint64   // id of the last log file, also of one that is set aside
	aside   []string // files of which nothing can be read
	begun   bool     // a snapshot or a seal was read
	missing missing
	used    int64  // bytes of all files
	unsure  uint64 // number of the seal in s.buf, 0 for none: the last one of the last log, which may not be durable
}

// recover reads the directory and begins a new log file.
func (s *Spool) recover() (*Recovered, error) {
	entries, err := s.files.List(s.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("spool: list the directory: %w", err)
	}
	heads, err := readHeads(s.files, s.o.Dir, entries)
	if err != nil {
		return nil, err
	}
	if err := s.checkRenewed(entries); err != nil {
		return nil, err
	}
	if err := s.files.SyncDir(s.o.Dir); err != nil { // what is there now stays there
		return nil, fmt.Errorf("spool: sync the directory: %w", err)
	}
	entries, err = s.occupy(entries)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	r := &recovery{s: s, out: &Recovered{Rows: storage.NewMinutes()}}
	if err := r.readCollector(heads); err != nil {
		return nil, err
	}
	if err := r.find(entries); err != nil {
		return nil, err
	}
	r.dropReplaced()
	wal.Link(r.logs)
	for _, l := range r.logs {
		if err := r.scan(l); err != nil {
			return nil, unread(s.place.Path(wal.FileName(l.ID)), err)
		}
	}
	for i, l := range r.logs {
		if err := r.replay(l, i == len(r.logs)-1); err != nil {
			return nil, unread(s.place.Path(wal.FileName(l.ID)), err)
		}
	}
	r.skipNumbers()
	if err := r.readUnchecked(); err != nil {
		return nil, err
	}
	if err := s.place.Reserve(r.used); err != nil {
		return nil, fmt.Errorf("spool: cannot have the %d bytes of %s that it is to hold: %s: %w", s.o.SizeMax, s.o.Dir, s.adviseRoom(), err)
	}
	if r.unsure == 0 { // else the seal may tell of which stream it was
		r.bookUnknown()
	}
	if err := r.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("spool: %w", err), s.place.Close())
	}
	r.bookUnknown()
	if n := r.out.Damaged; n > 0 {
		s.log.Keep(r.missing.seal) // another start must find the same, until it is flushed
		s.o.Logger.Error("spool: acknowledged events are gone with the seals that are missing; the books show them as damaged", "events", n, "dir", s.o.Dir)
	}
	r.setAside()
	r.letGo()
	s.Tidy()
	r.out.Sources = s.Sources()
	r.out.Last = s.sealed
	if s.applied.Divides(s.applied.Part) { // also where its seals are damaged: no mark may be before it
		r.out.Before = uint64(s.applied.Before)
	}
	r.out.Segments = len(s.queue)
	return r.out, nil
}

// occupy removes the mark of a vacant place, before anything is written there, and what was
// being written, and returns the other files.
func (s *Spool) occupy(entries []vfs.Entry) (left []vfs.Entry, err error) {
	s.place.Lock()
	defer s.place.Unlock()
	for _, e := range entries {
		if e.Name != vacantName && !strings.HasSuffix(e.Name, place.TempSuffix) {
			left = append(left, e)
			continue
		}
		if err := s.place.RemoveSmall(e.Name); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// find looks at every file, and opens segments and logs.
func (r *recovery) find(entries []vfs.Entry) error {
	s := r.s
	for _, e := range entries {
		id, isLog := parseLog(e.Name)
		name, isSegment := parseSegment(e.Name)
		if isLog {
			r.newest = max(r.newest, id)
		}
		if isSegment { // damaged or set aside as well: a store may have its rows, and its numbers
			s.last, s.applied = max(s.last, name.Last), s.applied.With(name.Applied)
		}
		var err error
		switch {
		case e.Name == place.ReserveName, e.Name == uncheckedName:
			e.Size = 0
		case filepath.Ext(e.Name) == place.BadSuffix:
		case isLog:
			err = r.findLog(e, id)
		case isSegment:
			err = r.findSegment(e, name)
		}
		if err != nil {
			return unread(s.place.Path(e.Name), err)
		}
		r.used += e.Size
	}
	return nil
}

// unread is the error of a start that cannot go on. A file that the disk does not
// give is not taken for damaged: what it holds would be given up, and its numbers
// be given again.
func unread(path string, err error) error {
	if !errors.Is(err, format.ErrRead) {
		return fmt.Errorf("spool: %s: %w", path, err)
	}
	return fmt.Errorf("spool: %s: %w. Start again; if it stays so, look at the disk, and rename the file to %s to start without what it holds",
		path, err, filepath.Base(path)+place.BadSuffix)
}

func (r *recovery) findLog(e vfs.Entry, id uint64) error {
	f, err := r.s.files.Open(r.s.place.Path(e.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := wal.Find(f, id, e.Size)
	switch {
	case errors.Is(err, wal.ErrHeaderLost):
		r.report(e.Name, err.Error())
		r.logs = append(r.logs, l)
		return nil
	case errors.Is(err, format.ErrDamaged):
		r.lost(e.Name, err.Error())
		return nil
	case err != nil:
		return err
	}
	r.logs = append(r.logs, l)
	collector, _ := l.Collector()
	return r.same(collector)
}

func (r *recovery) findSegment(e vfs.Entry, name segment.Name) error {
	f, err := r.s.files.Open(r.s.place.Path(e.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	found, err := segment.Read(f, e.Size, name)
	if errors.Is(err, format.ErrDamaged) {
		r.lost(e.Name, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	q := newQueued(found)
	q.durable, q.tried = true, true
	r.s.queue = append(r.s.queue, q)
	return r.same(found.Collector)
}

// same refuses files of another directory, whose numbers mean other things.
func (r *recovery) same(collector uint64) error {
	if collector == r.s.collector {
		return nil
	}
	return fmt.Errorf("the file is of collector %016x, and the directory of %016x: move it out of the directory", collector, r.s.collector)
}

// lost notes a file of which nothing can be read.
func (r *recovery) lost(name, why string) {
	r.aside = append(r.aside, name)
	r.report(name, why)
}

// report tells of a damaged file.
func (r *recovery) report(name, why string) {
	r.out.SetAside = append(r.out.SetAside, name)
	r.s.o.Logger.Error("spool: a file is damaged: acknowledged data may be missing; what can be read is used, and the file is kept as .bad",
		"file", r.s.place.Path(name), "why", why)
}

// dropReplaced leaves out segments that were compacted into others that are there.
func (r *recovery) dropReplaced() {
	s := r.s
	there := map[segment.Name]*queued{}
	for _, m := range s.queue {
		there[m.Name] = m
	}
	for _, m := range slices.Clone(s.queue) {
		kept := m.replaced[:0]
		for _, f := range m.replaced {
			if old := there[f.name]; old != nil {
				kept = append(kept, fileSize{old.Name, old.Size})
				s.drop(old)
			}
		}
		m.replaced = kept
	}
}

// scan reads the records' headers for what they say of segments.
func (r *recovery) scan(l *wal.File) error {
	f, err := r.s.files.Open(r.s.place.Path(wal.FileName(l.ID)))
	if err != nil {
		return err
	}
	defer f.Close()
	return l.Headers(f, func(rec *wal.Record) {
		m := marksOf(rec.Stamp)
		r.s.applied = r.s.applied.With(m.applied)
		r.s.last = max(r.s.last, m.last)
	})
}

// replay takes the records of a log in their order.
func (r *recovery) replay(l *wal.File, last bool) error {
	s := r.s
	f, err := s.files.Open(s.place.Path(wal.FileName(l.ID)))
	if err != nil {
		return err
	}
	defer f.Close()
	known := l.Damaged
	s.buf, err = l.Walk(f, s.buf, r.release, func(rec *wal.Record) bool { return r.record(rec, last) })
	if err != nil {
		return err
	}
	if last && l.Torn > 0 {
		r.out.Torn += l.Torn
		s.o.Logger.Warn("spool: the last write before the stop was cut off; it was not acknowledged", "file", s.place.Path(wal.FileName(l.ID)), "bytes", l.Torn)
	}
	if l.Missing && !known {
		r.report(wal.FileName(l.ID), "records are missing or their checksums are wrong")
	}
	return nil
}

// record takes one record, and says whether it could be read.
func (r *recovery) record(rec *wal.Record, last bool) (good bool) {
	switch rec.Kind {
	case wal.Snapshot:
		return r.snapshot(rec)
	case wal.Mark:
		return r.mark(rec)
	}
	if rec.Number <= r.s.sealed {
		return true
	}
	if body, ok := parseSeal(rec.Body()); !ok || !body.good() {
		return false
	}
	r.gap(rec.Number)
	r.s.buf, r.unsure = rec.Rec, rec.Number
	if !last {
		r.release()
	}
	return true
}

// gap notes seals that are nowhere, neither in a log nor in a segment.
func (r *recovery) gap(number uint64) {
	if s := r.s; r.begun && number > s.sealed+1 && number-1 > s.applied.Through {
		r.missing.seal = number - 1
		s.o.Logger.Error("spool: acknowledged seals are missing", "first", s.sealed+1, "last", number-1, "dir", s.o.Dir)
	}
}

// snapshot takes the sources of a snapshot, unless later states are known.
func (r *recovery) snapshot(rec *wal.Record) bool {
	s := r.s
	sources, sent, ok := parseSnapshot(rec.Body())
	if !ok {
		return false
	}
	if rec.Number < s.sealed {
		return true
	}
	r.gap(rec.Number + 1)
	r.knownAll(sent, rec.Time)
	s.sources, s.sealed, r.begun = sources, rec.Number, true
	return true
}

// mark takes what a mark says of the seals before it, where these are missing.
func (r *recovery) mark(rec *wal.Record) bool {
	s := r.s
	body := rec.Body()
	if len(body) != markSize {
		return false
	}
	if !r.begun || rec.Number <= s.sealed {
		return true
	}
	r.gap(rec.Number + 1)
	r.missing.window = storage.Window{Start: rec.Time, End: rec.Time}
	r.excess(getTotal(body[8:]))
	s.sent.read(body[8:])
	r.missing.unknown = le.Uint64(body) - min(le.Uint64(body), s.sent.all)
	s.sealed = rec.Number
	return true
}

// release takes the seal in s.buf for true.
func (r *recovery) release() {
	number := r.unsure
	if number == 0 {
		return
	}
	r.unsure = 0
	s := r.s
	body, ok := parseSeal(s.buf[wal.HeaderSize:])
	if !ok {
		return
	}
	r.known(&body)
	r.keep(number, &body)
	body.apply(s.sources)
	s.sealed, r.begun = number, true
	s.sealedRows(sealRows{number, body.count, len(body.rows) + len(body.rest), body.newest})
}

// keep keeps what a seal brought that is in no segment.
func (r *recovery) keep(number uint64, body *sealBody) {
	if number <= r.s.applied.Through {
		return
	}
	out := r.out
	out.Seals++
	out.Window = out.Window.With(body.window)
	open := r.keepRows(number, body)
	if r.s.applied.Divides(number) {
		// Of what the seal brought the segments have all but the rows that are open,
		// and the events of these: see pipeline.Gatherer.
		books, _ := codec.GetBooks(body.rest, body.books)
		for stream, events := range open {
			out.Books = storage.AddBooks(out.Books, openBooks(books, stream, events))
		}
		return
	}
	if books, ok := codec.GetBooks(body.rest, body.books); ok {
		for i := range books {
			for k := range books[i].Spans {
				books[i].Spans[k].Seal = number
			}
		}
		out.Books = storage.AddBooks(out.Books, books)
	}
}

// openBooks are the books of events of a stream that are in no segment, by those of
// their seal: its unsealed one has them, as far as it goes.
func openBooks(sealed []storage.Book, stream uint16, events uint64) (open []storage.Book) {
	var of []*storage.Book
	for i := range sealed {
		if b := &sealed[i]; b.Stream == stream {
			of = append(of, b)
		}
	}
	slices.SortFunc(of, (*storage.Book).Compare)
	book := func(class storage.Class, n uint64) {
		if n == 0 {
			return
		}
		open = append(open, storage.Book{Stream: stream, Class: class, Counts: storage.Counts{storage.Sent: n, storage.Accepted: n}})
	}
	class := storage.Unsealed
	left := storage.Divide(of, events, func(b *storage.Book, n uint64) {
		class = b.Class
		book(class, n)
	})
	book(class, left)
	return open
}

// keepRows adds up the rows of a seal that are in no segment, and returns how many
// events they are.
func (r *recovery) keepRows(number uint64, body *sealBody) (events map[uint16]uint64) {
	events = make(map[uint16]uint64)
	rows := make([]storage.Row, 0, min(body.count, rowsAtOnce))
	body.eachRow(func(row *storage.Row) { // they were good when they were replayed
		if r.s.applied.Has(number, row.Minute) {
			return
		}
		events[row.Stream] += row.Events()
		if rows = append(rows, *row); len(rows) == rowsAtOnce {
			r.out.Rows.Add(rows)
			rows = rows[:0]
		}
	})
	r.out.Rows.Add(rows)
	return events
}

// rowsAtOnce is how many rows are decoded before they are added up.
const rowsAtOnce = 1024

// begin begins a new log file. Its snapshot is of before the last seal, which is
// written again: nobody knows whether its sync succeeded.
func (r *recovery) begin() error {
	s := r.s
	s.log = s.newLog(r.logs, r.newest)
	if r.unsure == 0 {
		r.skipFlushed()
		_, err := s.log.Begin(s.sealed, s.sealed, nil)
		return err
	}
	rec, err := s.log.Begin(s.sealed, r.unsure, s.buf)
	if err != nil {
		return err
	}
	s.buf = rec
	r.release()
	r.skipFlushed()
	return nil
}

// skipNumbers sees to it that no block number is given twice where the newest log,
// which alone surely knows the last one, cannot be read at all. While that was the
// newest, fewer than 2^32 were given: each is of a block with at least a row or a
// book, and a log has room for some millions. Seals of older logs are another
// matter, as they may be in blocks that are stored: CheckStore will tell.
func (r *recovery) skipNumbers() {
	s := r.s
	newest := r.newest
	const perLog, most = 1 << 32, 1 << 31
	if newest == 0 || newest >= most || r.out.Seals > 0 || r.unsure > 0 || slices.ContainsFunc(r.logs, func(l *wal.File) bool { return l.ID == newest }) {
		return
	}
	s.last = max(s.last, newest*perLog)
	s.o.Logger.Error("spool: the newest log is lost: what it sealed that was in no block is missing, its sources are not known, "+
		"and the numbers of blocks go on far behind all that it may have given", "dir", s.o.Dir, "log", wal.FileName(newest), "block", s.last)
}

// skipFlushed has seals numbered behind all that are flushed, also where the
// records of these are damaged or gone: a seal of such a number would count as
// flushed at the next start.
func (r *recovery) skipFlushed() { r.s.sealed = max(r.s.sealed, r.s.applied.Through, r.s.applied.Part) }

// letGo has the seals count as flushed where they brought nothing that is to be:
// their logs may fill the spool, and who flushes what waits would wait for it.
func (r *recovery) letGo() {
	s := r.s
	if r.out.Rows.Len()+len(r.out.Books) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cover(segment.Applied{Through: s.sealed})
}

// setAside renames the files of which nothing could be read, now that what their
// names say is in the new log.
func (r *recovery) setAside() {
	r.s.place.Lock()
	defer r.s.place.Unlock()
	for _, name := range r.aside {
		r.s.place.SetAside(name)
	}
}

// readCollector reads the collector id, or draws one for a new directory. Where
// the file is lost, the others know the id.
func (r *recovery) readCollector(h heads) error {
	s := r.s
	text, born, err := s.readSmall(collectorName)
	if err == nil {
		id, birth, ok := parseCollector(text)
		switch {
		case !ok:
		case birth != 0 && born != 0 && birth != born:
			return fmt.Errorf("spool: %s is a copy of another directory: the blocks of both would have the same collector id and numbers. "+
				"Use the one that was there first, or an empty directory. If the other one will never be used again, remove %s and start again", s.o.Dir, s.place.Path(collectorName))
		default:
			s.collector = id
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: read %s: %w", s.place.Path(collectorName), err)
	}
	id := h.collector
	switch {
	case id != 0:
		s.o.Logger.Warn("spool: the collector id was lost and is taken from the other files", "dir", s.o.Dir, "collector", strconv.FormatUint(id, 16))
	case h.used:
		return fmt.Errorf("spool: %s is missing or damaged, and no other file can be read: move %s away and start again", s.place.Path(collectorName), s.o.Dir)
	default:
		id = 1 + rand.Uint64N(1<<64-1)
	}
	s.collector = id
	return s.writeCollector()
}

// parseCollector reads the id, and the birth of the file that it was written to,
// 0 where that was not known.
func parseCollector(text []byte) (id uint64, birth int64, ok bool) {
	id, n, ok := parseTwoNumbers(collectorName, text)
	return id, int64(n), ok && id != 0
}

func (s *Spool) writeCollector() error {
	s.place.Lock()
	defer s.place.Unlock()
	err := s.place.WriteSmall(collectorName, func(f vfs.File) []byte {
		birth, _ := f.Birth()
		return twoNumbers(collectorName, s.collector, uint64(birth))
	})
	if err != nil {
		return fmt.Errorf("spool: write the collector id: %w", err)
	}
	return nil
}
