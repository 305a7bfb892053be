package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/storage/wal"
)

func TestTornTailIsCutAndCounted(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	s, _ := mustOpen(t, o)
	for i := range uint64(3) {
		mustSeal(t, s, testSeal(i+1))
	}
	at := s.log.End()
	mustSeal(t, s, testSeal(4))
	m.Kill()
	data := m.Data(wal.FileName(1))
	clear(data[at+100:]) // half of the last record did not reach the disk
	o.Metrics = metrics.NewSet()
	s, r := mustOpen(t, o)
	if r.Torn < 100-7 || r.Torn > 600 || len(r.SetAside) != 0 || r.Last != 3 || len(rowsOf(r)) != 3 {
		t.Errorf("recovered %+v", r)
	}
	if got := s.meters.damage.torn.Get(); got != uint64(r.Torn) {
		t.Errorf("the metric says %d", got)
	}
	m.Kill()
	if _, r = mustOpen(t, o2(o)); r.Torn != 0 || r.Last != 3 || len(r.SetAside) != 0 {
		t.Errorf("the next start recovered %+v", r)
	}
}

// o2 is o with metrics of its own, for another process.
func o2(o Options) Options {
	o.Metrics = nil
	return o
}

// A bad record with good ones behind it is no torn tail. What else is in the
// file is used, and the file is kept.
func TestBadRecordInTheMiddle(t *testing.T) {
	for _, last := range []bool{true, false} {
		m := vfstest.New(1)
		o := testOptions(m)
		s, _ := mustOpen(t, o)
		var at int64
		for i := range uint64(5) {
			if i == 2 {
				at = s.log.End()
			}
			mustSeal(t, s, testSeal(i+1))
		}
		if !last { // the bad file is an older one
			s.log.NextFile()
			mustSeal(t, s, testSeal(6))
		}
		m.Kill()
		m.Data(wal.FileName(1))[at+wal.HeaderSize+50] ^= 1
		d := &dump{}
		o.Logger = d.logger()
		s, r := mustOpen(t, o)
		if !slices.Equal(r.SetAside, []string{wal.FileName(1)}) || r.Torn != 0 || len(rowsOf(r)) < 4 || len(r.Sources) < 4 {
			t.Errorf("recovered %+v", r)
		}
		if !strings.Contains(d.String(), wal.FileName(1)) || !strings.Contains(d.String(), "first=3 last=3") {
			t.Errorf("the log says\n%s", d)
		}
		if got := s.meters.damage.setAside.Get(); got != 1 {
			t.Errorf("the metric says %d", got)
		}
		rows := rowsOf(r)
		slices.SortFunc(rows, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
		if err := flushRows(s, rows, r.Books, r.Window, r.Last); err != nil {
			t.Fatal(err)
		}
		if got := m.Names("log-"); len(got) != 2 || got[0] != wal.FileName(1)+badSuffix {
			t.Errorf("after the rest is flushed there is %v", got)
		}
		m.Kill()
		if _, r = mustOpen(t, o2(o)); len(r.SetAside) != 0 || r.Segments != 1 || len(rowsOf(r)) != 0 {
			t.Errorf("the next start recovered %+v", r)
		}
	}
}

// What is missing at the end of an older file is no torn tail either.
func TestOlderFileEndsEarly(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	mustSeal(t, s, testSeal(1))
	at := s.log.End()
	mustSeal(t, s, testSeal(2))
	s.log.NextFile()
	mustSeal(t, s, testSeal(3))
	m.Kill()
	clear(m.Data(wal.FileName(1))[at:])
	_, r := mustOpen(t, testOptions(m))
	if !slices.Equal(r.SetAside, []string{wal.FileName(1)}) || r.Last != 3 || len(rowsOf(r)) != 2 {
		t.Errorf("recovered %+v", r)
	}
}

// A record that another file left behind on the disk is none of this one.
func TestRecordsOfOtherFilesAreNotRead(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	mustSeal(t, s, testSeal(1))
	other := vfstest.New(2)
	o, _ := mustOpen(t, testOptions(other))
	mustSeal(t, o, testSeal(1))
	at := o.log.End()
	mustSeal(t, o, testSeal(2))
	m.Kill()
	copy(m.Data(wal.FileName(1))[s.log.End():], other.Data(wal.FileName(1))[at:o.log.End()])
	_, r := mustOpen(t, testOptions(m))
	if r.Last != 1 || len(rowsOf(r)) != 1 || r.Torn == 0 {
		t.Errorf("recovered %+v", r)
	}
}

// A file of which nothing can be read is set aside at once, and a start goes on.
func TestDamagedHeaders(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	s, _ := mustOpen(t, o)
	mustSeal(t, s, testSeal(1))
	if err := flushRows(s, []storage.Row{row(1)}, nil, storage.Window{}, 1); err != nil {
		t.Fatal(err)
	}
	mustSeal(t, s, testSeal(2))
	m.Kill()
	run := m.Names("segment-")[0]
	m.Data(run)[20] ^= 1
	s, r := mustOpen(t, o2(o))
	if !slices.Equal(r.SetAside, []string{run}) || r.Last != 2 || len(rowsOf(r)) != 1 || s.LastNumber() != 1 {
		t.Errorf("segment: recovered %+v, last number %d", r, s.LastNumber())
	}
	if got := m.Names("segment-"); !slices.Equal(got, []string{run + badSuffix}) {
		t.Errorf("there is %v", got)
	}
	m.Kill()
	m.Data(wal.FileName(2))[10] ^= 1
	s, r = mustOpen(t, o2(o))
	if !slices.Equal(r.SetAside, []string{wal.FileName(2)}) {
		t.Errorf("log: recovered %+v", r)
	}
	if err := s.CheckStore(1); err != nil {
		t.Errorf("the number of the damaged segment is forgotten: %v", err)
	}
	mustSeal(t, s, testSeal(3))
}

// A block that cannot be read is passed over; the segment is kept in the end.
func TestDamagedBlock(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	o.blockRows = 1
	s, _ := mustOpen(t, o)
	mustSeal(t, s, testSeal(1))
	if err := flushRows(s, []storage.Row{row(1), row(2), row(3)}, nil, storage.Window{}, 1); err != nil {
		t.Fatal(err)
	}
	run := m.Names("segment-")[0]
	m.Data(run)[segment.HeaderSize+codec.PeriodSize+40] ^= 1
	var got []uint64
	for {
		b, ok, err := s.Oldest()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, b.Number)
		if err := s.Stored(b.Number); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, []uint64{1, 3}) {
		t.Errorf("blocks %v were given out", got)
	}
	if names := m.Names("segment-"); !slices.Equal(names, []string{run + badSuffix}) {
		t.Errorf("there is %v", names)
	}
	if s.meters.damage.setAside.Get() != 1 {
		t.Error("it was not counted")
	}
	c, err := inspect(m, "/spool")
	if err != nil || !c.Damaged() || len(c.Bad) != 1 {
		t.Errorf("inspected %+v, %v", c, err)
	}
}

// One failed sync costs a new file; a second one costs the acknowledgement until
// the disk is well again.
func TestFailedSync(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	mustSeal(t, s, testSeal(1))
	failures := 1
	m.Fault = func(o vfstest.Op) error {
		if o.What == "sync" && failures > 0 {
			failures--
			return vfstest.ErrFault
		}
		return nil
	}
	mustSeal(t, s, testSeal(2))
	if s.log.ID() != 2 {
		t.Errorf("it goes on in log file %d", s.log.ID())
	}
	m.Fault = func(vfstest.Op) error { return vfstest.ErrFault } // a full disk as well
	if n, err := sealOne(s, testSeal(3)); err == nil || n != 0 {
		t.Fatalf("seal 3 got %d, %v", n, err)
	}
	if s.Room() != 0 {
		t.Error("there is room with a pending seal")
	}
	if n, err := sealOne(s, testSeal(4)); n != 0 || err == nil || !strings.Contains(err.Error(), ErrPending.Error()) {
		t.Errorf("the seal behind it got %d, %v", n, err)
	}
	if err := s.Retry(); err == nil {
		t.Error("a retry on a broken disk succeeded")
	}
	if s.meters.failures.Get() != 1 {
		t.Errorf("%d failures", s.meters.failures.Get())
	}
	m.Fault = nil
	if err := s.Retry(); err != nil {
		t.Fatal(err)
	}
	if s.log.ID() <= 2 {
		t.Error("a file of which a sync failed was written again")
	}
	if s.Room() == 0 {
		t.Error("no room after a retry")
	}
	mustSeal(t, s, testSeal(4))
	m.PowerLoss()
	_, r := mustOpen(t, testOptions(m))
	if r.Last != 4 || len(rowsOf(r)) != 4 || len(r.SetAside) != 0 {
		t.Errorf("recovered %+v", r)
	}
	for i, got := range rowsOf(r) {
		if got.Content != uint64(i+1) {
			t.Errorf("row %d is %+v", i, got)
		}
	}
}

// The quota holds: rows come as long as there is room, then the store must take
// some.
func TestQuota(t *testing.T) {
	for _, every := range []uint64{7, 1 << 20} {
		t.Run(fmt.Sprint("flush every ", every), func(t *testing.T) { testQuota(t, every) })
	}
}

func testQuota(t *testing.T, every uint64) {
	m := vfstest.New(1)
	o := testOptions(m)
	o.SizeMax = 8 * o.LogSize
	m.Capacity = int(o.SizeMax) + 100 // no operation fails for want of room
	s, _ := mustOpen(t, o)
	content, flushed := uint64(0), uint64(0)
	flush := func() {
		var rows []storage.Row
		for flushed < content {
			flushed++
			rows = append(rows, row(flushed))
		}
		if err := flushRows(s, rows, nil, storage.Window{}, s.sealed); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		var bytes int64
		for _, e := range must(m.List("")) {
			if e.Name != "reserve" {
				bytes += e.Size
			}
		}
		if bytes > o.SizeMax {
			t.Fatalf("%d bytes after %d seals", bytes, content)
		}
	}
	for s.Room() > 0 {
		content++
		rows := []storage.Row{row(content)}
		for len(rows) < min(s.Room(), 20) {
			content++
			rows = append(rows, row(content))
		}
		mustSeal(t, s, &Seal{Rows: rows})
		if content%every == 0 {
			flush()
		}
		check()
	}
	flush()
	check()
	if content < 50 {
		t.Errorf("full after %d rows", content)
	}
	for {
		b, ok, err := s.Oldest()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if err := s.Stored(b.Number); err != nil {
			t.Fatal(err)
		}
	}
	if s.Room() == 0 {
		t.Error("no room after all is stored")
	}
	// Seals without rows are bounded too: they end with an error, not beyond.
	for range 1000 {
		if _, err := sealOne(s, &Seal{Sources: make([]Source, 50), Books: make([]storage.Book, 50)}); err != nil {
			if s.place.Bytes() > o.SizeMax {
				t.Errorf("%d bytes", s.place.Bytes())
			}
			if err := flushRows(s, nil, nil, storage.Window{}, s.sealed); err != nil {
				t.Fatal(err)
			}
			s.Tidy()
			if err := s.Retry(); err != nil {
				t.Errorf("still full: %v", err)
			}
			return
		}
	}
	t.Error("a full spool takes everything")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestSizeMaxTooSmall(t *testing.T) {
	o := testOptions(vfstest.New(1))
	o.SizeMax = 3 * o.LogSize
	if _, _, err := Open(o); err == nil {
		t.Error("it was opened")
	}
}

// A directory that was copied and put back later gives numbers that the store
// knows: it must not be used.
func knowsBirths(t *testing.T, dir string) bool {
	t.Helper()
	f, err := (vfs.OS{}).Open(filepath.Join(dir, "collector"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, ok := f.Birth()
	return ok
}

func TestBackupRestored(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	store := uint64(0)
	cycle := func() {
		n := mustSeal(t, s, testSeal(1))
		if err := flushRows(s, []storage.Row{row(1)}, nil, storage.Window{}, n); err != nil {
			t.Fatal(err)
		}
		b, _, err := s.Oldest()
		if err != nil {
			t.Fatal(err)
		}
		store = b.Number
		if err := s.Stored(b.Number); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	_ = s.Close()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(o.Dir)); err != nil {
		t.Fatal(err)
	}
	s, _ = mustOpen(t, o)
	if err := s.CheckStore(store); err != nil {
		t.Fatal(err)
	}
	cycle()
	_ = s.Close()
	// Where the file system says when a file was made, a copy is known as such.
	o.Dir = backup
	if knowsBirths(t, backup) {
		if _, _, err := Open(o); err == nil || !strings.Contains(err.Error(), "is a copy of another directory") {
			t.Errorf("the copy was opened: %v", err)
		}
	}
	if err := os.Remove(filepath.Join(backup, "collector")); err != nil {
		t.Fatal(err)
	}
	s, _ = mustOpen(t, o)
	defer s.Close()
	if err := s.CheckStore(store); err == nil || !strings.Contains(err.Error(), "older copy") {
		t.Errorf("the backup was accepted: %v", err)
	}
}

// A lost collector file is made again from the others; files of another
// directory are refused.
func TestCollectorFile(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	mustSeal(t, s, testSeal(1))
	id := s.Collector()
	_ = s.Close()
	for _, text := range []string{"", "nonsense"} {
		if err := os.WriteFile(filepath.Join(o.Dir, "collector"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, r := mustOpen(t, o)
		if s.Collector() != id || r.Last != 1 {
			t.Errorf("collector %x, was %x", s.Collector(), id)
		}
		_ = s.Close()
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "collector"), twoNumbers(collectorName, 0xaa, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(o); err == nil || !strings.Contains(err.Error(), "move it out") {
		t.Errorf("foreign files were accepted: %v", err)
	}
}

func TestInspect(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	defer s.Close()
	mustSeal(t, s, testSeal(1))
	if err := flushRows(s, []storage.Row{row(1)}, testSeal(1).Books, storage.Window{Start: 1, End: 2}, 1); err != nil {
		t.Fatal(err)
	}
	mustSeal(t, s, testSeal(2))
	c, err := Inspect(o.Dir) // of a running daemon
	if err != nil || c.Damaged() || c.Collector != s.Collector() || len(c.Logs) != 1 || len(c.Segments) != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	var kinds []string
	for _, r := range c.Logs[0].Records {
		kinds = append(kinds, r.Kind)
	}
	if !slices.Equal(kinds, []string{"snapshot", "seal", "seal", "mark"}) {
		t.Errorf("records %v", kinds)
	}
	if r := c.Logs[0].Records[2]; r.Number != 2 || r.Through != 1 || r.Last != 1 || r.Rows != 1 || r.Books != 1 || r.Sources != 1 {
		t.Errorf("record %+v", r)
	}
	if b := c.Segments[0].Blocks[0]; b.Number != 1 || b.Rows != 1 || b.Books != 1 || b.Day != 20000 || b.Damage != "" {
		t.Errorf("block %+v", b)
	}
	b, err := ReadBlock(o.Dir, 1)
	if err != nil || b.Rows.Len() != 1 || b.Rows.Row(0) != row(1) || b.Collector != s.Collector() {
		t.Errorf("block %+v, %v", b, err)
	}
	if _, err := ReadBlock(o.Dir, 2); err == nil {
		t.Error("a block that is not there was read")
	}
	path := filepath.Join(o.Dir, c.Segments[0].Name)
	data := must(os.ReadFile(path))
	data[segment.HeaderSize] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Inspect(o.Dir); err != nil || !c.Damaged() || c.Segments[0].Blocks[0].Damage == "" {
		t.Errorf("the damage was not found: %+v, %v", c, err)
	}
}

// A start that knows from segments, or from records behind a bad one, that seals up
// to some number are flushed, gives none of these numbers again: a seal of such a
// number would count as flushed at the next start, and its rows be nowhere.
func TestNumbersOfDamagedSealsAreNotGivenAgain(t *testing.T) {
	for name, damage := range map[string]func(m *vfstest.Disk, third int64){
		"the log's header": func(m *vfstest.Disk, _ int64) { m.Data(wal.FileName(1))[20] ^= 1 },
		"the last seal, with a mark behind it": func(m *vfstest.Disk, third int64) {
			m.Data(wal.FileName(1))[third+wal.HeaderSize+50] ^= 1
		},
		"the log is gone": func(m *vfstest.Disk, _ int64) { _ = m.Remove("/spool/" + wal.FileName(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := vfstest.New(1)
			o := testOptions(m)
			s, _ := mustOpen(t, o)
			var third int64
			for i := range uint64(3) {
				third = s.log.End()
				n := mustSeal(t, s, testSeal(i+1))
				if err := flushRows(s, []storage.Row{row(i + 1)}, nil, storage.Window{}, n); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Stored(1); err != nil { // a mark; two segments wait
				t.Fatal(err)
			}
			m.Kill()
			damage(m, third)
			s, r := mustOpen(t, o2(o))
			if r.Last < 3 {
				t.Errorf("the last seal is %d, and 3 are flushed", r.Last)
			}
			mustSeal(t, s, testSeal(77)) // this one is acknowledged
			m.Kill()
			if _, r = mustOpen(t, o2(o)); len(rowsOf(r)) != 1 || rowsOf(r)[0].Content != 77 {
				t.Errorf("the seal that was acknowledged after the damage is not there: %+v", r)
			}
		})
	}
}

// The last record before a stop may be a mark whose sync failed: a start reads
// it, and a power loss after that takes it. That is no damage.
func TestMarkThatWasNotSynced(t *testing.T) {
	for seed := range uint64(50) {
		m := vfstest.New(seed)
		o := testOptions(m)
		s, _ := mustOpen(t, o)
		n := mustSeal(t, s, testSeal(1))
		if err := flushRows(s, []storage.Row{row(1)}, nil, storage.Window{}, n); err != nil {
			t.Fatal(err)
		}
		m.Fault = func(o vfstest.Op) error {
			if o.What == "sync" || o.What == "create" {
				return vfstest.ErrFault
			}
			return nil
		}
		if err := s.Stored(1); err != nil {
			t.Fatal(err)
		}
		m.Kill()
		mustOpen(t, o)
		m.PowerLoss()
		if _, r := mustOpen(t, o); len(r.SetAside) > 0 || r.Last != 1 {
			t.Fatalf("seed %d: set aside are %v, the last seal is %d", seed, r.SetAside, r.Last)
		}
	}
}

// A log file that could not be begun, and not be removed either, says where the
// one before it ended: nothing may be written behind that any more.
func TestLogThatWasBegunInVain(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	o.LogSize = 2 << 10
	s, _ := mustOpen(t, o)
	n := mustSeal(t, s, testSeal(1))
	m.Fault = func(o vfstest.Op) error {
		if o.What == "syncdir" || o.What == "remove" {
			return vfstest.ErrFault
		}
		return nil
	}
	large := testSeal(2)
	for range 60 { // more than is left in the file
		large.Rows = append(large.Rows, row(2))
	}
	if _, err := sealOne(s, large); err == nil {
		t.Fatal("it is sealed, and a new file could not be begun")
	}
	m.Fault = nil
	if err := flushRows(s, []storage.Row{row(1)}, nil, storage.Window{}, n); err != nil {
		t.Fatal(err)
	}
	if err := s.Stored(1); err != nil { // a mark, small enough for the old file
		t.Fatal(err)
	}
	if names := m.Names("segment-"); len(names) > 0 {
		t.Fatalf("%v are left", names)
	}
	m.Kill()
	if _, r := mustOpen(t, o); len(r.SetAside) > 0 || len(rowsOf(r)) != 0 && rowsOf(r)[0].Content == 1 {
		t.Errorf("a block that is stored is counted again: %+v", r)
	}
}

// A read that the disk refuses is no damage, whichever it is: a start with it is
// refused, and the next one has everything.
func TestUnreadableAtStart(t *testing.T) {
	for fail, more := 1, true; more; fail++ {
		m := vfstest.New(1)
		o := testOptions(m)
		o.LogSize = 1 << 10
		s, _ := mustOpen(t, o)
		for i := range uint64(6) {
			mustSeal(t, s, testSeal(i+1))
		}
		if err := flushRows(s, []storage.Row{row(1), row(2)}, nil, storage.Window{}, 2); err != nil {
			t.Fatal(err)
		}
		mustSeal(t, s, testSeal(7))
		m.Kill()
		before := m.Names("")
		left := fail
		m.Unread = func(vfstest.Op) error {
			if left--; left == 0 {
				return errUnread
			}
			return nil
		}
		_, r, err := Open(o2(o))
		if more = left <= 0; more && (!errors.Is(err, errUnread) || !strings.Contains(err.Error(), "/spool/")) {
			t.Fatalf("read %d fails: recovered %+v, %v", fail, r, err)
		}
		m.Kill()
		if after := m.Names(""); more && !slices.Equal(before, after) {
			t.Errorf("read %d fails: of %v is left %v", fail, before, after)
		}
		s, r = mustOpen(t, o2(o))
		if r.Last != 7 || len(rowsOf(r)) != 5 || r.Segments != 1 || len(r.SetAside) > 0 || r.Torn > 0 || s.LastNumber() != 1 {
			t.Fatalf("after read %d failed: recovered %+v, last number %d", fail, r, s.LastNumber())
		}
		if !more && fail < 10 {
			t.Errorf("a start has only %d reads", fail)
		}
	}
}

// A block that the disk does not give now is neither damaged nor in the way of
// others, and comes when it is given.
func TestUnreadableBlock(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	for i := range uint64(2) {
		mustSeal(t, s, testSeal(i+1))
		if err := flushRows(s, []storage.Row{row(i + 1)}, nil, storage.Window{}, i+1); err != nil {
			t.Fatal(err)
		}
	}
	first := m.Names("segment-")[0]
	m.Unread = func(o vfstest.Op) error {
		if o.Name == first {
			return errUnread
		}
		return nil
	}
	b, ok, err := s.Oldest()
	if err != nil || !ok || b.Number != 2 {
		t.Fatalf("got block %+v, %v", b, err)
	}
	if err := s.Stored(2); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Oldest(); ok || !errors.Is(err, errUnread) || !strings.Contains(err.Error(), "block 1 in /spool/"+first) {
		t.Errorf("with nothing else: %t, %v", ok, err)
	}
	c, err := inspect(m, "/spool")
	if err != nil || !c.Damaged() || c.Segments[0].Unread == "" || c.Segments[0].Damage != "" || c.Logs[0].Damage != "" {
		t.Errorf("inspected %+v, %v", c, err)
	}
	m.Unread = nil
	if b, ok, err = s.Oldest(); err != nil || !ok || b.Number != 1 || s.meters.damage.setAside.Get() != 0 {
		t.Errorf("then block %+v, %v, and %d files are set aside", b, err, s.meters.damage.setAside.Get())
	}
}

// A segment that a person has renamed, since the disk does not give it, keeps its
// numbers.
func TestRenamedRunKeepsItsNumbers(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	mustSeal(t, s, testSeal(1))
	if err := flushRows(s, []storage.Row{row(1)}, nil, storage.Window{}, 1); err != nil {
		t.Fatal(err)
	}
	m.Kill()
	run := m.Names("segment-")[0]
	if err := m.Rename(run, run+badSuffix); err != nil {
		t.Fatal(err)
	}
	s, r := mustOpen(t, o2(testOptions(m)))
	if s.LastNumber() != 1 || len(rowsOf(r)) != 0 {
		t.Errorf("recovered %+v, last number %d", r, s.LastNumber())
	}
}

// However many blocks the disk does not give, those behind them go on, and they do
// when it gives them.
func TestManyUnreadableBlocks(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	now := time.UnixMilli(1)
	o.Clock = func() time.Time { return now }
	s, _ := mustOpen(t, o)
	const bad = 2*unreadMax + 1
	for i := range uint64(bad + 2) {
		mustSeal(t, s, testSeal(i+1))
		if err := flushRows(s, []storage.Row{row(i + 1)}, nil, storage.Window{}, i+1); err != nil {
			t.Fatal(err)
		}
	}
	names := m.Names("segment-")[:bad]
	m.Unread = func(o vfstest.Op) error {
		if slices.Contains(names, o.Name) {
			return errUnread
		}
		return nil
	}
	next := func() (number uint64) {
		for range bad {
			if b, ok, err := s.Oldest(); ok {
				return b.Number
			} else if !errors.Is(err, errUnread) {
				t.Fatal(err)
			}
		}
		return 0
	}
	for want := uint64(bad + 1); want <= bad+2; want++ {
		if got := next(); got != want {
			t.Fatalf("block %d is the oldest that can be read, not %d", got, want)
		}
		if err := s.Stored(want); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := s.Oldest(); ok || err == nil {
		t.Errorf("with nothing that can be read: %t, %v", ok, err)
	}
	m.Unread = nil
	now = now.Add(time.Hour)
	if got := next(); got != 1 {
		t.Errorf("then block %d", got)
	}
}

// The seals that are in segments in part are gone with a damaged log, and others came
// behind them: a clock that was set back meanwhile does not keep these from being
// flushed.
func TestPartedSealsAreLost(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	s, _ := mustOpen(t, o)
	early, late := row(1), row(2)
	late.Minute += 3600
	books := []storage.Book{{Stream: early.Stream, Counts: storage.Counts{storage.Sent: 1, storage.Accepted: 1}}}
	n := mustSeal(t, s, &Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{early, late}, Books: []storage.Book{{Stream: early.Stream, Counts: storage.Counts{storage.Sent: 2, storage.Accepted: 2}}}})
	if err := s.Flush(minutesOf([]storage.Row{early}), books, storage.Window{Start: 1, End: 2}, storage.Mark{Through: n, Before: uint64(late.Minute)}); err != nil {
		t.Fatal(err)
	}
	s.log.NextFile()
	mustSeal(t, s, &Seal{Window: storage.Window{Start: 2, End: 3}, Rows: []storage.Row{row(3)}, Books: books})
	m.Kill()
	clear(m.Data(wal.FileName(1)))
	s, r := mustOpen(t, o2(o))
	if len(rowsOf(r)) != 1 || r.Before != uint64(late.Minute) {
		t.Errorf("recovered %+v", r)
	}
	// As pipeline.Gatherer does: no mark is before the one that was recovered.
	mark := storage.Mark{Through: r.Last, Before: uint64(early.Minute) + 60}
	if mark.Before < r.Before {
		mark.Before = storage.All
	}
	if err := s.Flush(r.Rows, r.Books, r.Window, mark); err != nil {
		t.Errorf("what was recovered cannot be flushed: %v", err)
	}
}
