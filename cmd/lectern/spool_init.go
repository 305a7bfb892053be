package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// spoolInit is `lectern spool init`.
func (p *process) spoolInit(s *spoolFlags) int {
	uid, gid := -1, -1
	if s.flags.Changed("owner") {
		var err error
		if uid, gid, err = parseOwner(s.owner); err != nil {
			return p.usage("spool", err)
		}
	}
	said, err := initSpool(s.dir, uid, gid)
	if err != nil {
		return p.fail("spool", fmt.Errorf("prepare %s: %w", s.dir, err))
	}
	return p.print("spool", said)
}

// parseOwner reads UID:GID.
func parseOwner(text string) (uid, gid int, err error) {
	user, group, ok := strings.Cut(text, ":")
	u, err1 := strconv.ParseUint(user, 10, 31)
	g, err2 := strconv.ParseUint(group, 10, 31)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("--owner %q is not UID:GID, two numbers such as 65532:65532", text)
	}
	return int(u), int(g), nil
}

// initSpool makes a directory of mode 0700 and gives it to its owner, -1:-1 for
// the caller. It says what it did. Links are not followed: what is in the directory
// may have been put there by its former owner.
func initSpool(dir string, uid, gid int) (said string, err error) {
	var b strings.Builder
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return "", err
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "made %s\n", dir)
		if info, err = os.Lstat(dir); err != nil {
			return "", err
		}
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", errors.New("it is not a directory")
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "mode of %s: %04o, was %04o\n", dir, 0o700, info.Mode().Perm())
	}
	if uid >= 0 {
		n, err := giveAll(dir, uid, gid)
		if err != nil {
			return "", err
		}
		if n > 0 {
			fmt.Fprintf(&b, "owner of %s and what is in it: %d:%d, %d changed\n", dir, uid, gid, n)
		}
	}
	if b.Len() == 0 {
		return dir + " is as it should be\n", nil
	}
	return b.String(), nil
}

// giveAll gives a directory and all that is in it to an owner, and returns how
// many files and directories had another.
func giveAll(dir string, uid, gid int) (n int, err error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		if owned(dir, uid, gid) {
			return 0, nil // a former call gave it away, with what was in it
		}
		// It is a third one's, and CHOWN does not open it: take it first. An end
		// here leaves it to the next call.
		if err := os.Lchown(dir, os.Getuid(), os.Getgid()); err != nil {
			return 0, err
		}
		list, err = os.ReadDir(dir)
	}
	if err != nil {
		return 0, err
	}
	// From the bottom up: what was given away may not be read any more.
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			m, err := giveAll(path, uid, gid)
			n += m
			if err != nil {
				return n, err
			}
			continue
		}
		m, err := give(path, uid, gid)
		n += m
		if err != nil {
			return n, err
		}
	}
	m, err := give(dir, uid, gid)
	return n + m, err
}

func give(path string, uid, gid int) (n int, err error) {
	if owned(path, uid, gid) {
		return 0, nil
	}
	return 1, os.Lchown(path, uid, gid)
}

func owned(path string, uid, gid int) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == uid && int(s.Gid) == gid
}
