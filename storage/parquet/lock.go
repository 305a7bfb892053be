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
	"syscall"

	"github.com/lectern/lectern/storage/internal/format"
)

const lockName = "lock"

// lock takes <dir>/lock for this process, or for all that share it. It is let go
// of when the file is closed, at the latest when the process ends, however it
// does.
func lock(dir string, shared bool) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
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
		id, err := parseCollector(text)
		if err != nil {
			return 0, fmt.Errorf("parquet: %s holds no collector id: %w. Put back a good copy, or remove it to begin a new numbering", path, err)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("parquet: %w", err)
	}
	id := 1 + rand.Uint64N(1<<64-1)
	temp, err := writeTemp(d, path, func(w io.Writer) error {
		_, err := w.Write(format.Text(collectorKind, hex(id)))
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

const collectorKind = "lectern-collector"

// parseCollector reads the file collector.
func parseCollector(text []byte) (uint64, error) {
	lines, err := format.ParseText(collectorKind, text)
	if err != nil {
		return 0, err
	}
	if len(lines) != 1 {
		return 0, fmt.Errorf("it has %d lines", len(lines))
	}
	id, err := strconv.ParseUint(lines[0], 16, 64)
	if err == nil && id == 0 {
		err = errors.New("0 is none")
	}
	return id, err
}

// hex is how a collector's id is written.
func hex(id uint64) string { return fmt.Sprintf("%016x", id) }
