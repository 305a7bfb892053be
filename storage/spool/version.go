package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/lectern/lectern/storage/internal/format"
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
	if err := checkVersions(vfs.OS{}, place, entries); errors.Is(err, format.ErrVersion) {
		return err
	}
	return nil
}

func checkVersions(files vfs.FS, dir string, entries []vfs.Entry) error {
	for _, e := range entries {
		check := headOf(e.Name)
		if check == nil {
			continue
		}
		path := filepath.Join(dir, e.Name)
		f, err := files.Open(path)
		if err != nil {
			continue // whoever needs it will say so
		}
		b, err := readHead(f, headMax)
		_ = f.Close() // it was only read
		if err != nil {
			return unread(path, format.ReadError("the file", err))
		}
		if err := check(b); errors.Is(err, format.ErrVersion) {
			return fmt.Errorf("spool: %s: %w", path, err)
		}
	}
	return nil
}

// headOf returns what looks at the beginning of a file of that name, nil where
// there is nothing to look at: it is set aside, or empty, or nobody's.
func headOf(name string) func([]byte) error {
	_, isLog := parseLog(name)
	_, isSegment := parseSegment(name)
	switch {
	case name == collectorName || name == uncheckedName || name == renewingName:
		return func(b []byte) error { return format.CheckText(textKind(name), b) }
	case filepath.Ext(name) == badSuffix:
	case isLog:
		return func(b []byte) error { return format.CheckHead(b, wal.Magic) }
	case isSegment:
		return func(b []byte) error { return format.CheckHead(b, segment.Magic) }
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
	a, one := parseHex(lines[0])
	b, two := parseHex(lines[1])
	return a, b, one && two
}
