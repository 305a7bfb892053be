package clickhouse

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// crowdBlock is a block such as ten seconds of many readers bring: few minutes,
// some contents much read, users in no order.
func crowdBlock(r *rand.Rand, number uint64, rows int) *storage.Block {
	b := &storage.Block{Collector: testCollector, Number: number, Day: testDay, Checksum: r.Uint32()}
	b.Window = storage.Window{Start: testDay*millisPerDay + int64(number)*10_000, End: testDay*millisPerDay + int64(number+1)*10_000}
	all := make([]storage.Row, rows)
	for i := range all {
		at := b.Window.Start + r.Int64N(10_000)
		row := storage.Row{
			Stream: uint16(1 + r.IntN(2)), Minute: uint32(at / 60_000 * 60), Content: mix(uint64(20_000 * math.Pow(r.Float64(), 3))), User: mix(r.Uint64N(1_000_000)),
			First: at, Last: at, Progress: uint8(r.IntN(101)),
		}
		switch r.IntN(10) {
		case 0:
			row.Opens = 1
		case 1:
			row.Finishes, row.Dwell, row.Progress = 1, uint64(r.IntN(15_000)), 100
		default:
			row.Reads, row.Dwell = 1, 15_000+uint64(r.IntN(200))
		}
		all[i] = row
	}
	slices.SortFunc(all, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	b.Rows.Reset(rows)
	for i := range all {
		b.Rows.Append(&all[i])
	}
	b.Books = []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: 1, storage.Accepted: 1}}, {Stream: 2, Counts: storage.Counts{storage.Sent: 1, storage.Accepted: 1}}}
	return b
}

// mix makes a hash of a small number.
func mix(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// plainInput is a block's rows as any user of ch-go has them, without a receipt.
func plainInput(b *storage.Block) proto.Input {
	r := &b.Rows
	minute, first, last := new(proto.ColDateTime), datetimes(), datetimes()
	for i := range r.Minute {
		minute.Data = append(minute.Data, proto.DateTime(r.Minute[i]))
		first.AppendRaw(proto.DateTime64(r.First[i]))
		last.AppendRaw(proto.DateTime64(r.Last[i]))
	}
	data := []proto.ColInput{proto.ColUInt16(r.Stream), minute, proto.ColUInt64(r.Content), proto.ColUInt64(r.User),
		proto.ColUInt32(r.Opens), proto.ColUInt32(r.Reads), proto.ColUInt32(r.Finishes), proto.ColUInt32(r.Saves), proto.ColUInt32(r.Shares),
		proto.ColUInt64(r.Dwell), proto.ColUInt8(r.Progress), first, last, proto.ColUInt8(r.Coarse), proto.ColUInt32(r.Skipped),
		proto.ColUInt32(r.Impressions), proto.ColUInt32(r.Clicks), proto.ColUInt8(r.Variant), proto.ColUInt8(r.Resume), proto.ColUInt16(r.ResumeLag)}
	if len(data) != len(readsColumns) {
		panic("a plain insert brings not all columns that the store brings")
	}
	in := make(proto.Input, len(data))
	for i, d := range data {
		in[i] = proto.InputColumn{Name: readsColumns[i].name, Data: d}
	}
	return in
}

// BenchmarkInsert brings blocks to the engine, and beside each of them the same
// columns by a plain insert of ch-go into a table of the same form. The CPU is
// that of this process: the engine has its own.
func BenchmarkInsert(b *testing.B) {
	const rows = storage.BlockRowsMax
	for _, compression := range []string{"lz4", "zstd", "none"} {
		b.Run(compression, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			server, o := started(b, clickhousetest.Options{})
			o.Compression = compression
			s := opened(b, o)
			if err := server.Exec("CREATE TABLE lectern.plain AS lectern.reads"); err != nil {
				b.Fatal(err)
			}
			plain, err := ch.Dial(b.Context(), ch.Options{Address: server.Address(), User: o.User, Compression: compressions[compression], ReadTimeout: ch.NoTimeout})
			if err != nil {
				b.Fatal(err)
			}
			defer plain.Close()
			// The same block again and again, under another number: what is
			// measured is not how it is made.
			block := crowdBlock(r, 1, rows)
			in := plainInput(block)
			stored(b, s, block)
			var ours, theirs, oursTook, theirsTook time.Duration
			for b.Loop() {
				block.Number++
				before, begin := cpu(), time.Now()
				if answer, err := s.Store(b.Context(), block); answer != storage.Stored {
					b.Fatal(err)
				}
				ours, oursTook = ours+cpu()-before, oursTook+time.Since(begin)

				before, begin = cpu(), time.Now()
				err := plain.Do(b.Context(), ch.Query{Body: insertInto("lectern.plain", in), Input: in, Settings: []ch.Setting{
					{Key: "async_insert", Value: "0"}, {Key: "insert_deduplication_token", Value: strconv.FormatUint(block.Number, 10)}}})
				if err != nil {
					b.Fatal(err)
				}
				theirs, theirsTook = theirs+cpu()-before, theirsTook+time.Since(begin)
			}
			n := float64(b.N) * rows
			b.ReportMetric(n/oursTook.Seconds(), "rows/s")
			b.ReportMetric(n/theirsTook.Seconds(), "plain-rows/s")
			b.ReportMetric(float64(ours)/n, "cpu-ns/row")
			b.ReportMetric(float64(theirs)/n, "plain-cpu-ns/row")
			b.ReportMetric(float64(ours)/float64(theirs), "cpu-ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkJSON sends the same rows as JSONEachRow, text made with strconv alone,
// by HTTP to the engine's process. That is the test server's own door and not
// ClickHouse's HTTP interface; the engine parses the text as it would there.
func BenchmarkJSON(b *testing.B) {
	const rows = 50_000
	r := rand.New(rand.NewPCG(1, 1))
	server, o := started(b, clickhousetest.Options{})
	s := opened(b, o)
	block := crowdBlock(r, 1, rows)
	stored(b, s, block)
	var spent, took time.Duration
	size := 0
	for b.Loop() {
		before, begin := cpu(), time.Now()
		text := append([]byte(nil), "INSERT INTO lectern.reads SETTINGS async_insert = 0 FORMAT JSONEachRow\n"...)
		for i := range rows {
			text = appendJSON(text, block.Rows.Row(i))
		}
		if err := server.Exec(string(text)); err != nil {
			b.Fatal(err)
		}
		spent, took, size = spent+cpu()-before, took+time.Since(begin), len(text)
	}
	n := float64(b.N) * rows
	b.ReportMetric(n/took.Seconds(), "rows/s")
	b.ReportMetric(float64(spent)/n, "cpu-ns/row")
	b.ReportMetric(float64(size)/rows, "wire-B/row")
	b.ReportMetric(0, "ns/op")
}

func appendJSON(b []byte, r storage.Row) []byte {
	for _, c := range []struct {
		name  string
		value uint64
	}{
		{`{"stream":`, uint64(r.Stream)}, {`,"minute":`, uint64(r.Minute)}, {`,"content":`, r.Content}, {`,"user":`, r.User}, {`,"opens":`, uint64(r.Opens)},
		{`,"reads":`, uint64(r.Reads)}, {`,"finishes":`, uint64(r.Finishes)}, {`,"saves":`, uint64(r.Saves)}, {`,"shares":`, uint64(r.Shares)},
		{`,"dwell_ms":`, r.Dwell}, {`,"progress":`, uint64(r.Progress)}, {`,"resume":`, uint64(r.Resume - 1)},
	} {
		b = append(b, c.name...)
		b = strconv.AppendUint(b, c.value, 10)
	}
	for _, c := range []struct {
		name  string
		value int64
	}{{`,"first":`, r.First}, {`,"last":`, r.Last}} {
		b = append(b, c.name...)
		b = append(b, '"')
		b = strconv.AppendInt(b, c.value/1000, 10)
		b = append(b, '.', byte('0'+c.value/100%10), byte('0'+c.value/10%10), byte('0'+c.value%10), '"')
	}
	return append(b, "}\n"...)
}

// BenchmarkBytes says what a row takes, on the wire by compression, and on disk
// with the codecs of the schema and with none, before and after merges.
func BenchmarkBytes(b *testing.B) {
	const rows, blocks = 100_000, 10
	r := rand.New(rand.NewPCG(1, 1))
	server, o := started(b, clickhousetest.Options{})
	s := opened(b, o)
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	for _, sql := range []string{
		"CREATE TABLE lectern.bare (stream UInt16, minute DateTime('UTC'), content UInt64, user UInt64, opens UInt32, reads UInt32, finishes UInt32, saves UInt32, shares UInt32, " +
			"dwell_ms UInt64, progress UInt8, first DateTime64(3, 'UTC'), last DateTime64(3, 'UTC')) ENGINE = MergeTree PARTITION BY toDate(minute) ORDER BY (stream, content, minute, user)",
	} {
		if err := server.Exec(sql); err != nil {
			b.Fatal(err)
		}
	}
	for number := uint64(1); number <= blocks; number++ {
		block := crowdBlock(r, number, rows)
		stored(b, s, block)
		if number > 1 {
			continue
		}
		for name, method := range map[string]compress.Method{"none": compress.None, "lz4": compress.LZ4, "zstd": compress.ZSTD} {
			var buf proto.Buffer
			in := inputOf(block)
			if err := (proto.Block{Columns: len(in), Rows: in[0].Data.Rows()}).EncodeRawBlock(&buf, proto.Version, in); err != nil {
				b.Fatal(err)
			}
			w := compress.NewWriter(0, method)
			if err := w.Compress(buf.Buf); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(w.Data))/rows, "wire-"+name+"-B/row")
		}
	}
	size := func(table, of string) float64 {
		cell := server.Query("SELECT sum(" + of + ") / sum(rows) FROM system." + table)[0][0]
		n, _ := strconv.ParseFloat(cell, 64)
		return n
	}
	if err := server.Exec("INSERT INTO lectern.bare SELECT * FROM lectern.reads"); err != nil {
		b.Fatal(err)
	}
	const active = "parts WHERE database = 'lectern' AND active AND table = "
	b.ReportMetric(size(active+"'reads'", "bytes_on_disk"), "disk-B/row")
	if err := server.Exec("OPTIMIZE TABLE lectern.reads FINAL"); err != nil {
		b.Fatal(err)
	}
	if err := server.Exec("OPTIMIZE TABLE lectern.bare FINAL"); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(size(active+"'reads'", "bytes_on_disk"), "disk-merged-B/row")
	b.ReportMetric(size(active+"'bare'", "bytes_on_disk"), "disk-default-codec-B/row")
	columns := "of these, by column:"
	for _, row := range server.Query("SELECT column, round(sum(column_data_compressed_bytes) / sum(rows), 2) AS bytes FROM system.parts_columns WHERE database = 'lectern' AND table = 'reads' AND active GROUP BY column ORDER BY bytes DESC") {
		columns += " " + row[0] + " " + row[1]
	}
	b.Log(columns)
}

// BenchmarkInsertProjections stores the same block in tables as the schema has them, in
// such whose projections are made with the insert, and in such that have none and no
// index, in turns: what the projections cost is the ratio of the two.
func BenchmarkInsertProjections(b *testing.B) {
	server, o := started(b, clickhousetest.Options{})
	forms := map[string][]string{
		"none":    {"ALTER TABLE %s.reads DROP PROJECTION by_minute, DROP PROJECTION content_hours", "ALTER TABLE %s.reads DROP INDEX minutes"},
		"merges":  nil,
		"at-once": {"ALTER TABLE %s.reads MODIFY SETTING materialize_projections_on_insert = 1"},
	}
	stores := map[string]*Store{}
	for name, statements := range forms {
		of := o
		of.Database = "insert_" + strings.ReplaceAll(name, "-", "_")
		if _, err := Apply(b.Context(), of, Schema{}); err != nil {
			b.Fatal(err)
		}
		for _, statement := range append(statements, "SYSTEM STOP MERGES %s.reads") {
			if err := server.Exec(fmt.Sprintf(statement, of.Database)); err != nil {
				b.Fatal(err)
			}
		}
		stores[name] = opened(b, of)
	}
	block := crowdBlock(rand.New(rand.NewPCG(1, 1)), 1, storage.BlockRowsMax)
	took := map[string][]float64{}
	for b.Loop() {
		block.Number++
		for name, s := range stores {
			begin := time.Now()
			if answer, err := s.Store(b.Context(), block); answer != storage.Stored {
				b.Fatal(err)
			}
			took[name] = append(took[name], time.Since(begin).Seconds())
		}
	}
	median := func(name string) float64 {
		slices.Sort(took[name])
		return took[name][len(took[name])/2]
	}
	b.ReportMetric(median("merges")/median("none"), "ratio")
	b.ReportMetric(median("at-once")/median("none"), "ratio-at-once")
	b.ReportMetric(0, "ns/op")
}
