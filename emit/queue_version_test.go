//go:build go1.26

package emit

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var updateFlag = flag.Bool("update", false, "write the golden files anew")

// The bytes of a queue's file, with a frame and an open frame in it. Where this
// fails, the format has changed: that takes another queueVersion, and then -update.
func TestGoldenQueue(t *testing.T) {
	q := newQueue(7, 512, pageSize)
	q.source, q.spool, q.mapped = 0x0102030405060708, 0x212223242526, true
	q.putFixed("localhost:8420")
	word(q.mem, bootAt).Store(0x1112131415161718)
	clear(q.mem[headsAt:openAt]) // the source that was drawn
	q.generation = 0
	q.saveHead()
	for i := range uint64(3) {
		e := Event{Time: 1728000000000 + int64(i), Content: 1 << (20 * i), User: i, Kind: Read, Dwell: 1000}
		if i > 0 {
			e.Progress = Percent(50)
		}
		if !q.add(&e) {
			t.Fatal("no room")
		}
		if i == 1 && !q.finish(0) {
			t.Fatal("no room for a frame")
		}
	}
	q.skip(1)
	q.setTried(1)
	path := filepath.Join("testdata", fmt.Sprintf("version-%d", queueVersion), queueName)
	if *updateFlag {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, q.mem, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(q.mem, want) {
		for i := range min(len(q.mem), len(want)) {
			if q.mem[i] != want[i] {
				t.Fatalf("byte %d is %#x, and version %d has %#x", i, q.mem[i], queueVersion, want[i])
			}
		}
		t.Fatalf("it has %d bytes, and version %d has %d", len(q.mem), queueVersion, len(want))
	}
}

// A queue of another version holds events that the program that wrote it can send:
// it is not set aside, whatever is behind the version.
func TestQueueOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	f, err := openQueueFile(dir, "localhost:8420", 7, 512, pageSize)
	if err != nil {
		t.Fatal(err)
	}
	if !f.queue.add(&Event{Time: 1728000000000, Content: 1, User: 1, Kind: Open}) {
		t.Fatal("no room")
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, queueName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []byte{queueVersion + 1, 0} {
		for _, length := range []int{len(whole), addressAt} {
			other := bytes.Clone(whole[:length])
			other[versionAt] = version
			other[length-1] ^= 1
			if err := os.WriteFile(path, other, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := openQueueFile(dir, "localhost:8420", 7, 512, pageSize); !errors.Is(err, errVersion) {
				t.Errorf("version %d, %d bytes: %v", version, length, err)
			}
			after, err := os.ReadFile(path)
			if list, _ := os.ReadDir(dir); err != nil || !bytes.Equal(after, other) || len(list) != 2 { // and the lock
				t.Errorf("version %d, %d bytes: it was touched: %v, %v", version, length, list, err)
			}
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = openQueueFile(dir, "localhost:8420", 7, 512, pageSize); err != nil || f.queue.opened() != 1 {
		t.Fatalf("with the version put back: %v", err)
	}
	_ = f.close()
}
