package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
)

// Contents is what Inspect found in a directory.
type Contents struct {
	Collector uint64 // as the files' headers say; 0 where there is none
	Logs      []LogContents
	Segments  []SegmentContents
	Bad       []vfs.Entry // files that were set aside
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
	Books     int
	Sources   int
	Forgotten int
}

// SegmentContents is a segment file.
type SegmentContents struct {
	vfs.Entry
	Window   storage.Window
	Through  uint64
	Replaced []string // segments that were merged into it
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
	var ends = map[string]int64{} // by name, from the header of the log file behind
	for _, e := range slices.Backward(entries) {
		_, isLog := parseLogName(e.Name)
		name, isSegment := segment.ParseName(e.Name)
		bad := strings.HasSuffix(e.Name, badSuffix)
		if !bad && !isLog && !isSegment {
			continue
		}
		if bad {
			c.Bad = append(c.Bad, e)
			continue
		}
		f, err := files.Open(filepath.Join(dir, e.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		if isLog {
			c.Logs = append(c.Logs, c.inspectLog(f, e, ends))
		} else {
			c.Segments = append(c.Segments, c.inspectSegment(f, e, name))
		}
		_ = f.Close() // it was only read
	}
	slices.Reverse(c.Logs)
	slices.Reverse(c.Segments)
	slices.Reverse(c.Bad)
	return c, nil
}

func (c *Contents) inspectLog(f vfs.File, e vfs.Entry, ends map[string]int64) LogContents {
	l := LogContents{Entry: e}
	id, _ := parseLogName(e.Name)
	h, err := readLogHeader(f, id)
	if err != nil {
		l.Damage, l.Unread = verdict(err)
	}
	switch {
	case err == nil:
		c.Collector = h.collector
		ends[logName(h.previous)] = int64(h.previousEnd)
	case !errors.Is(err, errHeaderLost):
		return l
	}
	in := &logReader{f: f, nonce: h.nonce, limit: e.Size, at: logHeaderSize}
	if end, ok := ends[e.Name]; ok && end >= logHeaderSize && end <= e.Size {
		in.limit, in.exact = end, true
	}
	var buf []byte
	for {
		at, ok := in.next()
		if !ok {
			break
		}
		if buf, ok = in.body(at, buf); in.err != nil {
			break
		} else if !ok {
			continue
		}
		r, ok := recordContents(&in.header, buf[recordHeaderSize:])
		in.damaged = in.damaged || !ok
		r.At = at
		l.Records = append(l.Records, r)
	}
	if in.err != nil {
		l.Unread = in.err.Error()
	}
	if in.damaged {
		l.Damage = "records are missing or their checksums are wrong"
	} else if in.err == nil {
		l.Torn = in.bad
	}
	return l
}

func recordContents(h *recordHeader, body []byte) (r RecordContents, ok bool) {
	r = RecordContents{Kind: kindName(h.kind), Number: h.number, Through: h.applied.Through, Last: h.last, Time: h.time, Length: len(body)}
	switch h.kind {
	case kindSnapshot:
		var sources map[uint64]Source
		sources, _, ok = parseSnapshot(body)
		r.Sources = len(sources)
	case kindSeal:
		var s sealBody
		if s, ok = parseSeal(body); ok {
			_, ok = codec.RowsIn(s.rows, s.count)
		}
		r.Rows, r.Books = s.count, int(s.books)
		r.Sources, r.Forgotten = len(s.sources)/sourceSize, len(s.forgotten)/8
	default:
		ok = true
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
		if _, err := r.Load(f, i); err != nil {
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
	return readBlock(vfs.OS{}, dir, number)
}

func readBlock(files vfs.FS, dir string, number uint64) (*storage.Block, error) {
	entries, err := files.List(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	for _, e := range entries {
		name, ok := segment.ParseName(e.Name)
		if !ok || number < name.First || number > name.Last {
			continue
		}
		f, err := files.Open(filepath.Join(dir, e.Name))
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		defer f.Close()
		r, err := segment.Read(f, e.Size, name)
		if err != nil {
			return nil, fmt.Errorf("spool: %s: %w", e.Name, err)
		}
		b, err := r.Load(f, int(number-name.First))
		if err != nil {
			return nil, fmt.Errorf("spool: block %d in %s: %w", number, e.Name, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("spool: %s has no block %d", dir, number)
}
