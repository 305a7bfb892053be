package wal

import (
	"errors"

	"github.com/lectern/lectern/storage/vfs"
)

// Record is one that was found in a file.
type Record struct {
	Kind   Kind
	Number uint64 // an entry's own; else that of the last one before
	Time   int64  // of writing, Unix milliseconds
	Stamp  Stamp
	At     int64  // in the file
	Rec    []byte // header and body, until the next record is read; nil where headers alone are read
}

// Body is the body alone.
func (r *Record) Body() []byte { return r.Rec[HeaderSize:] }

// Find reads the header of a file. With ErrHeaderLost the file's records can be read,
// and nothing is known of the file before. Any other error says why they cannot.
func Find(f vfs.File, id uint64, size int64) (*File, error) {
	h, err := readHeader(f, id)
	if err != nil && !errors.Is(err, ErrHeaderLost) {
		return nil, err
	}
	return &File{ID: id, Size: size, header: h, nonce: h.Nonce, end: size, lost: err != nil, Damaged: err != nil}, err
}

// Collector says whose the file is, false where the header is lost.
func (l *File) Collector() (id uint64, ok bool) { return l.header.Collector, !l.lost }

// Link takes from each file's header where the records of the one before it ended. The
// files are those of one log, ordered; nil is one that cannot be read.
func Link(files []*File) {
	byID := map[uint64]*File{}
	for _, l := range files {
		if l == nil {
			continue
		}
		if before := byID[l.header.Previous]; before != nil && l.header.PreviousEnd <= uint64(before.Size) {
			before.end, before.exact = int64(l.header.PreviousEnd), true
		}
		byID[l.ID] = l
	}
}

// Headers reads the headers of all records. The error says that the disk does not give
// the file.
func (l *File) Headers(f vfs.File, each func(*Record)) error {
	in := l.reader(f)
	for {
		at, ok := in.next()
		if !ok {
			return in.err
		}
		r := in.record(at)
		each(&r)
	}
}

// Walk reads all records whose checksums are right, however much is damaged between
// them, and says in the file how it is: Missing, or else Torn. later is called
// when there is a header behind the record that was given to each last: what is before
// it is durable. each returns whether it could read the body. buf is used, and returned
// for the next walk. The error says that the disk does not give the file.
func (l *File) Walk(f vfs.File, buf []byte, later func(), each func(*Record) (good bool)) ([]byte, error) {
	in := l.reader(f)
	good := int64(FileHeaderSize) // behind the last good record
	l.sure = good
	for {
		at, ok := in.next()
		if !ok {
			break
		}
		later()
		l.sure = good
		if buf, ok = in.body(at, buf); !ok {
			if in.err != nil {
				break
			}
			continue
		}
		good = in.at
		r := in.record(at)
		r.Rec = buf
		if r.Kind != Mark {
			l.Newest = max(l.Newest, r.Number)
		}
		in.damaged = !each(&r) || in.damaged
	}
	l.good, l.Missing = good, in.damaged
	if in.err != nil {
		return buf, in.err
	}
	l.Damaged = l.Damaged || in.damaged
	if !in.damaged {
		l.Torn = in.bad
	}
	return buf, nil
}

func (l *File) reader(f vfs.File) *reader {
	return &reader{f: f, nonce: l.nonce, limit: l.end, exact: l.exact, at: FileHeaderSize}
}

func (r *reader) record(at int64) Record {
	return Record{Kind: r.header.Kind, Number: r.header.Number, Time: r.header.Time, Stamp: r.header.Stamp, At: at}
}
