package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The init container of a hostPath: root that may only change owners and modes.
func TestSpoolInit(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: giving files to others takes root")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("NOT RUN: setpriv of util-linux is not here")
	}
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	// A directory that everybody may pass through, as / is in a container.
	base, err := os.MkdirTemp("/tmp", "spool-init")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "spool")
	run := func(want int, args ...string) string {
		t.Helper()
		c := exec.Command(setpriv, append([]string{"--bounding-set=-all,+chown,+fowner", "--inh-caps=-all", "--no-new-privs", path, "spool", "init", "--dir", dir}, args...)...)
		out, err := c.CombinedOutput()
		if code := c.ProcessState.ExitCode(); code != want {
			t.Fatalf("%v: exit %d, %v: %s", args, code, err, out)
		}
		return string(out)
	}
	check := func(name string, uid uint32, mode os.FileMode) {
		t.Helper()
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != uid || s.Gid != uid || mode != 0 && info.Mode().Perm() != mode {
			t.Errorf("%q is of %d:%d, mode %o, want %d and %o", name, s.Uid, s.Gid, info.Mode().Perm(), uid, mode)
		}
	}

	if said := run(0, "--owner", "65532:65532"); !strings.Contains(said, "made "+dir) {
		t.Errorf("at first it says %q", said)
	}
	check("", 65532, 0o700)
	if said := run(0, "--owner", "65532:65532"); said != dir+" is as it should be\n" {
		t.Errorf("the second time it says %q", said)
	}

	// What kubelet makes of a hostPath, and what an older daemon left in it.
	outside := filepath.Join(base, "outside")
	for _, err := range []error{
		os.Chown(dir, 1000, 1000), os.Chmod(dir, 0o755), os.WriteFile(outside, nil, 0o600),
		os.Mkdir(filepath.Join(dir, "1"), 0o700), os.WriteFile(filepath.Join(dir, "1", "log-x"), nil, 0o600),
		os.Chown(filepath.Join(dir, "1"), 1000, 1000), os.Symlink(outside, filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if said := run(0, "--owner", "65532:65532"); !strings.Contains(said, "0700, was 0755") || !strings.Contains(said, "4 changed") {
		t.Errorf("it says %q", said)
	}
	check("", 65532, 0o700)
	check("1", 65532, 0o700)
	check("1/log-x", 65532, 0)
	check("link", 65532, 0)
	check("../outside", 0, 0)

	// Another owner: the directory is closed to this root.
	run(0, "--owner", "1001:1001")
	check("", 1001, 0o700)
	check("1/log-x", 1001, 0)

	for _, wrong := range []string{"lectern", "65532", "a:b", "-1:-1", ":"} {
		run(2, "--owner", wrong)
	}
}
