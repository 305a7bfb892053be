package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// owner is whose log it is: it appends texts, and a snapshot says how many there are.
type owner struct {
	disk    *vfstest.Disk
	log     *Log
	entries [][]byte
	stamp   byte
	left    int64
}

const fileSize = 2048

// open reads what is on the disk, and returns the owner as it knows it, with what the
// walks had to say.
func open(t *testing.T, disk *vfstest.Disk) (o *owner, missing bool, torn int64) {
	t.Helper()
	o = &owner{disk: disk}
	p := place.New(disk, "/log", 1<<20)
	p.Warn = func(string, error) {}
	var files []*File
	last := uint64(0)
	for _, e := range must(disk.List("")) {
		id, ok := ParseFileName(e.Name)
		if !ok {
			continue
		}
		last = id
		l, err := Find(must(disk.Open(e.Name)), id, e.Size)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, l)
	}
	Link(files)
	for _, l := range files {
		_, err := l.Walk(must(disk.Open(FileName(l.ID))), nil, func() {}, o.take)
		if err != nil {
			t.Fatal(err)
		}
		missing, torn = missing || l.Missing, l.Torn
	}
	nonce := uint64(disk.Steps)
	o.log = New(Options{
		Place: p, Collector: 7, FileSize: fileSize, Spare: 128, Clock: time.Now,
		Nonce:    func() uint64 { nonce++; return nonce },
		Stamp:    func() Stamp { o.stamp++; return Stamp{o.stamp} },
		Snapshot: func(b []byte) []byte { return append(b, bytes.Join(o.entries, []byte{0})...) },
		Durable:  func(_ Stamp, left int64) { o.left = left },
	}, files, last)
	if err := p.Reserve(0); err != nil {
		t.Fatal(err)
	}
	n := uint64(len(o.entries))
	if _, err := o.log.Begin(n, n, nil); err != nil {
		t.Fatal(err)
	}
	return o, missing, torn
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// take takes a record that was found.
func (o *owner) take(r *Record) bool {
	switch r.Kind {
	case Snapshot:
		o.entries = nil
		if len(r.Body()) > 0 {
			o.entries = bytes.Split(slices.Clone(r.Body()), []byte{0})
		}
	case Entry:
		if r.Number == uint64(len(o.entries))+1 {
			o.entries = append(o.entries, slices.Clone(r.Body()))
		}
	}
	return true
}

// append appends an entry that says so much.
func (o *owner) append(text []byte) error {
	_, err := o.log.Append(Entry, uint64(len(o.entries))+1, append(make([]byte, HeaderSize), text...))
	if err == nil {
		o.entries = append(o.entries, text)
		o.log.Confirm(uint64(len(o.entries)), []byte("confirmed"))
	}
	return err
}

// What Append said is durable is there after whatever ends the process or the machine,
// in order, and one more at most; on a disk of which operations fail in between.
func TestEntriesSurvive(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	failed, crashed, files := 0, 0, 0
	for round := range uint64(300) {
		r := rand.New(rand.NewPCG(seed+round, 0))
		disk := vfstest.New(seed + round)
		o, _, _ := open(t, disk)
		var unsure []byte // not acknowledged
		for range 4 {
			disk.CrashAt = disk.Steps + 1 + r.IntN(60)
			for i := 0; !disk.Dead() && i < 40; i++ {
				if r.IntN(8) == 0 {
					until := disk.Steps + 1 + r.IntN(4)
					disk.Fault = func(op vfstest.Op) error {
						if op.Step <= until {
							return vfstest.ErrFault
						}
						return nil
					}
				}
				text := unsure
				if text == nil {
					text = fmt.Appendf(nil, "%d %d %s", round, len(o.entries), bytes.Repeat([]byte("x"), r.IntN(100)))
				}
				unsure = nil
				if err := o.append(text); err != nil {
					failed++
					unsure = text
				}
				if r.IntN(6) == 0 && !disk.Dead() {
					o.log.o.Place.Lock()
					o.log.Remove(uint64(len(o.entries)))
					o.log.o.Place.Unlock()
				}
			}
			want := slices.Clone(o.entries)
			if disk.Dead() {
				crashed++
			}
			if r.IntN(2) == 0 {
				disk.Kill()
			} else {
				disk.PowerLoss()
			}
			files = max(files, len(disk.Names("log-")))
			again, missing, _ := open(t, disk)
			got := again.entries
			if len(got) == len(want)+1 && bytes.Equal(got[len(want)], unsure) {
				got = got[:len(want)]
			}
			if missing || !slices.EqualFunc(got, want, bytes.Equal) {
				t.Fatalf("round %d: %d entries are there, records missing: %t; %d were durable", round, len(again.entries), missing, len(want))
			}
			o, unsure = again, nil
		}
	}
	if failed == 0 || crashed == 0 || files < 2 {
		t.Errorf("%d appends failed, %d crashes, at most %d files", failed, crashed, files)
	}
}

// A file that ends before the next one says is damaged; the last one is torn.
func TestCutOff(t *testing.T) {
	for _, last := range []bool{true, false} {
		disk := vfstest.New(1)
		o, _, _ := open(t, disk)
		var at int64
		for n := range 3 {
			at = o.log.End()
			if err := o.append(fmt.Appendf(nil, "entry %d", n)); err != nil {
				t.Fatal(err)
			}
		}
		if !last {
			o.log.NextFile()
			if err := o.append([]byte("behind")); err != nil {
				t.Fatal(err)
			}
		}
		disk.Kill()
		clear(disk.Data(FileName(1))[at+HeaderSize:])
		_, missing, torn := open(t, disk)
		if missing == last || (torn > 0) != last {
			t.Errorf("the last file %t: records missing %t, %d bytes torn", last, missing, torn)
		}
	}
}

// A record of another file is none of this one, whatever it says.
func TestNonce(t *testing.T) {
	disk := vfstest.New(1)
	o, _, _ := open(t, disk)
	if err := o.append([]byte("mine")); err != nil {
		t.Fatal(err)
	}
	end := o.log.End()
	o.log.NextFile()
	if err := o.append([]byte("of the other")); err != nil {
		t.Fatal(err)
	}
	disk.Kill()
	copy(disk.Data(FileName(1))[end:], disk.Data(FileName(2))[FileHeaderSize:])
	l, err := Find(must(disk.Open(FileName(1))), 1, int64(len(disk.Data(FileName(1)))))
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	_, err = l.Walk(must(disk.Open(FileName(1))), nil, func() {}, func(*Record) bool { records++; return true })
	if err != nil || records != 2 || l.Torn == 0 {
		t.Errorf("%d records, %d bytes torn, %v", records, l.Torn, err)
	}
}

// A log has no more files than its place has room for.
func TestFull(t *testing.T) {
	disk := vfstest.New(1)
	o, _, _ := open(t, disk)
	o.log.o.Place = place.New(disk, "/log", 2*fileSize)
	if err := o.log.o.Place.Reserve(fileSize); err != nil {
		t.Fatal(err)
	}
	for {
		err := o.append(bytes.Repeat([]byte("x"), 300))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || len(o.entries) > 100 {
			t.Fatalf("after %d entries: %v", len(o.entries), err)
		}
	}
	if n := len(disk.Names("log-")); n != 2 {
		t.Errorf("%d files fill a place for two", n)
	}
}

// A file stays as long as one before it does, whatever is in it: it says where that one
// ended.
func TestOlderFilesGoFirst(t *testing.T) {
	disk := vfstest.New(1)
	o, _, _ := open(t, disk)
	for range 3 {
		if err := o.append([]byte("entry")); err != nil {
			t.Fatal(err)
		}
		o.log.NextFile()
	}
	o.log.files[1].Newest = 0 // as of one of which a start is sure of no record
	o.log.o.Place.Lock()
	defer o.log.o.Place.Unlock()
	if o.log.Remove(0); len(disk.Names("log-")) != 3 {
		t.Errorf("there are %v", disk.Names("log-"))
	}
	if o.log.Remove(1); len(disk.Names("log-")) != 1 {
		t.Errorf("then there are %v", disk.Names("log-"))
	}
}
