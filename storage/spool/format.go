package spool

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
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
)

// FORMAT.md is the authority for all of this.

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
	recMagic   = []byte("LREC")
)

const (
	logMagic = "LLOG"

	logHeaderSize    = 64
	recordHeaderSize = 72

	bodyMax = 1<<31 - 1 // bytes of a record's body
)

// The kinds of records.
const (
	kindSnapshot = 1 + iota
	kindSeal
	kindMark
)

func kindName(kind uint32) string {
	return [...]string{kindSnapshot: "snapshot", kindSeal: "seal", kindMark: "mark"}[kind]
}

// logHeader begins a log file.
type logHeader struct {
	id, nonce, collector uint64
	previous             uint64 // id of the log file before, 0 for none
	previousEnd          uint64 // where its records ended
	created              int64
}

func (h *logHeader) encode(b []byte) {
	clear(b[:logHeaderSize])
	format.AppendHead(b[:0], logMagic)
	le.PutUint64(b[8:], h.id)
	le.PutUint64(b[16:], h.nonce)
	le.PutUint64(b[24:], h.collector)
	le.PutUint64(b[32:], h.previous)
	le.PutUint64(b[40:], h.previousEnd)
	le.PutUint64(b[48:], uint64(h.created))
	le.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

// errHeaderLost says that a log can be read all the same: the first record of
// every log knows the nonce.
var errHeaderLost = fmt.Errorf("%w: the header; its records are read without it", format.ErrDamaged)

// readLogHeader reads the header of a log. With errHeaderLost it returns all but
// the collector, and the end of the log before, which are lost.
func readLogHeader(f vfs.File, id uint64) (h logHeader, err error) {
	var b [logHeaderSize + recordHeaderSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return h, format.ReadError("the header", err)
	}
	if n < logHeaderSize {
		return h, format.Damage("%d bytes are too few", n)
	}
	bad := h.decode(b[:])
	switch {
	case bad == nil && h.id != id:
		return h, format.Damage("the header is that of %s", logName(h.id))
	case bad == nil:
		return h, nil
	case errors.Is(bad, format.ErrVersion):
		return h, bad
	}
	var first recordHeader
	nonce := le.Uint64(b[logHeaderSize+8:])
	if n == len(b) && first.decode(b[logHeaderSize:], nonce) && first.kind == kindSnapshot {
		return logHeader{id: id, nonce: nonce}, errHeaderLost
	}
	return h, format.DamagedBy("the header", bad)
}

// decode reads the header that b begins with, or says what is wrong with it: an
// error of package format.
func (h *logHeader) decode(b []byte) error {
	if err := format.CheckHead(b, logMagic); err != nil {
		return err
	}
	if le.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return format.ErrChecksum
	}
	*h = logHeader{
		id: le.Uint64(b[8:]), nonce: le.Uint64(b[16:]), collector: le.Uint64(b[24:]),
		previous: le.Uint64(b[32:]), previousEnd: le.Uint64(b[40:]), created: int64(le.Uint64(b[48:])),
	}
	return nil
}

// recordHeader begins a record.
type recordHeader struct {
	kind    uint32
	nonce   uint64
	number  uint64
	applied segment.Applied
	last    uint64
	length  uint32
	crc     uint32 // of the body
	time    int64
}

func (h *recordHeader) encode(b []byte) {
	clear(b[:recordHeaderSize])
	copy(b, recMagic)
	le.PutUint32(b[4:], h.kind)
	le.PutUint64(b[8:], h.nonce)
	le.PutUint64(b[16:], h.number)
	le.PutUint64(b[24:], h.applied.Through)
	le.PutUint64(b[32:], h.last)
	le.PutUint32(b[40:], h.length)
	le.PutUint32(b[44:], h.crc)
	le.PutUint64(b[48:], uint64(h.time))
	le.PutUint64(b[56:], h.applied.Part)
	le.PutUint32(b[64:], h.applied.Before)
	le.PutUint32(b[68:], crc32.Checksum(b[:68], castagnoli))
}

// decode says whether b begins with the header of a record of the file with
// that nonce.
func (h *recordHeader) decode(b []byte, nonce uint64) bool {
	if !bytes.Equal(b[:4], recMagic) || le.Uint64(b[8:]) != nonce {
		return false
	}
	if le.Uint32(b[68:]) != crc32.Checksum(b[:68], castagnoli) {
		return false
	}
	*h = recordHeader{
		kind: le.Uint32(b[4:]), nonce: nonce, number: le.Uint64(b[16:]), last: le.Uint64(b[32:]),
		applied: segment.Applied{Through: le.Uint64(b[24:]), Part: le.Uint64(b[56:]), Before: le.Uint32(b[64:])},
		length:  le.Uint32(b[40:]), crc: le.Uint32(b[44:]), time: int64(le.Uint64(b[48:])),
	}
	return h.kind >= kindSnapshot && h.kind <= kindMark
}

// padded is n rounded up to where a record may begin.
func padded(n int64) int64 { return (n + 7) &^ 7 }

// recordSize is what a record with that body takes in the file.
func recordSize(body int) int64 { return padded(recordHeaderSize + int64(body)) }

func logName(id uint64) string { return fmt.Sprintf("log-%016x", id) }

// parseLogName reads the name of a log file, with or without .bad.
func parseLogName(name string) (id uint64, ok bool) {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, badSuffix), "log-")
	if !ok {
		return 0, false
	}
	return parseHex(digits)
}

func parseHex(s string) (uint64, bool) {
	if len(s) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil
}
