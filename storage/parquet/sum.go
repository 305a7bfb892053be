package parquet

import (
	"fmt"
	"hash/crc32"
	"io"
)

// metaSum is the checksum of all pages of a file. Each has one of its own, but
// that leaves out its header, where a changed byte can make other numbers of the
// same values.
const metaSum = "lectern.crc32c"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// summed sums up what is written.
type summed struct {
	io.Writer
	sum    uint32
	length int64
}

func (s *summed) Write(b []byte) (int, error) {
	n, err := s.Writer.Write(b)
	s.sum = crc32.Update(s.sum, castagnoli, b[:n])
	s.length += int64(n)
	return n, err
}

// String is the value of metaSum: the checksum of the file up to now, and how
// many bytes that is.
func (s *summed) String() string { return fmt.Sprintf("%08x of %d", s.sum, s.length) }

// verify compares a file with its checksums, so that every byte of it is as it
// was written.
func (o *opened) verify() error {
	want, ok := o.parquet.Lookup(metaSum)
	if !ok {
		return damaged(o.path, metaSum+" is missing")
	}
	var sum uint32
	var length int64
	if _, err := fmt.Sscanf(want, "%x of %d", &sum, &length); err != nil {
		return damaged(o.path, metaSum+": "+err.Error())
	}
	got := summed{Writer: io.Discard}
	if _, err := io.Copy(&got, io.NewSectionReader(o.file, 0, length)); err != nil {
		return o.fault(err)
	}
	if got.String() != want {
		return damaged(o.path, fmt.Sprintf("its checksum is %s, and %s is wanted", got.String(), want))
	}
	return o.checkIndexes(length)
}
