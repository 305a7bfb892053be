package collector

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/lectern/lectern/storage"
)

// Whoever reaches the port may send under any number that it makes up, so a new
// source is on probation: its address pays for it, and it is the first to go where
// room is short. The package comment says why it is as it is.

// livedAfter is for how long a source must have been heard to have lived.
const livedAfter = time.Minute

// ended says that the source is at its end, by its own word, and may be forgotten
// where there is something better to remember.
func (s *source) ended() bool { return s.closing >= closingDone && !s.session }

// displaceable says that the source may go for the sake of another.
func (s *source) displaceable() bool {
	return s.standing == storage.Stranger || s.standing == storage.Lived && s.ended()
}

// budgets are what peers may still bring of new sources: two rows of counters, of
// which each peer has one in each. Whoever shares one of them with a peer that has spent
// it still has the other, and nobody chooses whom to share with, since the hash is
// seeded. So they take the same memory, whoever comes.
type budgets struct {
	seed uint64
	rows [budgetRows][budgetCells]budget
}

const (
	budgetRows  = 2
	budgetCells = 1 << 15
)

// budget is one counter.
type budget struct {
	sources atomic.Int32 // sources that are known now, and not proved
	pace    pace
}

// payer is what a source remembers of its address, to give back what it holds.
type payer uint32

// payer is the counters of an address: bits of its hash, and never 0.
func (b *budgets) payer(address uint64) payer {
	hi, lo := bits.Mul64(address^b.seed, 0x9E3779B97F4A7C15)
	return payer(hi^lo)>>1<<1 | 1
}

// cells are the counters of a payer, one in each row.
func (b *budgets) cells(p payer) [budgetRows]*budget {
	return [budgetRows]*budget{&b.rows[0][p>>1%budgetCells], &b.rows[1][p>>16%budgetCells]}
}

// turnedAway says why a source found no room.
type turnedAway uint8

const (
	turnedAddress turnedAway = iota // its address holds as many as it may, none of which can go
	turnedPace                      // its address brought too many within a minute
	turnedFull                      // nothing that is known can go
	turnedAways
)

var turnedWords = [turnedAways]string{turnedAddress: "address", turnedPace: "pace", turnedFull: "full"}

// room finds room for a new source from there, of this standing, at the expense of
// another where it must. The stripe is locked. It says who pays; without room it
// counts why.
func (s *sources) room(st *stripe, from address, standing storage.Standing, now int64) (payer, bool) {
	if standing == storage.Proved {
		return 0, s.live.Load() < s.max || s.makeWay(st, 0) || s.turn(turnedFull)
	}
	var pays payer
	if from.network != 0 && s.perAddress > 0 {
		pays = s.budgets.payer(from.network)
		cells := s.budgets.cells(pays)
		if first, second := cells[0].pace.allowOne(now, s.perAddress), cells[1].pace.allowOne(now, s.perAddress); !first && !second {
			return 0, s.turn(turnedPace)
		}
		if held := min(cells[0].sources.Load(), cells[1].sources.Load()); int64(held) >= s.perAddress && !s.makeWay(st, pays) {
			return 0, s.turn(turnedAddress)
		}
	}
	if s.live.Load() < s.max {
		return pays, true
	}
	// All that a flood brings is written down, and so is what it displaces.
	return pays, s.displacing.allowOne(now, max(1, s.max)) && s.makeWay(st, 0) || s.turn(turnedFull)
}

// turn counts a source that found no room.
func (s *sources) turn(why turnedAway) bool {
	s.turned[why].Add(1)
	return false
}

// makeWay forgets a source of the stripe for the sake of another: of those of
// one payer, or of anybody, the one that has the least to show for itself of a few
// that it looks at. Not one of which something is not sealed, nor one whose client
// is connected or has not been acknowledged: its frames would be counted again.
func (s *sources) makeWay(st *stripe, of payer) bool {
	sealed := s.sealed.Load()
	var least *source
	for src := range st.some() {
		switch {
		case !src.displaceable() || src.generation > sealed || of != 0 && src.payer != of:
		case src.session && (src.durable != src.next || s.connected != nil && s.connected(src.id)):
		case least == nil || src.worth() < least.worth() || src.worth() == least.worth() && src.lastSeen < least.lastSeen:
			least = src
		}
	}
	if least == nil {
		return false
	}
	s.letGo(st, least)
	s.displaced.Add(1)
	return true
}

// worth is how many frames of a source came, 0 where none is to come any more.
func (s *source) worth() uint32 {
	if s.ended() {
		return 0
	}
	return s.window.taken
}

// hold has a source that is new, restored or adopted count where it belongs, and
// release the one that goes.
func (s *sources) hold(src *source) { s.count(src, 1) }

func (s *sources) release(src *source) { s.count(src, -1) }

func (s *sources) count(src *source, n int64) {
	s.live.Add(n)
	if src.base > 0 {
		s.middle.Add(n)
	}
	if src.standing == storage.Stranger {
		s.strangers.Add(n)
	}
	if src.payer != 0 {
		for _, cell := range s.budgets.cells(src.payer) {
			cell.sources.Add(int32(n))
		}
	}
}

// earn has a source that is heard now, in running time, be a stranger no more when
// that went on for long enough: each of a flood's sources would have to be sent to
// for as long. Where it is acknowledged, something of it must have been. The stripe
// is locked.
func (s *sources) earn(src *source, now int64) {
	if src.standing == storage.Stranger && now-int64(src.first)*1000 >= livedAfter.Milliseconds() && (!src.session || src.durable > 0) {
		s.raise(src, storage.Lived)
	}
}

// raise has a source stand better. The stripe is locked.
func (s *sources) raise(src *source, to storage.Standing) {
	s.release(src)
	src.standing = to
	s.hold(src)
}
