package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
)

// What was put into a spool stands in the list for machines, of each place, and
// the files that were set aside.
func TestSpoolListJSON(t *testing.T) {
	dir := t.TempDir()
	var places [2]*spool.Spool
	for i := range places {
		s, _, _, err := spool.Claim(spool.Options{Dir: dir, SizeMax: 256 << 20}, true)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		places[i] = s
	}
	first, second := places[0], places[1]
	const day = 20_513 // 2026-03-01
	rows := []storage.Row{
		{Stream: 1, Minute: day * 86400, Content: 7, User: 1, Opens: 1}, {Stream: 1, Minute: day*86400 + 60, Content: 7, User: 1, Opens: 2},
	}
	seal := func(start int64) uint64 {
		var number uint64
		err := first.Seal(&storage.Seal{Window: storage.Window{Start: start, End: start + 1000}, Rows: rows}, func(n uint64) { number = n })
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	number := seal(1000)
	minutes := storage.NewMinutes()
	minutes.Add(rows)
	if err := first.Flush(minutes, nil, storage.Window{Start: 1000, End: 2000}, storage.Mark{Through: number, Before: storage.All}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "segment-00000000000000ff.bad"), make([]byte, 12), 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now().UnixMilli()
	seal(3000)

	code, stdout, stderr := runWith(t, nil, nil, "spool", "ls", "--json", "--dir", dir)
	var got spoolLine
	if err := json.Unmarshal([]byte(stdout), &got); code != 0 || stderr != "" || err != nil || strings.Contains(stdout, "null") {
		t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if len(got.Places) != 2 || got.Places[1].Dir != second.Dir() || len(got.Places[1].Blocks) != 0 {
		t.Fatalf("the places are %+v", got.Places)
	}
	p := got.Places[0]
	if p.Dir != dir || p.Collector != fmt.Sprintf("%016x", first.Collector()) || p.Seals != 1 || p.SealRows != 2 || p.SealSince < before {
		t.Errorf("%+v", p)
	}
	if len(p.Blocks) != 1 || p.Blocks[0].Block != 1 || p.Blocks[0].Day != "2026-03-01" || p.Blocks[0].Rows != 2 || p.Blocks[0].Received != 1000 || p.Blocks[0].Bytes == 0 {
		t.Errorf("the blocks are %+v", p.Blocks)
	}
	if len(p.Damaged) != 1 || p.Damaged[0] != (badLine{"segment-00000000000000ff.bad", 12}) {
		t.Errorf("set aside: %+v", p.Damaged)
	}

	if code, _, stderr := runWith(t, nil, nil, "spool", "verify", "--json", "--dir", dir); code != 2 || !strings.Contains(stderr, "--json goes with ls, not with verify") {
		t.Errorf("verify --json: exit %d, %q", code, stderr)
	}
}
