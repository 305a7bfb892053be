package image

import (
	"archive/tar"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// goVersion is the Go of the Dockerfile's base image.
func goVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^ARG GO_VERSION=(\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatal("the Dockerfile has no ARG GO_VERSION")
	}
	return string(found[1])
}

// importStandIn makes an image by the exact name of the Dockerfile's base, of
// what this machine has: a shell (busybox), its Go, its CAs, and the modules that
// the build needs, as a module proxy of files. So the Dockerfile is built as it
// is, without any registry.
func (d *docker) importStandIn(t *testing.T) {
	t.Helper()
	if has := strings.TrimPrefix(runtime.Version(), "go"); has != goVersion(t) {
		t.Fatalf("this machine's Go is %s, the Dockerfile's is %s", has, goVersion(t))
	}
	load := d.command(cli, "import",
		"--change", "ENV PATH=/usr/local/go/bin:/bin", "--change", "ENV GOPATH=/go", "--change", "ENV GOTOOLCHAIN=local",
		"--change", "ENV GOPROXY=file:///modules", "-", "golang:"+goVersion(t)+"-bookworm")
	in, err := load.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint strings.Builder
	load.Stderr = &complaint
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(in)
	addStandIn(t, w)
	if err := w.Close(); err != nil {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	_ = in.Close()
	if err := load.Wait(); err != nil {
		t.Fatalf("docker import: %v: %s", err, complaint.String())
	}
}

func addStandIn(t *testing.T, w *tar.Writer) {
	t.Helper()
	addFile(t, w, "/bin/busybox", "bin/busybox")
	for _, name := range []string{"sh", "cat", "cut", "echo", "mkdir"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		t.Fatal(err)
	}
	addFile(t, w, "/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt")
	goroot := output(t, "go", "env", "GOROOT")
	addTree(t, w, goroot, "usr/local/go", func(path string) bool {
		return !strings.HasPrefix(path, "test/") && !strings.HasPrefix(path, "api/") && !strings.HasPrefix(path, "doc/")
	})
	cache := filepath.Join(output(t, "go", "env", "GOMODCACHE"), "cache", "download")
	needed := make(map[string]bool)
	for line := range strings.Lines(output(t, "go", "list", "-deps", "-f", "{{with .Module}}{{if .Version}}{{.Path}}/@v/{{.Version}}.zip{{end}}{{end}}", "./cmd/lectern")) {
		needed[escape(strings.TrimSpace(line))] = true
	}
	// All that says what modules need (small), and the modules that are built.
	addTree(t, w, cache, "modules", func(path string) bool {
		return strings.HasSuffix(path, ".mod") || strings.HasSuffix(path, ".info") || needed[path]
	})
}

// escape is how a module proxy writes capitals.
func escape(path string) string {
	return regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(path, func(s string) string { return "!" + strings.ToLower(s) })
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = root
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

func addTree(t *testing.T, w *tar.Writer, from, to string, take func(path string) bool) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if name := strings.TrimPrefix(path, from+"/"); take(name) {
			addFile(t, w, path, to+"/"+name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func addFile(t *testing.T, w *tar.Writer, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteHeader(&tar.Header{Name: to, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, f); err != nil {
		t.Fatal(err)
	}
}
