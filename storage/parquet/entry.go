package parquet

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
)

const (
	metaCollector = "lectern.collector"
	metaBlocks    = "lectern.blocks"
	metaForgotten = "lectern.forgotten" // in files that something was taken out of
)

// entry is one file of a table, as its metadata tells.
type entry struct {
	path      string
	name      name // the zero value where the store gives no such names
	collector uint64
	blocks    spans
	rows      int64
	forgotten []storage.Forgetting // what was taken out of it, in order
	info      fs.FileInfo
}

// opened is an entry with its file open.
type opened struct {
	entry
	file     *os.File
	parquet  *parquet.File
	footnote footnote
}

func (o *opened) Close() error { return o.file.Close() }

var errDamaged = errors.New("is damaged or was not written by lectern")

// damaged is an error of a file that cannot be understood.
func damaged(path string, why any) error {
	return fmt.Errorf("parquet: %s %w (%v): move it out of the directory, or put back a good copy", path, errDamaged, why)
}

// guard calls f and makes errors of the panics that the library has for bytes
// that it does not expect.
func guard(path string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, p)
		}
	}()
	return f()
}

// openEntry opens a file of the table and reads its metadata.
func openEntry(d disk, t table, path string) (*opened, error) {
	f, err := d.Open(path)
	if err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	o := &opened{entry: entry{path: path}, file: f}
	if err := guard(path, func() error { return o.readMetadata(t) }); err != nil {
		_ = f.Close()
		return nil, err
	}
	return o, nil
}

func (o *opened) readMetadata(t table) (err error) {
	if o.info, err = o.file.Stat(); err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	footed, err := o.readFooter()
	if err != nil {
		return err
	}
	o.parquet, err = parquet.OpenFile(footed, o.info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return o.fault(err)
	}
	if err := o.checkChunks(); err != nil {
		return damaged(o.path, err)
	}
	if !parquet.EqualNodes(o.parquet.Schema(), t.schema()) {
		return damaged(o.path, "its columns are not those of "+string(t))
	}
	collector, _ := o.parquet.Lookup(metaCollector)
	if o.collector, err = strconv.ParseUint(collector, 16, 64); err != nil {
		return damaged(o.path, metaCollector+" is missing")
	}
	blocks, _ := o.parquet.Lookup(metaBlocks)
	if o.blocks, err = parseSpans(blocks); err != nil {
		return damaged(o.path, metaBlocks+": "+err.Error())
	}
	forgotten, _ := o.parquet.Lookup(metaForgotten)
	if o.forgotten, err = parseForgotten(forgotten); err != nil {
		return damaged(o.path, metaForgotten+": "+err.Error())
	}
	o.name, _ = parseName(filepath.Base(o.path))
	o.rows = o.parquet.NumRows()
	return nil
}

// openRows opens a file whose rows are to be read, all of which are whole.
func openRows(d disk, t table, path string) (*opened, error) {
	o, err := openEntry(d, t, path)
	if err != nil {
		return nil, err
	}
	if err := o.verify(); err != nil {
		_ = o.Close()
		return nil, err
	}
	return o, nil
}

// readEntry reads a file's metadata.
func readEntry(d disk, t table, path string) (entry, error) {
	o, err := openEntry(d, t, path)
	if err != nil {
		return entry{}, err
	}
	return o.entry, o.Close()
}

// same says that both are the same file with the same blocks. The inode alone
// would not do: a file system gives them anew.
func (e *entry) same(o *entry) bool {
	return os.SameFile(e.info, o.info) && e.info.ModTime().Equal(o.info.ModTime()) && slices.Equal(e.blocks, o.blocks)
}

// cover divides the files of one day into those to read, which hold every block
// once, and those whose blocks are all in the former too.
func cover(entries []entry) (keep, covered []entry, err error) {
	// Ties by path, so that of two equal files all processes choose the same.
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.blocks.count(), a.blocks.count()), cmp.Compare(a.path, b.path))
	})
	have := make(map[uint64]spans) // by collector
	for _, e := range entries {
		mine := have[e.collector]
		switch {
		case mine.covers(e.blocks):
			covered = append(covered, e)
		case mine.overlaps(e.blocks):
			return nil, nil, fmt.Errorf("parquet: %s holds some blocks that are in another file of %s too, and others that are not: move one of them away", e.path, filepath.Dir(e.path))
		default:
			keep = append(keep, e)
			have[e.collector] = mine.with(e.blocks)
		}
	}
	return keep, covered, nil
}

// folders returns the days of a table, earliest first; none where the table is
// not there yet.
func folders(d disk, dir string, t table) ([]uint32, error) {
	list, err := d.ReadDir(filepath.Join(dir, string(t)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	var days []uint32
	for _, f := range list {
		if day, ok := parseDay(f.Name()); ok && f.IsDir() {
			days = append(days, day)
		}
	}
	slices.Sort(days)
	return days, nil
}
