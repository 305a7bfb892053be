package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/vfs"
)

const (
	renewedPrefix = "renewed-" // directories that Renew has moved a place's files to
	renewingName  = "renewing" // names the one that files are being moved to
)

// Renew moves all that a place holds to a directory below it, renewed-1 or the
// next that is not there, and returns its path. The next Open begins a new spool,
// with another collector id and no sources. It is the way on for a spool that
// CheckStore refuses: nothing of it may be stored, and nothing is thrown away. No
// process may have the place. A call that is cut off is finished by the next one;
// until then Open refuses.
func Renew(place string) (moved string, files int, err error) {
	if _, err := os.Stat(place); err != nil {
		return "", 0, fmt.Errorf("spool: %w", err)
	}
	lock, err := vfs.OS{}.Lock(filepath.Join(place, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return "", 0, fmt.Errorf("spool: %s belongs to a process that runs: stop it first", place)
	}
	if err != nil {
		return "", 0, fmt.Errorf("spool: lock %s: %w", place, err)
	}
	defer lock.Close()
	moved, files, err = renew(place)
	if err != nil {
		return moved, files, fmt.Errorf("spool: renew %s: %w", place, err)
	}
	return moved, files, nil
}

// renew moves the files of a place whose lock this process has.
func renew(dir string) (moved string, files int, err error) {
	if err := CheckVersions(dir); err != nil {
		return "", 0, err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", 0, err
	}
	name, err := renewedName(dir, list)
	if err != nil {
		return "", 0, err
	}
	moved = filepath.Join(dir, name)
	if err := (vfs.OS{}).MakeDir(moved); err != nil {
		return moved, 0, err
	}
	for _, e := range list {
		if !belongs(e) {
			continue
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(moved, e.Name())); err != nil {
			return moved, files, err
		}
		files++
	}
	for _, changed := range []string{moved, dir} {
		if err := (vfs.OS{}).SyncDir(changed); err != nil {
			return moved, files, err
		}
	}
	return moved, files, place.New(vfs.OS{}, dir, 0).RemoveSmall(renewingName)
}

// belongs says whether a file is of what a spool holds. Its reserve and what was
// being written hold nothing: the next Open sees to them.
func belongs(e fs.DirEntry) bool {
	name := e.Name()
	return e.Type().IsRegular() && (holds(name) || name == uncheckedName || name == shardName || strings.HasPrefix(name, resendPrefix))
}

// renewedName is where the files go: where an earlier call was moving them, else
// to a new directory, of which a note is durable before the first file moves.
func renewedName(dir string, list []fs.DirEntry) (string, error) {
	note, err := os.ReadFile(filepath.Join(dir, renewingName))
	name := ""
	if lines, bad := format.ParseText(textKind(renewingName), note); bad == nil && len(lines) == 1 {
		name = lines[0]
	}
	switch {
	case err == nil && strings.HasPrefix(name, renewedPrefix) && name == filepath.Base(name):
		return name, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	case !slices.ContainsFunc(list, belongs):
		return "", errors.New("there is no spool in it")
	}
	for n := 1; ; n++ {
		name = renewedPrefix + strconv.Itoa(n)
		if !slices.ContainsFunc(list, func(e fs.DirEntry) bool { return e.Name() == name }) {
			break
		}
	}
	text := format.Text(textKind(renewingName), name)
	return name, place.New(vfs.OS{}, dir, 0).WriteSmall(renewingName, func(vfs.File) []byte { return text })
}

// checkRenewed refuses a place of which Renew has moved only a part.
func (s *Spool) checkRenewed(entries []vfs.Entry) error {
	if !slices.ContainsFunc(entries, func(e vfs.Entry) bool { return e.Name == renewingName }) {
		return nil
	}
	return fmt.Errorf("spool: %s is being renewed, and that was cut off: run `lectern spool renew --dir %s` again", s.o.Dir, s.o.Dir)
}
