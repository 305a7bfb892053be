package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/parquet-go/parquet-go/format"
)

// A Parquet file ends with its footer, the footer's length, and the magic bytes.
// Who reads one has to believe the footer: it says where all else is, and how
// long. Between the pages' indexes and the footer, where no program looks, a file
// has a footnote: what the footer is to be. Numbers are little-endian.
//
//	0        8   16      20        24        28
//	LCTNFTR1 at  footer  checksum  checksum  checksum
//	         u64 length  of footer of indexes of 0..27
//	             u32     u32       u32       u32
//
// at is the footnote's own place in the file, and the indexes are what is between
// the pages that metaSum sums up and the footnote. A checksum is CRC-32C.
const footnoteSize = 32

var footnoteMagic = []byte("LCTNFTR1")

// metaFooter says in a file's metadata that it has a footnote, so that one that
// is damaged itself is missed.
const metaFooter = "lectern.footnote"

const (
	endSize   = 8        // the footer's length and the magic bytes
	footerMax = 64 << 20 // bytes; a row group of ours takes some 2 KiB
)

type footnote struct {
	at      int64
	length  uint32 // of the footer
	footer  uint32 // its checksum
	indexes uint32 // their checksum
}

func (n *footnote) append(b []byte) []byte {
	start := len(b)
	b = append(b, footnoteMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(n.at))
	b = binary.LittleEndian.AppendUint32(b, n.length)
	b = binary.LittleEndian.AppendUint32(b, n.footer)
	b = binary.LittleEndian.AppendUint32(b, n.indexes)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// decode says whether b begins with the footnote that belongs at that place.
func (n *footnote) decode(b []byte, at int64) bool {
	le := binary.LittleEndian
	if len(b) < footnoteSize || !bytes.Equal(b[:8], footnoteMagic) || le.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) {
		return false
	}
	*n = footnote{at: int64(le.Uint64(b[8:])), length: le.Uint32(b[16:]), footer: le.Uint32(b[20:]), indexes: le.Uint32(b[24:])}
	return n.at == at
}

// end is where a file with this footnote ends.
func (n *footnote) end() int64 { return n.at + footnoteSize + int64(n.length) + endSize }

// writeFooter writes what the library has put at the end of a file, indexes and
// footer, with the footnote between them. at is where that goes in the file.
func writeFooter(w io.Writer, at int64, tail []byte) error {
	length := binary.LittleEndian.Uint32(tail[max(0, len(tail)-endSize):])
	start := len(tail) - endSize - int(length)
	if start < 0 {
		return fmt.Errorf("a footer of %d bytes in the last %d of a file", length, len(tail))
	}
	indexes, footer := tail[:start], tail[start:len(tail)-endSize]
	n := footnote{
		at: at + int64(start), length: length,
		footer: crc32.Checksum(footer, castagnoli), indexes: crc32.Checksum(indexes, castagnoli),
	}
	for _, b := range [][]byte{indexes, n.append(nil), tail[start:]} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// footed is a file of which the end, from the footer on, is in memory: what was
// checked is what is read.
type footed struct {
	file *os.File
	at   int64
	end  []byte
}

func (f *footed) ReadAt(b []byte, at int64) (n int, err error) {
	if at < f.at {
		n, err = f.file.ReadAt(b[:min(int64(len(b)), f.at-at)], at)
		if err != nil || n == len(b) {
			return n, err
		}
	}
	if skip := at + int64(n) - f.at; skip < int64(len(f.end)) {
		n += copy(b[n:], f.end[skip:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// readFooter reads the end of a file and compares it with the footnote. A file of
// before there were footnotes has none: its footer's form is checked, since the
// library believes every number in it.
func (o *opened) readFooter() (*footed, error) {
	size := o.info.Size()
	var b [endSize]byte
	if size < 2*endSize {
		return nil, damaged(o.path, fmt.Sprintf("%d bytes are too few", size))
	}
	if _, err := o.file.ReadAt(b[:], size-endSize); err != nil {
		return nil, o.fault(err)
	}
	length := int64(binary.LittleEndian.Uint32(b[:]))
	if string(b[4:]) != "PAR1" || length > min(footerMax, size-endSize-4) {
		return nil, damaged(o.path, "its end is not that of a Parquet file")
	}
	before := min(footnoteSize, size-endSize-length)
	end := make([]byte, before+length+endSize)
	if _, err := o.file.ReadAt(end, size-int64(len(end))); err != nil {
		return nil, o.fault(err)
	}
	f := &footed{file: o.file, at: size - endSize - length, end: end[before:]}
	footer := f.end[:length]
	var n footnote
	switch {
	case n.decode(end, size-int64(len(end))):
		if int64(n.length) != length || n.footer != crc32.Checksum(footer, castagnoli) {
			return nil, damaged(o.path, "its footer's checksum is wrong")
		}
		o.footnote = n
	case o.misplaced(size):
		return nil, damaged(o.path, "its footer is not where it was written")
	default:
		if err := checkThrift(footer); err != nil {
			return nil, damaged(o.path, fmt.Sprintf("its footer: %v", err))
		}
	}
	return f, nil
}

// misplaced says whether there is a footnote near the end, though not where the
// footer's length says: that, or the file's, is another than was written.
func (o *opened) misplaced(size int64) bool {
	const near = 1 << 20
	from := max(0, size-near)
	b := make([]byte, size-from)
	if _, err := o.file.ReadAt(b, from); err != nil {
		return false
	}
	for i := 0; ; i++ {
		next := bytes.Index(b[i:], footnoteMagic)
		if next < 0 {
			return false
		}
		i += next
		var n footnote
		if n.decode(b[i:], from+int64(i)) {
			return true
		}
	}
}

// checkIndexes compares what is between the pages and the footnote with its
// checksum.
func (o *opened) checkIndexes(pages int64) error {
	if o.footnote.at == 0 {
		return nil
	}
	got := summed{Writer: io.Discard}
	if _, err := io.Copy(&got, io.NewSectionReader(o.file, pages, o.footnote.at-pages)); err != nil {
		return o.fault(err)
	}
	if got.sum != o.footnote.indexes {
		return damaged(o.path, "the checksum of its indexes is wrong")
	}
	return nil
}

// checkChunks says whether the columns lie in the file, and are compressed as they
// were written: for some other codecs the library makes room without end when the
// bytes are not theirs.
func (o *opened) checkChunks() error {
	size := o.info.Size()
	for g := range o.parquet.Metadata().RowGroups {
		group := &o.parquet.Metadata().RowGroups[g]
		for c := range group.Columns {
			m := &group.Columns[c].MetaData
			switch {
			case m.Codec != format.Zstd:
				return fmt.Errorf("a column is compressed by %v", m.Codec)
			case m.DataPageOffset < 4 || m.DictionaryPageOffset < 0 || m.TotalCompressedSize < 0 || m.TotalCompressedSize > size ||
				m.DataPageOffset > size-m.TotalCompressedSize && m.DictionaryPageOffset == 0 || m.DictionaryPageOffset > size-m.TotalCompressedSize:
				return errors.New("a column is not in the file")
			case group.NumRows < 0 || m.NumValues < group.NumRows:
				return errors.New("a column has fewer values than rows")
			}
		}
	}
	return nil
}

// fault is the error of a file that cannot be read: damage, unless it is the
// disk that does not give it now.
func (e *entry) fault(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("parquet: %s cannot be read now: %w", e.path, p.Err)
	}
	return damaged(e.path, err)
}
