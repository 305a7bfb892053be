package keys

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/wire"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func secret(epoch uint8, first byte) *wire.Secret {
	return wire.NewSecret(epoch, [wire.SecretSize]byte{first})
}

func TestNewKeysGoOnWithTheNextEpoch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	for i := range uint8(wire.Epochs) {
		path, s, err := New(dir)
		if err != nil || s.Epoch() != i {
			t.Fatalf("%s: epoch %v, %v", path, s, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
		at := time.Now().Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := New(dir); err != errNoEpoch {
		t.Errorf("a fifth key: %v", err)
	}
	all, err := Read(dir)
	if err != nil || len(all) != 4 {
		t.Fatal(all, err)
	}
	prints := map[string]bool{}
	for _, f := range all {
		prints[Fingerprint(f.Secret)] = true
		if strings.Contains(f.Secret.Text(), Fingerprint(f.Secret)) {
			t.Error("the fingerprint is a part of the key")
		}
	}
	if len(prints) != 4 {
		t.Errorf("fingerprints %v", prints)
	}
	// The oldest goes, and its epoch comes back: behind the newest one's.
	if err := os.Remove(all[0].Path); err != nil {
		t.Fatal(err)
	}
	if _, s, err := New(dir); err != nil || s.Epoch() != 0 {
		t.Errorf("%v %v", s, err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	// As Kubernetes mounts a Secret.
	data := filepath.Join(dir, "..2026_01_01")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(data, "a"), secret(2, 1).Text())
	put(t, filepath.Join(data, "b"), strings.TrimSpace(secret(1, 2).Text()))
	for from, to := range map[string]string{"..data": "..2026_01_01", "a": "..data/a", "b": "..data/b"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Secrets(dir)
	if err != nil || !Same(all, []*wire.Secret{secret(1, 2), secret(2, 1)}) {
		t.Errorf("%v, %v", all, err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":          {nil, "no key in"},
		"no key":           {map[string]string{"k": "hello"}, "not a key"},
		"two of one epoch": {map[string]string{"k": secret(1, 1).Text(), "l": secret(1, 2).Text()}, "both of epoch 1"},
		"a part of one":    {map[string]string{"k": secret(1, 1).Text()[:30]}, "not a key"},
		"endless":          {map[string]string{"k": strings.Repeat("0", 1<<20)}, "not a key"},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			put(t, filepath.Join(dir, file), text)
		}
		if got, err := Secrets(dir); err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Error(err)
	}
	if _, err := Read(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Error(err)
	}
}
