package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/vfs"
)

// Several daemons of one machine can keep their spools below one directory, for
// as long as it takes that one follows another. Each has a place of its own: the
// directory itself, or one below it whose name is a number. A place is an
// ordinary spool directory, locked by its process. Package takeover says who takes over
// from whom, and when.

const (
	lockName   = "lock"   // locked by the process that has the place
	doorName   = "door"   // locked for the moment in which a process looks for its place
	vacantName = "vacant" // a place that holds nothing, and whose sources others know
)

// doorWait is how long a process waits for others that look for their places.
const doorWait = 10 * time.Second

// Claim opens a place for this process: o.Dir where no other process has one
// below it. Where others have, it is an error without share; with share it is a
// vacant place or a new one, and elders are the directories of the others, whose
// processes were there before this one.
func Claim(o Options, share bool) (s *Spool, r *Recovered, elders []string, err error) {
	if err := (vfs.OS{}).MakeDir(o.Dir); err != nil {
		return nil, nil, nil, fmt.Errorf("spool: make the directory of spool.dir: %w", err)
	}
	door, err := lockWithin(vfs.OS{}, filepath.Join(o.Dir, doorName), doorWait)
	if errors.Is(err, vfs.ErrLocked) {
		err = fmt.Errorf("another process has been starting there for %v: look for one that hangs", doorWait)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("spool: %s: %w", o.Dir, err)
	}
	defer door.Close()
	places, err := Places(o.Dir)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, place := range places {
		if err := CheckVersions(place); err != nil {
			return nil, nil, nil, err
		}
	}
	var free []string
	for _, place := range places {
		if running, err := Running(place); err != nil {
			return nil, nil, nil, err
		} else if running {
			elders = append(elders, place)
		} else {
			free = append(free, place)
		}
	}
	root := o.Dir
	switch {
	case len(elders) > 0 && !share:
		return nil, nil, nil, fmt.Errorf("spool: %s belongs to another process that runs: stop it, or give this one a directory of its own, or set spool.share for a hand-over", elders[0])
	case len(elders) > 0:
		if i := slices.IndexFunc(free, Vacant); i >= 0 {
			o.Dir = free[i]
		} else {
			o.Dir = unusedPlace(o.Dir)
		}
	}
	o.LockWait = time.Second // a running daemon may look at it just now
	if s, r, err = Open(o); err == nil && o.Dir != root {
		s.root = s.rootOf(root)
	}
	return s, r, elders, err
}

// rootOf reads the collector id of the directory that the place is below. Where it
// cannot be read the place goes by its own: then clients of the others do not
// believe that this one knows them, and give up what they are not sure of.
func (s *Spool) rootOf(root string) uint64 {
	text, err := os.ReadFile(filepath.Join(root, collectorName))
	id, _, ok := parseCollector(text)
	if err == nil && ok {
		return id
	}
	s.o.Logger.Warn("spool: the collector id of the directory cannot be read: clients begin new sources here", "dir", root, "error", err)
	return s.collector
}

// lockWithin locks a file, and waits for another process that has it.
func lockWithin(files vfs.FS, path string, wait time.Duration) (io.Closer, error) {
	for deadline := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		lock, err := files.Lock(path)
		if !errors.Is(err, vfs.ErrLocked) || !time.Now().Before(deadline) {
			return lock, err
		}
	}
}

// Places returns dir itself and the places below it, lowest number first.
func Places(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var numbers []int
	for _, e := range list {
		n, err := strconv.Atoi(e.Name())
		if err == nil && n > 0 && strconv.Itoa(n) == e.Name() && e.IsDir() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	places := []string{dir}
	for _, n := range numbers {
		places = append(places, filepath.Join(dir, strconv.Itoa(n)))
	}
	return places, nil
}

// unusedPlace is the first name below dir that is not there.
func unusedPlace(dir string) string {
	for n := 1; ; n++ {
		place := filepath.Join(dir, strconv.Itoa(n))
		if _, err := os.Lstat(place); err != nil {
			return place
		}
	}
}

// Running says whether a process has a place.
func Running(place string) (bool, error) {
	running, err := vfs.OS{}.Locked(filepath.Join(place, lockName))
	if err != nil {
		return false, fmt.Errorf("spool: lock %s: %w", place, err)
	}
	return running, nil
}

// Vacant says whether nothing is in a place that no process has: it was never
// used, or retired.
func Vacant(place string) bool {
	if _, err := os.Lstat(filepath.Join(place, vacantName)); err == nil {
		return true
	}
	list, err := os.ReadDir(place)
	return err == nil && !slices.ContainsFunc(list, func(e fs.DirEntry) bool {
		return holds(e.Name())
	})
}

// holds says whether a name is of what makes a place one that is used: its id, a
// log or a segment.
func holds(name string) bool {
	_, isLog := parseLog(name)
	_, isSegment := parseSegment(name)
	return isLog || isSegment || name == collectorName
}

// Retire closes a spool of which every block is stored and every source is known
// elsewhere, and leaves its place vacant: its reserve is given back, its collector
// id stays.
func (s *Spool) Retire() error {
	if s.Blocks() > 0 {
		return fmt.Errorf("spool: %s has blocks that are not stored", s.o.Dir)
	}
	now := s.o.Clock().UnixMilli()
	seal := storage.Seal{}
	seal.Window.Start, seal.Window.End = now, now
	for _, source := range s.Sources() {
		seal.Forgotten = append(seal.Forgotten, source.ID)
	}
	var number uint64
	err := s.Seal(&seal, func(n uint64) { number = n })
	if err == nil {
		err = s.Flush(storage.NewMinutes(), nil, seal.Window, storage.Mark{Through: number, Before: storage.All})
	}
	if err == nil {
		// The log that is written has rows which are stored, and the place may be
		// vacant for long. Where there is no room for another one, it stays.
		if _, full := s.NextLog(); full == nil {
			s.Tidy()
		}
		err = s.vacate()
	}
	return errors.Join(err, s.Close())
}

// vacate gives the reserve back and marks the place.
func (s *Spool) vacate() error {
	s.place.Lock()
	defer s.place.Unlock()
	err := s.place.RemoveSmall(place.ReserveName)
	if err == nil {
		err = s.place.WriteSmall(vacantName, func(vfs.File) []byte { return nil })
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}
