package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
)

// filesWith are the files of the spool whose bytes have the id.
func (s *testSpool) filesWith(id uint64) (names []string) {
	s.t.Helper()
	entries, err := s.disk.List("/spool")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		f, err := s.disk.Open(filepath.Join("/spool", e.Name))
		if err != nil {
			s.t.Fatal(err)
		}
		b := make([]byte, e.Size)
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			s.t.Fatal(err)
		}
		_ = f.Close()
		if bytes.Contains(b, binary.LittleEndian.AppendUint64(nil, id)) {
			names = append(names, e.Name)
		}
	}
	return names
}

// What was received before Bring is stored when it returns, also of the minute that goes
// on, and where the store takes a block only at the third time; and no file of the spool
// has a byte of it. What comes behind it stays where it is.
func TestBring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const before, behind = 0x1122334455667788, 0x99aabbccddeeff11
		s := openTestSpool(t, spool.Options{SizeMax: 64 << 20, LogSize: 1 << 20})
		tries := map[uint64]int{}
		store := &shelf{answer: func(b *storage.Block) (storage.Answer, error) {
			if tries[b.Number]++; tries[b.Number] < 3 {
				return storage.Unsure, errors.New("the answer was lost")
			}
			return storage.Stored, nil
		}}
		g := NewGatherer(GathererOptions{
			Spool: s.Spool, Store: store, FlushInterval: time.Minute, Settle: 5 * time.Second, RowsWaitingMax: 1 << 20, Metrics: metrics.NewSet(), Logger: s.o.Logger,
		})
		seal := func(user uint64) {
			t.Helper()
			now := time.Now()
			row := storage.Row{Stream: 1, Minute: uint32(now.Unix() / 60 * 60), Content: 7, User: user, Opens: 1, First: now.UnixMilli(), Last: now.UnixMilli()}
			what := &storage.Seal{Rows: []storage.Row{row}, Books: []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: 1, storage.Accepted: 1}}}}
			what.Window = storage.Window{Start: now.UnixMilli() - 1000, End: now.UnixMilli()}
			if err := sealOne(g, what); err != nil {
				t.Fatal(err)
			}
		}
		for range 70 { // over the end of a minute: some are in segments already
			seal(before)
			time.Sleep(time.Second)
		}
		user := uint64(before)
		cut := func(context.Context) error {
			seal(user) // what the loops had
			user = behind
			return nil
		}
		if len(s.filesWith(before)) == 0 {
			t.Fatal("no file has the rows that wait")
		}
		if err := g.Bring(t.Context(), cut); err != nil {
			t.Fatal(err)
		}
		if names := s.filesWith(before); len(names) > 0 {
			t.Errorf("it is still in %v", names)
		}
		rows, _ := store.contents(t)
		var events uint32
		for k, r := range rows {
			if k.user == before {
				events += r.Opens
			}
		}
		if events != 71 {
			t.Errorf("%d events are stored, want 71", events)
		}
		seal(behind)
		if len(s.filesWith(behind)) == 0 {
			t.Error("no file has what was sealed behind it")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		store.mu.Lock()
		store.answer = func(*storage.Block) (storage.Answer, error) { return storage.Never, errors.New("no") }
		store.mu.Unlock()
		if err := g.Bring(ctx, cut); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a block is parked, and Bring says %v", err)
		}
		_ = g.Close(t.Context())
	})
}
