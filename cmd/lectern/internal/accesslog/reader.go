package accesslog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// LineSizeMax is the longest line that is read, in bytes: twice what a request
// line, a referer and an agent of 8 KiB each may take when every byte of them
// is escaped.
const LineSizeMax = 256 << 10

// zstdMemoryMax bounds the window of a zstd log, in bytes: what zstd itself
// unpacks without being asked to.
const zstdMemoryMax = 128 << 20

// ErrLineTooLong is returned for a line of more than LineSizeMax bytes. The next
// call reads the line behind it.
var ErrLineTooLong = errors.New("the line is too long")

// Reader reads a log line by line, in bounded memory. It is not safe for
// concurrent use.
type Reader struct {
	from     io.Reader
	buffer   []byte
	line     int   // where the next line begins in buffer
	looked   int   // up to here there is no line ending
	end      int   // of what was read
	offset   int64 // of line in the log, unpacked
	dropping bool  // the line that is being read is too long
	packed   bool
}

// NewReader returns a reader of the log in r, which is unpacked if it begins
// as gzip or zstd does.
func NewReader(r io.Reader) (*Reader, error) {
	raw := bufio.NewReaderSize(r, 64<<10)
	magic, err := raw.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	unpacked := &Reader{buffer: make([]byte, LineSizeMax), packed: true}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		if unpacked.from, err = newGunzip(raw); err != nil {
			return nil, fmt.Errorf("it begins like gzip and is not: %w", err)
		}
		return unpacked, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdMemoryMax))
		if err != nil {
			return nil, fmt.Errorf("it begins like zstd and is not: %w", err)
		}
		unpacked.from = d
		return unpacked, nil
	}
	return NewPlainReader(raw, 0), nil
}

// NewPlainReader returns a reader of a log that is not packed, of which r gives
// what is behind the offset. After io.EOF it may be called again, once there may
// be more.
func NewPlainReader(r io.Reader, offset int64) *Reader {
	return &Reader{from: r, buffer: make([]byte, LineSizeMax), offset: offset}
}

// Packed reports whether the log is compressed.
func (r *Reader) Packed() bool { return r.packed }

// Offset is where the line that comes next begins in the log, unpacked, in bytes.
func (r *Reader) Offset() int64 { return r.offset }

// Next returns the next line without its line ending. The slice is good until
// the next call. The error is io.EOF where no whole line is left (see Rest),
// ErrLineTooLong for one line that is thrown away, else final.
func (r *Reader) Next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buffer[r.looked:r.end], '\n'); i >= 0 {
			line := r.buffer[r.line : r.looked+i]
			r.advance(r.looked + i + 1)
			if r.dropping {
				r.dropping = false
				return nil, ErrLineTooLong
			}
			return trim(line), nil
		}
		r.looked = r.end
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// Rest returns the last line of a log that has ended without a line ending, nil
// where there is none.
func (r *Reader) Rest() ([]byte, error) {
	line := r.buffer[r.line:r.end]
	if r.dropping {
		r.advance(r.end)
		r.dropping = false
		return nil, ErrLineTooLong
	}
	if len(line) == 0 {
		return nil, nil
	}
	r.advance(r.end)
	return trim(line), nil
}

// Pending reports whether there is the beginning of a line that has no end yet.
func (r *Reader) Pending() bool { return r.dropping || r.end > r.line }

// advance goes on to the line that begins at i in the buffer.
func (r *Reader) advance(i int) {
	r.offset += int64(i - r.line)
	r.line, r.looked = i, i
}

// trim takes off a carriage return, and the mark that some editors begin a file
// of UTF-8 with; files that were joined have it in the middle.
func trim(line []byte) []byte {
	line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	return bytes.TrimSuffix(line, []byte("\r"))
}

// fill reads more behind what is there.
func (r *Reader) fill() error {
	if r.line > 0 {
		copy(r.buffer, r.buffer[r.line:r.end])
		r.end -= r.line
		r.looked -= r.line
		r.line = 0
	}
	if r.end == len(r.buffer) {
		r.dropping = true
		r.advance(r.end)
		r.line, r.looked, r.end = 0, 0, 0
	}
	for range 100 {
		n, err := r.from.Read(r.buffer[r.end:])
		r.end += n
		if n > 0 {
			return nil // an error comes again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// gunzip reads gzip, of one member or several, and the zeros that tapes and block
// devices pad it with.
type gunzip struct {
	raw *bufio.Reader
	gzip.Reader
}

func newGunzip(raw *bufio.Reader) (*gunzip, error) {
	g := &gunzip{raw: raw}
	if err := g.Reset(raw); err != nil {
		return nil, err
	}
	g.Multistream(false)
	return g, nil
}

func (g *gunzip) Read(b []byte) (int, error) {
	for {
		n, err := g.Reader.Read(b)
		if n > 0 || err != io.EOF {
			return n, err
		}
		if err := g.padding(); err != nil {
			return 0, err
		}
		if err := g.Reset(g.raw); err != nil {
			return 0, fmt.Errorf("what follows the compressed log is no gzip: %w", err)
		}
		g.Multistream(false)
	}
}

// padding passes over zeros; io.EOF says that nothing else follows.
func (g *gunzip) padding() error {
	for {
		c, err := g.raw.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			return g.raw.UnreadByte()
		}
	}
}

// Head returns the first size bytes of the log in r, unpacked, or all that there
// are. Of a compressed log that is damaged it is what can be unpacked.
func Head(r io.Reader, size int) ([]byte, error) {
	log, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	head := make([]byte, size)
	n, err := io.ReadFull(log.from, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF && !log.packed {
		return nil, err
	}
	return head[:n], nil
}
