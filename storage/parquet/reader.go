package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
)

// Reader answers questions from the files of a directory. It implements
// storage.Reader, writes nothing, and needs no daemon: it works beside one, and
// on a dead one's directory.
type Reader struct {
	// Progress, where it is set, is told how many rows were looked at, and of how
	// many, while a question is answered; by the goroutine that asks.
	Progress func(done, all int64)

	dir  string
	disk disk
	now  func() time.Time // nil for time.Now
	most int64            // rows of spans that are in memory at a time; 0 for seenAtOnce
}

func (r *Reader) tell(done, all int64) {
	if r.Progress != nil {
		r.Progress(done, all)
	}
}

// OpenReader returns a Reader of the directory that a Store writes or wrote.
func OpenReader(dir string) (*Reader, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("parquet: there is no directory %s: set parquet.dir to where the daemon writes, or start the daemon first", dir)
	case err != nil:
		return nil, fmt.Errorf("parquet: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("parquet: %s is not a directory: set parquet.dir to where the daemon writes", dir)
	}
	return &Reader{dir: dir, disk: realDisk{}}, nil
}

// errMoved says that a file is not what it was when the folder was listed: a
// merge has replaced it.
var errMoved = errors.New("the files keep changing: try again")

// attempts bounds how often a question is begun anew because of merges. They
// come once an hour, so the second time does.
const attempts = 20

// again calls f until no file moved under it.
func (r *Reader) again(ctx context.Context, f func() error) error {
	for try := range attempts {
		err := f()
		if !errors.Is(err, errMoved) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * 5 * time.Millisecond):
		}
	}
	return fmt.Errorf("parquet: %s: %w", r.dir, errMoved)
}

// snapshot returns files of a table which together hold every block once, of
// the day since and later ones.
func (r *Reader) snapshot(ctx context.Context, t table, since uint32) ([]entry, error) {
	days, err := folders(r.disk, r.dir, t)
	if err != nil {
		return nil, err
	}
	var files []entry
	for _, day := range days {
		if day < since {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		folder := filepath.Join(r.dir, string(t), dayFolder(day))
		var keep []entry
		err := r.again(ctx, func() (err error) {
			keep, err = r.snapshotDay(t, folder)
			return err
		})
		if err != nil {
			return nil, err
		}
		files = append(files, keep...)
	}
	return files, nil
}

// snapshotDay lists the folder twice. A listing is no single moment: during a
// merge it can miss the new file, which was not there yet, and some of the old
// ones, which were there no more. The new one is in the second listing then.
func (r *Reader) snapshotDay(t table, folder string) ([]entry, error) {
	before, err := r.list(folder)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, len(before))
	for i, file := range before {
		entries[i], err = readEntry(r.disk, t, filepath.Join(folder, file))
		if err != nil {
			return nil, moved(err)
		}
	}
	after, err := r.list(folder)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(before, after) {
		return nil, errMoved
	}
	keep, _, err := cover(entries)
	return keep, err
}

func (r *Reader) list(folder string) ([]string, error) {
	list, err := r.disk.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	var files []string
	for _, f := range list {
		if readable(f.Name()) {
			files = append(files, f.Name())
		}
	}
	return files, nil
}

// moved makes errMoved of the error of a file that has gone.
func moved(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	return err
}

// open opens a file of a snapshot, if it is still the same.
func (r *Reader) open(t table, e *entry) (*opened, error) {
	o, err := r.openEntry(t, e)
	if err != nil {
		return nil, err
	}
	if err := o.verify(); err != nil {
		_ = o.Close()
		return nil, err
	}
	return o, nil
}

// openEntry opens a file of a snapshot, of which only the metadata is known to be
// whole.
func (r *Reader) openEntry(t table, e *entry) (*opened, error) {
	o, err := openEntry(r.disk, t, e.path)
	if err != nil {
		return nil, moved(err)
	}
	if !o.same(e) {
		_ = o.Close()
		return nil, errMoved
	}
	return o, nil
}

// scanFile calls visit with each batch of rows of the wanted columns, in those
// groups of the file that choose gives. A file of which it gives none is not read.
func (r *Reader) scanFile(ctx context.Context, e *entry, choose func(*opened) []parquet.RowGroup, wanted []int, visit func(*scan)) error {
	o, err := r.openEntry(reads, e)
	if err != nil {
		return err
	}
	defer o.Close()
	groups := choose(o)
	if len(groups) == 0 {
		return nil
	}
	if err := o.verify(); err != nil {
		return err
	}
	s := newScan(o, wanted...)
	s.groups = groups
	defer s.close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		visit(s)
	}
}

// Books implements storage.Reader. Of a daemon that works, the rows are looked
// at before the books, so that what it stores meanwhile is accepted and not yet
// stored, never the other way round.
func (r *Reader) Books(ctx context.Context) (books []storage.BookTotal, err error) {
	err = r.again(ctx, func() (err error) {
		books, err = r.books(ctx)
		return err
	})
	return books, err
}

func (r *Reader) books(ctx context.Context) ([]storage.BookTotal, error) {
	rows, err := r.snapshot(ctx, reads, 0)
	if err != nil {
		return nil, err
	}
	books, err := r.snapshot(ctx, ledger, 0)
	if err != nil {
		return nil, err
	}
	spans, err := r.snapshot(ctx, seen, 0)
	if err != nil {
		return nil, err
	}
	totals := make(storage.BookTotals)
	begins := int64(math.MaxInt64)
	for i := range books {
		err := visit(ctx, r, ledger, &books[i], newLedgerSource, func(row *ledgerRow) {
			totals.Of(row.Account()).Add(&row.Book)
			begins = min(begins, row.windowStart)
		})
		if err != nil {
			return nil, err
		}
	}
	err = r.settle(ctx, spans, begins, func(a storage.Account, s storage.Settlement) { totals.Of(a).Settle(s) })
	if err != nil {
		return nil, err
	}
	stored := make(map[uint16]uint64)
	wanted := []int{colStream, colOpens, colReads, colFinishes, colSaves, colShares, colImpressions, colClicks}
	all := seeker{reader: r, files: rows, wanted: rowRange{up: 1<<16 - 1}, passes: 1}
	err = all.scan(ctx, wanted, func(s *scan) {
		v := &s.values
		for i := range s.rows {
			stored[uint16(v[colStream][i])] += v[colOpens][i] + v[colReads][i] + v[colFinishes][i] + v[colSaves][i] + v[colShares][i] + v[colImpressions][i] + v[colClicks][i]
		}
	})
	return totals.List(stored, forgottenIn(rows)), err
}

// forgottenIn adds up what was taken out of files, by stream.
func forgottenIn(files []entry) map[uint16]uint64 {
	events := make(map[uint16]uint64)
	for i := range files {
		for _, f := range files[i].forgotten {
			events[f.Stream] += f.Events
		}
	}
	return events
}

// visit calls f with each row of a file of a table with rows of type T.
func visit[T any](ctx context.Context, r *Reader, t table, e *entry, source func(*opened) *rowsSource[T], f func(*T)) error {
	o, err := r.open(t, e)
	if err != nil {
		return err
	}
	defer o.Close()
	l := source(o)
	defer l.close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := l.Next()
		if row == nil || err != nil {
			return err
		}
		f(row)
	}
}
