package clickhouse

import (
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
)

// readsColumns are the columns of reads that an insert brings, with their types:
// such that the numbers of a block go as they are.
var readsColumns = []tableColumn{
	{"stream", "UInt16"},
	{"minute", "DateTime('UTC')"},
	{"content", "UInt64"},
	{"user", "UInt64"},
	{"opens", "UInt32"},
	{"reads", "UInt32"},
	{"finishes", "UInt32"},
	{"saves", "UInt32"},
	{"shares", "UInt32"},
	{"dwell_ms", "UInt64"},
	{"progress", "UInt8"},
	{"first", "DateTime64(3, 'UTC')"},
	{"last", "DateTime64(3, 'UTC')"},
	{"coarse", "UInt8"},
	{"skipped", "UInt32"},
	{"impressions", "UInt32"},
	{"clicks", "UInt32"},
	{"variant", "UInt8"},
	{"resume", "UInt8"},
	{"resume_lag", "UInt16"},
}

const (
	secondsPerDay  = 24 * 60 * 60
	receiptInDay   = secondsPerDay - 60 // the last minute: a receipt expires with the last rows of its partition
	millisPerDay   = secondsPerDay * 1000
	receiptMinutes = 3 // days in which another block of the same number is looked for
)

// dayOf is the partition of a block: that of its rows, or of its window's end.
func dayOf(b *storage.Block) uint32 {
	if b.Rows.Len() > 0 {
		return b.Day
	}
	return uint32(b.Window.End / millisPerDay)
}

// receiptMinute is when a block's receipt stands, Unix seconds.
func receiptMinute(b *storage.Block) uint32 { return dayOf(b)*secondsPerDay + receiptInDay }

// inputOf is a block with its receipt.
func inputOf(b *storage.Block) proto.Input {
	r := &b.Rows
	return proto.Input{
		columnOf(0, r.Stream, streamReserved),
		columnOf(1, r.Minute, receiptMinute(b)),
		columnOf(2, r.Content, b.Collector),
		columnOf(3, r.User, b.Number),
		columnOf(4, r.Opens, 1),
		columnOf(5, r.Reads, 0),
		columnOf(6, r.Finishes, 0),
		columnOf(7, r.Saves, 0),
		columnOf(8, r.Shares, 0),
		columnOf(9, r.Dwell, uint64(b.Checksum)),
		columnOf(10, r.Progress, 0),
		columnOf(11, r.First, b.Window.Start),
		columnOf(12, r.Last, b.Window.End),
		columnOf(13, r.Coarse, 0),
		columnOf(14, r.Skipped, 0),
		columnOf(15, r.Impressions, 0),
		columnOf(16, r.Clicks, 0),
		columnOf(17, r.Variant, 0),
		columnOf(18, r.Resume, 0),
		columnOf(19, r.ResumeLag, 0),
	}
}

// columnOf is column i of readsColumns.
func columnOf[T number](i int, rows []T, receipt T) proto.InputColumn {
	c := &readsColumns[i]
	return proto.InputColumn{Name: c.name, Data: &column[T]{proto.ColumnType(c.kind), rows, [1]T{receipt}}}
}
