package wal

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

// reader reads the records of one file, whatever is in it.
type reader struct {
	f        vfs.File
	nonce    uint64
	limit    int64 // nothing behind it is read
	exact    bool  // the records are known to end at limit: what is missing before it is damage
	at       int64
	bad      int64 // bytes that are no record, since the last one that was
	damaged  bool  // there was a record behind such bytes, or limit was not reached
	err      error // a read failed: it is not known what else there is
	header   recordHeader
	searched []byte // of the search for the next record
}

const searchSize = 256 << 10

// next finds the next header. Its record begins at the offset returned. Without
// one, err says whether that is the end.
func (r *reader) next() (at int64, ok bool) {
	if at, ok = r.try(r.at); !ok && r.err == nil {
		at, ok = r.search(r.at)
	}
	if r.err != nil {
		return 0, false
	}
	if !ok {
		r.damaged = r.damaged || r.exact && (r.bad > 0 || r.at < r.limit)
		return 0, false
	}
	if r.bad > 0 || at > r.at {
		r.damaged = true
		r.bad = 0
	}
	r.at = at + RecordSize(int(r.header.Length))
	return at, true
}

// try reads the header at an offset.
func (r *reader) try(at int64) (int64, bool) {
	var b [HeaderSize]byte
	if at+HeaderSize > r.limit {
		return 0, false
	}
	if err := r.read(b[:], at); err != nil {
		return 0, false
	}
	return at, r.accept(b[:], at)
}

// read fills b, and keeps an error that says nothing of the contents.
func (r *reader) read(b []byte, at int64) error {
	_, err := r.f.ReadAt(b, at)
	if err == nil {
		return nil
	}
	if err = format.ReadError(fmt.Sprintf("the log at byte %d", at), err); !errors.Is(err, format.ErrDamaged) {
		r.err = err
	}
	return err
}

// accept says whether a record that fits the file begins with b.
func (r *reader) accept(b []byte, at int64) bool {
	return r.header.decode(b, r.nonce) && RecordSize(int(r.header.Length)) <= r.limit-at
}

// search looks for a header behind from, where there is none, and counts what
// is not zero on the way as bad.
func (r *reader) search(from int64) (int64, bool) {
	if r.searched == nil {
		r.searched = make([]byte, max(0, min(searchSize, r.limit-from)))
	}
	lastUsed := int64(-1)
	for at := from; at+HeaderSize <= r.limit; {
		b := r.searched[:min(int64(len(r.searched)), r.limit-at)]
		if err := r.read(b, at); err != nil {
			r.damaged = true
			return 0, false
		}
		i := 0
		for ; i+HeaderSize <= len(b); i += 8 {
			if le.Uint64(b[i:]) == 0 {
				continue
			}
			lastUsed = at + int64(i)
			if bytes.Equal(b[i:i+4], recordMagic) && r.accept(b[i:], at+int64(i)) {
				return at + int64(i), true
			}
		}
		at += int64(i)
	}
	if lastUsed >= 0 {
		r.bad += lastUsed + 8 - from
	}
	return 0, false
}

// body reads the body of the record that next found, into the room behind a
// header in buf. The record counts as bad where the checksum is wrong; err says
// whether it is another matter.
func (r *reader) body(at int64, buf []byte) ([]byte, bool) {
	n := HeaderSize + int(r.header.Length)
	if cap(buf) < n {
		buf = make([]byte, n, n+8)
	}
	buf = buf[:n]
	err := r.read(buf, at)
	if r.err != nil {
		return buf, false
	}
	if err != nil || format.Sum(buf[HeaderSize:]) != r.header.Sum {
		r.bad += RecordSize(int(r.header.Length))
		return buf, false
	}
	return buf, true
}
