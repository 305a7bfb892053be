package spool

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/storage/wal"
)

// everyFile is a spool in which each kind of file stands, in the middle of its
// life: two logs, a segment that was compacted, and all small files.
func everyFile(t *testing.T) (*vfstest.Disk, Options) {
	t.Helper()
	m := vfstest.New(1)
	m.Put(collectorName, twoNumbers(collectorName, 0xa7, 1)) // the first file that was born there
	o := testOptions(m)
	o.LogSize, o.SizeMax, o.compactAt = 4<<10, 1<<20, 2
	o.Clock = func() time.Time { return time.UnixMilli(1728000000000) }
	nonce := uint64(0)
	o.nonce = func() uint64 { nonce++; return 0x1234 * nonce }
	s, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(2) {
		mustSeal(t, s, testSeal(n+1))
		if err := flushRows(s, []storage.Row{row(n + 1)}, testSeal(n+1).Books, testSeal(n+1).Window, n+1); err != nil {
			t.Fatal(err)
		}
	}
	m.Fault = func(o vfstest.Op) error { // the compacted segments stay, and so does their mention
		if o.What == "remove" {
			return vfstest.ErrFault
		}
		return nil
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustSeal(t, s, &Seal{Window: storage.Window{Start: 1, End: 2}, Forgotten: []uint64{2}})
	m.Kill()
	m.Put(renewingName, format.Text(textKind(renewingName), "renewed-1"))
	return m, o
}

var updateFlag = flag.Bool("update", false, "write the golden files anew")

// The bytes of every file. Where this fails, the format has changed: that takes
// another format.Version, and then -update.
func TestGoldenFiles(t *testing.T) {
	m, _ := everyFile(t)
	dir := filepath.Join("testdata", fmt.Sprintf("version-%d", format.Version))
	var names []string
	for _, name := range m.Names("") {
		data := m.Data(name)
		if len(data) == 0 { // empty files have no format
			continue
		}
		names = append(names, name)
		path := filepath.Join(dir, name)
		if *updateFlag {
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, data, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, want) {
			t.Errorf("%s is not what version %d has: its bytes are\n%x, want\n%x", name, format.Version, data, want)
		}
	}
	slices.Sort(names)
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != len(names) || len(list) < 6 {
		t.Errorf("there are %v, and golden files %v, %v", names, list, err)
	}
}

// A file of another version, whichever it is, is no damaged one: a start is
// refused, and changes nothing.
func TestOtherVersionIsLeftAlone(t *testing.T) {
	whole, o := everyFile(t)
	for _, name := range whole.Names("") {
		if len(whole.Data(name)) == 0 {
			continue
		}
		for _, kind := range []string{"newer", "newer and damaged behind", "of zero"} {
			m := whole.Clone()
			m.Steps = 0
			m.Put("7"+tempSuffix, nil) // a start would remove them
			m.Put(vacantName, nil)
			data := m.Data(name)
			v := format.Version + 1
			if kind == "of zero" {
				v = 0
			}
			if i := bytes.Index(data, []byte(" 1\n")); bytes.HasPrefix(data, []byte("lectern-")) {
				data[i+1] = '0' + byte(v)
			} else {
				data[4] = byte(v)
			}
			if kind == "newer and damaged behind" {
				data[len(data)-1] ^= 1
				data[len(data)/2] ^= 1
			}
			before := m.Image()
			o.Files = m
			_, _, err := Open(o)
			if !errors.Is(err, format.ErrVersion) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
			if after := m.Image(); after != before || m.Steps > 0 {
				t.Errorf("%s, %s: %d operations changed\n%s to\n%s", name, kind, m.Steps, before, after)
			}
			if c, err := inspect(m, "/spool"); err != nil || (strings.HasPrefix(name, "log-") || strings.HasPrefix(name, "segment-")) && !c.Damaged() {
				t.Errorf("%s, %s: it looks well: %+v, %v", name, kind, c, err)
			}
		}
	}
}

// Another version in one place of several is as good as in the process's own: it
// could not be taken over. Renew leaves it alone as well.
func TestOtherVersionInAnotherPlace(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(nil)
	o.Dir = filepath.Join(dir, "1")
	s, _ := mustOpen(t, o)
	mustSeal(t, s, testSeal(1))
	_ = s.Close()
	path := filepath.Join(o.Dir, wal.FileName(1))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[4]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	o.Dir = dir
	if _, _, _, err := Claim(o, true); !errors.Is(err, format.ErrVersion) {
		t.Errorf("claimed: %v", err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 { // the door and the place
		t.Errorf("there are %v, %v", list, err)
	}
	if _, _, err := Renew(filepath.Join(dir, "1")); !errors.Is(err, format.ErrVersion) {
		t.Errorf("renewed: %v", err)
	}
}
