package parquet

import (
	"errors"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
)

// batchRows is how many rows a scan decodes at a time.
const batchRows = 1024

// column walks over the values of one column of one row group, widened to 64
// bits.
type column struct {
	pages  parquet.Pages
	page   parquet.Page
	narrow []int32 // what is left of the page: plain values of 32 bits,
	wide   []int64 // of 64 bits,
	index  []int32 // or indexes into the dictionary,
	words  []int64 // which has these
	halves []int32 // or these
}

// next fills dst.
func (c *column) next(dst []uint64) error {
	for len(dst) > 0 {
		n := 0
		switch {
		case len(c.index) > 0 && c.words != nil:
			n = min(len(dst), len(c.index))
			for i, at := range c.index[:n] {
				dst[i] = uint64(c.words[at])
			}
			c.index = c.index[n:]
		case len(c.index) > 0:
			n = min(len(dst), len(c.index))
			for i, at := range c.index[:n] {
				dst[i] = uint64(uint32(c.halves[at]))
			}
			c.index = c.index[n:]
		case len(c.wide) > 0:
			n = min(len(dst), len(c.wide))
			for i, v := range c.wide[:n] {
				dst[i] = uint64(v)
			}
			c.wide = c.wide[n:]
		case len(c.narrow) > 0:
			n = min(len(dst), len(c.narrow))
			for i, v := range c.narrow[:n] {
				dst[i] = uint64(uint32(v))
			}
			c.narrow = c.narrow[n:]
		default:
			if err := c.turn(); err != nil {
				return err
			}
		}
		dst = dst[n:]
	}
	return nil
}

// turn goes on to the next page.
func (c *column) turn() error {
	c.release()
	page, err := c.pages.ReadPage()
	if err != nil {
		return err
	}
	c.page = page
	values := page.Data()
	if dictionary := page.Dictionary(); dictionary != nil {
		c.index = values.Int32()
		c.words, c.halves = nil, nil
		known := dictionary.Page().Data()
		if dictionary.Type().Kind() == parquet.Int64 {
			c.words = known.Int64()
		} else {
			c.halves = known.Int32()
		}
		return nil
	}
	if page.Type().Kind() == parquet.Int64 {
		c.wide = values.Int64()
	} else {
		c.narrow = values.Int32()
	}
	return nil
}

func (c *column) release() {
	if c.page != nil {
		parquet.Release(c.page)
		c.page = nil
	}
}

func (c *column) close() {
	c.release()
	_ = c.pages.Close()
}

// The columns of the reads table, in order.
const (
	colStream = iota
	colMinute
	colContent
	colUser
	colOpens
	colReads
	colFinishes
	colSaves
	colShares
	colDwell
	colProgress
	colFirst
	colLast
	colCoarse
	colSkipped
	colImpressions
	colClicks
	colVariant
	colResume
	colResumeLag
	colCount
)

// scan walks over the rows of a file of the reads table, a batch at a time.
type scan struct {
	of      *opened
	wanted  []int
	groups  []parquet.RowGroup // still to come
	left    int64              // rows of the current group
	columns []column           // of the current group, one for each wanted

	rows   int                // of the batch
	values [colCount][]uint64 // the batch, only of the columns wanted
}

func newScan(o *opened, wanted ...int) *scan {
	s := &scan{of: o, wanted: wanted, groups: o.parquet.RowGroups()}
	for _, c := range wanted {
		s.values[c] = make([]uint64, batchRows)
	}
	return s
}

// next reads the next batch; io.EOF says that there is none.
func (s *scan) next() error {
	return guard(s.of.path, s.fill)
}

func (s *scan) fill() error {
	for s.left == 0 {
		if len(s.groups) == 0 {
			return io.EOF
		}
		s.close()
		chunks := s.groups[0].ColumnChunks()
		s.left = s.groups[0].NumRows()
		s.groups = s.groups[1:]
		for _, c := range s.wanted {
			s.columns = append(s.columns, column{pages: chunks[c].Pages()})
		}
	}
	s.rows = int(min(s.left, batchRows))
	for i, c := range s.wanted {
		if err := s.columns[i].next(s.values[c][:s.rows]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return s.of.fault(err)
		}
	}
	s.left -= int64(s.rows)
	return nil
}

// close releases the current group.
func (s *scan) close() {
	for i := range s.columns {
		s.columns[i].close()
	}
	s.columns = s.columns[:0]
}

// row puts row i of the batch together. All columns must have been wanted.
func (s *scan) row(i int) storage.Row {
	v := &s.values
	return storage.Row{
		Stream: uint16(v[colStream][i]), Minute: uint32(v[colMinute][i] / 1000),
		Content: v[colContent][i], User: v[colUser][i],
		Opens: uint32(v[colOpens][i]), Reads: uint32(v[colReads][i]), Finishes: uint32(v[colFinishes][i]),
		Saves: uint32(v[colSaves][i]), Shares: uint32(v[colShares][i]),
		Dwell: v[colDwell][i], Progress: uint8(v[colProgress][i]),
		First: int64(v[colFirst][i]), Last: int64(v[colLast][i]),
		Coarse: storage.Coarse(v[colCoarse][i]), Skipped: uint32(v[colSkipped][i]),
		Impressions: uint32(v[colImpressions][i]), Clicks: uint32(v[colClicks][i]), Variant: uint8(v[colVariant][i]),
		Resume: uint8(v[colResume][i]) + 1, ResumeLag: uint16(v[colResumeLag][i]),
	}
}
