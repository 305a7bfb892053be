package edge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lectern/lectern/emit"
)

// journal keeps which numbers of a page were taken, over a kill of the edge.
//
// The events themselves are in the queue of package emit, which outlives a kill,
// too, and knows how many were ever added. So before events are added, a record is
// written: what the page's numbers are behind them, and where the queue is in front
// of them. At a start only the last record may stand for events that were not
// added, or not all of them, and where the queue is says how many were.
//
// A record is 96 bytes, little-endian:
//
//	 0  checksum (4) of what follows, CRC-32C
//	 4  events (4) that are added behind the record
//	 8  page (8)
//	16  end (8), taken (8), seen (32): the page's numbers
//	64  when, Unix milliseconds (8); 0: the page is forgotten
//	72  source (8), events (8): where the queue was
//	88  skipped (8): events that are numbered behind the record and not added
//
// The file is mapped, and has its whole size from the start, of zeros: a record is
// no call of the kernel, and a full disk shows when the journal is written anew.
type journal struct {
	path  string
	least int // bytes of the file
	mem   []byte
	size  int // of them records
}

const (
	recordSize  = 96
	journalName = "pages"
	// journalLeast is the least size of the file, in which there is room for three times
	// the records of the pages that are known.
	journalLeast = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is one line of the journal.
type record struct {
	page     page
	added    int    // events behind it
	skipped  uint64 // numbers behind it that stand for nothing
	forget   bool
	position emit.Position // of the queue in front of it
}

func (r *record) encode(b *[recordSize]byte) {
	binary.LittleEndian.PutUint32(b[4:], uint32(r.added))
	when := uint64(r.page.last.UnixMilli())
	if r.forget {
		when = 0
	}
	for i, v := range [...]uint64{
		r.page.id, r.page.end, r.page.taken, r.page.seen[0], r.page.seen[1], r.page.seen[2], r.page.seen[3],
		when, r.position.Source, r.position.Events, r.skipped,
	} {
		binary.LittleEndian.PutUint64(b[8*(i+1):], v)
	}
	binary.LittleEndian.PutUint32(b[0:], crc32.Checksum(b[4:], castagnoli))
}

// decode reads a record, false where there is none.
func (r *record) decode(b []byte) bool {
	if crc32.Checksum(b[4:recordSize], castagnoli) != binary.LittleEndian.Uint32(b) {
		return false
	}
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	*r = record{
		page:  page{id: u(8), numbers: numbers{end: u(16), taken: u(24), seen: [4]uint64{u(32), u(40), u(48), u(56)}}, last: time.UnixMilli(int64(u(64)))},
		added: int(binary.LittleEndian.Uint32(b[4:])), skipped: u(88), forget: u(64) == 0,
		position: emit.Position{Source: u(72), Events: u(80)},
	}
	return true
}

// openJournal reads the journal in dir into pages. queue is where the queue was
// left, with known false where there is none. least is
// the smallest size of the file, in bytes.
func openJournal(dir string, least int, into *pages, queue emit.Position, known bool) (*journal, error) {
	j := &journal{path: filepath.Join(dir, journalName), least: least}
	b, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read which events of pages were taken: %w", err)
	}
	var r, last record
	var before page // the last record's page in front of it
	for ; len(b) >= recordSize && r.decode(b); b = b[recordSize:] {
		last, before = r, page{id: r.page.id}
		if one := into.find(r.page.id); one != nil {
			before = *one
		}
		into.apply(&r)
	}
	if last.added > 0 || last.skipped > 0 {
		into.undo(&last, &before, queue, known)
	}
	return j, j.rewrite(into)
}

// apply brings a record to the pages.
func (p *pages) apply(r *record) {
	if r.forget {
		p.forget(r.page.id)
		return
	}
	p.put(r.page)
}

// undo takes back what the last record says and did not happen: a kill came before
// all of its events were added.
func (p *pages) undo(r *record, before *page, queue emit.Position, known bool) {
	done := uint64(0)
	switch {
	case !known:
	case queue.Source == r.position.Source && queue.Events >= r.position.Events:
		done = queue.Events - r.position.Events
	default:
		done = queue.Events // a source that began behind the record
	}
	if r.forget {
		if done < r.skipped {
			p.put(*before) // it is forgotten again
		}
		return
	}
	after := *before
	after.last = r.page.last
	for n := before.oldest(); n < r.page.end && done > 0; n++ {
		if before.fresh(n) && !r.page.fresh(n) {
			after.take(n)
			done--
		}
	}
	p.put(after)
}

// oldest is the smallest number that is told from one that was taken.
func (s *numbers) oldest() uint64 { return max(s.end, numbersBack) - numbersBack }

// write appends a record.
func (j *journal) write(r *record, of *pages) error {
	if j.size+recordSize > len(j.mem) {
		if err := j.rewrite(of); err != nil {
			return err
		}
	}
	r.encode((*[recordSize]byte)(j.mem[j.size:]))
	j.size += recordSize
	return nil
}

// rewrite makes a journal of what is known now, and puts it in the place of the one
// before.
func (j *journal) rewrite(of *pages) (err error) {
	size := len(of.of) * recordSize
	b := make([]byte, roundUp(max(j.least, 4*size), os.Getpagesize()))
	at := 0
	of.each(func(one *page) {
		r := record{page: *one}
		r.encode((*[recordSize]byte)(b[at:]))
		at += recordSize
	})
	f, err := os.OpenFile(j.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }() // what is mapped stays
	if _, err = f.WriteAt(b, 0); err != nil {
		return err
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, len(b), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", f.Name(), err)
	}
	if err = os.Rename(f.Name(), j.path); err != nil {
		return errors.Join(err, syscall.Munmap(mem))
	}
	old := j.mem
	j.mem, j.size = mem, at
	if old != nil {
		return syscall.Munmap(old)
	}
	return nil
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

func (j *journal) close() error {
	if j.mem == nil {
		return nil
	}
	mem := j.mem
	j.mem = nil
	return syscall.Munmap(mem)
}
