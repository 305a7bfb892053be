package now

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/lectern/lectern/storage/live"
)

// PeerPath is where daemons ask one another. What stands there is theirs alone, and
// not a contract.
const PeerPath = "/now/peer"

// peerVersion is that of question and reply. Another one is left out.
const peerVersion = 1

// The bounds of a question.
const (
	questionBytesMax    = 256 << 10
	questionStreamsMax  = live.StreamsMax + streamsAskedMax
	questionContentsMax = 1000
)

// question is what one daemon asks another: first for what stands first there, then,
// with the number of hashes that it wants, for all that is known of some streams and
// contents. It is answered from the other's own memory alone.
type question struct {
	Version       int        `json:"version"`
	Limit         int        `json:"limit,omitempty"` // contents of each stream
	Streams       []uint16   `json:"streams,omitempty"`
	Contents      []live.Key `json:"contents,omitempty"`
	StreamSample  int        `json:"stream_sample,omitempty"`
	ContentSample int        `json:"content_sample,omitempty"`
}

// reply is the answer.
type reply struct {
	Version   int           `json:"version"`
	Collector uint64        `json:"collector"`
	Clock     int64         `json:"clock"` // Unix milliseconds there
	Time      int64         `json:"time"`
	Since     int64         `json:"since"`
	Seconds   float64       `json:"seconds"` // of live.Counts.Opens
	Streams   []peerStream  `json:"streams"`
	Contents  []peerContent `json:"contents"` // in the order in which they were asked for
}

type peerStream struct {
	Number uint16 `json:"number"`
	Coarse uint64 `json:"coarse"`
	peerCounts
	Top []peerTop `json:"top"`
}

// peerTop is a content of which the question is not yet what is known of it.
type peerTop struct {
	ID     uint64 `json:"id"`
	Minute uint64 `json:"minute"`
	Five   uint64 `json:"five"`
}

type peerContent struct{ peerCounts }

type peerCounts struct {
	Minute       uint64 `json:"minute"`
	Five         uint64 `json:"five"`
	Opens        uint64 `json:"opens"`
	Minutes      []byte `json:"minutes"` // of live.Counts, as varints
	MinuteHashes []byte `json:"minute_hashes,omitempty"`
	FiveHashes   []byte `json:"five_hashes,omitempty"`
}

func packCounts(c *live.Counts) peerCounts {
	x := peerCounts{Minute: c.Minute, Five: c.Five, Opens: c.Opens}
	for _, n := range c.Minutes {
		x.Minutes = binary.AppendUvarint(x.Minutes, n)
	}
	return x
}

// counts is the opposite of packCounts. What is missing is 0.
func (c *peerCounts) counts() live.Counts {
	x := live.Counts{Minute: c.Minute, Five: c.Five, Opens: c.Opens}
	packed := c.Minutes
	for i := range x.Minutes {
		n, size := binary.Uvarint(packed)
		if size <= 0 {
			break
		}
		x.Minutes[i], packed = n, packed[size:]
	}
	return x
}

func packHashes(hashes []uint64) []byte {
	b := make([]byte, 0, 8*len(hashes))
	for _, h := range hashes {
		b = binary.LittleEndian.AppendUint64(b, h)
	}
	return b
}

// countMax is more readers than there are people.
const countMax = 1 << 40

// sampleOf is the opposite of packHashes. Whatever a peer says, a sample is in order
// and not larger than its set.
func sampleOf(count uint64, packed []byte) (s live.Sample, ok bool) {
	if s.Count = count; count > countMax {
		return s, false
	}
	for ; len(packed) >= 8; packed = packed[8:] {
		h := binary.LittleEndian.Uint64(packed)
		if n := len(s.Hashes); n > 0 && h <= s.Hashes[n-1] {
			return s, false
		}
		s.Hashes = append(s.Hashes, h)
	}
	return s, len(packed) == 0 && uint64(len(s.Hashes)) <= count
}

// samples are those of what a peer has told.
func (c *peerCounts) samples() (minute, five live.Sample, ok bool) {
	minute, fine := sampleOf(c.Minute, c.MinuteHashes)
	five, ok = sampleOf(c.Five, c.FiveHashes)
	return minute, five, ok && fine
}

// check says what is wrong with a question.
func (q *question) check() error {
	switch {
	case q.Version != peerVersion:
		return fmt.Errorf("this daemon speaks version %d of the questions of peers, not %d", peerVersion, q.Version)
	case q.Limit < 0 || q.Limit > 2*limitMax || len(q.Streams) > questionStreamsMax || len(q.Contents) > questionContentsMax:
		return errors.New("the question is larger than any that a daemon asks")
	case q.StreamSample < 0 || q.StreamSample > live.StreamSampleMax || q.ContentSample < 0 || q.ContentSample > live.ContentSampleMax:
		return errors.New("the question wants more hashes than there may be")
	}
	return nil
}

// reply answers a question from this daemon's memory.
func (b *Board) reply(q *question) *reply {
	r := &reply{Version: peerVersion, Collector: b.o.Collector, Clock: b.o.Clock().UnixMilli()}
	f := b.o.Readers.Top(q.Limit, q.Streams...)
	r.Time, r.Since, r.Seconds = f.Time, f.Since, f.OpensSeconds
	for i := range f.Streams {
		s := &f.Streams[i]
		x := peerStream{Number: s.Number, Coarse: s.Coarse, peerCounts: packCounts(&s.Counts)}
		for j := range s.Contents {
			x.Top = append(x.Top, peerTop{s.Contents[j].ID, s.Contents[j].Minute, s.Contents[j].Five})
		}
		r.Streams = append(r.Streams, x)
	}
	if q.StreamSample+q.ContentSample == 0 {
		return r
	}
	var numbers []uint16
	for i := range r.Streams {
		numbers = append(numbers, r.Streams[i].Number)
	}
	contents, streams := b.o.Readers.Sample(q.Contents, numbers, q.ContentSample, q.StreamSample)
	for i := range streams {
		r.Streams[i].fill(&streams[i])
	}
	for i, c := range b.o.Readers.Of(q.Contents) {
		x := peerContent{packCounts(&c.Counts)}
		x.fill(&contents[i])
		r.Contents = append(r.Contents, x)
	}
	return r
}

// fill takes samples, and the counts that are of the same instant.
func (c *peerCounts) fill(s *live.Samples) {
	c.Minute, c.Five = s.Minute.Count, s.Five.Count
	c.MinuteHashes, c.FiveHashes = packHashes(s.Minute.Hashes), packHashes(s.Five.Hashes)
}

// Who asks for samples has all readers looked at, one question after the other, and
// for a tenth of the time at most: sampleRest is how many times what it took is
// between two, and sampleWait for how long a question waits for its turn.
const (
	sampleRest = 9
	sampleWait = 250 * time.Millisecond
)

// servePeer answers another daemon.
func (b *Board) servePeer(w http.ResponseWriter, r *http.Request) {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	if !b.peers.knows(r.Context(), from.Addr().Unmap()) {
		http.Error(w, "only daemons that ops.peers leads to may ask here", http.StatusForbidden)
		return
	}
	var q question
	body := http.MaxBytesReader(w, r.Body, questionBytesMax)
	err := json.NewDecoder(body).Decode(&q)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, ok := b.replyInTurn(&q)
	if !ok {
		http.Error(w, "busy: other daemons ask, too", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // whoever asked has hung up
}

// replyInTurn is reply, in turn where that costs much.
func (b *Board) replyInTurn(q *question) (*reply, bool) {
	if q.StreamSample+q.ContentSample == 0 {
		return b.reply(q), true
	}
	b.sampling.Lock()
	defer b.sampling.Unlock()
	began := b.o.Clock()
	if wait := b.sampleFrom.Sub(began); wait > sampleWait {
		return nil, false
	} else if wait > 0 {
		time.Sleep(wait)
		began = b.o.Clock()
	}
	r := b.reply(q)
	b.sampleFrom = began.Add((sampleRest + 1) * b.o.Clock().Sub(began))
	return r, true
}

// readReply reads what a peer says, which may be anything of any size.
func readReply(from io.Reader, most int64) (*reply, error) {
	limited := &io.LimitedReader{R: from, N: most + 1}
	var r reply
	err := json.NewDecoder(limited).Decode(&r)
	switch {
	case limited.N <= 0:
		return nil, fmt.Errorf("its answer is larger than %d bytes", most)
	case err != nil:
		return nil, fmt.Errorf("its answer makes no sense: %w", err)
	case r.Version != peerVersion:
		return nil, fmt.Errorf("it speaks version %d of the questions of peers, this daemon %d", r.Version, peerVersion)
	case r.Clock-r.Time > staleMax.Milliseconds():
		return nil, fmt.Errorf("its figures are %v old: it does not cut", time.Duration(r.Clock-r.Time)*time.Millisecond)
	}
	return &r, nil
}

// staleMax is how old a peer's figures may be, by its own clock.
const staleMax = 10 * time.Second
