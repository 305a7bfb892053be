package now

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lectern/lectern/storage/live"
)

// cluster gathers the figures of all daemons, when somebody asks and at most once a
// second.
//
// There are two questions. The first brings the contents that stand first at each
// daemon. One that stands first in the sum may not do so everywhere: the second asks
// everybody for those, with samples of their readers.
type cluster struct {
	mu      sync.Mutex // held while figures are gathered; protects what follows
	last    *figures
	began   time.Time // when last was gathered
	took    int       // how many contents of each stream last has
	streams wanted[uint16]
	keys    wanted[live.Key]
	limits  wanted[int]
}

// gatherRest is between two times that everybody is asked.
const gatherRest = time.Second

// wanted remembers what was asked for lately.
type wanted[T comparable] struct {
	at   map[T]time.Time
	most int
}

// wantedFor is how long what was asked for is gathered without being asked for again.
const wantedFor = 30 * time.Second

func (w *wanted[T]) want(now time.Time, all ...T) {
	if w.at == nil {
		w.at = make(map[T]time.Time)
	}
	for _, x := range all {
		w.at[x] = now
	}
	maps.DeleteFunc(w.at, func(_ T, at time.Time) bool { return now.Sub(at) > wantedFor })
	for len(w.at) > w.most {
		var oldest T
		at := now
		for x, t := range w.at {
			if !t.After(at) {
				oldest, at = x, t
			}
		}
		delete(w.at, oldest)
	}
}

func (w *wanted[T]) has(all ...T) bool {
	return !slices.ContainsFunc(all, func(x T) bool { _, ok := w.at[x]; return !ok })
}

// clusterFigures are those of all daemons. Who asks for what was not gathered a moment
// ago waits until it may be.
func (b *Board) clusterFigures(ctx context.Context, q *query) *figures {
	c := &b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	now := b.o.Clock()
	has := c.streams.has(q.streams...) && c.keys.has(q.keys()...) && q.limit <= c.took
	c.streams.want(now, q.streams...)
	c.keys.want(now, q.keys()...)
	c.limits.want(now, q.limit)
	if rest := c.began.Add(gatherRest).Sub(now); c.last != nil && rest > 0 {
		if has {
			return c.last
		}
		wait := time.NewTimer(rest)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return c.last // whoever asked has hung up
		}
	}
	c.began = b.o.Clock()
	c.took = max(limitDefault, slices.Max(slices.Collect(maps.Keys(c.limits.at))))
	c.last = b.gather(context.WithoutCancel(ctx), c.took, slices.Sorted(maps.Keys(c.streams.at)), slices.Collect(maps.Keys(c.keys.at)))
	return c.last
}

// gather asks everybody twice.
func (b *Board) gather(ctx context.Context, limit int, streams []uint16, keys []live.Key) *figures {
	all, problems, unasked := b.peers.now(ctx)
	// What stands first in the sum stands at least that far in front with somebody.
	first := &question{Version: peerVersion, Limit: limit + limit/2 + 10, Streams: nil}
	asked := distinct(b.peers.ask(ctx, all, first, b.o.Collector), b.o.Collector)
	replies := []*reply{b.reply(first)}
	var answered []peer
	for _, a := range asked {
		if a.err == nil {
			replies = append(replies, a.reply)
			answered = append(answered, a.peer)
		}
	}
	second := secondQuestion(replies, limit, streams, keys)
	details := b.peers.ask(ctx, answered, second, b.o.Collector)
	own := b.reply(second)
	m := newMerged(second, own)
	for _, d := range details {
		if d.err == nil {
			if d.err = m.add(d.reply); d.err != nil {
				b.peers.learn(d, b.o.Collector)
			}
		}
		for i, a := range asked {
			if a.address == d.address {
				asked[i] = d
			}
		}
	}
	f := m.figures()
	f.nodes = append(f.nodes, b.node(own.Time, own.Since))
	for _, a := range asked {
		f.nodes = append(f.nodes, a.node())
	}
	f.nodes, f.unasked = append(f.nodes, problems...), unasked
	return f
}

// standing is what the first question has brought of a stream or a content.
type standing struct {
	sum  uint64 // of the readers of the last minute
	most uint64 // readers of five that one daemon has
}

func (s standing) with(minute, five uint64) standing {
	return standing{sum(s.sum, minute), max(s.most, five)}
}

// secondQuestion asks for the contents that stand first in the sum of what was said.
func secondQuestion(replies []*reply, limit int, streams []uint16, keys []live.Key) *question {
	whole, contents := make(map[uint16]standing), make(map[uint16]map[uint64]standing)
	for _, r := range replies {
		for _, s := range r.Streams {
			whole[s.Number] = whole[s.Number].with(s.Minute, s.Five)
			if contents[s.Number] == nil {
				contents[s.Number] = make(map[uint64]standing)
			}
			for _, c := range s.Top {
				contents[s.Number][c.ID] = contents[s.Number][c.ID].with(c.Minute, c.Five)
			}
		}
	}
	q := &question{Version: peerVersion, Streams: streams, Contents: keys}
	for _, n := range mostFirst(whole) {
		if len(q.Streams) < questionStreamsMax && !slices.Contains(q.Streams, n) {
			q.Streams = append(q.Streams, n)
		}
	}
	each := min(limit+limit/2, (questionContentsMax-len(keys))/max(1, len(q.Streams)))
	for _, n := range q.Streams {
		ids := mostFirst(contents[n])
		for _, id := range ids[:min(each, len(ids))] {
			if k := (live.Key{Stream: n, ID: id}); !slices.Contains(keys, k) {
				q.Contents = append(q.Contents, k)
			}
		}
	}
	q.size(whole, contents, len(replies))
	return q
}

// mostFirst are the keys in the order of their readers.
func mostFirst[K cmp.Ordered](of map[K]standing) []K {
	return slices.SortedFunc(maps.Keys(of), func(a, b K) int { return cmp.Or(cmp.Compare(of[b].sum, of[a].sum), cmp.Compare(a, b)) })
}

// hashBytes is what a hash takes in an answer, in base64, for the minute and for five.
const hashBytes = 2 * 11

// size says how many hashes samples may have, so that an answer has room for all: three
// quarters of it are for contents.
func (q *question) size(whole map[uint16]standing, contents map[uint16]map[uint64]standing, daemons int) {
	room := uint64(min(replyBytesMax, repliesBytes/daemons) - otherBytes)
	fit := func(hashes uint64, most int, counts []uint64) int {
		for ; most > 64; most /= 2 {
			all := uint64(0)
			for _, n := range counts {
				all += min(n, uint64(most))
			}
			if all <= hashes {
				break
			}
		}
		return most
	}
	var ofStreams, ofContents []uint64
	for _, n := range q.Streams {
		ofStreams = append(ofStreams, whole[n].most)
	}
	for _, k := range q.Contents {
		ofContents = append(ofContents, contents[k.Stream][k.ID].most)
	}
	q.StreamSample = fit(room/hashBytes/4, live.StreamSampleMax, ofStreams)
	q.ContentSample = fit(room/hashBytes/4*3, live.ContentSampleMax, ofContents)
}

// otherBytes is what else is in an answer: the opens of a thousand contents by minute.
const otherBytes = 256 << 10
