package emit

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"unsafe"

	"github.com/lectern/lectern/wire"
)

// queue holds what has been added and is not acknowledged: a ring of numbered
// frames, and the open frame, which is still being filled. Its memory is the
// heap's, or a file's that is mapped, so that it outlives the process. For the
// latter's sake every change ends with one word that is written last; what is
// read back after a kill is the state before or behind that word.
//
//	   0  what never changes: see queue_file.go
//	 512  words: boot (of the machine), tried
//	1024  where the ring begins: two places, written in turn
//	4096  the open frame: count, serial, skip, and how many events each stands for beside
//	      itself; then a record for each event
//	   …  the ring
//
// It is not safe for concurrent use.
type queue struct {
	stream    uint16
	frameSize int
	mem       []byte
	records   []byte // of the open frame
	ring      []byte
	mapped    bool // mem is a file's: what is needed to read it back is written

	source     uint64
	spool      uint64 // of the collector that answered its first hello; 0: none has yet
	head       mark   // the oldest frame
	next       mark   // where the next frame goes
	generation uint64
	extent     extent // of the open frame
	fenced     bool   // what the ring holds goes out before anything new comes in
}

// mark is a place in the ring, and the numbers of the frame there.
type mark struct {
	serial             uint64 // frames in this queue before this one, of all sources; never reused
	sequence, position uint64
	offset             int
}

// Places in the memory of a queue, and sizes, in bytes.
const (
	bootAt      = 512
	triedAt     = 520
	headsAt     = 1024
	headSize    = 64
	openAt      = 4096
	serialAt    = openAt + 8
	skipAt      = openAt + 16
	sampledAt   = openAt + 24
	recordsAt   = openAt + 64
	recordSize  = 32
	pageSize    = 4096
	slotHeader  = 32
	encodeSlack = 8 // an id is appended eight bytes wide and then cut
)

// A slot of the ring: serial (8, the word that is written last), size of the
// frame (4), checksum (4), whether it is refused (8), events skipped in front
// of it (8), then the frame. Size 0: the ring goes on at its beginning.
const (
	slotSizeAt    = 8
	slotSumAt     = 12
	slotRefusedAt = 16
	slotSkipAt    = 24
)

// renumberAfter is the position from which on an empty queue takes another
// source: long before wire.NumberMax.
const renumberAfter = wire.NumberMax / 2

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordsFor is how many events the open frame holds at most: most take more
// bytes than this.
func recordsFor(frameSize int) int { return max(frameSize/8, 8) }

// queueSize is the memory of a queue, and where its ring begins.
func queueSize(records, ring int) (size, ringAt int) {
	ringAt = roundUp(recordsAt+records*recordSize, pageSize)
	return ringAt + ring, ringAt
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// newQueue returns an empty queue on the heap; ring is the size of its ring in bytes.
func newQueue(stream uint16, frameSize, ring int) *queue {
	records := recordsFor(frameSize)
	ring = roundUp(ring, slotHeader)
	size, _ := queueSize(records, ring)
	q := &queue{stream: stream, frameSize: frameSize}
	q.use(make([]byte, size), records)
	q.source = drawSource()
	q.next.serial, q.head.serial = 1, 1
	q.saveHead()
	q.resetOpen()
	return q
}

// use takes mem, which is laid out for that number of records.
func (q *queue) use(mem []byte, records int) {
	_, ringAt := queueSize(records, 0)
	q.mem = mem
	q.records = mem[recordsAt : recordsAt+records*recordSize]
	q.ring = mem[ringAt:]
}

// word is eight bytes that change at once.
func word(b []byte, at int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&b[at])) }

func (q *queue) empty() bool { return q.head.serial == q.next.serial }

// opened is how many events the open frame has, and skipped how many were
// dropped that no frame tells of yet.
func (q *queue) opened() int     { return q.extent.count }
func (q *queue) skipped() uint64 { return word(q.mem, skipAt).Load() }
func (q *queue) skip(n uint64)   { word(q.mem, skipAt).Add(n) }

// tried is the sequence behind the newest that a send was tried of.
func (q *queue) tried() uint64 { return word(q.mem, triedAt).Load() }

func (q *queue) setTried(sequence uint64) {
	if sequence > q.tried() {
		word(q.mem, triedAt).Store(sequence)
	}
}

// untry takes back that a send was tried of the frames from this sequence on.
func (q *queue) untry(sequence uint64) {
	if sequence < q.tried() {
		word(q.mem, triedAt).Store(sequence)
	}
}

// add puts e into the open frame, false where it belongs in the next one.
func (q *queue) add(e *Event) bool {
	n := q.extent.count
	if n*recordSize == len(q.records) || !q.extent.grow(e, q.frameSize) {
		return false
	}
	if n == 0 {
		word(q.mem, sampledAt).Store(uint64(e.Skipped))
	}
	q.putRecord(n, e)
	word(q.mem, openAt).Store(uint64(n + 1))
	return true
}

// A record: time with kind and progress above it, content, user, dwell, and a
// stamp, by which a record that was never written whole shows.
func (q *queue) putRecord(n int, e *Event) {
	b := (*[recordSize]byte)(q.records[n*recordSize:])
	progress := uint64(255)
	if percent, known := e.Progress.Percent(); known {
		progress = uint64(percent)
	}
	first, dwell := uint64(e.Time)|uint64(e.Kind)<<48|progress<<56, min(e.Dwell, wire.DwellMax)
	binary.LittleEndian.PutUint64(b[0:], first)
	binary.LittleEndian.PutUint64(b[8:], e.Content)
	binary.LittleEndian.PutUint64(b[16:], e.User)
	binary.LittleEndian.PutUint32(b[24:], dwell)
	binary.LittleEndian.PutUint32(b[28:], stamp(q.next.serial, first, e.Content, e.User, dwell))
}

// record reads an event back, false if it is not one that was written for this
// frame.
func (q *queue) record(n int, e *Event) bool {
	b := (*[recordSize]byte)(q.records[n*recordSize:])
	first, dwell := binary.LittleEndian.Uint64(b[0:]), binary.LittleEndian.Uint32(b[24:])
	*e = Event{
		Time: int64(first & wire.TimeMax), Kind: Kind(first >> 48 & 255),
		Content: binary.LittleEndian.Uint64(b[8:]), User: binary.LittleEndian.Uint64(b[16:]), Dwell: dwell,
		Skipped: uint16(word(q.mem, sampledAt).Load()),
	}
	if progress := uint8(first >> 56); progress != 255 {
		e.Progress = Percent(progress)
	}
	return binary.LittleEndian.Uint32(b[28:]) == stamp(q.next.serial, first, e.Content, e.User, dwell) && e.check() == nil
}

func stamp(serial, first, content, user uint64, dwell uint32) uint32 {
	const k = 0x9E3779B97F4A7C15
	h := ((serial^first)*k ^ content) * k
	h = ((h^h>>29)^user)*k ^ uint64(dwell)
	return uint32(h * k >> 32)
}

// resetOpen begins a new open frame. Its serial comes last: until then it is
// that of a slot, which says that these records are in there.
func (q *queue) resetOpen() {
	q.extent = extent{}
	word(q.mem, openAt).Store(0)
	word(q.mem, skipAt).Store(0)
	word(q.mem, serialAt).Store(q.next.serial)
}

// finish numbers the open frame and puts it into the ring, false where there is
// no room. Without events it becomes a beat of timeMS, in Unix milliseconds.
func (q *queue) finish(timeMS int64) bool {
	count, size := q.extent.count, wire.HeaderSize
	if count > 0 {
		size, timeMS = q.extent.bound(), q.extent.oldest
	}
	offset, ok := q.place(roundUp(slotHeader+size+encodeSlack, slotHeader))
	if !ok {
		return false
	}
	slot := q.ring[offset:]
	frame := slot[slotHeader:slotHeader]
	frame = wire.AppendHeader(frame, wire.Header{}) // its place; the size is known at the end
	frame = q.extent.begin(frame)
	var a, b wire.Event
	e, prev := &a, (*wire.Event)(nil)
	for i := range count {
		q.decoded(i, e)
		frame = wire.AppendEvent(frame, e, prev)
		if prev == nil {
			prev = &b
		}
		e, prev = prev, e
	}
	wire.AppendHeader(frame[:0], wire.Header{
		Type: wire.TypeEvents, Flags: q.extent.flags(), Size: len(frame), Count: count, Stream: q.stream, Time: timeMS,
	})
	q.publish(offset, frame)
	return true
}

// publish numbers the frame that stands in the slot at offset, and has the ring end
// behind it.
func (q *queue) publish(offset int, frame []byte) {
	slot := q.ring[offset:]
	binary.LittleEndian.PutUint32(slot[slotSizeAt:], uint32(len(frame)))
	binary.LittleEndian.PutUint64(slot[slotRefusedAt:], 0)
	binary.LittleEndian.PutUint64(slot[slotSkipAt:], q.skipped())
	if q.mapped {
		binary.LittleEndian.PutUint32(slot[slotSumAt:], slotSum(slot))
	}
	q.next.offset = offset
	after := q.number(q.next)
	word(slot, 0).Store(q.next.serial)
	q.next = after
	q.resetOpen()
}

// decoded reads record i, which this process has checked or written, as the
// frame's event.
func (q *queue) decoded(i int, e *wire.Event) {
	b := (*[recordSize]byte)(q.records[i*recordSize:])
	first := binary.LittleEndian.Uint64(b[0:])
	*e = wire.Event{
		At:      uint32(int64(first&wire.TimeMax) - q.extent.oldest),
		Content: binary.LittleEndian.Uint64(b[8:]), User: binary.LittleEndian.Uint64(b[16:]),
		Dwell: binary.LittleEndian.Uint32(b[24:]), Kind: Kind(first >> 48 & 255),
	}
	if progress := uint8(first >> 56); progress != 255 {
		e.Progress, e.HasProgress = progress, true
	}
}

// number writes source, sequence and position into the frame at m and returns
// the mark behind it. Dropped events use up a sequence in front of the frame,
// and their positions. A source cannot begin with them: nobody would know it.
func (q *queue) number(m mark) mark {
	slot := q.ring[m.offset:]
	if skip := binary.LittleEndian.Uint64(slot[slotSkipAt:]); skip > 0 && m.sequence > 0 {
		m.sequence++
		m.position += skip
	}
	frame := slot[slotHeader:]
	binary.LittleEndian.PutUint64(frame[16:], q.source)
	binary.LittleEndian.PutUint64(frame[24:], m.sequence)
	binary.LittleEndian.PutUint64(frame[32:], m.position)
	return q.behind(m)
}

// slotSum is the checksum of all of a slot but what may change: its serial, its
// refusal, the numbers of its frame.
func slotSum(slot []byte) uint32 {
	size := binary.LittleEndian.Uint32(slot[slotSizeAt:])
	frame := slot[slotHeader : slotHeader+int(size)]
	sum := crc32.Update(size, castagnoli, slot[slotSkipAt:slotHeader])
	sum = crc32.Update(sum, castagnoli, frame[:16])
	return crc32.Update(sum, castagnoli, frame[wire.HeaderSize:])
}

// place finds room for a slot of need bytes behind the newest.
func (q *queue) place(need int) (offset int, ok bool) {
	at, head := q.next.offset, q.head.offset
	if at < head || at == head && !q.empty() {
		return at, head-at >= need
	}
	if len(q.ring)-at >= need {
		return at, true
	}
	if head < need {
		return 0, false
	}
	if at < len(q.ring) {
		binary.LittleEndian.PutUint32(q.ring[at+slotSizeAt:], 0)
		word(q.ring, at).Store(q.next.serial)
	}
	return 0, true
}

// follow moves a mark that is not at the end of the queue to where its slot is.
func (q *queue) follow(m mark) mark {
	if m.offset == len(q.ring) || binary.LittleEndian.Uint32(q.ring[m.offset+slotSizeAt:]) == 0 {
		m.offset = 0
	}
	return m
}

// frame is the frame at m, which has been followed.
func (q *queue) frame(m mark) []byte {
	size := int(binary.LittleEndian.Uint32(q.ring[m.offset+slotSizeAt:]))
	return q.ring[m.offset+slotHeader : m.offset+slotHeader+size]
}

func (q *queue) refused(m mark) bool { return word(q.ring, m.offset+slotRefusedAt).Load() != 0 }
func (q *queue) refuse(m mark)       { word(q.ring, m.offset+slotRefusedAt).Store(1) }

// behind is the mark behind the frame at m.
func (q *queue) behind(m mark) mark {
	frame := q.frame(m)
	return mark{
		serial:   m.serial + 1,
		sequence: frameSequence(frame) + 1,
		position: binary.LittleEndian.Uint64(frame[32:]) + uint64(frameCount(frame)),
		offset:   m.offset + roundUp(slotHeader+len(frame), slotHeader),
	}
}

func frameSequence(frame []byte) uint64 { return binary.LittleEndian.Uint64(frame[24:]) }
func frameCount(frame []byte) int       { return int(binary.LittleEndian.Uint16(frame[6:])) }

// release drops the oldest frame. It is not for good before saveHead.
func (q *queue) release() {
	q.head = q.behind(q.follow(q.head))
	if q.empty() {
		q.head.offset, q.next.offset = 0, 0
	}
}

// saveHead writes where the ring begins, over the older of the two places.
func (q *queue) saveHead() {
	q.generation++
	b := q.mem[headsAt+int(q.generation%2)*headSize:][:headSize]
	for i, v := range [...]uint64{q.generation, q.source, q.head.serial, q.head.sequence, q.head.position, uint64(q.head.offset), q.spool} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	if q.mapped {
		binary.LittleEndian.PutUint64(b[headSize-8:], uint64(crc32.Checksum(b[:headSize-8], castagnoli)))
	}
}

// belong has the source belong to this spool, if it does not belong to one yet,
// and says whether that is the one. To belong to one that has a name is no longer
// possible once a frame was sent to one that has none. The disk has it before the
// first frame is sent: where it says after the machine's end that there is no spool
// yet, none has the frames.
func (q *queue) belong(spool uint64) (bool, error) {
	if q.spool != 0 || spool == 0 || q.tried() > 0 && !q.fenced {
		return q.spool == spool, nil
	}
	q.spool = spool
	q.saveHead()
	if !q.mapped {
		return true, nil
	}
	if err := syncPage(q.mem[:pageSize]); err != nil {
		q.spool = 0
		q.saveHead()
		return false, fmt.Errorf("emit: cannot write to the queue which collector its frames go to: %w; look at the disk", err)
	}
	return true, nil
}

// renew begins a new source: the frames in the ring become its first.
func (q *queue) renew() {
	q.source, q.spool = drawSource(), 0
	q.head.sequence, q.head.position = 0, 0
	q.saveHead()
	word(q.mem, triedAt).Store(0)
	q.renumber()
}

// renumber gives every frame in the ring its numbers, from the head's on.
func (q *queue) renumber() {
	m := q.head
	for m.serial != q.next.serial {
		m = q.number(q.follow(m))
	}
	q.next.sequence, q.next.position = m.sequence, m.position
}
