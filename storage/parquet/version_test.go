package parquet

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage/internal/format"
)

var updateFlag = flag.Bool("update", false, "write the golden files anew")

// A file of each table as this version writes it is read, and what is written has
// its metadata, its columns and its footnote. Where this fails, the format has
// changed: that takes another format.Version, and then -update. The pages' bytes are
// the library's own matter.
func TestGoldenFiles(t *testing.T) {
	dir := filepath.Join("testdata", fmt.Sprintf("version-%d", format.Version))
	if *updateFlag {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for of, file := range filesOf(t) {
		path := filepath.Join(dir, string(of)+suffix)
		if *updateFlag {
			if err := os.WriteFile(path, file, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := readAll(of, path); err != nil || n == 0 {
			t.Errorf("%s of version %d: %d rows, %v", of, format.Version, n, err)
		}
		if got, want := described(t, file), described(t, golden); got != want {
			t.Errorf("%s is\n%s, and version %d has\n%s", of, got, format.Version, want)
		}
	}
	n := footnote{at: 0x0102030405060708, length: 0x11121314, footer: 0x21222324, indexes: 0x31323334}
	golden := map[string][]byte{"footnote": n.append(nil), "collector": format.Text(collectorKind, hex(7))}
	for name, b := range golden {
		path := filepath.Join(dir, name)
		if *updateFlag {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s is %x, and version %d has %x, %v", name, b, format.Version, want, err)
		}
	}
}

// described is what of a file is ours: its metadata, but for the checksum of the
// pages, and its columns.
func described(t *testing.T, file []byte) string {
	t.Helper()
	p, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, kv := range p.Metadata().KeyValueMetadata {
		if kv.Key == metaSum {
			kv.Value = ""
		}
		lines = append(lines, kv.Key+" = "+kv.Value)
	}
	slices.Sort(lines)
	return p.Metadata().CreatedBy + "\n" + strings.Join(lines, "\n") + "\n" + p.Schema().String()
}

// A file of another version, of whatever collector, is no damaged one: a start is
// refused and changes nothing, and who reads is told.
func TestOtherVersionIsLeftAlone(t *testing.T) {
	for _, whose := range []uint64{0xA, 0xB} {
		for _, of := range []table{reads, ledger} {
			dir := t.TempDir()
			s, err := Open(Options{Dir: dir, Collector: whose, Shared: true})
			if err != nil {
				t.Fatal(err)
			}
			mustStore(t, s, smallBlock(whose, 1, 1))
			mustStore(t, s, smallBlock(whose, 2, 1))
			_ = s.Close()
			// What a start would remove, in the folder that comes first.
			temp := filepath.Join(dir, "ledger", "day=2024-10-04", tempPrefix+"20241004T03-c000000000000000a-000000000003.parquet")
			if err := os.WriteFile(temp, []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, string(of), "day=2024-10-04", fmt.Sprintf("20241004T03-c%016x-000000000002.parquet", whose))
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.LastIndex(file, format.AppendHead(nil, footnoteMagic))
			file[at+4]++
			file[at-1] ^= 1 // whatever stands before it in another version
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			before := image(t, dir)
			if _, err := Open(Options{Dir: dir, Collector: 0xA, Shared: true}); !errors.Is(err, format.ErrVersion) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s of %x: %v", of, whose, err)
			}
			if after := image(t, dir); !reflect.DeepEqual(after, before) {
				t.Errorf("%s of %x: the start changed %v to %v", of, whose, before, after)
			}
			r, err := OpenReader(dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Books(t.Context()); !errors.Is(err, format.ErrVersion) {
				t.Errorf("%s of %x, read: %v", of, whose, err)
			}
		}
	}
	dir := t.TempDir()
	newer := bytes.Replace(format.Text(collectorKind, hex(7)), []byte(" 1\n"), []byte(" 2\n"), 1)
	if err := os.WriteFile(filepath.Join(dir, "collector"), newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, format.ErrVersion) {
		t.Errorf("the collector's file: %v", err)
	}
}

// image is the contents of all files by path.
func image(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range paths(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(b)
	}
	return all
}

// What people read is nobody's business on the machine but the daemon's and its
// group's.
func TestFilesAreNotForEverybody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	s := mustOpen(t, dir)
	mustStore(t, s, smallBlock(s.Collector(), 1, 1))
	mustStore(t, s, smallBlock(s.Collector(), 2, 1))
	if err := s.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o027 != 0 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		seen++
		return err
	})
	if err != nil || seen < 9 {
		t.Errorf("%d files and directories, %v", seen, err)
	}
}
