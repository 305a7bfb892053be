package parquet

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lock takes <dir>/lock for this process, or for all that share it. It is let go
// of when the file is closed, at the latest when the process ends, however it
// does.
func lock(dir string, shared bool) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("parquet: write to the directory of parquet.dir: %w", err)
	}
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		if shared {
			return nil, fmt.Errorf("parquet: %s: another process writes here and does not share the directory: stop it, or set spool.share for it too", dir)
		}
		return nil, fmt.Errorf("parquet: %s: another process writes here: stop it or set parquet.dir", dir)
	}
	return nil, fmt.Errorf("parquet: lock %s: %w", path, err)
}

// collectorID reads the id that <dir>/collector holds, or draws one.
func collectorID(d disk, dir string) (uint64, error) {
	path := filepath.Join(dir, "collector")
	text, err := os.ReadFile(path)
	if err == nil {
		id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 16, 64)
		if err != nil || id == 0 {
			return 0, fmt.Errorf("parquet: %s holds no collector id: write the hex digits that the metadata of the files has (lectern.collector), or remove it to begin a new numbering", path)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("parquet: %w", err)
	}
	id := 1 + rand.Uint64N(1<<64-1)
	temp, err := writeTemp(d, path, func(w io.Writer) error {
		_, err := io.WriteString(w, hex(id)+"\n")
		return err
	})
	if err == nil {
		err = d.Rename(temp, path)
	}
	if err == nil {
		err = d.SyncDir(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("parquet: write the collector id: %w", err)
	}
	return id, nil
}

// hex is how a collector's id is written.
func hex(id uint64) string { return fmt.Sprintf("%016x", id) }
