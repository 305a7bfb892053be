package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// The shard is kept over restarts, replaced as a whole, and its bytes are these.
func TestShardIsKept(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	if text, err := s.Shard(); text != "" || err != nil {
		t.Errorf("a new spool says %q, %v", text, err)
	}
	for _, text := range []string{"replicated /tables/01/reads", "", "table 7"} {
		if err := s.SetShard(text); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Shard(); got != text || err != nil {
			t.Errorf("kept was %q, read %q, %v", text, got, err)
		}
	}
	if err := s.SetShard(string(make([]byte, shardMax+1))); err == nil {
		t.Error("more than 4 KiB were taken")
	}
	_ = s.Close()
	s, _ = mustOpen(t, o)
	defer s.Close()
	if text, err := s.Shard(); text != "table 7" || err != nil {
		t.Errorf("after a restart it is %q, %v", text, err)
	}
	b, err := os.ReadFile(filepath.Join(o.Dir, "shard"))
	if golden := []byte("lecshard\x01\x00\x00\x00\x07\x00\x00\x00table 7\xf7Z\xca\xd0"); err != nil || !bytes.Equal(b, golden) {
		t.Errorf("the file is %q, want %q (%v)", b, golden, err)
	}
}

// Each byte that is changed, cut off or added is damage, but a higher version,
// which is one.
func TestShardIsDamaged(t *testing.T) {
	good := encodeShard("table 7")
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			want := storage.ErrShardDamaged
			if i >= 8 && i < 12 && b[8] != 0 {
				want = errShardNewer
			}
			if _, err := decodeShard(b); !errors.Is(err, want) {
				t.Errorf("bit %d of byte %d: %v, want %v", bit, i, err, want)
			}
		}
		if _, err := decodeShard(good[:i]); !errors.Is(err, storage.ErrShardDamaged) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
	if _, err := decodeShard(append(bytes.Clone(good), 0)); !errors.Is(err, storage.ErrShardDamaged) {
		t.Errorf("a byte more: %v", err)
	}
}

// Where a power cut comes while the shard is written, the one before is there, or
// the new one; once SetShard has returned it is the new one.
func TestShardSurvivesPowerCuts(t *testing.T) {
	for at := 1; ; at++ {
		m := vfstest.New(uint64(at))
		s, _ := mustOpen(t, testOptions(m))
		if err := s.SetShard("one"); err != nil {
			t.Fatal(err)
		}
		m.CrashAt = m.Steps + at
		err := s.SetShard("two")
		reached := m.Steps >= m.CrashAt
		m.PowerLoss()
		s, _ = mustOpen(t, testOptions(m))
		text, read := s.Shard()
		if read != nil || text != "two" && (text != "one" || err == nil) {
			t.Errorf("a cut at step %d: SetShard said %v, and then it is %q, %v", at, err, text, read)
		}
		_ = s.Close()
		if !reached {
			return
		}
	}
}

// The wish of a person is there until it is met, and blocks that wait are told by
// their numbers.
func TestResend(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	defer s.Close()
	for day := range uint32(4) {
		rows := []storage.Row{{Stream: 1, Minute: day * 24 * 60 * 60, Opens: 1}}
		number, err := sealOne(s, &Seal{Window: storage.Window{Start: 1, End: 2}, Rows: rows})
		if err == nil {
			err = flushRows(s, rows, nil, storage.Window{Start: 1, End: 2}, number)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Park(2)
	if err := s.Stored(1); err != nil {
		t.Fatal(err)
	}
	if got := s.Waiting(3); !slices.Equal(got, []uint64{2, 3}) {
		t.Errorf("waiting are %v", got)
	}
	if err := AskResend(o.Dir, 3, 4); err != nil {
		t.Fatal(err)
	}
	for number, want := range map[uint64]bool{2: false, 3: true, 4: true} {
		if got, err := s.Resend(number); got != want || err != nil {
			t.Errorf("block %d: %v, %v", number, got, err)
		}
	}
	for range 2 {
		if err := s.Resent(3); err != nil {
			t.Error(err)
		}
	}
	if got, err := s.Resend(3); got || err != nil {
		t.Errorf("block 3 afterwards: %v, %v", got, err)
	}
	if b, ok, err := s.Next(func(number uint64) bool { return number == 3 }, storage.Columns{}); err != nil || !ok || b.Number != 4 {
		t.Errorf("past block 3 comes %v, %v, %v", b, ok, err)
	}
}

// A spool that is renewed leaves neither to the next one, whose numbers are others'.
func TestRenewTakesTheShardAlong(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	if err := s.SetShard("table 7"); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if err := AskResend(o.Dir, 3); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Renew(o.Dir); err != nil {
		t.Fatal(err)
	}
	s, _ = mustOpen(t, o)
	defer s.Close()
	text, err := s.Shard()
	wanted, also := s.Resend(3)
	if text != "" || wanted || err != nil || also != nil {
		t.Errorf("the next one has %q, %v, and %v, %v", text, err, wanted, also)
	}
}
