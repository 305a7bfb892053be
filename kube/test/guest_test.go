package kube

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// guest is a machine that has nothing but what a test gives it.
type guest struct {
	t   *testing.T
	bin string // its PATH
	log string // what was called of what writes it down
	env []string
}

// newGuest has the tools that the scripts are written with, and root's name. What
// of them would change the machine writes down that it was called.
func newGuest(t *testing.T, env ...string) *guest {
	g := &guest{t: t, bin: t.TempDir(), env: env}
	g.log = filepath.Join(g.bin, "log")
	for _, tool := range []string{"bash", "sh", "cat", "cut", "grep", "sort", "tr", "rm", "chmod", "mkdir", "make", "git", "sed", "awk", "env", "od"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(g.bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	g.script("id", "echo 0")
	g.script("apt-get", `echo "apt-get $*" >>`+g.log)
	return g
}

// script puts a program there.
func (g *guest) script(name, text string) {
	g.t.Helper()
	path := filepath.Join(g.bin, name)
	_ = os.Remove(path)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		g.t.Fatal(err)
	}
}

// run runs something in the project's directory, and returns what it said and
// what was called meanwhile.
func (g *guest) run(name string, args ...string) (said, called string, err error) {
	g.t.Helper()
	c := exec.Command(filepath.Join(g.bin, name), args...)
	c.Dir = root
	c.Env = append([]string{"PATH=" + g.bin, "SBIN=" + g.bin, "POLICY=" + filepath.Join(g.bin, "policy")}, g.env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err = c.Run()
	log, _ := os.ReadFile(g.log)
	_ = os.Remove(g.log)
	return out.String(), string(log), err
}

// A machine that is not CI's is told what is missing and which command brings it,
// and is not changed, root or not.
func TestGuestIsNotChanged(t *testing.T) {
	for _, env := range [][]string{nil, {"CI="}, {"CI=false"}, {"CI=1"}} {
		g := newGuest(t, env...)
		for _, args := range [][]string{{"needed"}, {"requirements"}} {
			said, called, _ := g.run("make", args...)
			if called != "" {
				t.Errorf("%v: make %s calls %s", env, args, called)
			}
			if !strings.Contains(said, "promtool") || !strings.Contains(said, "make init brings") {
				t.Errorf("%v: make %s says\n%s", env, args, said)
			}
		}
	}
	// Nothing that `make test` runs installs anything by itself.
	out, _, err := newGuest(t).run("make", "--dry-run", "test")
	if err != nil || strings.Contains(out, "apt-get") || strings.Contains(out, "requirements install") {
		t.Errorf("make test: %v\n%s", err, out)
	}
}

// A machine of CI's own gets what is missing, before anything wants it.
func TestCIInstalls(t *testing.T) {
	_, called, _ := newGuest(t, "CI=true").run("make", "needed")
	for _, p := range []string{"prometheus", "gcc", "iproute2", "iptables", "conntrack"} {
		if !strings.Contains(called, " "+p) {
			t.Errorf("%s is not installed: %s", p, called)
		}
	}
	if strings.Contains(called, "docker") {
		t.Errorf("the tests' machine gets %s", called)
	}
}

// What `make requirements` misses, `make init` brings, or says where it comes from.
func TestInitBringsWhatIsMissing(t *testing.T) {
	g := newGuest(t)
	missing, _, err := g.run("make", "requirements")
	if err == nil {
		t.Errorf("on a machine without anything it succeeds:\n%s", missing)
	}
	said, called, _ := g.run("make", "init")
	list, _, _ := newGuest(t).run("bash", "-c", "sed -n '/cat <<-END/,/END$/p' .ci/requirements")
	n := 0
	for line := range strings.Lines(missing) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[1] != "MISSING" {
			continue
		}
		n++
		for entry := range strings.Lines(list) {
			columns := strings.Split(strings.TrimSpace(entry), "|")
			if len(columns) != 6 || columns[0] != fields[0] {
				continue
			}
			installed := columns[4] != "" && strings.Contains(called+" ", " "+columns[4])
			told := columns[5] != "" && strings.Contains(said, columns[5])
			if !installed && !told {
				t.Errorf("%s is neither installed nor told of:\n%s%s", fields[0], called, said)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d things are missing:\n%s", n, missing)
	}
	// With all of it there, both are content, but for what is found as a file, and this
	// machine may not have.
	files := make(map[string]bool) // names and packages
	for entry := range strings.Lines(list) {
		columns := strings.Split(strings.TrimSpace(entry), "|")
		if len(columns) != 6 {
			continue
		}
		if strings.HasPrefix(columns[3], "ls /") {
			files[columns[0]], files[columns[4]] = true, true
		}
		if _, err := os.Lstat(filepath.Join(g.bin, columns[0])); err != nil {
			g.script(columns[0], "echo "+columns[0]+" 1.2.3")
		}
	}
	said, _, err = g.run("make", "requirements")
	if err != nil {
		t.Errorf("with all of it there: %v\n%s", err, said)
	}
	for line := range strings.Lines(said) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "MISSING" && !files[fields[0]] {
			t.Errorf("with all of it there: %s", line)
		}
	}
	said, _, err = g.run("make", "init")
	if err != nil {
		t.Errorf("with all of it there, init: %v\n%s", err, said)
	}
	for line := range strings.Lines(said) {
		packages, ok := strings.CutPrefix(line, "installing ")
		for _, one := range strings.Fields(packages) {
			if !ok || !files[one] {
				t.Errorf("with all of it there, init: %s", line)
			}
		}
	}
}

// The image that is there is used as it is; one that is not is built.
func TestUpBuildsNoImageThatIsThere(t *testing.T) {
	for _, here := range []bool{true, false} {
		for _, store := range []string{"parquet", "clickhouse"} {
			g := newGuest(t)
			inspect := "exit 1"
			if here {
				inspect = "echo v0.1.0"
			}
			g.script("docker", fmt.Sprintf(`echo "docker $*" >>%s; case "$1 $2" in "image inspect") %s ;; esac`, g.log, inspect))
			g.script("go", "echo amd64")
			said, called, err := g.run("make", "up", "STORE="+store, "COMPOSE=docker compose")
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if built := strings.Contains(called, "docker build "); built == here {
				t.Errorf("the image is there: %t; %s: it is built: %t\n%s", here, store, built, called)
			}
			if !strings.Contains(called, "docker compose up -d") {
				t.Errorf("nothing is started: %s", called)
			}
			if here && !strings.Contains(said, "of version v0.1.0") {
				t.Errorf("it does not say which: %s", said)
			}
		}
	}
}
