package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/cespare/xxhash/v2"
)

// Sample is reading that nobody did, for measuring what questions take. The same
// Sample makes the same rows, in blocks that have receipts and books as those of a
// collector do.
type Sample struct {
	Rows     uint64 // that it has, about
	Contents uint64 // read by a Zipf law
	Readers  uint64 // people there are; some come often, some never
	Streams  int    // three quarters of the reading are the first one's
	Days     int
	LastDay  uint32 // days since 1970
	Seed     uint64
	// Block is how many rows a block has at the most: with more than a collector's
	// there is less to merge.
	Block uint64
}

// A session is a reader who reads some pages one after the other, some minutes each:
// one, and as many more as an exponential law with this mean has, up to a bound.
const (
	samplePagesMean, samplePagesMore     = 1.3, 3
	sampleMinutesMean, sampleMinutesMore = 2.2, 7
	sampleSessionMax                     = (1 + samplePagesMore) * (1 + sampleMinutesMore)
	minutesPerDay                        = 24 * 60
	// Nights are quieter than evenings: sessions begin at this share of the most,
	// give or take this part of it.
	sampleEven, sampleSwing = 0.7, 0.3
)

// cappedMean is what such a law has on average.
func cappedMean(mean float64, more int) float64 {
	sum := 1.0
	for k := 1; k <= more; k++ {
		sum += math.Exp(-float64(k) / mean)
	}
	return sum
}

// blocks is how the sample is cut: into spans of this many minutes, with this many
// blocks (slices) for each.
func (s *Sample) blocks() (minutes, slices uint64) {
	most := float64(s.Rows) / float64(s.Days*minutesPerDay) / sampleEven
	for minutes = minutesPerDay; minutes > 1 && (minutesPerDay%minutes != 0 || most*float64(minutes) > float64(s.Block)); {
		minutes--
	}
	return minutes, max(1, uint64(math.Ceil(most*float64(minutes)/float64(s.Block))))
}

// Blocks is how many blocks it has, numbered from 1 on.
func (s *Sample) Blocks() uint64 {
	minutes, slices := s.blocks()
	return uint64(s.Days) * minutesPerDay / minutes * slices
}

// Collector is who has counted it: another one for each Sample.
func (s *Sample) Collector() uint64 { return xxhash.Sum64String(fmt.Sprintf("%+v", *s)) }

// check says what makes no sense.
func (s *Sample) check() error {
	if s.Rows == 0 || s.Block == 0 || s.Contents == 0 || s.Readers == 0 || s.Streams < 1 || s.Streams > 1000 || s.Days < 1 || uint32(s.Days) > s.LastDay {
		return errors.New("a sample wants rows, contents, readers and days, at least one of each, and 1 to 1000 streams")
	}
	return nil
}

// sampleBlock is one block of a sample.
type sampleBlock struct {
	number, slice, slices uint64
	from, to              uint64 // minutes since the first day
	day                   uint32
}

func (s *Sample) block(number uint64) sampleBlock {
	minutes, slices := s.blocks()
	b := sampleBlock{number: number, slice: (number - 1) % slices, slices: slices, from: (number - 1) / slices * minutes}
	b.to = b.from + minutes
	b.day = s.LastDay - uint32(s.Days) + 1 + uint32(b.from/minutesPerDay)
	return b
}

// begin is the first minute of the sample, Unix seconds.
func (s *Sample) begin() uint64 { return uint64(s.LastDay-uint32(s.Days)+1) * secondsPerDay }

// sampleRows makes the rows of a block inside the engine: hashes of the numbers of
// sessions say who reads what, and when. What is drawn from one hash is independent
// of what is drawn from another, and every block sees a session alike.
const sampleRows = `
SELECT
    stream, toDateTime(%[1]d + (begun + age) * 60, 'UTC') AS minute,
    xxHash64(concat('/content/', toString(text))) AS content,
    xxHash64(concat('user-', toString(toUInt64(%[2]d * pow((cityHash64(session, 1) %% 1000003) / 1000003, 1.5) + cityHash64(session, 2) %% 64)))) AS user,
    toUInt32(at = 0) AS opens,
    toUInt32(1 + d %% if(ends, 2, 5)) AS reads,
    toUInt32(ends AND d %% 7 < 4) AS finishes,
    toUInt32(ends AND d %% 211 = 1) AS saves,
    toUInt32(ends AND d %% 307 = 1) AS shares,
    toUInt64(reads * 10000 + intDiv(d, 1000) %% 10000) AS dwell_ms,
    toUInt8(if(finishes > 0, 100, least(99, intDiv((at + 1) * 100, minutes + d %% 3)))) AS progress,
    toDateTime64(minute, 3, 'UTC') + toIntervalMillisecond(intDiv(d, 1000) %% 20000) AS first,
    toDateTime64(minute, 3, 'UTC') + toIntervalMillisecond(20000 + intDiv(d, 20000000) %% 40000) AS last,
    toUInt8(0) AS coarse, toUInt32(0) AS skipped, toUInt32(0) AS impressions, toUInt32(0) AS clicks, toUInt8(0) AS variant,
    progress AS resume, toUInt16(0) AS resume_lag
FROM
(
    SELECT
        session, begun, minutes, age, age %% minutes AS at, at = minutes - 1 AS ends, cityHash64(session, age, 3) AS d,
        toUInt16(1 + least(%[3]d, intDiv(bitCount(bitXor(session, session - 1)) - 1, 2))) AS stream,
        toUInt64(exp((cityHash64(session, intDiv(age, minutes), 4) %% 1000000007) / 1000000007 * log(%[4]d + 1))) AS rank,
        -- What is most read is of the hours, and what comes behind stays.
        if(rank < 200, 1000000 * (1 + intDiv(begun + %[5]d + rank * 37, 360)) + rank, rank) AS text
    FROM
    (
        SELECT
            session, begun,
            1 + least(%[6]d, toUInt64(-log((cityHash64(session, 5) %% 1000003 + 1) / 1000004) * %[7]g)) AS minutes,
            minutes * (1 + least(%[8]d, toUInt64(-log((cityHash64(session, 6) %% 1000003 + 1) / 1000004) * %[9]g))) AS length,
            arrayJoin(range(toUInt64(greatest(0, %[10]d - begun)), toUInt64(greatest(0, least(length, %[11]d - begun))))) AS age
        FROM
        (
            SELECT toInt64(intDiv(number, %[12]d)) - %[5]d AS begun, cityHash64(%[13]d, number) AS session
            FROM numbers(%[14]d, %[15]d)
            WHERE session %% %[16]d = %[17]d AND
                cityHash64(session, 7) %% 1000003 < 1000003 * %[18]g * (%[19]g - %[20]g * cos(begun * 2 * pi() / 1440))
        )
    )
)`

// rows is the question for the rows of a block.
func (s *Sample) rows(b sampleBlock) string {
	perMinute := float64(s.Rows) / float64(s.Days*minutesPerDay) / cappedMean(samplePagesMean, samplePagesMore) / cappedMean(sampleMinutesMean, sampleMinutesMore)
	starts := uint64(math.Ceil(perMinute / sampleEven))
	// Sessions are numbered from those on that reach into the first minute.
	return fmt.Sprintf(sampleRows, s.begin(), s.Readers, s.Streams-1, s.Contents, sampleSessionMax,
		sampleMinutesMore, sampleMinutesMean, samplePagesMore, samplePagesMean, b.from, b.to,
		starts, s.Seed, b.from*starts, (b.to-b.from+sampleSessionMax)*starts,
		b.slices, b.slice, perMinute/sampleEven/float64(starts), sampleEven, sampleSwing)
}

// insert brings a block: its rows with their receipt, as one part.
func (s *Sample) insert(o *Options, b sampleBlock) string {
	from, to := s.begin()+b.from*60, s.begin()+b.to*60
	return fmt.Sprintf("INSERT INTO %s (stream, minute, content, user, opens, reads, finishes, saves, shares, dwell_ms, progress, first, last, coarse, skipped, impressions, clicks, variant, resume, resume_lag)\n"+
		"%s\nUNION ALL SELECT %d, toDateTime(%d, 'UTC'), %d, %d, 1, 0, 0, 0, 0, %d, 0, toDateTime64(%d, 3, 'UTC'), toDateTime64(%d, 3, 'UTC'), 0, 0, 0, 0, 0, 0, 0",
		o.name("reads"), s.rows(b), streamReserved, b.day*secondsPerDay+receiptInDay, s.Collector(), b.number, uint32(s.Collector()), from, to)
}

// name gives every content of the sample its name, in each stream.
func (s *Sample) name(o *Options) string {
	return fmt.Sprintf("INSERT INTO %s (stream, content, class, attribute, text, at)\n"+
		"SELECT stream, xxHash64(path), 'unsealed', 'name', concat('/content/', toString(text)) AS path, toDateTime64(%d, 3, 'UTC') FROM\n"+
		"(\n    SELECT number AS rank, toUInt16(arrayJoin(range(1, %d + 1))) AS stream,\n"+
		"        arrayJoin(if(rank < 200, arrayMap(n -> 1000000 * (1 + n) + rank, range(intDiv(rank * 37, 360), intDiv(%d + rank * 37, 360) + 1)), [rank])) AS text\n"+
		"    FROM numbers(1, %d)\n)",
		o.name("contents"), s.begin(), s.Streams, s.Days*minutesPerDay+sampleSessionMax, s.Contents)
}

// book writes the books of all blocks. Those that are there are replaced, with the
// same. Of blocks of the same minutes the first one has the books.
func (s *Sample) book(o *Options) string {
	minutes, slices := s.blocks()
	number := fmt.Sprintf("intDiv(toUInt64(minute) - %d, %d)", s.begin(), minutes*60)
	return fmt.Sprintf("INSERT INTO %s (collector, block, stream, class, window_start, window_end, sent, accepted, stored)\n"+
		"SELECT %d, 1 + %d * %s AS number, stream, 'unsealed', toDateTime64(min(r.minute), 3, 'UTC'), toDateTime64(max(r.minute) + 60, 3, 'UTC'),\n"+
		"sum(r.opens) + sum(r.reads) + sum(r.finishes) + sum(r.saves) + sum(r.shares) AS events, events, events\n"+
		"FROM %s AS r WHERE stream != %d GROUP BY number, stream",
		o.name("ledger"), s.Collector(), slices, number, o.name("reads"), streamReserved)
}

// Fill makes the rows of a sample that are not there yet, jobs blocks at a time,
// in tables that are there, and tells of each block. A Fill that was ended at any
// moment is taken up by the next one with the same sample: a block is there as a
// whole, or not at all.
func Fill(ctx context.Context, o Options, s *Sample, jobs int, done func(blocks uint64)) error {
	if err := errors.Join(o.fill(), s.check()); err != nil {
		return err
	}
	missing, err := s.missing(ctx, &o)
	if err != nil {
		return err
	}
	if err := s.bring(ctx, &o, jobs, missing, done); err != nil {
		return err
	}
	if err := s.run(ctx, &o, s.name(&o), "names"); err != nil {
		return err
	}
	return s.run(ctx, &o, s.book(&o), "books")
}

// bring makes the blocks with these numbers.
func (s *Sample) bring(ctx context.Context, o *Options, jobs int, missing []uint64, done func(blocks uint64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	there := s.Blocks() - uint64(len(missing))
	var mu sync.Mutex // protects there
	var running sync.WaitGroup
	next := make(chan uint64)
	for range max(1, jobs) {
		running.Go(func() {
			for number := range next {
				if err := s.run(ctx, o, s.insert(o, s.block(number)), fmt.Sprint(number)); err != nil {
					cancel(fmt.Errorf("block %d of the sample: %w", number, err))
					return
				}
				mu.Lock()
				there++
				done(there)
				mu.Unlock()
			}
		})
	}
	for _, number := range missing {
		select {
		case next <- number:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	running.Wait()
	return context.Cause(ctx)
}

// missing are the numbers of the blocks that have no receipt.
func (s *Sample) missing(ctx context.Context, o *Options) (numbers []uint64, err error) {
	d := dialer{o: o}
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	// Books are of all rows that there are, so they must be the sample's alone.
	var others uint64
	if err := c.row(ctx, o.AnswerMax, fmt.Sprintf("SELECT count() FROM %s WHERE stream = %d AND content != %d", o.name("reads"), streamReserved, s.Collector()), &others); err != nil {
		return nil, err
	}
	if others > 0 {
		return nil, fmt.Errorf("the database %s has %d blocks of somebody else, or of another sample: name another database, or drop it", o.Database, others)
	}
	var there []uint64
	var user proto.ColUInt64
	query := fmt.Sprintf("SELECT user FROM %s WHERE stream = %d AND content = %d ORDER BY user", o.name("reads"), streamReserved, s.Collector())
	err = c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&user), OnResult: func(context.Context, proto.Block) error {
		there = append(there, user...)
		return nil
	}})
	for number := uint64(1); number <= s.Blocks(); number++ {
		if _, found := slices.BinarySearch(there, number); !found {
			numbers = append(numbers, number)
		}
	}
	return numbers, err
}

// sampleSettings make one part of one block, whatever a profile has.
var sampleSettings = append([]ch.Setting{
	{Key: "min_insert_block_size_rows", Value: "0", Important: true},
	{Key: "min_insert_block_size_bytes", Value: "1000000000000", Important: true},
}, insertSettings...)

// samplePause is the time between two tries of a block that is being made.
const samplePause = 200 * time.Millisecond

// run runs a statement over a connection of its own: what ends it ends nothing else. One
// that a process left behind may be running still: it is waited for, and the token keeps
// its block from being there twice.
func (s *Sample) run(ctx context.Context, o *Options, statement, what string) error {
	id := fmt.Sprintf("lectern-sample/%d/%s", s.Collector(), what)
	settings := append(sampleSettings[:len(sampleSettings):len(sampleSettings)], ch.Setting{Key: "insert_deduplication_token", Value: id, Important: true})
	for {
		err := s.try(ctx, o, ch.Query{Body: statement, QueryID: id, Settings: settings})
		if !ch.IsErr(err, proto.ErrQueryWithSameIDIsAlreadyRunning) {
			return err
		}
		select {
		case <-time.After(samplePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Sample) try(ctx context.Context, o *Options, q ch.Query) error {
	d := dialer{o: o}
	c, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return c.do(ctx, o.AnswerMax, q)
}

// Filled is what there is of a sample's tables.
type Filled struct{ Rows, Bytes uint64 }

// SizeOf asks what the rows take on disk.
func SizeOf(ctx context.Context, o Options) (f Filled, err error) {
	if err := o.fill(); err != nil {
		return f, err
	}
	d := dialer{o: &o}
	c, err := d.dial(ctx)
	if err != nil {
		return f, err
	}
	defer c.close()
	err = c.row(ctx, o.AnswerMax, "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = "+text(o.Database)+" AND table = 'reads'", &f.Rows, &f.Bytes)
	return f, err
}
