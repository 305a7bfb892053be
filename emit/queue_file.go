package emit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lectern/lectern/wire"
)

// Names in the directory of a queue.
const (
	queueName    = "queue"
	queueNewName = "queue.new" // what a kill left of one that was being made
	queueBadName = "queue.bad" // set aside
	lockName     = "lock"
)

// What never changes in a queue's file: magic (4), version (4), stream (8), records
// (8), bytes of the ring (8), bytes of the address (8), the address, and at the end
// a checksum (4). Another version may have all else behind the version elsewhere: it
// is looked at before the checksum, and such a file is left alone.
const (
	queueMagic   = "LQUE"
	queueVersion = 1
	versionAt    = 4
	addressAt    = 40
	addressMax   = 400
	fixedSumAt   = bootAt - 4
)

// errVersion says that a queue's file is of another version of its format.
var errVersion = errors.New("another version")

// errDamaged is why a queue's file is set aside.
var errDamaged = errors.New("damaged")

// queueFile is a queue in a file, which one process has at a time.
type queueFile struct {
	queue *queue
	lock  *os.File
}

// openQueueFile opens the queue in dir, or makes one; ring is the size of its ring in
// bytes. A queue that holds nothing is made anew.
func openQueueFile(dir, address string, stream uint16, frameSize, ring int) (*queueFile, error) {
	if len(address) > addressMax {
		return nil, fmt.Errorf("emit: the address of the collector has more than %d bytes", addressMax)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("emit: cannot make the queue's directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("emit: cannot have the queue in %s for itself: %w; give each process a directory of its own", dir, err)
	}
	q, err := loadQueue(dir, address, stream, frameSize)
	if err == nil && q == nil {
		q, err = makeQueue(dir, address, stream, frameSize, ring)
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return &queueFile{q, lock}, nil
}

// close releases the file. The queue may not be used any more.
func (f *queueFile) close() error {
	err := unmapFile(f.queue.mem)
	return errors.Join(err, f.lock.Close())
}

// makeQueue makes an empty queue. All of its blocks are written, so that the
// disk has room for them before the first event comes.
func makeQueue(dir, address string, stream uint16, frameSize, ring int) (*queue, error) {
	q := newQueue(stream, frameSize, roundUp(ring, pageSize))
	q.putFixed(address)
	word(q.mem, bootAt).Store(bootNumber())
	q.mapped = true
	q.saveHead()
	path, made := filepath.Join(dir, queueName), filepath.Join(dir, queueNewName)
	err := os.WriteFile(made, q.mem, 0o600)
	if err == nil {
		err = os.Rename(made, path)
	}
	var mem []byte
	if err == nil {
		mem, err = mapFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("emit: cannot make a queue in %s: %w", dir, err)
	}
	q.use(mem, len(q.records)/recordSize)
	return q, nil
}

// putFixed writes what never changes.
func (q *queue) putFixed(address string) {
	copy(q.mem, queueMagic)
	binary.LittleEndian.PutUint32(q.mem[versionAt:], queueVersion)
	binary.LittleEndian.PutUint64(q.mem[8:], uint64(q.stream))
	binary.LittleEndian.PutUint64(q.mem[16:], uint64(len(q.records)/recordSize))
	binary.LittleEndian.PutUint64(q.mem[24:], uint64(len(q.ring)))
	binary.LittleEndian.PutUint64(q.mem[32:], uint64(len(address)))
	copy(q.mem[addressAt:], address)
	binary.LittleEndian.PutUint32(q.mem[fixedSumAt:], crc32.Checksum(q.mem[:fixedSumAt], castagnoli))
}

// checkVersion looks at the magic and the version of a queue's file, before
// anything else is believed of it. Of one that is no queue's it says nothing.
func checkVersion(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // it is only read
	var b [versionAt + 4]byte
	if _, err := io.ReadFull(f, b[:]); err != nil || string(b[:versionAt]) != queueMagic {
		return nil
	}
	if v := binary.LittleEndian.Uint32(b[versionAt:]); v != queueVersion {
		return fmt.Errorf("%w of the queue's format: %d, where this program knows %d", errVersion, v, queueVersion)
	}
	return nil
}

// checkFixed looks at what never changes.
func checkFixed(mem []byte) error {
	if len(mem) < recordsAt || string(mem[:versionAt]) != queueMagic {
		return fmt.Errorf("%w: its beginning is not a queue's", errDamaged)
	}
	if binary.LittleEndian.Uint32(mem[fixedSumAt:]) != crc32.Checksum(mem[:fixedSumAt], castagnoli) {
		return fmt.Errorf("%w: the checksum of its beginning is wrong", errDamaged)
	}
	return nil
}

// loadQueue reads back the queue in dir, nil where there is none or it holds
// nothing. One that cannot be read is set aside.
func loadQueue(dir, address string, stream uint16, frameSize int) (*queue, error) {
	path := filepath.Join(dir, queueName)
	err := checkVersion(path)
	var mem []byte
	if err == nil {
		mem, err = mapFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, errVersion) {
		return nil, fmt.Errorf("emit: the queue %s is of %w; it was left alone: send what it holds with the program that wrote it, or take another directory", path, err)
	}
	if err != nil && !errors.Is(err, errDamaged) {
		return nil, fmt.Errorf("emit: cannot open the queue in %s: %w", dir, err)
	}
	q := &queue{frameSize: frameSize, mapped: true}
	if err == nil {
		err = q.load(mem)
	}
	if err != nil {
		_ = unmapFile(mem)
		return nil, setAside(dir, err)
	}
	if q.empty() && q.opened() == 0 && q.skipped() == 0 {
		return nil, unmapFile(mem)
	}
	held := string(mem[addressAt : addressAt+binary.LittleEndian.Uint64(mem[32:])])
	if held != address && q.spool == 0 && q.tried() == 0 && q.stream == stream && word(mem, bootAt).Load() == bootNumber() {
		// Nobody has ever answered there, so nothing was sent: the address was wrong.
		if err := moveQueue(dir, mem, address); err != nil {
			return nil, err
		}
		return loadQueue(dir, address, stream, frameSize)
	}
	switch {
	case held != address:
		err = fmt.Errorf("emit: the queue in %s holds events for the collector at %s, which may have counted some already; send them there, or take another directory for %s", dir, held, address)
	case q.stream != stream:
		err = fmt.Errorf("emit: the queue in %s holds events of stream %d; take another directory for stream %d", dir, q.stream, stream)
	case len(q.ring) < ringFrames*frameSize:
		err = fmt.Errorf("emit: the queue in %s holds events, and is too small for frames of %d bytes; take at most %d until it is empty", dir, frameSize, len(q.ring)/ringFrames)
	}
	if err != nil {
		_ = unmapFile(mem)
		return nil, err
	}
	// Numbers that the machine's end took from the file must not be given
	// twice: so they are given no more.
	q.fenced = word(mem, bootAt).Load() != bootNumber()
	return q, nil
}

// moveQueue puts a queue that was never sent from at another collector's disposal, in
// one step, and unmaps it.
func moveQueue(dir string, mem []byte, address string) error {
	q := &queue{mapped: true}
	err := q.load(append([]byte(nil), mem...))
	if err == nil {
		clear(q.mem[addressAt:fixedSumAt])
		q.putFixed(address)
		made := filepath.Join(dir, queueNewName)
		if err = os.WriteFile(made, q.mem, 0o600); err == nil {
			err = os.Rename(made, filepath.Join(dir, queueName))
		}
	}
	if e := unmapFile(mem); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("emit: cannot give the queue in %s another address: %w", dir, err)
	}
	return nil
}

func setAside(dir string, why error) error {
	path, bad := filepath.Join(dir, queueName), filepath.Join(dir, queueBadName)
	if _, err := os.Lstat(bad); err == nil {
		return fmt.Errorf("emit: the queue %s cannot be read: %w; there is a %s already, so move both away", path, why, bad)
	}
	if err := os.Rename(path, bad); err != nil {
		return fmt.Errorf("emit: the queue %s cannot be read: %w; nor set aside: %w", path, why, err)
	}
	return fmt.Errorf("emit: the queue %s cannot be read: %w; it is now %s, and the next start begins with an empty one: what was in it and not acknowledged is not sent", path, why, bad)
}

// load reads a queue back from the memory of a file.
func (q *queue) load(mem []byte) error {
	if err := checkFixed(mem); err != nil {
		return err
	}
	q.stream = uint16(binary.LittleEndian.Uint64(mem[8:]))
	records, ring := int(binary.LittleEndian.Uint64(mem[16:])), int(binary.LittleEndian.Uint64(mem[24:]))
	if size, _ := queueSize(records, ring); size != len(mem) {
		return fmt.Errorf("%w: it has %d bytes and not %d", errDamaged, len(mem), size)
	}
	q.use(mem, records)
	if !q.loadHead() {
		return fmt.Errorf("%w: where its frames begin is not readable", errDamaged)
	}
	q.next = q.head
	for q.next.serial != 0 {
		m, found, err := q.find(q.next)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		q.next = q.number(m)
	}
	return q.loadOpen()
}

// loadHead takes the newer of the two places where the ring may begin.
func (q *queue) loadHead() bool {
	for i := range 2 {
		b := q.mem[headsAt+i*headSize:][:headSize]
		v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
		if v(7) != uint64(crc32.Checksum(b[:headSize-8], castagnoli)) || v(0) <= q.generation || v(5) > uint64(len(q.ring)) {
			continue
		}
		q.generation, q.source, q.spool = v(0), v(1), v(6)
		q.head = mark{serial: v(2), sequence: v(3), position: v(4), offset: int(v(5))}
	}
	return q.generation > 0
}

// find looks for the frame of a mark.
func (q *queue) find(m mark) (at mark, found bool, err error) {
	for range 2 {
		if m.offset == len(q.ring) {
			m.offset = 0
		}
		slot := q.ring[m.offset:]
		if word(slot, 0).Load() != m.serial {
			return m, false, nil
		}
		size := int(binary.LittleEndian.Uint32(slot[slotSizeAt:]))
		if size == 0 && m.offset > 0 {
			m.offset = 0
			continue
		}
		if size < wire.HeaderSize || size > FrameSizeMax || slotHeader+size > len(slot) ||
			slotSum(slot) != binary.LittleEndian.Uint32(slot[slotSumAt:]) {
			break
		}
		return m, true, nil
	}
	return m, false, fmt.Errorf("%w: the frame at byte %d of its ring is not what was written", errDamaged, m.offset)
}

// loadOpen reads the open frame back, unless it has become a slot.
func (q *queue) loadOpen() error {
	count, serial := word(q.mem, openAt).Load(), word(q.mem, serialAt).Load()
	if serial != q.next.serial {
		if serial > q.next.serial {
			return fmt.Errorf("%w: its newest frames are missing", errDamaged)
		}
		q.resetOpen()
		return nil
	}
	if count > uint64(len(q.records)/recordSize) {
		return fmt.Errorf("%w: its open frame has %d events", errDamaged, count)
	}
	for i := range int(count) {
		var e Event
		if !q.record(i, &e) || !q.extent.grow(&e, FrameSizeMax) {
			return fmt.Errorf("%w: event %d of its open frame is not what was written", errDamaged, i)
		}
	}
	return nil
}

// unfence ends what a restart of the machine began: with an empty ring.
func (q *queue) unfence() {
	q.fenced = false
	q.renew()
	word(q.mem, bootAt).Store(bootNumber())
}
