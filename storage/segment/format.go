package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// Magic begins a segment.
const Magic = "LSEG"

// HeaderSize is the bytes of a segment's header, behind which the first block begins.
const HeaderSize = 112

const (
	replacedSize   = 40
	blockEntrySize = 32
)

const prefix = "segment-"

// Name is what the name of a segment's file says.
type Name struct {
	First, Last uint64 // numbers of its blocks
	Applied            // with this segment
}

func (n Name) String() string {
	return fmt.Sprintf("%s%016x-%016x-%016x-%016x-%016x", prefix, n.First, n.Last, n.Through, n.Part, n.Before)
}

// ParseName reads the name of a segment's file.
func ParseName(text string) (n Name, ok bool) {
	parts := strings.Split(strings.TrimPrefix(text, prefix), "-")
	if len(parts) != 5 || !strings.HasPrefix(text, prefix) {
		return n, false
	}
	var before uint64
	for i, to := range []*uint64{&n.First, &n.Last, &n.Through, &n.Part, &before} {
		if *to, ok = format.ParseHex(parts[i]); !ok {
			return n, false
		}
	}
	n.Before = uint32(before)
	return n, n.First > 0 && n.Last >= n.First && before <= math.MaxUint32
}

// appendName appends what a segment's index says of another.
func appendName(b []byte, n Name) []byte {
	for _, v := range [...]uint64{n.First, n.Last, n.Through, n.Part, uint64(n.Before)} {
		b = le.AppendUint64(b, v)
	}
	return b
}

func getName(b []byte) Name {
	return Name{le.Uint64(b), le.Uint64(b[8:]), Applied{le.Uint64(b[16:]), le.Uint64(b[24:]), uint32(le.Uint64(b[32:]))}}
}

// Header begins a segment.
type Header struct {
	Collector uint64
	Name      Name
	Window    storage.Window
	Created   int64 // Unix milliseconds

	indexAt  uint64
	blocks   uint32
	replaced uint32
	indexCRC uint32
}

func (h *Header) encode(b []byte) {
	clear(b[:HeaderSize])
	format.AppendHead(b[:0], Magic)
	le.PutUint64(b[8:], h.Collector)
	le.PutUint64(b[16:], h.Name.First)
	le.PutUint64(b[24:], h.Name.Last)
	le.PutUint64(b[32:], h.Name.Through)
	le.PutUint64(b[40:], uint64(h.Window.Start))
	le.PutUint64(b[48:], uint64(h.Window.End))
	le.PutUint64(b[56:], h.indexAt)
	le.PutUint64(b[64:], uint64(h.Created))
	le.PutUint32(b[72:], h.blocks)
	le.PutUint32(b[76:], h.replaced)
	le.PutUint32(b[80:], h.indexCRC)
	le.PutUint32(b[84:], h.Name.Before)
	le.PutUint64(b[88:], h.Name.Part)
	le.PutUint64(b[96:], h.Window.Config)
	le.PutUint32(b[108:], crc32.Checksum(b[:108], castagnoli))
}

// decode reads the header that b begins with, or says what is wrong with it: an error of
// package format.
func (h *Header) decode(b []byte) error {
	if err := format.CheckHead(b, Magic); err != nil {
		return err
	}
	if len(b) < HeaderSize || le.Uint32(b[108:]) != crc32.Checksum(b[:108], castagnoli) {
		return format.ErrChecksum
	}
	*h = Header{
		Collector: le.Uint64(b[8:]),
		Name:      Name{le.Uint64(b[16:]), le.Uint64(b[24:]), Applied{le.Uint64(b[32:]), le.Uint64(b[88:]), le.Uint32(b[84:])}},
		Window:    storage.Window{Start: int64(le.Uint64(b[40:])), End: int64(le.Uint64(b[48:])), Config: le.Uint64(b[96:])},
		indexAt:   le.Uint64(b[56:]), Created: int64(le.Uint64(b[64:])),
		blocks: le.Uint32(b[72:]), replaced: le.Uint32(b[76:]), indexCRC: le.Uint32(b[80:]),
	}
	return nil
}

// Collector is what the header of a segment says of whose it is, of which b has the
// first HeaderSize bytes. The error is one of package format.
func Collector(b []byte) (id uint64, err error) {
	var h Header
	err = h.decode(b)
	return h.Collector, err
}

// Block is a block's line in the index of its segment: the fields as they stand there.
type Block struct {
	At, Length       int64 // of its body
	Day, Rows, Books uint32
	Checksum         uint32 // of its body
}
