package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build is a binary of lectern that is measured. A process of it that has
// profileVariable in its environment profiles its CPU until SIGUSR1, and then writes
// the file that the variable names.
type build struct{ name, path string }

const profileVariable = "MILLION_PROFILE" // not LECTERN_…: those are settings

const profileSource = `package main

import (
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

func init() {
	path := os.Getenv("` + profileVariable + `")
	if path == "" {
		return
	}
	f, err := os.Create(path + ".part")
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		panic(err)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGUSR1)
	go func() {
		<-end
		pprof.StopCPUProfile()
		_ = f.Close()
		_ = os.Rename(path+".part", path)
	}()
}
`

// baseCommit is what the minute's table was first measured against: rows of each
// cut waited as they came, for ten seconds.
const baseCommit = "9f7815c"

// buildHere builds this tree.
func buildHere(t *testing.T) *build {
	b, err := buildIn(t, ".", "this tree")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// buildEarlier builds an earlier commit, nil where the history is not there.
func buildEarlier(t *testing.T) *build {
	commit := os.Getenv("LECTERN_BENCH_BASE")
	if commit == "" {
		commit = baseCommit
	}
	dir := t.TempDir()
	out, err := exec.Command("sh", "-euc", `cd "$(git rev-parse --show-toplevel)"; git archive --format=tar -o "$1/tree.tar" "$2"; tar -xf "$1/tree.tar" -C "$1"`, "sh", dir, commit).CombinedOutput()
	if err != nil {
		fmt.Printf("NOT MEASURED beside: a build of commit %s, which is not in the history here (%v: %.200s)\n", commit, err, out)
		return nil
	}
	b, err := buildIn(t, filepath.Join(dir, "cmd", "lectern"), commit)
	if err != nil {
		fmt.Printf("NOT MEASURED beside: a build of commit %s: %v\n", commit, err)
		return nil
	}
	return b
}

// buildIn builds the command in a directory, with what profiles it.
func buildIn(t *testing.T, dir, name string) (*build, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	temp := t.TempDir()
	source, overlay := filepath.Join(temp, "profile.go"), filepath.Join(temp, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(dir, "million_profile.go"): source}})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o600)
	}
	if err == nil {
		err = os.WriteFile(source, []byte(profileSource), 0o600)
	}
	if err != nil {
		return nil, err
	}
	b := &build{name: name, path: filepath.Join(temp, "lectern")}
	c := exec.Command("go", "build", "-overlay", overlay, "-o", b.path, ".")
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return b, nil
}

// plainEnviron is the environment without what a daemon would take for settings.
func plainEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "LECTERN_") })
}

// run runs a command that must succeed, and returns what it printed.
func (b *build) run(t *testing.T, args ...string) []byte {
	t.Helper()
	c := exec.Command(b.path, args...)
	c.Dir, c.Env = t.TempDir(), plainEnviron()
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", b.name, args, err, out)
	}
	return out
}

// profile ends the profile of a daemon, and returns the path of its file, which
// goes with the binary; "" where it has none.
func (d *served) profile(path string) string {
	if err := d.command.Process.Signal(syscall.SIGUSR1); err != nil {
		d.t.Fatal(err)
	}
	for range 500 {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ""
}
