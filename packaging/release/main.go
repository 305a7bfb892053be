// Command release builds what is published of a version: an archive for each
// platform with a bill of its materials, and their checksums.
//
//	go run ./packaging/release -version v1.2.3 -time UNIX [-out dist] [-platforms linux/amd64,…]
//
// The same tree, Go and arguments give the same bytes, on any machine and in any
// directory: nothing of these, of the clock or of the user gets into a file.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

const usage = "release -version vX.Y.Z -time UNIX [-out DIR] [-platforms OS/ARCH,…]"

func main() {
	r := release{root: "."}
	var seconds int64
	var platforms string
	flag.StringVar(&r.version, "version", "", "")
	flag.Int64Var(&seconds, "time", 0, "")
	flag.StringVar(&r.out, "out", "dist", "")
	flag.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64,darwin/arm64", "")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage:", usage) }
	flag.Parse()
	r.time, r.platforms = time.Unix(seconds, 0).UTC(), strings.Split(platforms, ",")
	if err := r.make(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is one version's.
type release struct {
	root      string    // of the module
	version   string    // vX.Y.Z, or vX.Y.Z-WORD
	time      time.Time // of the commit: every file has it
	out       string    // the directory of what is made; emptied before
	platforms []string  // OS/ARCH
}

var versions = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$`)

// make makes all of it.
func (r *release) make() error {
	if !versions.MatchString(r.version) || r.time.Unix() <= 0 {
		return fmt.Errorf("version %q is to be vX.Y.Z, and -time that of its commit; usage: %s", r.version, usage)
	}
	if err := errors.Join(os.RemoveAll(r.out), os.MkdirAll(r.out, 0o755)); err != nil {
		return err
	}
	texts, err := r.texts()
	if err != nil {
		return err
	}
	var sums []sum
	for _, platform := range r.platforms {
		made, err := r.platform(platform, texts)
		if err != nil {
			return fmt.Errorf("for %s: %w", platform, err)
		}
		sums = append(sums, made...)
	}
	slices.SortFunc(sums, func(a, b sum) int { return cmp.Compare(a.name, b.name) })
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), checksums(sums), 0o644)
}

// platform builds the program for OS/ARCH, its archive and its bill.
func (r *release) platform(platform string, texts []entry) ([]sum, error) {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return nil, errors.New("want OS/ARCH")
	}
	name := fmt.Sprintf("lectern-%s-%s-%s", r.version, goos, goarch)
	program, err := r.build(goos, goarch)
	if err != nil {
		return nil, err
	}
	bill, err := r.bill(program)
	if err != nil {
		return nil, err
	}
	archive, err := r.archive(name, append([]entry{{"lectern", 0o755, program}, {"lectern.cdx.json", 0o644, bill}}, texts...))
	if err != nil {
		return nil, err
	}
	var made []sum
	for file, content := range map[string][]byte{name + ".tar.gz": archive, name + ".cdx.json": bill} {
		if err := os.WriteFile(filepath.Join(r.out, file), content, 0o644); err != nil {
			return nil, err
		}
		made = append(made, sumOf(file, content))
	}
	return made, nil
}

// build compiles the program as `make build` does, and without what differs from
// machine to machine.
func (r *release) build(goos, goarch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "lectern-release-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "lectern")
	if err := r.compile(path, goos, goarch); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// compile runs the compiler.
func (r *release) compile(path, goos, goarch string) error {
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+r.version, "-o", path, "./cmd/lectern")
	c.Dir = r.root
	// GOFLAGS and the levels of an architecture may be anybody's; a build of
	// another Go is another build.
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch, "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// copied are the files of the tree that an archive has, by what they are called
// there.
var copied = map[string]string{
	"LICENSE":                  "LICENSE",
	"README.md":                "README.md",
	"CHANGELOG.md":             "CHANGELOG.md",
	"config.toml":              "config.toml",
	"systemd/lectern.service":  "packaging/systemd/lectern.service",
	"systemd/lectern.sysusers": "packaging/systemd/lectern.sysusers",
	"systemd/lectern.sysctl":   "packaging/systemd/lectern.sysctl",
}

// printed are the files that the program prints itself.
var printed = map[string][]string{
	"man/lectern.1":           {"man"},
	"completion/lectern.bash": {"completion", "bash"},
	"completion/_lectern":     {"completion", "zsh"},
	"completion/lectern.fish": {"completion", "fish"},
}

// texts are the files that every archive has.
func (r *release) texts() ([]entry, error) {
	var all []entry
	for name, from := range copied {
		content, err := os.ReadFile(filepath.Join(r.root, from))
		if err != nil {
			return nil, err
		}
		all = append(all, entry{name, 0o644, content})
	}
	dir, err := os.MkdirTemp("", "lectern-release-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	here := filepath.Join(dir, "lectern") // the one that runs on this machine
	if err := r.compile(here, runtime.GOOS, runtime.GOARCH); err != nil {
		return nil, err
	}
	for name, args := range printed {
		c := exec.Command(here, args...)
		var out, complaint bytes.Buffer
		c.Stdout, c.Stderr = &out, &complaint
		if err := c.Run(); err != nil {
			return nil, fmt.Errorf("lectern %s: %w\n%s", strings.Join(args, " "), err, complaint.String())
		}
		all = append(all, entry{name, 0o644, out.Bytes()})
	}
	return all, nil
}
