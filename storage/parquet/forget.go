package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
)

// Forgetter takes rows out of the files of a directory, beside a daemon that writes
// there. It implements storage.Forgetter.
//
// A file is written anew without the rows, beside the old one, and renamed over it. Its
// blocks and its name stay, so that whoever stores one of them again finds it there.
// How much was taken out stands in the metadata of the new file: it is there with the
// same rename, or not at all. What merges a file keeps that.
type Forgetter struct {
	reader *Reader
	disk   disk
}

// OpenForgetter returns a Forgetter of the directory that a Store writes or wrote.
func OpenForgetter(dir string) (*Forgetter, error) {
	r, err := OpenReader(dir)
	if err != nil {
		return nil, err
	}
	return &Forgetter{r, r.disk}, nil
}

// forgetPrefix begins the names of files that a Forgetter writes. A start leaves them
// alone, since one may be being written.
const forgetPrefix = ".forget-"

// lookPause is the time between two looks at a lock that another process has.
const lookPause = 50 * time.Millisecond

// rewriting takes the lock of all who make new files of old ones, and returns what
// releases it: merges have it together, and whoever takes rows out has it alone, or a
// merge would bring back the rows that it had read before. It is on the folder of the
// table, and not on a file, which would belong to whoever came first. Where there is no
// folder there is nothing to rewrite.
func rewriting(ctx context.Context, dir string, alone bool) (release func(), err error) {
	f, err := os.Open(filepath.Join(dir, string(reads)))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("parquet: lock %s: %w", f.Name(), err)
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("parquet: another process has been rewriting files of %s: %w", dir, ctx.Err())
		}
	}
}

// Forget implements storage.Forgetter. Files that cannot be read are passed over, and
// are the error.
func (f *Forgetter) Forget(ctx context.Context, s storage.Selection, at int64) (all []storage.Forgetting, err error) {
	release, err := rewriting(ctx, f.reader.dir, true)
	if err != nil {
		return nil, err
	}
	defer release()
	days, err := folders(f.disk, f.reader.dir, reads)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, day := range days {
		if s.Before > 0 && day > s.Before/secondsPerDay {
			continue
		}
		folder := filepath.Join(f.reader.dir, string(reads), dayFolder(day))
		done, err := f.forgetDay(ctx, folder, s, at)
		for _, n := range done {
			all = storage.AddForgetting(all, n)
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return all, errors.Join(errs...)
}

// forgetDay takes the rows out of all files of a folder, also of those that others
// cover, and counts the former alone.
func (f *Forgetter) forgetDay(ctx context.Context, folder string, s storage.Selection, at int64) (all []storage.Forgetting, err error) {
	list, err := f.disk.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	var errs []error
	var entries []entry
	for _, file := range list {
		path := filepath.Join(folder, file.Name())
		switch {
		case strings.HasPrefix(file.Name(), forgetPrefix): // of one that was killed: this one has the lock
			errs = append(errs, f.disk.Remove(path))
		case readable(file.Name()):
			e, err := readEntry(f.disk, reads, path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a daemon has started, and another file covers it
			}
			if err == nil {
				entries = append(entries, e)
			}
			errs = append(errs, err)
		}
	}
	keep, covered, err := cover(entries)
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	for i, e := range slices.Concat(keep, covered) {
		if err := ctx.Err(); err != nil {
			return all, errors.Join(append(errs, err)...)
		}
		done, err := f.forgetFile(ctx, e.path, s, at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("parquet: take rows out of %s: %w", e.path, err))
		}
		for _, n := range done {
			if i < len(keep) {
				all = storage.AddForgetting(all, n)
			}
		}
	}
	return all, errors.Join(errs...)
}

// forgetFile writes a file anew without the rows, where it has any of them.
func (f *Forgetter) forgetFile(ctx context.Context, path string, s storage.Selection, at int64) (done []storage.Forgetting, err error) {
	o, err := openRows(f.disk, reads, path)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if done, err = count(ctx, o, s, at); err != nil || len(done) == 0 {
		return nil, err
	}
	forgotten := slices.Clone(o.forgotten)
	for _, n := range done {
		forgotten = storage.AddForgetting(forgotten, n)
	}
	temp := filepath.Join(filepath.Dir(path), forgetPrefix+filepath.Base(path))
	err = writeFile(f.disk, temp, func(w io.Writer) error {
		return encode(w, o.collector, o.blocks, func(put func([]readRow) error) error {
			return copyOthers(ctx, o, s, put)
		}, forgottenMetadata(forgotten)...)
	})
	if err != nil {
		return nil, err
	}
	err = sameOwner(temp, o.info)
	if err == nil {
		err = f.disk.Rename(temp, path)
	}
	if err != nil {
		_ = f.disk.Remove(temp) // else the next call does it
		return nil, err
	}
	return done, f.disk.SyncDir(filepath.Dir(path))
}

// count adds up the rows of a file that are meant, by stream.
func count(ctx context.Context, o *opened, s storage.Selection, at int64) (done []storage.Forgetting, err error) {
	wanted := rowRange{up: 1<<16 - 1}
	if s.Stream != nil {
		wanted.low, wanted.up = *s.Stream, *s.Stream
	}
	b := newScan(o, colStream, colMinute, colUser, colOpens, colReads, colFinishes, colSaves, colShares, colImpressions, colClicks, colCoarse)
	b.groups = wanted.groups(o)
	defer b.close()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := b.next()
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return nil, err
		}
		v := &b.values
		for i := range b.rows {
			stream := uint16(v[colStream][i])
			if s.Has(stream, uint32(v[colMinute][i]/1000), v[colUser][i], storage.Coarse(v[colCoarse][i])) {
				events := v[colOpens][i] + v[colReads][i] + v[colFinishes][i] + v[colSaves][i] + v[colShares][i] + v[colImpressions][i] + v[colClicks][i]
				done = storage.AddForgetting(done, storage.Forgetting{At: at, Stream: stream, Rows: 1, Events: events})
			}
		}
	}
}

// copyOthers copies the rows of a file that are not meant.
func copyOthers(ctx context.Context, o *opened, s storage.Selection, put func([]readRow) error) error {
	r := &readsSource{scan: newScan(o, allColumns...)}
	defer r.scan.close()
	out := buffer[readRow]{put: put}
	for n := 0; ; n++ {
		if n%batchRows == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		row, err := r.Next()
		if err != nil {
			return err
		}
		if row == nil {
			return out.flush()
		}
		if s.Has(row.Stream, row.Minute, row.User, row.Coarse) {
			continue
		}
		if err := out.add(readRowOf(row)); err != nil {
			return err
		}
	}
}

// sameOwner gives a file to whom the old one belonged: the daemon has to read it, whoever
// runs the command.
func sameOwner(path string, old fs.FileInfo) error {
	owner, ok := old.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() && int(owner.Gid) == os.Getegid() {
		return nil
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// Rows implements storage.Forgetter.
func (f *Forgetter) Rows(ctx context.Context, s storage.Selection) (rows []storage.Row, err error) {
	wanted := rowRange{up: 1<<16 - 1}
	if s.Stream != nil {
		wanted.low, wanted.up = *s.Stream, *s.Stream
	}
	r := f.reader
	err = r.again(ctx, func() error {
		rows = nil
		files, err := r.snapshot(ctx, reads, 0)
		if err != nil {
			return err
		}
		seek := seeker{reader: r, files: files, wanted: wanted, passes: 1}
		return seek.scan(ctx, allColumns, func(b *scan) {
			for i := range b.rows {
				row := b.row(i)
				if s.Has(row.Stream, row.Minute, row.User, row.Coarse) {
					rows = append(rows, row)
				}
			}
		})
	})
	slices.SortFunc(rows, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	return rows, err
}

// Log implements storage.Forgetter.
func (f *Forgetter) Log(ctx context.Context) (all []storage.Forgetting, err error) {
	files, err := f.reader.snapshot(ctx, reads, 0)
	return allForgotten(files), err
}

// allForgotten is what was taken out of files together.
func allForgotten(files []entry) (all []storage.Forgetting) {
	for i := range files {
		for _, n := range files[i].forgotten {
			all = storage.AddForgetting(all, n)
		}
	}
	return all
}

// forgottenMetadata is what the metadata of a file says that something was taken out of:
// "at:stream:rows:events,…".
func forgottenMetadata(forgotten []storage.Forgetting) []parquet.WriterOption {
	if len(forgotten) == 0 {
		return nil
	}
	parts := make([]string, len(forgotten))
	for i, n := range forgotten {
		parts[i] = fmt.Sprintf("%d:%d:%d:%d", n.At, n.Stream, n.Rows, n.Events)
	}
	return []parquet.WriterOption{parquet.KeyValueMetadata(metaForgotten, strings.Join(parts, ","))}
}

// parseForgotten is the way back.
func parseForgotten(text string) (all []storage.Forgetting, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		fields := strings.Split(part, ":")
		if len(fields) != 4 {
			return nil, fmt.Errorf("%.40q has not four numbers", part)
		}
		var numbers [4]uint64
		for i, bits := range [4]int{63, 16, 64, 64} {
			if numbers[i], err = strconv.ParseUint(fields[i], 10, bits); err != nil {
				return nil, err
			}
		}
		all = append(all, storage.Forgetting{At: int64(numbers[0]), Stream: uint16(numbers[1]), Rows: numbers[2], Events: numbers[3]})
	}
	return all, nil
}
