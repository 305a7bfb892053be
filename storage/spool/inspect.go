package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/storage/wal"
)

// Contents is what Inspect found in a directory.
type Contents struct {
	Collector uint64 // as the files' headers say; 0 where there is none
	Logs      []LogContents
	Segments  []SegmentContents
	Bad       []vfs.Entry // files that were set aside

	applied segment.Applied // all that logs and segments say
}

// Sealed counts what is sealed and in no segment, as a start would take it: the seals
// that bring something to a block, their rows, and when the first was written, in Unix
// milliseconds. Those without rows and books only say where sources are.
func (c *Contents) Sealed() (seals, rows int, since int64) {
	seen := make(map[uint64]bool) // one that was written again has its number twice
	for _, l := range c.Logs {
		for _, r := range l.Records {
			if r.Waiting == 0 && !r.booked || seen[r.Number] {
				continue
			}
			seen[r.Number] = true
			if seals++; seals == 1 {
				since = r.Time
			}
			rows += r.Waiting
		}
	}
	return seals, rows, since
}

// Queue is the segments of which blocks wait: all but those that were compacted into
// others that are there.
func (c *Contents) Queue() []SegmentContents {
	replaced := make(map[string]bool)
	for _, s := range c.Segments {
		for _, name := range s.Replaced {
			replaced[name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(c.Segments), func(s SegmentContents) bool { return replaced[s.Name] })
}

// Damaged says whether anything is, or was set aside, or could not be read.
func (c *Contents) Damaged() bool {
	if len(c.Bad) > 0 {
		return true
	}
	for _, l := range c.Logs {
		if l.Damage+l.Unread != "" {
			return true
		}
	}
	for _, r := range c.Segments {
		if r.Damage+r.Unread != "" || slices.ContainsFunc(r.Blocks, func(b BlockContents) bool { return b.Damage+b.Unread != "" }) {
			return true
		}
	}
	return false
}

// LogContents is a log file.
type LogContents struct {
	vfs.Entry
	Records []RecordContents
	Torn    int64  // bytes of a write that was cut off, or that goes on just now
	Damage  string // empty: none
	Unread  string // why the disk did not give it, which says nothing of what it holds; empty: it did
}

// RecordContents is one record of a log file. Rows, Books, Sources and Forgotten
// are counts; those of a snapshot are its sources.
type RecordContents struct {
	At        int64  // in the file
	Kind      string // snapshot, seal or mark
	Number    uint64
	Through   uint64 // all seals up to this one are in segments, or stored
	Last      uint64 // the last block number given
	Time      int64  // of writing, Unix milliseconds
	Length    int    // of the body, bytes
	Rows      int
	Waiting   int // of the rows, those that are in no segment
	Books     int
	Sources   int
	Forgotten int

	booked bool // its books are in no segment, or all but those of Waiting
}

// SegmentContents is a segment file.
type SegmentContents struct {
	vfs.Entry
	Window   storage.Window
	Through  uint64
	Replaced []string // segments that were compacted into it
	Blocks   []BlockContents
	Damage   string // of header or index; empty: none
	Unread   string // as in LogContents, of header or index
}

// BlockContents is a block of a segment, counts and all.
type BlockContents struct {
	Number uint64
	Day    uint32
	Rows   int
	Books  int
	Length int64  // bytes
	Damage string // empty: none
	Unread string // as in LogContents
}

// Inspect reads a spool directory, checks every checksum in it, and changes
// nothing. The directory may be that of a running daemon: a file that goes
// meanwhile is left out. Memory is that of the largest record.
func Inspect(dir string) (*Contents, error) { return inspect(vfs.OS{}, dir) }

func inspect(files vfs.FS, dir string) (*Contents, error) {
	entries, err := files.List(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	c := &Contents{}
	var logs []*wal.File // nil where the records cannot be read
	for _, e := range entries {
		_, isLog := parseLog(e.Name)
		name, isSegment := parseSegment(e.Name)
		if isSegment {
			c.applied = c.applied.With(name.Applied)
		}
		switch {
		case strings.HasSuffix(e.Name, place.BadSuffix):
			c.Bad = append(c.Bad, e)
		case isLog:
			err = open(files, dir, e.Name, func(f vfs.File) { logs = append(logs, c.findLog(f, e)) })
		case isSegment:
			err = open(files, dir, e.Name, func(f vfs.File) { c.Segments = append(c.Segments, c.inspectSegment(f, e, name)) })
		}
		if err != nil {
			return nil, err
		}
	}
	wal.Link(logs)
	// As a start does: first what is applied, by all headers, then what is not.
	for _, read := range []func(vfs.File, *wal.File, *LogContents){c.scan, c.walk} {
		for i, l := range logs {
			if l == nil {
				continue
			}
			if err := open(files, dir, c.Logs[i].Name, func(f vfs.File) { read(f, l, &c.Logs[i]) }); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// open has a file read; one that is gone meanwhile is left out.
func open(files vfs.FS, dir, name string, read func(vfs.File)) error {
	f, err := files.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	read(f)
	_ = f.Close() // it was only read
	return nil
}

// findLog reads the header of a log file, and returns nil where no more can be read.
func (c *Contents) findLog(f vfs.File, e vfs.Entry) *wal.File {
	out := LogContents{Entry: e}
	id, _ := parseLog(e.Name)
	l, err := wal.Find(f, id, e.Size)
	if err != nil {
		out.Damage, out.Unread = verdict(err)
	}
	if l != nil {
		if collector, ok := l.Collector(); ok {
			c.Collector = collector
		}
	}
	c.Logs = append(c.Logs, out)
	return l
}

// scan reads the headers of all records of a log file.
func (c *Contents) scan(f vfs.File, file *wal.File, l *LogContents) {
	err := file.Headers(f, func(rec *wal.Record) { c.applied = c.applied.With(marksOf(rec.Stamp).applied) })
	if err != nil {
		l.Unread = err.Error()
	}
}

// walk reads all records of a log file.
func (c *Contents) walk(f vfs.File, file *wal.File, l *LogContents) {
	_, err := file.Walk(f, nil, func() {}, func(rec *wal.Record) bool {
		r, ok := c.record(rec)
		l.Records = append(l.Records, r)
		return ok
	})
	if err != nil {
		l.Unread = err.Error()
	}
	if file.Missing {
		l.Damage = "records are missing or their checksums are wrong"
	}
	l.Torn = file.Torn
}

func (c *Contents) record(rec *wal.Record) (r RecordContents, ok bool) {
	m := marksOf(rec.Stamp)
	r = RecordContents{At: rec.At, Number: rec.Number, Through: m.applied.Through, Last: m.last, Time: rec.Time, Length: len(rec.Body())}
	switch rec.Kind {
	case wal.Snapshot:
		r.Kind = "snapshot"
		var sources map[uint64]storage.Source
		sources, _, ok = parseSnapshot(rec.Body())
		r.Sources = len(sources)
	case wal.Entry:
		r.Kind = "seal"
		var s sealBody
		if s, ok = parseSeal(rec.Body()); ok {
			ok = s.eachRow(func(row *storage.Row) {
				if !c.applied.Has(rec.Number, row.Minute) {
					r.Waiting++
				}
			})
		}
		r.Rows, r.Books = s.count, int(s.books)
		r.booked = s.books > 0 && rec.Number > c.applied.Through && !c.applied.Divides(rec.Number)
		r.Sources, r.Forgotten = len(s.sources)/sourceSize, len(s.forgotten)/8
	default:
		r.Kind, ok = "mark", true
	}
	return r, ok
}

func (c *Contents) inspectSegment(f vfs.File, e vfs.Entry, name segment.Name) SegmentContents {
	out := SegmentContents{Entry: e, Through: name.Through}
	r, err := segment.Read(f, e.Size, name)
	if err != nil {
		out.Damage, out.Unread = verdict(err)
		return out
	}
	c.Collector = r.Collector
	out.Window = r.Window
	for _, old := range r.Replaced {
		out.Replaced = append(out.Replaced, old.String())
	}
	for i := range r.Blocks {
		b := &r.Blocks[i]
		block := BlockContents{Number: name.First + uint64(i), Day: b.Day, Rows: int(b.Rows), Books: int(b.Books), Length: b.Length}
		if _, err := r.Load(f, i, storage.Columns{}); err != nil {
			block.Damage, block.Unread = verdict(err)
		}
		out.Blocks = append(out.Blocks, block)
	}
	return out
}

// verdict tells damage from a disk that does not give what it has.
func verdict(err error) (damage, unread string) {
	if errors.Is(err, format.ErrDamaged) {
		return err.Error(), ""
	}
	return "", err.Error()
}

// ReadBlock reads one block from a spool directory and changes nothing. Runs
// that were set aside are read as well, as far as they can be.
func ReadBlock(dir string, number uint64) (*storage.Block, error) {
	entries, err := vfs.OS{}.List(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	for _, e := range entries {
		name, ok := parseSegment(e.Name)
		if !ok || number < name.First || number > name.Last {
			continue
		}
		f, err := vfs.OS{}.Open(filepath.Join(dir, e.Name))
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		defer f.Close()
		r, err := segment.Read(f, e.Size, name)
		if err != nil {
			return nil, fmt.Errorf("spool: %s: %w", e.Name, err)
		}
		b, err := r.Load(f, int(number-name.First), storage.Columns{})
		if err != nil {
			return nil, fmt.Errorf("spool: block %d in %s: %w", number, e.Name, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("spool: %s has no block %d", dir, number)
}
