package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/storage/wal"
)

// collectorName is a file with the collector id.
const collectorName = "collector"

const (
	headMax  = 128           // bytes of what tells the version of a file
	smallMax = shardMax + 64 // bytes of a small file
)

// CheckVersions says whether a place has a file of another version of the format,
// which this program must leave alone, and all beside it. It changes nothing. A
// file that is damaged, cannot be read now, or goes meanwhile, is none.
func CheckVersions(place string) error {
	entries, err := vfs.OS{}.List(place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if _, err := readHeads(vfs.OS{}, place, entries); errors.Is(err, format.ErrVersion) {
		return err
	}
	return nil
}

// heads is what the files of a place say in their first bytes.
type heads struct {
	used      bool   // there are logs or segments
	collector uint64 // of the first one of which the header is good; 0: of none
}

// readHeads refuses files of another version, and those that the disk does not give.
// Of what was set aside it only takes the collector.
func readHeads(files vfs.FS, dir string, entries []vfs.Entry) (h heads, err error) {
	for _, e := range entries {
		head := headOf(e.Name)
		if head == nil {
			continue
		}
		h.used = h.used || holds(e.Name) && e.Name != collectorName
		path := filepath.Join(dir, e.Name)
		f, err := files.Open(path)
		if err != nil {
			continue // whoever needs it will say so
		}
		b, err := readHead(f, headMax)
		_ = f.Close() // it was only read
		collector, bad := head(b)
		h.collector = cmp.Or(h.collector, collector)
		switch {
		case filepath.Ext(e.Name) == place.BadSuffix:
		case err != nil:
			return h, unread(path, format.ReadError("the file", err))
		case errors.Is(bad, format.ErrVersion):
			return h, fmt.Errorf("spool: %s: %w", path, bad)
		}
	}
	return h, nil
}

// headOf returns what looks at the beginning of a file of that name, nil where
// there is nothing to look at: it is empty, or nobody's.
func headOf(name string) func([]byte) (collector uint64, err error) {
	_, isLog := parseLog(name)
	_, isSegment := parseSegment(name)
	switch {
	case name == collectorName || name == uncheckedName || name == renewingName:
		return func(b []byte) (uint64, error) { return 0, format.CheckText(textKind(name), b) }
	case isLog:
		return wal.Collector
	case isSegment:
		return segment.Collector
	}
	return nil
}

// textKind is what the first line of a small file says.
func textKind(name string) string { return "lectern-" + name }

// readSmall reads a small file, with its birth, 0 where that is not known.
func (s *Spool) readSmall(name string) (b []byte, born int64, err error) {
	f, err := s.files.Open(s.place.Path(name))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if b, err = readHead(f, smallMax); err != nil {
		return nil, 0, err
	}
	born, _ = f.Birth()
	return b, born, nil
}

// readHead reads at most that many bytes that a file begins with.
func readHead(f vfs.File, most int) ([]byte, error) {
	b := make([]byte, most)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// twoNumbers is the text of the files collector and unchecked.
func twoNumbers(name string, a, b uint64) []byte {
	return format.Text(textKind(name), fmt.Sprintf("%016x", a), fmt.Sprintf("%016x", b))
}

func parseTwoNumbers(name string, text []byte) (a, b uint64, ok bool) {
	lines, err := format.ParseText(textKind(name), text)
	if err != nil || len(lines) != 2 {
		return 0, 0, false
	}
	a, one := format.ParseHex(lines[0])
	b, two := format.ParseHex(lines[1])
	return a, b, one && two
}
