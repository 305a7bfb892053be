package spool

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/storage/wal"
)

// FuzzRecover puts any bytes into a log and a segment, with the checksums of their
// headers made right or left wrong: a start neither panics nor fails, and takes
// no more memory than the files have bytes.
func FuzzRecover(f *testing.F) {
	m := vfstest.New(1)
	o := testOptions(m)
	s, _, err := Open(o)
	if err != nil {
		f.Fatal(err)
	}
	for i := range uint64(3) {
		if _, err := sealOne(s, testSeal(i+1)); err != nil {
			f.Fatal(err)
		}
	}
	if err := flushRows(s, []storage.Row{row(1), row(2)}, testSeal(1).Books, storage.Window{}, 2); err != nil {
		f.Fatal(err)
	}
	if _, err := sealOne(s, testSeal(4)); err != nil {
		f.Fatal(err)
	}
	run := m.Names("segment-")[0]
	goodLog := slices.Clone(m.Data(wal.FileName(1))[:s.log.End()])
	goodRun := slices.Clone(m.Data(run))
	collector := slices.Clone(m.Data("collector"))
	f.Add(goodLog, goodRun, false)
	f.Add(goodLog, goodRun, true)
	f.Add(goodLog[:100], goodRun[:100], true)
	f.Add([]byte{}, []byte{}, true)
	f.Fuzz(func(t *testing.T, log, runFile []byte, fixSums bool) {
		if len(log) > 1<<16 || len(runFile) > 1<<16 {
			return
		}
		log, runFile = slices.Clone(log), slices.Clone(runFile)
		if fixSums {
			mendLog(log, s.collector)
			mendRun(runFile, s.collector)
		}
		m := vfstest.New(1)
		m.Put(collectorName, slices.Clone(collector)) // the first, as it was
		m.Put(wal.FileName(1), log)
		m.Put(run, runFile)
		if _, err := inspect(m, "/spool"); err != nil {
			t.Fatal(err)
		}
		o := testOptions(m)
		s, r, err := Open(o)
		if err != nil {
			// Another collector's headers are refused, whole.
			if !foreign(log, runFile, collector) {
				t.Fatal(err)
			}
			return
		}
		if len(rowsOf(r)) > len(log)/codec.RowSizeMin || len(r.Sources) > len(log)/sourceSize {
			t.Fatalf("%d rows and %d sources of %d bytes", len(rowsOf(r)), len(r.Sources), len(log))
		}
		for range len(runFile)/32 + 1 {
			b, ok, err := s.Oldest()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if err := s.Stored(b.Number); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sealOne(s, testSeal(9)); err != nil {
			t.Fatal(err)
		}
		last := s.sealed
		m.Kill()
		_, r, err = Open(testOptions(m))
		if err != nil {
			t.Fatalf("the second start: %v", err)
		}
		if r.Last != last {
			t.Fatalf("the second start has seal %d, sealed was %d", r.Last, last)
		}
	})
}

// foreign says whether a header is whole and another collector's, or of another
// version.
func foreign(log, run, collector []byte) bool {
	id, _, _ := parseCollector(collector)
	logs, ofLog := wal.Collector(log)
	runs, ofRun := segment.Collector(run)
	return errors.Is(ofLog, format.ErrVersion) || errors.Is(ofRun, format.ErrVersion) ||
		ofLog == nil && logs != id || ofRun == nil && runs != id
}

// mendLog makes the checksums of whatever may be headers right, so that the
// fuzzer gets behind them.
func mendLog(b []byte, collector uint64) {
	if len(b) < wal.FileHeaderSize {
		return
	}
	format.AppendHead(b[:0], wal.Magic)
	binary.LittleEndian.PutUint64(b[8:], 1)
	binary.LittleEndian.PutUint64(b[24:], collector)
	sum(b[:wal.FileHeaderSize], 60)
	for at := wal.FileHeaderSize; at+wal.HeaderSize <= len(b); {
		h := b[at:]
		copy(h, "LREC")
		binary.LittleEndian.PutUint32(h[4:], 1+binary.LittleEndian.Uint32(h[4:])%3)
		copy(h[8:16], b[16:24])
		length := int(binary.LittleEndian.Uint32(h[24:]))
		if end := at + wal.HeaderSize + length; length >= 0 && end <= len(b) {
			binary.LittleEndian.PutUint32(h[28:], format.Sum(h[wal.HeaderSize:wal.HeaderSize+length]))
		}
		sum(h[:wal.HeaderSize], 68)
		at += int(wal.RecordSize(length & 0xffff))
	}
}

func mendRun(b []byte, collector uint64) {
	if len(b) < segment.HeaderSize {
		return
	}
	format.AppendHead(b[:0], segment.Magic)
	binary.LittleEndian.PutUint64(b[8:], collector)
	if at := binary.LittleEndian.Uint64(b[56:]); at <= uint64(len(b)) {
		binary.LittleEndian.PutUint32(b[80:], format.Sum(b[at:]))
	}
	sum(b[:segment.HeaderSize], 100)
}

func sum(b []byte, at int) {
	binary.LittleEndian.PutUint32(b[at:], format.Sum(b[:at]))
}
