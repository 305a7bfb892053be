// Package format has what all files of Lectern's on disk begin with: a magic
// number, then a version, and a checksum somewhere behind. They are looked at in
// this order, and each has an error of its own: a file of another version is not a
// damaged one, and nobody but a program that knows it may touch it.
//
// A binary file begins with four bytes of magic and the version in 32 bits,
// little-endian. A small file of text has the kind and the version in its first
// line, and the checksum of all lines before it in its last:
//
//	lectern-collector 1
//	00000000000000a7
//	1a2b3c4d
//
// A file of another version is not a damaged one. Every file on disk begins with a magic
// number, then a version, and has a checksum, which are looked at in this order and have
// an error each (in Parquet they are the footnote's). A daemon
// that finds another version, in its spool, in one beside it or among the Parquet files,
// ends before it has changed anything: otherwise an older program that is put back would
// set aside as damaged what the newer one had acknowledged. A version that is itself a
// flipped bit is refused as well, since nobody can tell; renaming the file to .bad is the
// way on. Tests pin the bytes of all files.
package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Version is that of every file. All are one format: a change of any of them, or
// of what they mean together, is a new version.
const Version = 1

// The errors of a file that is not as it was written, in the order in which they
// are looked for.
var (
	ErrMagic    = errors.New("it does not begin as such a file does")
	ErrVersion  = errors.New("it is of another version of the format")
	ErrChecksum = errors.New("its checksum is wrong")
)

// HeadSize is how many bytes of a binary file are its magic and its version.
const HeadSize = 8

const magicSize = 4

// Sum is the checksum of all files: CRC-32C.
func Sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseHex reads a number that is written in 16 hexadecimal digits.
func ParseHex(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && len(s) == 16
}

// AppendHead appends magic, of four bytes, and the version.
func AppendHead(b []byte, magic string) []byte {
	return binary.LittleEndian.AppendUint32(append(b, magic[:magicSize]...), Version)
}

// CheckHead looks at the magic and the version of a binary file that begins with b.
func CheckHead(b []byte, magic string) error {
	if len(b) < HeadSize || string(b[:magicSize]) != magic {
		return ErrMagic
	}
	return checkVersion(uint64(binary.LittleEndian.Uint32(b[magicSize:])))
}

func checkVersion(v uint64) error {
	if v == Version {
		return nil
	}
	return fmt.Errorf("%w: %d, where this program knows %d. Nothing was changed; start the program that wrote it", ErrVersion, v, Version)
}

// Text is a small file of text. The lines have no line feeds.
func Text(kind string, lines ...string) []byte {
	b := fmt.Appendf(nil, "%s %d\n", kind, Version)
	for _, line := range lines {
		b = append(append(b, line...), '\n')
	}
	return fmt.Appendf(b, "%08x\n", Sum(b))
}

// ParseText returns the lines of a small file of text.
func ParseText(kind string, b []byte) ([]string, error) {
	if err := CheckText(kind, b); err != nil {
		return nil, err
	}
	lines := strings.Split(string(b), "\n")
	n := len(lines) - 2 // the last line is the checksum, and ends with a line feed
	if n < 1 || lines[n+1] != "" || lines[n] != fmt.Sprintf("%08x", Sum(b[:len(b)-len(lines[n])-1])) {
		return nil, ErrChecksum
	}
	return lines[1:n], nil
}

// CheckText looks at the first line of a small file of text, which alone needs to
// be in b.
func CheckText(kind string, b []byte) error {
	line, _, whole := bytes.Cut(b, []byte("\n"))
	of, version, two := strings.Cut(string(line), " ")
	if of != kind || !two || !whole {
		return ErrMagic
	}
	v, err := strconv.ParseUint(version, 10, 32)
	if err != nil {
		return ErrMagic
	}
	return checkVersion(v)
}
