package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
)

// recovery is the state of a start.
type recovery struct {
	s       *Spool
	out     *Recovered
	logs    []*foundLog
	aside   []string // files of which nothing can be read
	begun   bool     // a snapshot or a seal was read
	missing missing
	used    int64 // bytes of all files
	holding bool  // s.buf has the last seal of the last log: it may not be durable
}

// foundLog is a log file that is there.
type foundLog struct {
	logFile
	header logHeader
	exact  bool // end is known from the file behind it
}

// recover reads the directory and begins a new log file.
func (s *Spool) recover() (*Recovered, error) {
	entries, err := s.files.List(s.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("spool: list the directory: %w", err)
	}
	if err := checkVersions(s.files, s.o.Dir, entries); err != nil {
		return nil, err
	}
	if err := s.checkRenewed(entries); err != nil {
		return nil, err
	}
	if err := s.files.SyncDir(s.o.Dir); err != nil { // what is there now stays there
		return nil, fmt.Errorf("spool: sync the directory: %w", err)
	}
	if err := s.occupy(entries); err != nil {
		return nil, err
	}
	entries, err = s.removeTemporary(entries)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	r := &recovery{s: s, out: &Recovered{Rows: storage.NewMinutes()}}
	if err := r.readCollector(entries); err != nil {
		return nil, err
	}
	if err := r.find(entries); err != nil {
		return nil, err
	}
	r.dropReplaced()
	r.linkLogs()
	for _, l := range r.logs {
		if err := r.scan(l); err != nil {
			return nil, r.unread(logName(l.id), err)
		}
	}
	for i, l := range r.logs {
		if err := r.replay(l, i == len(r.logs)-1); err != nil {
			return nil, r.unread(logName(l.id), err)
		}
	}
	r.skipNumbers()
	if err := r.readUnchecked(); err != nil {
		return nil, err
	}
	if err := s.openQuota(r.used); err != nil {
		return nil, err
	}
	if !r.holding { // else the seal may tell of which stream it was
		r.bookUnknown()
	}
	if err := r.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("spool: %w", err), s.quota.close())
	}
	r.bookUnknown()
	if n := r.out.Damaged; n > 0 {
		for _, l := range s.logs { // another start must find the same, until it is frozen
			l.newest = max(l.newest, r.missing.seal)
		}
		s.o.Logger.Error("spool: acknowledged events are gone with the seals that are missing; the books show them as damaged", "events", n, "dir", s.o.Dir)
	}
	r.setAside()
	r.letGo()
	s.tidy()
	r.out.Sources = s.Sources()
	r.out.Last = s.sealed
	if s.applied.Divides(s.applied.Part) { // also where its seals are damaged: no mark may be before it
		r.out.Before = uint64(s.applied.Before)
	}
	r.out.Segments = len(s.queue)
	return r.out, nil
}

// removeTemporary removes what was being written, and returns the others.
func (s *Spool) removeTemporary(entries []vfs.Entry) (left []vfs.Entry, err error) {
	for _, e := range entries {
		if !strings.HasSuffix(e.Name, tempSuffix) {
			left = append(left, e)
			continue
		}
		if err := s.files.Remove(s.path(e.Name)); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// find looks at every file, and opens segments and logs.
func (r *recovery) find(entries []vfs.Entry) error {
	s := r.s
	for _, e := range entries {
		name, bad := strings.CutSuffix(e.Name, badSuffix)
		if id, ok := parseLogName(name); ok {
			s.nextLog = max(s.nextLog, id)
		}
		var err error
		switch _, isLog := parseLogName(e.Name); {
		case e.Name == reserveName, e.Name == uncheckedName:
			e.Size = 0
		case bad: // perhaps renamed by a person: its numbers are not given again
			if n, ok := segment.ParseName(name); ok {
				s.last, s.applied = max(s.last, n.Last), s.applied.With(n.Applied)
			}
		case isLog:
			err = r.findLog(e)
		case strings.HasPrefix(e.Name, "segment-"):
			err = r.findSegment(e)
		}
		if err != nil {
			return r.unread(e.Name, err)
		}
		r.used += e.Size
	}
	s.nextLog++
	return nil
}

// unread is the error of a start that cannot go on. A file that the disk does not
// give is not taken for damaged: what it holds would be given up, and its numbers
// be given again.
func (r *recovery) unread(name string, err error) error { return unread(r.s.path(name), err) }

func unread(path string, err error) error {
	if !errors.Is(err, format.ErrRead) {
		return fmt.Errorf("spool: %s: %w", path, err)
	}
	return fmt.Errorf("spool: %s: %w. Start again; if it stays so, look at the disk, and rename the file to %s to start without what it holds",
		path, err, filepath.Base(path)+badSuffix)
}

func (r *recovery) findLog(e vfs.Entry) error {
	id, _ := parseLogName(e.Name)
	l := &foundLog{logFile: logFile{id: id, size: e.Size}}
	f, err := r.s.files.Open(r.s.path(e.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	l.header, err = readLogHeader(f, id)
	switch {
	case errors.Is(err, errHeaderLost):
		l.damaged, l.header.collector = true, r.s.collector
		r.report(e.Name, err.Error())
	case errors.Is(err, format.ErrDamaged):
		r.lost(e.Name, err.Error())
		return nil
	case err != nil:
		return err
	}
	l.nonce = l.header.nonce
	r.logs = append(r.logs, l)
	return r.same(l.header.collector)
}

func (r *recovery) findSegment(e vfs.Entry) error {
	s := r.s
	name, ok := segment.ParseName(e.Name)
	if !ok {
		return nil
	}
	s.last = max(s.last, name.Last)
	f, err := s.files.Open(s.path(e.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	found, err := segment.Read(f, e.Size, name)
	if err != nil && !errors.Is(err, format.ErrDamaged) {
		return err
	}
	if err != nil {
		s.applied = s.applied.With(name.Applied) // its seals are not counted again: a store may have them
		r.lost(e.Name, err.Error())
		return nil
	}
	q := newQueued(found)
	q.durable, q.tried = true, true
	s.applied = s.applied.With(name.Applied)
	s.queue = append(s.queue, q)
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
		"file", r.s.path(name), "why", why)
}

// dropReplaced leaves out segments that were merged into others that are there.
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

// linkLogs takes from each log file's header where the one before it ended.
func (r *recovery) linkLogs() {
	byID := map[uint64]*foundLog{}
	for _, l := range r.logs {
		l.end = l.size
		if before := byID[l.header.previous]; before != nil && l.header.previousEnd <= uint64(before.size) {
			before.end, before.exact = int64(l.header.previousEnd), true
		}
		byID[l.id] = l
	}
}

// open returns a reader of a log's records.
func (r *recovery) open(l *foundLog) (*logReader, io.Closer, error) {
	f, err := r.s.files.Open(r.s.path(logName(l.id)))
	if err != nil {
		return nil, nil, err
	}
	return &logReader{f: f, nonce: l.nonce, limit: l.end, exact: l.exact, at: logHeaderSize}, f, nil
}

// scan reads the records' headers for what they say of segments.
func (r *recovery) scan(l *foundLog) error {
	in, f, err := r.open(l)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, ok := in.next(); !ok {
			return in.err
		}
		r.s.applied = r.s.applied.With(in.header.applied)
		r.s.last = max(r.s.last, in.header.last)
	}
}

// replay takes the records of a log in their order.
func (r *recovery) replay(l *foundLog, last bool) error {
	s := r.s
	in, f, err := r.open(l)
	if err != nil {
		return err
	}
	defer f.Close()
	end := int64(logHeaderSize) // behind the last good record that is surely durable
	good := end                 // behind the last good record
	for {
		at, ok := in.next()
		if !ok {
			break
		}
		r.release()
		end = good // there was a later write, so what is before it is durable
		if s.buf, ok = in.body(at, s.buf); in.err != nil {
			break
		} else if !ok {
			continue
		}
		good = in.at
		h := in.header
		switch h.kind {
		case kindSnapshot:
			in.damaged = !r.snapshot(&h, s.buf) || in.damaged
			l.newest = max(l.newest, h.number)
		case kindSeal:
			l.newest = max(l.newest, h.number)
			if h.number <= s.sealed {
				break
			}
			if body, ok := parseSeal(s.buf[recordHeaderSize:]); !ok || !body.good() {
				in.damaged = true
				break
			}
			r.gap(h.number)
			if r.holding = true; !last {
				r.release()
			}
		case kindMark:
			in.damaged = !r.mark(&h, s.buf) || in.damaged
		}
	}
	if in.err != nil {
		return in.err
	}
	if !last {
		end = good
	}
	l.end = end
	if last && !in.damaged && in.bad > 0 {
		r.out.Torn += in.bad
		s.o.Logger.Warn("spool: the last write before the stop was cut off; it was not acknowledged", "file", s.path(logName(l.id)), "bytes", in.bad)
	}
	if in.damaged {
		if !l.damaged {
			r.report(logName(l.id), "records are missing or their checksums are wrong")
		}
		l.damaged = true
	}
	s.logs = append(s.logs, &l.logFile)
	return nil
}

// gap notes seals that are nowhere, neither in a log nor in a segment.
func (r *recovery) gap(number uint64) {
	if s := r.s; r.begun && number > s.sealed+1 && number-1 > s.applied.Through {
		r.missing.seal = number - 1
		s.o.Logger.Error("spool: acknowledged seals are missing", "first", s.sealed+1, "last", number-1, "dir", s.o.Dir)
	}
}

// snapshot takes the sources of a snapshot, unless later states are known.
func (r *recovery) snapshot(h *recordHeader, rec []byte) bool {
	s := r.s
	sources, sent, ok := parseSnapshot(rec[recordHeaderSize:])
	if !ok {
		return false
	}
	if h.number < s.sealed {
		return true
	}
	r.gap(h.number + 1)
	r.knownAll(sent, h.time)
	s.sources, s.sealed, r.begun = sources, h.number, true
	return true
}

// mark takes what a mark says of the seals before it, where these are missing.
func (r *recovery) mark(h *recordHeader, rec []byte) bool {
	s := r.s
	body := rec[recordHeaderSize:]
	if len(body) != markSize {
		return false
	}
	if !r.begun || h.number <= s.sealed {
		return true
	}
	r.gap(h.number + 1)
	r.missing.window = storage.Window{Start: h.time, End: h.time}
	r.excess(le.Uint16(body[8:]), le.Uint64(body[10:]))
	s.sent.take(body[8:])
	r.missing.unknown = le.Uint64(body) - min(le.Uint64(body), s.sent.all)
	s.sealed = h.number
	return true
}

// release takes the seal in s.buf for true.
func (r *recovery) release() {
	if !r.holding {
		return
	}
	r.holding = false
	s := r.s
	number := le.Uint64(s.buf[16:])
	body, ok := parseSeal(s.buf[recordHeaderSize:])
	if !ok {
		return
	}
	r.known(&body)
	r.take(number, body)
	body.apply(s.sources)
	s.sealed, r.begun = number, true
	newest, _ := codec.RowsIn(body.rows, body.count)
	s.sealedRows(sealRows{number, body.count, len(body.rows), newest})
}

// take keeps what a seal brought that is in no segment.
func (r *recovery) take(number uint64, body sealBody) {
	if number <= r.s.applied.Through {
		return
	}
	out := r.out
	out.Seals++
	out.Window = out.Window.With(body.window)
	open := r.takeRows(number, body)
	if r.s.applied.Divides(number) {
		// Of what the seal brought the segments have all but the rows that are open,
		// and the events of these: see storage.Gatherer.
		for stream, events := range open {
			out.Books = storage.AddBooks(out.Books, []storage.Book{{Stream: stream, Sent: events, Accepted: events}})
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

// takeRows adds up the rows of a seal that are in no segment, and returns how many
// events they are.
func (r *recovery) takeRows(number uint64, body sealBody) (events map[uint16]uint64) {
	events = make(map[uint16]uint64)
	rows := make([]storage.Row, 0, min(body.count, takenAtOnce))
	d := codec.RowDecoder{Rest: body.rows}
	for range body.count {
		var row storage.Row
		if !d.Next(&row) {
			break // it was good when it was replayed
		}
		if r.s.applied.Has(number, row.Minute) {
			continue
		}
		events[row.Stream] += row.Events()
		if rows = append(rows, row); len(rows) == takenAtOnce {
			r.out.Rows.Add(rows)
			rows = rows[:0]
		}
	}
	r.out.Rows.Add(rows)
	return events
}

// takenAtOnce is how many rows are decoded before they are added up.
const takenAtOnce = 1024

// begin begins a new log file. Its snapshot is of before the last seal, which is
// written again: nobody knows whether its sync succeeded.
func (r *recovery) begin() error {
	s := r.s
	if n := len(s.logs); n > 0 {
		s.log = s.logs[n-1]
		s.log.broken = true
		defer func(l *logFile) {
			if s.log == l {
				s.log = nil
			}
		}(s.log)
	}
	if !r.holding {
		r.skipFrozen()
		_, err := s.rotate(kindMark, s.sealed, nil)
		return err
	}
	rec, err := s.rotate(kindSeal, le.Uint64(s.buf[16:]), s.buf)
	if err != nil {
		return err
	}
	s.buf = rec
	r.release()
	r.skipFrozen()
	return nil
}

// skipNumbers sees to it that no block number is given twice where the newest log,
// which alone surely knows the last one, cannot be read at all. While that was the
// newest, fewer than 2^32 were given: each is of a block with at least a row or a
// book, and a log has room for some millions. Seals of older logs are another
// matter, as they may be in blocks that are stored: CheckStore will tell.
func (r *recovery) skipNumbers() {
	s := r.s
	newest := s.nextLog - 1
	const perLog, most = 1 << 32, 1 << 31
	if newest == 0 || newest >= most || r.out.Seals > 0 || r.holding || slices.ContainsFunc(r.logs, func(l *foundLog) bool { return l.id == newest }) {
		return
	}
	s.last = max(s.last, newest*perLog)
	s.o.Logger.Error("spool: the newest log is lost: what it sealed that was in no block is missing, its sources are not known, "+
		"and the numbers of blocks go on far behind all that it may have given", "dir", s.o.Dir, "log", logName(newest), "block", s.last)
}

// skipFrozen has seals numbered behind all that are frozen, also where the
// records of these are damaged or gone: a seal of such a number would count as
// frozen at the next start.
func (r *recovery) skipFrozen() { r.s.sealed = max(r.s.sealed, r.s.applied.Through, r.s.applied.Part) }

// letGo has the seals count as frozen where they brought nothing that is to be:
// their logs may fill the spool, and who freezes what waits would wait for it.
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
	r.s.dirMu.Lock()
	defer r.s.dirMu.Unlock()
	var none int64
	for _, name := range r.aside {
		r.s.remove(name, &none, true)
	}
}

// readCollector reads the collector id, or draws one for a new directory. Where
// the file is lost, the others know the id.
func (r *recovery) readCollector(entries []vfs.Entry) error {
	s := r.s
	text, born, err := r.readText(collectorName)
	if err == nil {
		id, birth, ok := parseCollector(text)
		switch {
		case !ok:
		case birth != 0 && born != 0 && birth != born:
			return fmt.Errorf("spool: %s is a copy of another directory: the blocks of both would have the same collector id and numbers. "+
				"Use the one that was there first, or an empty directory. If the other one will never be used again, remove %s and start again", s.o.Dir, s.path(collectorName))
		default:
			s.collector = id
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: read %s: %w", s.path(collectorName), err)
	}
	id, files, err := r.collectorOfFiles(entries)
	switch {
	case err != nil:
		return err
	case id != 0:
		s.o.Logger.Warn("spool: the collector id was lost and is taken from the other files", "dir", s.o.Dir, "collector", strconv.FormatUint(id, 16))
	case files:
		return fmt.Errorf("spool: %s is missing or damaged, and no other file can be read: move %s away and start again", s.path(collectorName), s.o.Dir)
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

// readText reads a small file, with its birth, 0 where that is not known.
func (r *recovery) readText(name string) (text []byte, born int64, err error) {
	f, err := r.s.files.Open(r.s.path(name))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if text, err = readSmall(f); err != nil {
		return nil, 0, err
	}
	born, _ = f.Birth()
	return text, born, nil
}

// collectorOfFiles returns the id that the headers say, and whether there are
// files at all.
func (r *recovery) collectorOfFiles(entries []vfs.Entry) (id uint64, files bool, err error) {
	for _, e := range entries {
		_, isLog := parseLogName(e.Name)
		_, isSegment := segment.ParseName(e.Name)
		if !isLog && !isSegment {
			continue
		}
		files = true
		f, err := r.s.files.Open(r.s.path(e.Name))
		if err != nil {
			return 0, true, r.unread(e.Name, err)
		}
		var b [segment.HeaderSize]byte
		_, err = f.ReadAt(b[:], 0)
		_ = f.Close()
		if err != nil && !errors.Is(err, io.EOF) { // a header that is not whole fails its checksum
			return 0, true, r.unread(e.Name, format.ReadError("the header", err))
		}
		var l logHeader
		var h segment.Header
		if isLog && l.decode(b[:]) == nil {
			return l.collector, true, nil
		}
		if isSegment && h.Decode(b[:]) == nil {
			return h.Collector, true, nil
		}
	}
	return 0, files, nil
}

func (s *Spool) writeCollector() error {
	s.dirMu.Lock()
	defer s.dirMu.Unlock()
	err := s.writeText(collectorName, func(f vfs.File) []byte {
		birth, _ := f.Birth()
		return twoNumbers(collectorName, s.collector, uint64(birth))
	})
	if err == nil {
		err = s.syncDir()
	}
	if err != nil {
		return fmt.Errorf("spool: write the collector id: %w", err)
	}
	return nil
}
