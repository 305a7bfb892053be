package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// copyOf is the tree in another directory.
func copyOf(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "elsewhere")
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(to, name), content, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// made makes a release of a tree, and returns its files.
func made(t *testing.T, root string) map[string][]byte {
	t.Helper()
	r := release{root: root, version: "v9.8.7", time: time.Unix(1_772_366_430, 0).UTC(), out: filepath.Join(t.TempDir(), "dist"), platforms: []string{platform()}}
	if err := r.make(); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(r.out)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for _, e := range list {
		if files[e.Name()], err = os.ReadFile(filepath.Join(r.out, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Two trees in two directories, built under other settings of the user and, with
// LECTERN_TEST_RELEASE=twice, by two caches, give the same bytes.
func TestReleaseIsReproducible(t *testing.T) {
	first := made(t, root)
	t.Setenv("GOFLAGS", "-v")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("TZ", "Pacific/Kiritimati")
	t.Setenv("USER", "somebody")
	if os.Getenv("LECTERN_TEST_RELEASE") == "twice" {
		t.Setenv("GOCACHE", t.TempDir())
	}
	second := made(t, copyOf(t))
	if len(first) != 3 {
		t.Errorf("it makes %d files", len(first))
	}
	for name, content := range first {
		if !bytes.Equal(content, second[name]) {
			t.Errorf("%s is %d bytes, then %d others", name, len(content), len(second[name]))
		}
	}
	checkSums(t, first)
	check(t, first)
}

// checkSums reckons the checksums with the hash alone.
func checkSums(t *testing.T, files map[string][]byte) {
	t.Helper()
	n := 0
	for line := range strings.Lines(string(files["SHA256SUMS"])) {
		digest, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if want := fmt.Sprintf("%x", sha256.Sum256(files[name])); digest != want {
			t.Errorf("of %s it says %s, want %s", name, digest, want)
		}
		n++
	}
	if n != len(files)-1 {
		t.Errorf("it has the checksums of %d files of %d", n, len(files)-1)
	}
}

// check unpacks an archive, and asks what is in it.
func check(t *testing.T, files map[string][]byte) {
	t.Helper()
	name := "lectern-v9.8.7-" + strings.ReplaceAll(platform(), "/", "-")
	unzipped, err := gzip.NewReader(bytes.NewReader(files[name+".tar.gz"]))
	if err != nil {
		t.Fatal(err)
	}
	contents := make(map[string][]byte)
	for packed := tar.NewReader(unzipped); ; {
		h, err := packed.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		short, ok := strings.CutPrefix(h.Name, name+"/")
		if !ok || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 1_772_366_430 {
			t.Errorf("the archive has %+v", h)
		}
		if contents[short], err = io.ReadAll(packed); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"lectern", "lectern.cdx.json", "LICENSE", "README.md", "CHANGELOG.md", "config.toml", "man/lectern.1", "completion/lectern.bash",
		"completion/_lectern", "completion/lectern.fish", "systemd/lectern.service", "systemd/lectern.sysusers", "systemd/lectern.sysctl"} {
		if len(contents[want]) == 0 {
			t.Errorf("the archive has no %s", want)
		}
	}
	if !bytes.Contains(contents["man/lectern.1"], []byte("lectern v9.8.7")) {
		t.Error("the manual page is of another version")
	}
	program := filepath.Join(t.TempDir(), "lectern")
	if err := os.WriteFile(program, contents["lectern"], 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "lectern v9.8.7 ") {
		t.Errorf("the program says %q (%v)", out, err)
	}
	checkBill(t, program, contents["lectern"], contents["lectern.cdx.json"], files[name+".cdx.json"])
}

// checkBill compares the bill with what `go version -m` says of the program.
func checkBill(t *testing.T, path string, program, bill, beside []byte) {
	t.Helper()
	if !bytes.Equal(bill, beside) {
		t.Error("the bill in the archive is not the one beside it")
	}
	var b bom
	if err := json.Unmarshal(bill, &b); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(program)
	if self := b.Metadata.Component; self.Version != "v9.8.7" || self.Hashes[0].Content != hex.EncodeToString(digest[:]) || b.Format != "CycloneDX" || b.Spec != "1.5" {
		t.Errorf("the bill is of %+v", self)
	}
	out, err := exec.Command("go", "version", "-m", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(string(out)) {
		// A dep, or what stands in its place behind it.
		switch f := strings.Fields(line); {
		case f[0] == "dep":
			want = append(want, f[1]+" "+strings.Replace(f[2], "(devel)", "v9.8.7", 1))
		case f[0] == "=>":
			want[len(want)-1] = f[1] + " " + f[2]
		}
	}
	for i, c := range b.Components {
		if c.Name == "uplot" {
			b.Components = slices.Delete(b.Components, i, i+1)
			// As npm has it: npm pack uplot@1.6.32, dist/uPlot.iife.min.js.
			if c.PURL != "pkg:npm/uplot@1.6.32" || c.Hashes[0].Content != "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f" || c.Licenses[0].License.ID != "MIT" {
				t.Errorf("what draws is %+v", c)
			}
			break
		}
	}
	for _, c := range b.Components {
		if c.Name != "std" {
			got = append(got, c.Name+" "+c.Version)
		} else if "go"+c.Version != runtime.Version() {
			t.Errorf("the standard library is of %s, this Go is %s", c.Version, runtime.Version())
		}
		if c.PURL != c.Ref || !strings.HasPrefix(c.PURL, "pkg:golang/") {
			t.Errorf("%s has the package URL %s", c.Name, c.PURL)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 5 || !slices.Equal(want, got) {
		t.Errorf("the bill has\n%s\nthe program\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d := b.Dependencies; len(d) != 1 || len(d[0].DependsOn) != len(b.Components)+1 {
		t.Errorf("the dependencies are %+v", d)
	}
}

func TestReleaseRefuses(t *testing.T) {
	for _, version := range []string{"", "1.2.3", "v1.2", "v1.2.3-dirty x", "v1.2.3\n", "0123abc"} {
		r := release{root: root, version: version, time: time.Unix(1, 0), out: filepath.Join(t.TempDir(), "dist"), platforms: []string{platform()}}
		if err := r.make(); err == nil || !strings.Contains(err.Error(), "is to be vX.Y.Z") {
			t.Errorf("%q: %v", version, err)
		}
	}
}
