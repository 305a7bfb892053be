package spool

import (
	"math"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// The next log has no room on the disk; the one that is written has.
func TestRoomOfTheRunningLog(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	o.LogSize, o.SizeMax = 256<<10, 4*256<<10+100<<10 // of which a segment may take the rest
	s, _ := mustOpen(t, o)
	fill := func() {
		rows := make([]storage.Row, 1500)
		for i := range rows {
			rows[i] = row(uint64(i))
		}
		mustSeal(t, s, &Seal{Rows: rows})
	}
	for s.place.Free() >= o.LogSize {
		fill()
		if err := s.flushNothing(storage.Mark{Through: s.sealed, Before: storage.All}); err != nil {
			t.Fatal(err)
		}
	}
	room := s.Room()
	if room == 0 {
		t.Fatalf("no room, with %d bytes left of the log", s.log.Left())
	}
	id := s.log.ID()
	rows := make([]storage.Row, room)
	for i := range rows {
		rows[i] = row(uint64(i))
	}
	mustSeal(t, s, &Seal{Rows: rows, Sources: s.Sources(), Books: []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: uint64(room)}}}})
	if s.log.ID() != id {
		t.Error("what there was room for began another log")
	}
	if left := s.log.Left(); left < s.marksSize() {
		t.Errorf("%d bytes are left for marks", left)
	}
}

// An event ahead of the clock keeps the logs of its minute, and those behind it.
// They are known for crowded before they fill the spool, also where they hold next
// to no rows; and when all minutes are flushed there is room again.
func TestLogsOfOpenMinutesCrowd(t *testing.T) {
	for _, logs := range []int64{4, 5, 16} {
		m := vfstest.New(1)
		o := testOptions(m)
		o.SizeMax = logs * o.LogSize
		s, _ := mustOpen(t, o)
		ahead := row(1)
		ahead.Minute += 600
		mustSeal(t, s, &Seal{Rows: []storage.Row{ahead}})
		sources := make([]Source, 20)
		n := 0
		for ; !s.Crowded(); n++ {
			if s.Room() == 0 {
				t.Fatalf("%d logs fill the spool of %d after %d seals, and it is not crowded", len(m.Names("log-")), logs, n)
			}
			for i := range sources {
				sources[i] = Source{ID: uint64(i + 1), Next: uint64(n)}
			}
			number := mustSeal(t, s, &Seal{Sources: sources})
			if err := s.Flush(storage.NewMinutes(), nil, storage.Window{}, storage.Mark{Through: number, Before: uint64(ahead.Minute)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := flushRows(s, []storage.Row{ahead}, nil, storage.Window{Start: 1, End: 2}, s.sealed); err != nil {
			t.Fatal(err)
		}
		if len(m.Names("log-")) != 1 || s.Crowded() || s.Room() == 0 {
			t.Errorf("%d logs are left, crowded %v, room for %d rows", len(m.Names("log-")), s.Crowded(), s.Room())
		}
	}
}

// A seal of as many rows as RoomMost says finds room in an empty spool.
func TestRoomMost(t *testing.T) {
	for _, size := range []int64{4 * logSizeDefault, 1 << 30, 8 << 30, 1 << 50} {
		m := vfstest.New(1)
		o := testOptions(m)
		o.LogSize, o.SizeMax = 64<<10, size/(logSizeDefault/(64<<10)) // all in proportion
		s, _ := mustOpen(t, o)
		most := min(RoomMost(size, 0)/(logSizeDefault/(64<<10)), roomMost)
		if room := s.Room(); room < most {
			t.Errorf("room for %d rows in %d bytes, RoomMost says %d", room, size, most)
		}
	}
	if most := RoomMost(256<<20, 200_000_000); most != 0 {
		t.Errorf("room for %d rows beside sources that take all of it", most)
	}
}

// No row of a cut is longer than Room has it, whatever is in it.
func TestRowOfCut(t *testing.T) {
	r := storage.Row{
		Stream: 65535, Minute: math.MaxUint32 / 60 * 60, Content: math.MaxUint64, User: math.MaxUint64, Dwell: math.MaxUint64, Progress: 100,
		Opens: math.MaxUint32, Reads: math.MaxUint32, Finishes: math.MaxUint32, Saves: math.MaxUint32, Shares: math.MaxUint32,
		Resume: 1, ResumeLag: math.MaxUint16,
	}
	r.First, r.Last = int64(r.Minute)*1000, int64(r.Minute)*1000+60_000-1
	var e codec.RowEncoder
	if e.Add(&r); len(e.Buf) != rowOfCut {
		t.Errorf("the longest row of a cut takes %d bytes, want %d", len(e.Buf), rowOfCut)
	}
}
