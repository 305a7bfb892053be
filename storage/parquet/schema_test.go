package parquet

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

const readsSchemaText = `message readRow {
	required int32 stream (INT(16,false));
	required int64 minute (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	required int64 content (INT(64,false));
	required int64 user (INT(64,false));
	required int32 opens (INT(32,false));
	required int32 reads (INT(32,false));
	required int32 finishes (INT(32,false));
	required int32 saves (INT(32,false));
	required int32 shares (INT(32,false));
	required int64 dwell_ms (INT(64,false));
	required int32 progress (INT(8,false));
	required int64 first (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	required int64 last (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	required int32 coarse (INT(8,false));
	required int32 skipped (INT(32,false));
	required int32 impressions (INT(32,false));
	required int32 clicks (INT(32,false));
	required int32 variant (INT(8,false));
	required int32 resume (INT(8,false));
	required int32 resume_lag (INT(16,false));
}`

const ledgerSchemaText = `message ledgerRow {
	required int64 collector (INT(64,false));
	required int64 block (INT(64,false));
	required int64 window_start (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	required int64 window_end (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	required binary config (STRING);
	required int32 stream (INT(16,false));
	required binary class (STRING);
	required int64 sent (INT(64,false));
	required int64 accepted (INT(64,false));
	required int64 shed (INT(64,false));
	required int64 lost (INT(64,true));
	required int64 damaged (INT(64,false));
	required int64 clamped (INT(64,false));
	required int64 duplicate (INT(64,false));
	required int64 stale (INT(64,false));
	required int64 reordered (INT(64,false));
	required int64 saturated (INT(64,false));
	required int64 coarse_users (INT(64,false));
	required int64 coarse_contents (INT(64,false));
	required int64 unweighted (INT(64,false));
	required int64 refused (INT(64,false));
	required group refused_events (MAP) {
		repeated group key_value {
			required binary key (STRING);
			required int64 value (INT(64,false));
		}
	}
	required group refused_frames (MAP) {
		repeated group key_value {
			required binary key (STRING);
			required int64 value (INT(64,false));
		}
	}
	required group unplaced_events (MAP) {
		repeated group key_value {
			required binary key (STRING);
			required int64 value (INT(64,false));
		}
	}
}`

// What other programs read, read without any code of this package.
func TestFilesAsOthersSeeThem(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	b := smallBlock(s.Collector(), 3)
	b.Rows.Append(&storage.Row{
		Stream: 65534, Minute: testDay*secondsPerDay + 60, Content: math.MaxUint64, User: 1 << 63,
		Opens: math.MaxUint32, Reads: 2, Finishes: 3, Saves: 4, Shares: 5, Dwell: 1 << 40, Progress: 100, First: 1728000060001, Last: 1728000060002,
		Coarse: storage.CoarseContents, Skipped: math.MaxUint32,
		Impressions: math.MaxUint32, Clicks: 6, Variant: 255, Resume: 0, ResumeLag: math.MaxUint16,
	})
	b.Books = []storage.Book{{
		Stream: 65534, Class: storage.Sealed, Counts: storage.Counts{storage.Sent: 1, storage.Accepted: 2, storage.Lost: 1, storage.Found: 4, storage.Damaged: 12, storage.Shed: 4, storage.Clamped: 5, storage.Duplicate: 6, storage.Stale: 7, storage.Reordered: 11, storage.Saturated: 14, storage.Userless: 15, storage.Contentless: 16, storage.Unweighted: 17},
	}}
	k := &b.Books[0].Counts
	k[storage.RefusedEvents.Of(wire.RefusedSize)], k[storage.RefusedFrames.Of(wire.RefusedSize)] = 8, 9
	k[storage.RefusedFrames.Of(wire.RefusedMagic)], k[storage.UnplacedEvents.Of(wire.RefusedMagic)] = 10, 13
	b.Window.Config = 0x00c0ffee00c0ffee
	mustStore(t, s, b)
	const file = "day=2024-10-04/20241004T03-000000000003.parquet"
	var row []any
	for _, c := range rowsOf(t, filepath.Join(dir, "reads", file), readsSchemaText, hex(s.Collector()))[0] {
		switch c.Kind() {
		case parquet.Int32:
			row = append(row, c.Uint32())
		default:
			row = append(row, c.Uint64())
		}
	}
	want := []any{
		uint32(65534), uint64(1728000060000), uint64(math.MaxUint64), uint64(1 << 63),
		uint32(math.MaxUint32), uint32(2), uint32(3), uint32(4), uint32(5), uint64(1 << 40), uint32(100), uint64(1728000060001), uint64(1728000060002),
		uint32(2), uint32(math.MaxUint32),
		uint32(math.MaxUint32), uint32(6), uint32(255), uint32(255), uint32(math.MaxUint16),
	}
	if !reflect.DeepEqual(row, want) {
		t.Errorf("row\n%v, want\n%v", row, want)
	}
	var books []int64
	refused, words, class, config := map[string]int64{}, map[int]int{}, "", ""
	line := rowsOf(t, filepath.Join(dir, "ledger", file), ledgerSchemaText, hex(s.Collector()))[0]
	for i, c := range line {
		switch {
		case c.Column() >= 21 && c.Kind() == parquet.ByteArray:
			of := []string{" events", "", " frames", "", " unplaced"}[c.Column()-21]
			for n := range line[i:] { // its number stands in the next column, behind the other words
				if v := line[i+n]; v.Column() == c.Column()+1 {
					refused[c.String()+of] = line[i+n+words[c.Column()]].Int64()
					words[c.Column()]++
					break
				}
			}
		case c.Column() == 4:
			config = c.String()
		case c.Column() == 5:
			books = append(books, int64(c.Uint32()))
		case c.Column() == 6:
			class = c.String()
		case c.Column() < 21:
			books = append(books, c.Int64())
		}
	}
	wantBooks := []int64{int64(s.Collector()), 3, b.Window.Start, b.Window.End, 65534, 1, 2, 4, -3, 12, 5, 6, 7, 11, 14, 15, 16, 17, 8}
	if !reflect.DeepEqual(books, wantBooks) || class != "sealed" || config != "00c0ffee00c0ffee" {
		t.Errorf("%s books %v of the configuration %s, want sealed %v", class, books, config, wantBooks)
	}
	if want := map[string]int64{"size events": 8, "size frames": 9, "magic frames": 10, "magic unplaced": 13}; !reflect.DeepEqual(refused, want) {
		t.Logf("%+v", line)
		t.Errorf("refused %v, want %v", refused, want)
	}
}

func rowsOf(t *testing.T, path, schema, collector string) []parquet.Row {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, _ := f.Stat()
	p, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Schema().String(); strings.TrimSpace(got) != schema {
		t.Errorf("schema of %s:\n%s\nwant\n%s", path, got, schema)
	}
	if got, _ := p.Lookup("lectern.collector"); got != collector {
		t.Errorf("collector %q", got)
	}
	if got, _ := p.Lookup("lectern.blocks"); got != "3" {
		t.Errorf("blocks %q", got)
	}
	for _, c := range p.Metadata().RowGroups[0].Columns {
		if codec := c.MetaData.Codec.String(); codec != "ZSTD" {
			t.Errorf("%v is %s", c.MetaData.PathInSchema, codec)
		}
	}
	rows := p.RowGroups()[0].Rows()
	t.Cleanup(func() { rows.Close() })
	list := make([]parquet.Row, 2)
	if n, _ := rows.ReadRows(list); n != 1 {
		t.Fatalf("%d rows", n)
	}
	return list[:1]
}
