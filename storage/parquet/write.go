package parquet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/lectern/lectern/storage"
)

const (
	groupRows = 512 << 10 // rows of a row group: what a writer holds in memory
	pageBytes = 64 << 10  // of a page before compression: what a reader holds of each column
	// dictionaryBytes is where a column goes on without a dictionary: with more contents
	// than 131,072 in a block it takes more bytes than it saves, and most of the time.
	dictionaryBytes = 1 << 20
	chunkRows       = 2048 // rows handed to the library at a time
	writeBytes      = 64 << 10
)

// codec is one for all writers: it keeps its encoders, which are large. Columns that
// its level packs less well say zstd, which is the library's codec of a higher one.
var codec = &zstd.Codec{Level: zstd.SpeedFastest}

// encode writes a whole Parquet file. fill gives it the rows.
func encode[T any](w io.Writer, collector uint64, blocks spans, fill func(put func([]T) error) error, more ...parquet.WriterOption) error {
	return encodeFile(w, collector, blocks, func(out *parquet.GenericWriter[T]) error {
		return fill(func(rows []T) error {
			_, err := out.Write(rows)
			return err
		})
	}, more...)
}

// encodeBooks writes a file of the ledger.
func encodeBooks(w io.Writer, collector uint64, blocks spans, fill func(put func([]ledgerRow) error) error) error {
	return encodeFile(w, collector, blocks, func(out *parquet.GenericWriter[any]) error {
		return fill(func(rows []ledgerRow) error {
			columns := make([]parquet.Row, len(rows))
			for i := range rows {
				columns[i] = rows[i].columns()
			}
			_, err := out.WriteRows(columns)
			return err
		})
	}, ledgerSchema)
}

func encodeFile[T any](w io.Writer, collector uint64, blocks spans, fill func(*parquet.GenericWriter[T]) error, more ...parquet.WriterOption) error {
	buffer := bufio.NewWriterSize(w, writeBytes)
	sum := &summed{Writer: buffer}
	out := parquet.NewGenericWriter[T](sum, append(more,
		parquet.WriteBufferSize(0), // so that Flush leaves nothing that is not summed up
		parquet.Compression(codec),
		parquet.PageBufferSize(pageBytes),
		parquet.DataPageStatistics(false), // the column index has each page's bounds
		parquet.MaxRowsPerRowGroup(groupRows),
		parquet.DictionaryMaxBytes(dictionaryBytes),
		parquet.CreatedBy("lectern", "1", ""),
		parquet.KeyValueMetadata(metaCollector, hex(collector)),
		parquet.KeyValueMetadata(metaBlocks, blocks.String()),
	)...)
	err := fill(out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return err
	}
	out.SetKeyValueMetadata(metaSum, sum.String())
	pages := sum.length
	var tail bytes.Buffer
	sum.Writer = &tail
	if err := out.Close(); err != nil {
		return err
	}
	if err := writeFooter(buffer, pages, tail.Bytes()); err != nil {
		return err
	}
	return buffer.Flush()
}

// encodeReads writes the rows of one block.
func encodeReads(w io.Writer, b *storage.Block) error {
	return encode(w, b.Collector, one(b.Number), func(put func([]readRow) error) error {
		rows := b.Rows.Len()
		chunk := make([]readRow, min(rows, chunkRows))
		for from := 0; from < rows; from += len(chunk) {
			chunk = chunk[:min(len(chunk), rows-from)]
			readRowsOf(chunk, &b.Rows, from)
			if err := put(chunk); err != nil {
				return err
			}
		}
		return nil
	})
}

// encodeLedger writes the books of one block.
func encodeLedger(w io.Writer, b *storage.Block) error {
	return encodeBooks(w, b.Collector, one(b.Number), func(put func([]ledgerRow) error) error {
		return put(ledgerRowsOf(b))
	})
}

// check says what is wrong with a block: it would break the promises that
// readers rely on.
func check(b *storage.Block, collector uint64) error {
	c := &b.Rows
	n := c.Len()
	for _, length := range []int{
		len(c.Minute), len(c.Content), len(c.User), len(c.Opens), len(c.Reads), len(c.Finishes),
		len(c.Saves), len(c.Shares), len(c.Dwell), len(c.Progress), len(c.First), len(c.Last),
		len(c.Coarse), len(c.Skipped), len(c.Impressions), len(c.Clicks), len(c.Variant), len(c.Resume), len(c.ResumeLag),
	} {
		if length != n {
			return fmt.Errorf("its columns have different lengths (%d and %d)", n, length)
		}
	}
	const yearTenThousand = 253402300800000
	switch {
	case b.Collector != collector:
		return fmt.Errorf("it is of collector %s, this directory is that of %s", hex(b.Collector), hex(collector))
	case b.Number == 0:
		return fmt.Errorf("it has no number")
	case b.Window.End < 0 || b.Window.End >= yearTenThousand:
		return fmt.Errorf("its window ends at %d ms, which is no date", b.Window.End)
	}
	for i := range n {
		switch day := c.Minute[i] / secondsPerDay; {
		case day != b.Day:
			return fmt.Errorf("row %d is of day %d, the block of day %d", i, day, b.Day)
		case c.Stream[i] == streamReserved:
			return fmt.Errorf("row %d has the reserved stream %d", i, streamReserved)
		case c.Coarse[i] >= storage.Coarses:
			return fmt.Errorf("row %d is coarse by %d, which has no meaning", i, c.Coarse[i])
		case i > 0 && c.Compare(i-1, i) > 0:
			return fmt.Errorf("row %d sorts before the row in front of it", i)
		}
	}
	return nil
}
