//go:build go1.26

package emit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lectern/lectern/wire"
)

// A queue knows how many events were added under its source, also those that were
// acknowledged long ago, and reading that changes no byte of it.
func TestQueuePosition(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := QueuePosition(dir); ok || err != nil {
		t.Errorf("without a queue: %v, %v", ok, err)
	}
	q, err := makeQueue(dir, "h:1", 1, FrameSizeDefault, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want uint64) {
		t.Helper()
		before, _ := os.ReadFile(filepath.Join(dir, queueName))
		p, ok, err := QueuePosition(dir)
		after, _ := os.ReadFile(filepath.Join(dir, queueName))
		if err != nil || !ok || p != (Position{q.source, want}) || p != q.numbered() || string(before) != string(after) {
			t.Errorf("%+v, %v, %v, want %d of %d", p, ok, err, want, q.source)
		}
	}
	add := func(n int) {
		for range n {
			if !q.add(&Event{Content: 1, User: 2, Kind: wire.KindOpen, Time: 1728000000000}) {
				t.Fatal("no room")
			}
		}
	}
	expect(0)
	add(3)
	expect(3) // in the open frame
	if !q.finish(1) {
		t.Fatal("no room")
	}
	expect(3) // in a frame
	add(2)
	expect(5)
	q.release()
	q.saveHead()
	expect(5) // acknowledged
	if !q.finish(1) {
		t.Fatal("no room")
	}
	q.release()
	q.saveHead()
	expect(5) // nothing is left
	if err := unmapFile(q.mem); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, queueName), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := QueuePosition(dir); err == nil {
		t.Error("damage is read")
	}
}
