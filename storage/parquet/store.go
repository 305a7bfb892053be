package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
)

// Options configure a Store.
type Options struct {
	Dir       string           // made when it is not there
	Collector uint64           // who numbers the blocks; 0: the directory draws an id of its own
	Shared    bool             // other processes, each with a Collector of its own, may write here too if they say the same
	Logger    *slog.Logger     // nil for slog.Default
	Now       func() time.Time // tells which hours are past, for Merge; nil for time.Now
}

// Store writes blocks. It implements storage.Store; Merge may be called beside.
type Store struct {
	dir       string
	log       *slog.Logger
	now       func() time.Time
	disk      disk
	lock      *os.File    // nil where another Store of this process has it
	lockFile  fs.FileInfo // of the lock's file
	collector uint64
	named     uint64 // whose id stands in the names of files; 0: nobody's

	others bool // others may be writing in the directory

	merging sync.Mutex // one Merge at a time

	mu      sync.Mutex // protects the fields below, and is held while a file gets its name
	last    uint64
	merged  map[table]spans // blocks of this collector that merged files hold
	durable map[string]bool // folders that are known to survive a power cut
}

// Open locks the directory for this process, draws a collector id when it has
// none, and removes what a crash has left.
func Open(o Options) (*Store, error) { return open(o, realDisk{}) }

func open(o Options, d disk) (*Store, error) {
	s := &Store{
		dir: o.Dir, log: o.Logger, now: o.Now, disk: d,
		merged: make(map[table]spans), durable: make(map[string]bool),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.dir == "" {
		return nil, errors.New("parquet: no directory: set parquet.dir")
	}
	if o.Shared && o.Collector == 0 {
		return nil, errors.New("parquet: a shared directory needs a collector id")
	}
	_, err := os.Stat(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = makeDir(d, s.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("parquet: make the directory of parquet.dir: %w", err)
	}
	if s.lock, err = lock(s.dir, o.Shared); err != nil {
		return nil, err
	}
	if s.lockFile, err = s.lock.Stat(); err != nil {
		_ = s.lock.Close()
		return nil, fmt.Errorf("parquet: %w", err)
	}
	if s.collector, s.named = o.Collector, o.Collector; s.collector == 0 {
		s.collector, err = collectorID(d, s.dir)
	}
	s.others = o.Shared
	if err == nil {
		err = s.recover()
	}
	if err != nil {
		_ = s.lock.Close()
		return nil, err
	}
	return s, nil
}

// Beside returns a Store for the blocks of another collector, whose process runs
// no more, in the same directory. It is to be closed before this one.
func (s *Store) Beside(collector uint64) (*Store, error) {
	b := &Store{
		dir: s.dir, log: s.log, now: s.now, disk: s.disk, collector: collector, named: collector, others: true, lockFile: s.lockFile,
		merged: make(map[table]spans), durable: make(map[string]bool),
	}
	if err := b.recover(); err != nil {
		return nil, err
	}
	return b, nil
}

// Collector is the id that numbers the blocks, drawn when the directory was new.
func (s *Store) Collector() uint64 { return s.collector }

// LastNumber implements storage.Store.
func (s *Store) LastNumber(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, nil
}

// Close lets another process write. It waits for a Merge.
func (s *Store) Close() error {
	s.merging.Lock()
	defer s.merging.Unlock()
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// foundDay is what a start finds in the folder of a day.
type foundDay struct {
	table  table
	folder string
	mine   []entry
	temps  []string // that nobody is writing any more
}

// recover learns what the files hold, and then removes those that a crash left:
// where a file is of another version of the format, nothing is touched.
func (s *Store) recover() error {
	var all []foundDay
	for _, t := range tables {
		days, err := folders(s.disk, s.dir, t)
		if err != nil {
			return err
		}
		for _, day := range days {
			f := foundDay{table: t, folder: s.folder(t, day)}
			if err := s.findDay(&f); err != nil {
				return err
			}
			all = append(all, f)
		}
	}
	for i := range all {
		s.recoverDay(&all[i])
	}
	return nil
}

// findDay reads the metadata of a day's files.
func (s *Store) findDay(f *foundDay) error {
	list, err := s.disk.ReadDir(f.folder)
	if err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	for _, file := range list {
		path := filepath.Join(f.folder, file.Name())
		if strings.HasPrefix(file.Name(), tempPrefix) {
			if s.others && !strings.Contains(file.Name(), tag(s.named)+"-") {
				continue // it may be being written
			}
			f.temps = append(f.temps, path)
			continue
		}
		if !readable(file.Name()) {
			continue
		}
		e, err := readEntry(s.disk, f.table, path)
		if err != nil {
			if err := s.unreadable(file.Name(), err); err != nil {
				return err
			}
			continue
		}
		if e.collector == s.collector {
			f.mine = append(f.mine, e)
		}
	}
	return nil
}

// unreadable says whether a start can go on without a file that cannot be read.
func (s *Store) unreadable(file string, err error) error {
	n, _ := parseName(file)
	switch {
	case n.collector != s.named && s.others && errors.Is(err, fs.ErrNotExist):
		return nil // its own process has merged it
	case errors.Is(err, format.ErrVersion):
		return err
	case n.collector == s.named && !errors.Is(err, errDamaged):
		return err // it has blocks that would be stored again
	}
	// Storing goes on; readers are told. The number is not given again where it may
	// be one of ours.
	s.log.Error("parquet: a file cannot be read", "error", err)
	if n.collector == s.named {
		s.last = max(s.last, n.last)
	}
	return nil
}

// recoverDay takes what a day's files hold, and removes what a crash left of them.
func (s *Store) recoverDay(f *foundDay) {
	for _, path := range f.temps {
		if err := s.disk.Remove(path); err != nil {
			s.log.Warn("parquet: cannot remove what an earlier process left half written; it does no harm", "error", err)
		}
	}
	for _, e := range f.mine {
		s.last = max(s.last, e.blocks.last())
		if e.name.hour == "" || e.name.merged {
			s.merged[f.table] = s.merged[f.table].with(e.blocks)
		}
	}
	if _, err := s.tidy(f.folder, f.mine); err != nil {
		s.log.Warn("parquet: cannot remove files that a merged one has replaced; they are not read", "error", err)
	}
}

// tidy removes those files whose blocks are all in others, and returns the rest.
func (s *Store) tidy(folder string, mine []entry) ([]entry, error) {
	keep, covered, err := cover(mine)
	if err != nil || len(covered) == 0 {
		return keep, err
	}
	// What covers them may have its name only in memory so far.
	if err := s.disk.SyncDir(folder); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	for _, e := range covered {
		if e.name.hour == "" {
			continue
		}
		if err := s.disk.Remove(e.path); err != nil {
			return nil, fmt.Errorf("parquet: %w", err)
		}
	}
	return keep, nil
}

// Store implements storage.Store. The books are durable before the rows are
// visible; rows without their books would look as if nobody had sent them.
func (s *Store) Store(ctx context.Context, b *storage.Block) (storage.Answer, error) {
	if err := ctx.Err(); err != nil {
		return storage.Retry, err
	}
	if err := check(b, s.collector); err != nil {
		return storage.Never, fmt.Errorf("parquet: block %d is malformed: %w", b.Number, err)
	}
	// Before, so that nothing is made in a place that is another's, and after, so that
	// what the files were made in is what a reader finds.
	if err := s.Present(); err != nil {
		return storage.Retry, err
	}
	if answer, err := s.store(b); answer != storage.Stored {
		return answer, err
	}
	if err := s.Present(); err != nil {
		return storage.Retry, err
	}
	return storage.Stored, nil
}

// store writes the files of a block.
func (s *Store) store(b *storage.Block) (storage.Answer, error) {
	end := time.UnixMilli(b.Window.End)
	file := name{hour: hourOf(end), collector: s.named, first: b.Number, last: b.Number}.String()
	day := uint32(end.Unix() / secondsPerDay)
	if rows := contentRowsOf(b); len(rows) > 0 {
		err := s.put(contents, day, file, b.Number, func(w io.Writer) error { return encodeContents(w, b, rows) })
		if err != nil {
			return answer(err)
		}
	}
	if rows := seenRowsOf(b); len(rows) > 0 {
		err := s.put(seen, day, file, b.Number, func(w io.Writer) error { return encodeSeen(w, b, rows) })
		if err != nil {
			return answer(err)
		}
	}
	if len(b.Books) > 0 {
		err := s.put(ledger, day, file, b.Number, func(w io.Writer) error { return encodeLedger(w, b) })
		if err != nil {
			return answer(err)
		}
	}
	if b.Rows.Len() > 0 {
		err := s.put(reads, b.Day, file, b.Number, func(w io.Writer) error { return encodeReads(w, b) })
		if err != nil {
			return answer(err)
		}
	}
	return storage.Stored, nil
}

// ErrGone says that the directory was removed or replaced under this process.
var ErrGone = errors.New("the directory of parquet.dir was removed or replaced under this process")

// Present says, as an error that is ErrGone, that the directory is no longer the one
// that was opened: the file that is locked there is another, or none. Blocks stay in
// the spool then, until it is put back or another process is started.
func (s *Store) Present() error {
	path := filepath.Join(s.dir, lockName)
	there, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), err == nil && !os.SameFile(there, s.lockFile):
		return fmt.Errorf("parquet: %w: %s is not the file that this process has locked: put the directory back, or start anew, without what was stored in it", ErrGone, path)
	case err != nil:
		return fmt.Errorf("parquet: look whether the directory of parquet.dir is still there: %w", err)
	}
	return nil
}

// errForeign says that another collector's file has the name that a block needs.
var errForeign = errors.New("a file of another collector has this name: rename it or move it away")

func answer(err error) (storage.Answer, error) {
	if errors.Is(err, errForeign) {
		return storage.Never, err
	}
	return storage.Retry, err
}

// put writes the file of one block.
func (s *Store) put(t table, day uint32, file string, number uint64, write func(io.Writer) error) error {
	folder := s.folder(t, day)
	if s.isMerged(t, number) {
		// The merge may have failed to make its file's name durable, as may the
		// call before that of the block's own.
		if err := s.disk.SyncDir(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("parquet: block %d, which is merged: %w", number, err)
		}
		return nil
	}
	path := filepath.Join(folder, file)
	if err := s.putFile(t, folder, path, number, write); err != nil {
		return fmt.Errorf("parquet: write block %d to %s: %w", number, path, err)
	}
	return nil
}

func (s *Store) putFile(t table, folder, path string, number uint64, write func(io.Writer) error) error {
	if err := s.makeFolder(folder); err != nil {
		return err
	}
	// A block that is there is not written again: something may have been taken out of
	// its file since. One that cannot be read is.
	if o, err := openEntry(s.disk, t, path); err == nil {
		defer o.Close()
		if o.collector != s.collector {
			return errForeign
		}
		if o.blocks.covers(one(number)) && o.verify() == nil {
			return s.disk.SyncDir(folder)
		}
	}
	temp, err := writeTemp(s.disk, path, write)
	if err != nil {
		return err
	}
	if err := s.publish(t, temp, path, number); err != nil {
		return err
	}
	return s.disk.SyncDir(folder)
}

// publish gives the file of one block its name, unless the block has been merged
// meanwhile.
func (s *Store) publish(t table, temp, path string, number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.merged[t].covers(one(number)) {
		return s.disk.Remove(temp)
	}
	if err := s.disk.Rename(temp, path); err != nil {
		_ = s.disk.Remove(temp) // else the next start does it
		return err
	}
	s.last = max(s.last, number)
	return nil
}

func (s *Store) isMerged(t table, number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.merged[t].covers(one(number))
}

func (s *Store) folder(t table, day uint32) string {
	return filepath.Join(s.dir, string(t), dayFolder(day))
}

// makeFolder makes the folder of a day durable, once in the life of the process.
func (s *Store) makeFolder(folder string) error {
	s.mu.Lock()
	known := s.durable[folder]
	s.mu.Unlock()
	if known {
		if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := makeDir(s.disk, filepath.Dir(folder)); err != nil {
		return err
	}
	if err := makeDir(s.disk, folder); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable[folder] = true
	return nil
}
