package accesslog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// LineSizeMax is the longest line that is read, in bytes: twice what a request
// line, a referer and an agent of 8 KiB each may take when every byte of them
// is escaped.
const LineSizeMax = 256 << 10

// ErrLineTooLong is returned for a line of more than LineSizeMax bytes. The next
// call reads the line behind it.
var ErrLineTooLong = errors.New("the line is too long")

// Reader reads a log line by line, in bounded memory. It is not safe for
// concurrent use.
type Reader struct {
	lines *bufio.Reader
}

// NewReader returns a reader of the log in r, which is unpacked if it begins
// as gzip does.
func NewReader(r io.Reader) (*Reader, error) {
	raw := bufio.NewReaderSize(r, LineSizeMax)
	magic, err := raw.Peek(2)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return &Reader{lines: raw}, nil
	}
	unpacked, err := gzip.NewReader(raw)
	if err != nil {
		return nil, fmt.Errorf("it begins like gzip and is not: %w", err)
	}
	return &Reader{lines: bufio.NewReaderSize(unpacked, LineSizeMax)}, nil
}

// Next returns the next line without its line ending. The slice is good until
// the next call. The error is io.EOF at the end, ErrLineTooLong for one line
// that is thrown away, else final.
func (r *Reader) Next() ([]byte, error) {
	line, err := r.lines.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		for err == bufio.ErrBufferFull {
			_, err = r.lines.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, ErrLineTooLong
	case err == io.EOF && len(line) > 0: // the last line may lack its ending
	case err != nil:
		return nil, err
	}
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}
