package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	le          = binary.LittleEndian
	recordMagic = []byte("LREC")
)

// Magic begins a file of the log.
const Magic = "LLOG"

const (
	// FileHeaderSize is the bytes of a file's header, behind which the snapshot begins.
	FileHeaderSize = 64

	// HeaderSize is the bytes of a record's header, for which Append wants room in front
	// of a body.
	HeaderSize = 72

	// BodyMax is the most bytes of a body.
	BodyMax = 1<<31 - 1

	// StampSize is the bytes of a Stamp.
	StampSize = 28
)

// Stamp is what each record says beside its body, so that it can be read without that.
// What it means is the owner's.
type Stamp [StampSize]byte

// Kind is what a record is.
type Kind uint32

// The kinds of records.
const (
	Snapshot Kind = 1 + iota // all that is known behind a record: the first of each file
	Entry                    // one of the records that are numbered
	Mark                     // what is known behind an entry that is not told by it
)

// header begins a file.
type header struct {
	id, nonce, collector uint64
	previous             uint64 // id of the file before, 0 for none
	previousEnd          uint64 // where its records ended
	created              int64
}

func (h *header) encode(b []byte) {
	clear(b[:FileHeaderSize])
	format.AppendHead(b[:0], Magic)
	le.PutUint64(b[8:], h.id)
	le.PutUint64(b[16:], h.nonce)
	le.PutUint64(b[24:], h.collector)
	le.PutUint64(b[32:], h.previous)
	le.PutUint64(b[40:], h.previousEnd)
	le.PutUint64(b[48:], uint64(h.created))
	le.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

// decode reads the header that b begins with, or says what is wrong with it: an
// error of package format.
func (h *header) decode(b []byte) error {
	if err := format.CheckHead(b, Magic); err != nil {
		return err
	}
	if len(b) < FileHeaderSize || le.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return format.ErrChecksum
	}
	*h = header{
		id: le.Uint64(b[8:]), nonce: le.Uint64(b[16:]), collector: le.Uint64(b[24:]),
		previous: le.Uint64(b[32:]), previousEnd: le.Uint64(b[40:]), created: int64(le.Uint64(b[48:])),
	}
	return nil
}

// Collector is what the header of a file says of whose it is, of which b has the
// first FileHeaderSize bytes. The error is one of package format.
func Collector(b []byte) (id uint64, err error) {
	var h header
	err = h.decode(b)
	return h.collector, err
}

// ErrHeaderLost says that a file can be read all the same: the first record of each
// knows the nonce.
var ErrHeaderLost = fmt.Errorf("%w: the header; its records are read without it", format.ErrDamaged)

// readHeader reads the header of a file. With ErrHeaderLost it returns all but the
// collector, and the end of the file before, which are lost.
func readHeader(f vfs.File, id uint64) (h header, err error) {
	var b [FileHeaderSize + HeaderSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return h, format.ReadError("the header", err)
	}
	if n < FileHeaderSize {
		return h, format.Damage("%d bytes are too few", n)
	}
	bad := h.decode(b[:])
	switch {
	case bad == nil && h.id != id:
		return h, format.Damage("the header is that of %s", FileName(h.id))
	case bad == nil:
		return h, nil
	case errors.Is(bad, format.ErrVersion):
		return h, bad
	}
	var first recordHeader
	nonce := le.Uint64(b[FileHeaderSize+8:])
	if n == len(b) && first.decode(b[FileHeaderSize:], nonce) && first.kind == Snapshot {
		return header{id: id, nonce: nonce}, ErrHeaderLost
	}
	return h, format.DamagedBy("the header", bad)
}

// recordHeader begins a record.
type recordHeader struct {
	kind   Kind
	nonce  uint64
	number uint64
	length uint32
	crc    uint32 // of the body
	time   int64
	stamp  Stamp
}

func (h *recordHeader) encode(b []byte) {
	copy(b, recordMagic)
	le.PutUint32(b[4:], uint32(h.kind))
	le.PutUint64(b[8:], h.nonce)
	le.PutUint64(b[16:], h.number)
	le.PutUint32(b[24:], h.length)
	le.PutUint32(b[28:], h.crc)
	le.PutUint64(b[32:], uint64(h.time))
	copy(b[40:], h.stamp[:])
	le.PutUint32(b[68:], crc32.Checksum(b[:68], castagnoli))
}

// decode says whether b begins with the header of a record of the file with that
// nonce.
func (h *recordHeader) decode(b []byte, nonce uint64) bool {
	if !bytes.Equal(b[:4], recordMagic) || le.Uint64(b[8:]) != nonce {
		return false
	}
	if le.Uint32(b[68:]) != crc32.Checksum(b[:68], castagnoli) {
		return false
	}
	*h = recordHeader{
		kind: Kind(le.Uint32(b[4:])), nonce: nonce, number: le.Uint64(b[16:]),
		length: le.Uint32(b[24:]), crc: le.Uint32(b[28:]), time: int64(le.Uint64(b[32:])), stamp: Stamp(b[40:68]),
	}
	return h.kind >= Snapshot && h.kind <= Mark
}

// padded is n rounded up to where a record may begin.
func padded(n int64) int64 { return (n + 7) &^ 7 }

// RecordSize is what a record with that body takes in a file.
func RecordSize(body int) int64 { return padded(HeaderSize + int64(body)) }

const prefix = "log-"

// FileName is the name of a file.
func FileName(id uint64) string { return fmt.Sprintf("%s%016x", prefix, id) }

// ParseFileName reads the name of a file.
func ParseFileName(name string) (id uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, err == nil
}
