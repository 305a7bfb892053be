package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

var (
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

// header begins a file, behind its magic: the fields as they stand there.
type header struct {
	ID, Nonce, Collector uint64
	Previous             uint64 // id of the file before, 0 for none
	PreviousEnd          uint64 // where its records ended
	Created              int64  // Unix milliseconds
}

func (h *header) encode(b []byte) {
	clear(b[:FileHeaderSize])
	format.AppendHead(b[:0], Magic)
	_, _ = binary.Encode(b[format.HeadSize:], le, h) // which has room
	le.PutUint32(b[60:], format.Sum(b[:60]))
}

// decode reads the header that b begins with, or says what is wrong with it: an
// error of package format.
func (h *header) decode(b []byte) error {
	if err := format.CheckHead(b, Magic); err != nil {
		return err
	}
	if len(b) < FileHeaderSize || le.Uint32(b[60:]) != format.Sum(b[:60]) {
		return format.ErrChecksum
	}
	_, err := binary.Decode(b[format.HeadSize:], le, h)
	return err
}

// Collector is what the header of a file says of whose it is, of which b has the
// first FileHeaderSize bytes. The error is one of package format.
func Collector(b []byte) (id uint64, err error) {
	var h header
	err = h.decode(b)
	return h.Collector, err
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
	case bad == nil && h.ID != id:
		return h, format.Damage("the header is that of %s", FileName(h.ID))
	case bad == nil:
		return h, nil
	case errors.Is(bad, format.ErrVersion):
		return h, bad
	}
	var first recordHeader
	nonce := le.Uint64(b[FileHeaderSize+8:])
	if n == len(b) && first.decode(b[FileHeaderSize:], nonce) && first.Kind == Snapshot {
		return header{ID: id, Nonce: nonce}, ErrHeaderLost
	}
	return h, format.DamagedBy("the header", bad)
}

// recordHeader begins a record, behind its magic: the fields as they stand there.
type recordHeader struct {
	Kind   Kind
	Nonce  uint64
	Number uint64
	Length uint32
	Sum    uint32 // of the body
	Time   int64
	Stamp  Stamp
}

func (h *recordHeader) encode(b []byte) {
	n := copy(b, recordMagic)
	_, _ = binary.Encode(b[n:], le, h) // which has room
	le.PutUint32(b[68:], format.Sum(b[:68]))
}

// decode says whether b begins with the header of a record of the file with that
// nonce.
func (h *recordHeader) decode(b []byte, nonce uint64) bool {
	if !bytes.Equal(b[:4], recordMagic) || le.Uint64(b[8:]) != nonce {
		return false
	}
	if le.Uint32(b[68:]) != format.Sum(b[:68]) {
		return false
	}
	_, err := binary.Decode(b[len(recordMagic):], le, h)
	return err == nil && h.Kind >= Snapshot && h.Kind <= Mark
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
	if !ok {
		return 0, false
	}
	return format.ParseHex(digits)
}
