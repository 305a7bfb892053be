package parquet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/wire"
)

// filesOf has the bytes of a file of each table.
func filesOf(tb testing.TB) map[table][]byte {
	tb.Helper()
	b := spanned(smallBlock(7, 3, 1, 2, 3, 4, 5))
	b.Books[0].Counts[storage.RefusedEvents.Of(wire.RefusedSize)]++
	b.Books[0].Counts[storage.RefusedFrames.Of(wire.RefusedSize)]++
	b.Books[0].Names = []storage.Name{{Content: 1, Attribute: wire.AttributeTitle, Text: "Ein Titel", At: 1767225600000}}
	var rows, books, spans, names bytes.Buffer
	if err := encodeReads(&rows, b); err != nil {
		tb.Fatal(err)
	}
	if err := encodeLedger(&books, b); err != nil {
		tb.Fatal(err)
	}
	if err := encodeSeen(&spans, b, seenRowsOf(b)); err != nil {
		tb.Fatal(err)
	}
	if err := encodeContents(&names, b, contentRowsOf(b)); err != nil {
		tb.Fatal(err)
	}
	return map[table][]byte{reads: rows.Bytes(), ledger: books.Bytes(), seen: spans.Bytes(), contents: names.Bytes()}
}

// without is a file without a footnote: the same rows, written by the library alone.
func without(tb testing.TB, t table, file []byte) []byte {
	tb.Helper()
	in, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		tb.Fatal(err)
	}
	var out bytes.Buffer
	w := parquet.NewWriter(&out, t.schema(), parquet.Compression(codec),
		parquet.KeyValueMetadata(metaCollector, hex(7)), parquet.KeyValueMetadata(metaBlocks, "3"))
	for _, g := range in.RowGroups() {
		if _, err := parquet.CopyRows(w, g.Rows()); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// readAll reads a file as a merge does, and returns how many rows it has.
func readAll(t table, path string) (n int, err error) {
	o, err := openRows(realDisk{}, t, path)
	if err != nil {
		return 0, err
	}
	defer o.Close()
	switch t {
	case ledger:
		return countRows(newLedgerSource(o))
	case contents:
		return countRows(newRowsSource[contentRow](o))
	case seen:
		return countRows(newRowsSource[seenRow](o))
	}
	s := newScan(o, allColumns...)
	defer s.close()
	for {
		if err := s.next(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}
		n += s.rows
	}
}

func countRows[T any](l *rowsSource[T]) (n int, err error) {
	defer l.close()
	for {
		row, err := l.Next()
		if row == nil || err != nil {
			return n, err
		}
		n++
	}
}

// everyByte is the step in which bytes are changed, from a random one on.
var everyByte = 1

// There is no byte of a file that can be another than was written, unnoticed; and
// of its end, none that the library sees before that.
func TestEveryByteIsChecked(t *testing.T) {
	for of, file := range filesOf(t) {
		path := filepath.Join(t.TempDir(), "20241004T03-000000000003.parquet")
		if n, err := readFile(t, of, path, file); err != nil || n == 0 {
			t.Fatalf("%s: %d rows, %v", of, n, err)
		}
		o, err := openEntry(realDisk{}, of, path)
		if err != nil {
			t.Fatal(err)
		}
		at := int(o.footnote.at)
		_ = o.Close()
		if end := o.footnote.end(); end != int64(len(file)) || at == 0 {
			t.Fatalf("%s: the footnote at %d ends the file at %d, it has %d bytes", of, at, end, len(file))
		}
		for i := rand.IntN(everyByte); i < len(file); i += everyByte {
			bad := slices.Clone(file)
			bad[i] ^= 1 << (i % 8)
			wrong := errDamaged
			if v := at + footnoteSize - 4; i >= v && i < v+4 {
				wrong = format.ErrVersion
			}
			if _, err := readFile(t, of, path, bad); !errors.Is(err, wrong) {
				t.Errorf("%s with byte %d of %d changed: %v", of, i, len(file), err)
			}
			if i < at || wrong == format.ErrVersion {
				continue
			}
			if _, err := readEntry(realDisk{}, of, path); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "footer") && !strings.Contains(err.Error(), "its end") {
				t.Errorf("%s with byte %d of %d changed, opened: %v", of, i, len(file), err)
			}
		}
		for length := rand.IntN(everyByte); length < len(file); length += everyByte {
			if _, err := readFile(t, of, path, file[:length]); !errors.Is(err, errDamaged) {
				t.Errorf("%s with %d of %d bytes: %v", of, length, len(file), err)
			}
		}
		// The footnote cut out.
		cut := slices.Concat(file[:at], file[at+footnoteSize:])
		if _, err := readFile(t, of, path, cut); !errors.Is(err, errDamaged) {
			t.Errorf("%s without its footnote: %v", of, err)
		}
	}
}

func readFile(t *testing.T, of table, path string, content []byte) (int, error) {
	t.Helper()
	_ = os.Remove(path) // one that is overwritten goes to the disk when it is closed
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return readAll(of, path)
}

// A file that has no footnote, as other programs write them, is refused before the
// library sees it.
func TestFileWithoutFootnote(t *testing.T) {
	for of, file := range filesOf(t) {
		path := filepath.Join(t.TempDir(), "20241004T03-000000000003.parquet")
		if _, err := readFile(t, of, path, without(t, of, file)); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "footnote") {
			t.Errorf("%s: %v", of, err)
		}
	}
}

// A disk that does not give a file now has not damaged it: the error says so, and
// a start of the process that wrote it is refused.
func TestUnreadableFile(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustStore(t, s, smallBlock(s.Collector(), 1, 1))
	_ = s.Close()
	for fail := range 2 {
		_, err := open(Options{Dir: dir}, &closedDisk{left: fail})
		if err == nil || errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "cannot be read now") {
			t.Errorf("with file %d unreadable: %v", fail, err)
		}
	}
	s = mustOpen(t, dir)
	if last(t, s) != 1 {
		t.Errorf("last number %d", last(t, s))
	}
}

// closedDisk gives a file of which no byte can be read, after left others.
type closedDisk struct {
	realDisk
	left int
}

func (d *closedDisk) Open(path string) (*os.File, error) {
	f, err := d.realDisk.Open(path)
	if d.left--; d.left != -1 || err != nil {
		return f, err
	}
	_ = f.Close()
	// A directory can be opened, and gives EISDIR to whoever reads it.
	return os.Open(filepath.Dir(path))
}

// A file whose footer names another codec than ours is refused: the library would make room until there is none.
func TestOtherCodec(t *testing.T) {
	for of, file := range filesOf(t) {
		in, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w := parquet.NewWriter(&out, of.schema(), parquet.Compression(&parquet.Lz4Raw),
			parquet.KeyValueMetadata(metaCollector, hex(7)), parquet.KeyValueMetadata(metaBlocks, "3"))
		if _, err := parquet.CopyRows(w, in.RowGroups()[0].Rows()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var footed bytes.Buffer
		if err := writeFooter(&footed, 0, out.Bytes()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "20241004T03-000000000003.parquet")
		if _, err := readFile(t, of, path, footed.Bytes()); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "LZ4") {
			t.Errorf("%s: %v", of, err)
		}
	}
}

// FuzzFile reads any bytes as a file of both tables: an error, and no more.
func FuzzFile(f *testing.F) {
	for of, file := range filesOf(f) {
		f.Add(file)
		f.Add(without(f, of, file))
	}
	path := filepath.Join(f.TempDir(), "20241004T03-000000000003.parquet")
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, of := range tables {
			_, _ = readAll(of, path)
		}
	})
}
