package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	parquetformat "github.com/parquet-go/parquet-go/format"

	"github.com/lectern/lectern/storage/internal/format"
)

// A Parquet file ends with its footer, the footer's length, and the magic bytes.
// Whoever reads one has to believe the footer: it says where all else is, and how
// long. Between the pages' indexes and the footer, where no program looks, a file
// has a footnote: what the footer is to be. Numbers are little-endian.
//
//	0    8       12        16        20       24    28
//	at   footer  checksum  checksum  checksum LFTR  version
//	u64  length  of footer of indexes of 0..19      u32
//	     u32     u32       u32       u32
//
// at is the footnote's own place in the file, and the indexes are what is between
// the pages that metaSum sums up and the footnote. A checksum is CRC-32C. Magic and
// version stand where they are found whatever another version has before them.
const (
	footnoteSize  = 32
	footnoteMagic = "LFTR"
)

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
	b = binary.LittleEndian.AppendUint64(b, uint64(n.at))
	b = binary.LittleEndian.AppendUint32(b, n.length)
	b = binary.LittleEndian.AppendUint32(b, n.footer)
	b = binary.LittleEndian.AppendUint32(b, n.indexes)
	b = binary.LittleEndian.AppendUint32(b, format.Sum(b[start:]))
	return format.AppendHead(b, footnoteMagic)
}

// decode reads the footnote that b ends with, or says what is wrong with it: an
// error of package format.
func (n *footnote) decode(b []byte) error {
	if err := format.CheckHead(b[max(0, len(b)-format.HeadSize):], footnoteMagic); err != nil {
		return err
	}
	le := binary.LittleEndian
	if len(b) < footnoteSize {
		return format.ErrChecksum
	}
	b = b[len(b)-footnoteSize:]
	if le.Uint32(b[20:]) != format.Sum(b[:20]) {
		return format.ErrChecksum
	}
	*n = footnote{at: int64(le.Uint64(b)), length: le.Uint32(b[8:]), footer: le.Uint32(b[12:]), indexes: le.Uint32(b[16:])}
	return nil
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
		footer: format.Sum(footer), indexes: format.Sum(indexes),
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

// readFooter reads the end of a file and compares it with the footnote.
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
	n := &o.footnote
	switch err := n.decode(end[:before]); {
	case errors.Is(err, format.ErrVersion):
		return nil, fmt.Errorf("parquet: %s: %w", o.path, err)
	case err != nil:
		return nil, damaged(o.path, fmt.Sprintf("the footnote before its footer: %v", err))
	case n.end() != size || int64(n.length) != length || n.footer != format.Sum(f.end[:length]):
		return nil, damaged(o.path, "its footer's checksum is wrong")
	}
	return f, nil
}

// checkIndexes compares what is between the pages and the footnote with its
// checksum.
func (o *opened) checkIndexes(pages int64) error {
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
			case m.Codec != parquetformat.Zstd:
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
