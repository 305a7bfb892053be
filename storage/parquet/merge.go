package parquet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/merge"
)

// filesAtOnce bounds how many files are open in one step of a merge, and so its
// memory. Hours with more take several steps.
const filesAtOnce = 32

// Merge makes one file of all files of a past hour that lie in one folder, adding
// up the rows of the same key. It may be called at any time, also during Store, and
// goes on where an earlier call was cut off. An error of one hour does not keep
// it from the others.
func (s *Store) Merge(ctx context.Context) error {
	s.merging.Lock()
	defer s.merging.Unlock()
	if err := s.Present(); err != nil {
		return err
	}
	release, err := rewriting(ctx, s.dir, false)
	if err != nil {
		return err
	}
	defer release()
	var errs []error
	for _, t := range tables {
		days, err := folders(s.disk, s.dir, t)
		if err != nil {
			return err
		}
		for _, day := range days {
			errs = append(errs, s.mergeDay(ctx, t, s.folder(t, day)))
		}
	}
	return errors.Join(errs...)
}

// mergeDay merges the past hours of one folder that have several files.
func (s *Store) mergeDay(ctx context.Context, t table, folder string) error {
	list, err := s.disk.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	hours := make(map[string][]string)
	for _, f := range list {
		if n, ok := parseName(f.Name()); ok && n.hour < hourOf(s.now()) {
			hours[n.hour] = append(hours[n.hour], f.Name())
		}
	}
	var errs []error
	for _, files := range hours {
		if len(files) > 1 {
			errs = append(errs, s.mergeHour(ctx, t, folder, files))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) mergeHour(ctx context.Context, t table, folder string, files []string) error {
	var mine []entry
	for _, file := range files {
		e, err := readEntry(s.disk, t, filepath.Join(folder, file))
		if n, _ := parseName(file); err != nil && n.collector != s.named && s.others {
			continue // its own process merges it, or has done so just now
		}
		if err != nil {
			return err
		}
		if e.collector == s.collector {
			mine = append(mine, e)
		}
	}
	mine, err := s.tidy(folder, mine)
	for err == nil && len(mine) > 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		// The smallest first, so that no row is copied more often than it must.
		slices.SortFunc(mine, func(a, b entry) int { return cmp.Compare(a.rows, b.rows) })
		n := min(len(mine), filesAtOnce)
		var merged entry
		merged, err = s.mergeFiles(ctx, t, folder, mine[:n])
		mine = append(mine[n:], merged)
	}
	return err
}

// mergeFiles makes one file of several, and then removes them.
func (s *Store) mergeFiles(ctx context.Context, t table, folder string, parts []entry) (entry, error) {
	var blocks spans
	for _, p := range parts {
		blocks = blocks.with(p.blocks)
	}
	file := name{hour: parts[0].name.hour, collector: s.named, first: blocks[0].first, last: blocks.last(), merged: true}
	path := filepath.Join(folder, file.String())
	replaces := func(p entry) bool { return p.path == path }
	if _, err := os.Lstat(path); err == nil && !slices.ContainsFunc(parts, replaces) {
		return entry{}, fmt.Errorf("parquet: merge to %s: %w", path, errForeign)
	}
	temp, err := writeTemp(s.disk, path, func(w io.Writer) error {
		return s.copyRows(ctx, t, w, blocks, parts)
	})
	if err != nil {
		return entry{}, fmt.Errorf("parquet: merge to %s: %w", path, err)
	}
	if err := s.publishMerged(t, temp, path, blocks); err != nil {
		return entry{}, fmt.Errorf("parquet: merge to %s: %w", path, err)
	}
	if err := s.disk.SyncDir(folder); err != nil {
		return entry{}, fmt.Errorf("parquet: merge to %s: %w", path, err)
	}
	for _, p := range parts {
		if p.path == path {
			continue
		}
		if err := s.disk.Remove(p.path); err != nil {
			return entry{}, fmt.Errorf("parquet: %w", err)
		}
	}
	return readEntry(s.disk, t, path)
}

func (s *Store) publishMerged(t table, temp, path string, blocks spans) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.disk.Rename(temp, path); err != nil {
		_ = s.disk.Remove(temp) // else the next start does it
		return err
	}
	s.merged[t] = s.merged[t].with(blocks)
	return nil
}

// copyRows writes the rows of all parts to w.
func (s *Store) copyRows(ctx context.Context, t table, w io.Writer, blocks spans, parts []entry) error {
	files := make([]*opened, 0, len(parts))
	defer func() {
		for _, o := range files {
			_ = o.Close()
		}
	}()
	for _, p := range parts {
		o, err := openRows(s.disk, t, p.path)
		if err != nil {
			return err
		}
		files = append(files, o)
	}
	switch t {
	case ledger:
		return encodeBooks(w, s.collector, blocks, func(put func([]ledgerRow) error) error {
			return mergeLedger(ctx, files, put)
		})
	case contents:
		return encode(w, s.collector, blocks, func(put func([]contentRow) error) error {
			return mergeContents(ctx, files, put)
		})
	case seen:
		return encode(w, s.collector, blocks, func(put func([]seenRow) error) error {
			return mergeSeen(ctx, files, put)
		})
	}
	return encode(w, s.collector, blocks, func(put func([]readRow) error) error {
		return mergeReads(ctx, files, put)
	}, forgottenMetadata(allForgotten(parts))...)
}

// mergeReads adds up rows of the same key, as long as their counters fit.
func mergeReads(ctx context.Context, files []*opened, put func([]readRow) error) error {
	var sources []merge.Source[storage.Row]
	for _, o := range files {
		r := &readsSource{scan: newScan(o, allColumns...)}
		defer r.scan.close()
		sources = append(sources, r)
	}
	out := buffer[readRow]{put: put}
	sum := storage.Sum{Emit: func(r *storage.Row) error { return out.add(readRowOf(r)) }}
	err := merge.Sorted(ctx, sources, storage.CompareKeys, sum.Add)
	if err == nil {
		err = sum.End()
	}
	if err != nil {
		return err
	}
	return out.flush()
}

// mergeLedger copies books in order of block and account.
func mergeLedger(ctx context.Context, files []*opened, put func([]ledgerRow) error) error {
	var sources []merge.Source[ledgerRow]
	for _, o := range files {
		l := newLedgerSource(o)
		defer l.close()
		sources = append(sources, l)
	}
	out := buffer[ledgerRow]{put: put}
	err := merge.Sorted(ctx, sources, compareBooks, func(r *ledgerRow) error { return out.add(*r) })
	if err != nil {
		return err
	}
	return out.flush()
}

// buffer hands rows on in chunks.
type buffer[T any] struct {
	rows []T
	put  func([]T) error
}

func (b *buffer[T]) add(r T) error {
	b.rows = append(b.rows, r)
	if len(b.rows) < chunkRows {
		return nil
	}
	return b.flush()
}

func (b *buffer[T]) flush() error {
	if len(b.rows) == 0 {
		return nil
	}
	err := b.put(b.rows)
	b.rows = b.rows[:0]
	return err
}

var allColumns = []int{
	colStream, colMinute, colContent, colUser, colOpens, colReads, colFinishes,
	colSaves, colShares, colDwell, colProgress, colFirst, colLast, colCoarse, colSkipped,
	colImpressions, colClicks, colVariant, colResume, colResumeLag,
}

// readsSource gives the rows of a file of the reads table.
type readsSource struct {
	scan *scan
	at   int
	row  storage.Row
}

func (r *readsSource) Next() (*storage.Row, error) {
	if r.at == r.scan.rows {
		if err := r.scan.next(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return nil, err
		}
		r.at = 0
	}
	r.row = r.scan.row(r.at)
	r.at++
	return &r.row, nil
}

// rowsSource gives the rows of a file of a table with rows of type T.
type rowsSource[T any] struct {
	of     *opened
	open   func(*parquet.File) rowsReader[T]
	reader rowsReader[T]
	rows   []T
	filled int
	at     int
}

// rowsReader is a parquet.GenericReader, or what reads as one does.
type rowsReader[T any] interface {
	Read([]T) (int, error)
	Close() error
}

func newRowsSource[T any](o *opened) *rowsSource[T] {
	return newRowsSourceOf(o, func(f *parquet.File) rowsReader[T] { return parquet.NewGenericReader[T](f) })
}

func newRowsSourceOf[T any](o *opened, open func(*parquet.File) rowsReader[T]) *rowsSource[T] {
	return &rowsSource[T]{of: o, open: open, rows: make([]T, 64)}
}

func (l *rowsSource[T]) Next() (*T, error) {
	if l.at == l.filled {
		if err := guard(l.of.path, l.fill); err != nil {
			return nil, err
		}
		if l.filled == 0 {
			return nil, nil
		}
	}
	l.at++
	return &l.rows[l.at-1], nil
}

func (l *rowsSource[T]) fill() error {
	if l.reader == nil {
		l.reader = l.open(l.of.parquet)
	}
	clear(l.rows)
	n, err := l.reader.Read(l.rows)
	l.at, l.filled = 0, n
	if err != nil && !errors.Is(err, io.EOF) {
		return l.of.fault(err)
	}
	return nil
}

func (l *rowsSource[T]) close() {
	if l.reader != nil {
		_ = l.reader.Close()
	}
}
