package collector

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// Names are no events: a name that comes again is looked up, in what its loop
// remembers of the last day, and nothing else is done. One that is new is kept for
// the next cut, as far as its source and its stream may bring new ones and the loop
// has room. The package comment says why it is so.

// names are what one loop has to do with names. Its shard's mutex protects it.
type names struct {
	known  knownNames
	cost   int // of those in the loop's books, in bytes
	limits *nameLimits
}

// namesWindowMax is how many bytes of new names a loop takes between two cuts, by
// storage.NameCost. With half of them a cut is asked for.
const namesWindowMax = 1 << 20

// takeNames takes the names of a frame that was placed. The stripe is locked no more.
func (s *shard) takeNames(account storage.Account, source uint64, body []byte) {
	s.tally[nameFrames]++
	for len(body) > 0 {
		var n wire.Name
		n, body, _ = wire.ReadName(body) // it was checked when the frame was judged
		s.tally[s.name(account, source, &n)]++
	}
	if s.names.cost > namesWindowMax/2 {
		s.cuts.request(causeFull)
	}
}

// name takes one name, and says as what it is counted.
func (s *shard) name(account storage.Account, source uint64, n *wire.Name) meter {
	k := &s.names
	key, text := k.known.key(account, n), k.known.text(n)
	hour := hourOf(s.steady)
	if k.known.has(key, text, hour) {
		return namesKnown
	}
	cost := storage.NameCost(len(n.Text))
	if k.cost+cost > namesWindowMax {
		return namesNoRoom
	}
	if why, ok := k.limits.take(account, s.streams, source, s.steady); !ok {
		return why
	}
	k.known.add(key, text, hour)
	k.cost += cost
	book := s.book(account)
	book.Names = append(book.Names, storage.Name{Content: n.Content, Attribute: n.Attribute, Text: string(n.Text), At: s.now})
	return namesTaken
}

// knownNames remembers which names were kept: in groups of four, a line of the cache
// each, of which the oldest goes for a new one. What it forgets is kept once more,
// which does no harm.
type knownNames struct {
	seed   [2]uint64 // of the hash, so that nobody can choose names that collide
	texts  maphash.Seed
	groups [][knownGroup]knownName
}

type knownName struct {
	key  uint64 // 0: the slot is free
	text uint32 // of its hash; 0 of what a content is called
	hour uint32 // of running time, when it was kept
}

const knownGroup = 4

const knownBytes = 16 // a knownName

// knownFor is for how many hours a name that was kept is not kept again.
const knownFor = 24

// millisPerHour is the unit in which names are remembered.
const millisPerHour = 60 * 60 * 1000

// hourOf counts from 1.
func hourOf(steady int64) uint32 { return uint32(max(0, steady)/millisPerHour) + 1 }

func newKnownNames(bytes int) knownNames {
	groups := max(1, bytes/knownBytes/knownGroup)
	return knownNames{
		seed: [2]uint64{rand.Uint64(), rand.Uint64() | 1}, texts: maphash.MakeSeed(),
		groups: make([][knownGroup]knownName, 1<<(bits.Len(uint(groups))-1)),
	}
}

// key is that of a name's account, content and attribute, and never 0.
func (k *knownNames) key(a storage.Account, n *wire.Name) uint64 {
	account := uint64(a.Stream)<<16 | uint64(a.Class)<<8 | uint64(n.Attribute)
	hi, lo := bits.Mul64(n.Content^k.seed[0], k.seed[1])
	hi, lo = bits.Mul64(hi^lo^account*0x9E3779B97F4A7C15, k.seed[1])
	return hi ^ lo | 1
}

// text tells the texts of an attribute apart that may change.
func (k *knownNames) text(n *wire.Name) uint32 {
	if n.Attribute == wire.AttributeName {
		return 0
	}
	return uint32(maphash.Bytes(k.texts, n.Text))
}

func (k *knownNames) group(key uint64) *[knownGroup]knownName {
	return &k.groups[key>>1&uint64(len(k.groups)-1)]
}

// has says whether a name was kept within a day.
func (k *knownNames) has(key uint64, text, hour uint32) bool {
	for _, o := range k.group(key) {
		if o.key == key {
			return o.text == text && hour-o.hour < knownFor
		}
	}
	return false
}

// add remembers a name.
func (k *knownNames) add(key uint64, text, hour uint32) {
	group := k.group(key)
	at := &group[0]
	for i := range group {
		o := &group[i]
		if o.key == key {
			at = o
			break
		}
		if o.hour < at.hour { // of free ones it is 0
			at = o
		}
	}
	*at = knownName{key, text, hour}
}

// nameLimits bound what may be new, for all loops together.
type nameLimits struct {
	aMinute int64
	seed    uint64
	sources [budgetRows][nameCells]pace
}

const nameCells = 1 << 12

// sourceShare is the part of a stream's new names that one source may bring which
// proves nothing.
const sourceShare = 4

func newNameLimits(aMinute int) *nameLimits {
	return &nameLimits{aMinute: int64(aMinute), seed: rand.Uint64()}
}

// take says whether one more name may come of an account and a source, and as what it
// is counted otherwise. What strangers bring takes nothing from those whose frames are
// sealed.
func (l *nameLimits) take(a storage.Account, streams *streamTable, source uint64, now int64) (meter, bool) {
	if l.aMinute == 0 {
		return namesOfStream, false
	}
	if a.Class == storage.Unsealed {
		hi, lo := bits.Mul64(source^l.seed, 0x9E3779B97F4A7C15)
		h, share := hi^lo, max(1, l.aMinute/sourceShare)
		first, second := l.sources[0][h%nameCells].allowOne(now, share), l.sources[1][h>>32%nameCells].allowOne(now, share)
		if !first && !second {
			return namesOfSource, false
		}
	}
	if !streams.find(a.Stream).names[a.Class].allowOne(now, l.aMinute) {
		return namesOfStream, false
	}
	return 0, true
}

// nameCache is what is said of contents, of as many as it has room for: those that
// came, or were asked for, last.
type nameCache struct {
	max  int // bytes
	held atomic.Int64

	mu         sync.Mutex // protects what follows
	young, old map[contentKey]called
	cost       int // of young
}

type contentKey struct {
	stream  uint16
	content uint64
}

// called is what is said of a content, by attribute, up to its author; of each what was
// sealed stays.
type called [wire.AttributePublished]struct {
	text   string
	sealed bool
}

// calledCost is what an entry takes beside its texts.
const calledCost = 208

func newNameCache(bytes int) *nameCache {
	return &nameCache{max: bytes, young: make(map[contentKey]called), old: make(map[contentKey]called)}
}

// learn takes what the books of a cut bring, or a store has, which replaces nothing.
func (c *nameCache) learn(books []storage.Book, stored bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range books {
		for _, n := range books[i].Names {
			c.add(books[i].Account(), &n, stored)
		}
	}
}

// add takes one. The cache is locked.
func (c *nameCache) add(a storage.Account, n *storage.Name, stored bool) {
	if n.Attribute >= wire.AttributePublished {
		return
	}
	key, sealed := contentKey{a.Stream, n.Content}, a.Class == storage.Sealed
	all := c.of(key)
	one := &all[n.Attribute]
	if one.sealed && !sealed || stored && one.sealed == sealed && one.text != "" {
		return
	}
	one.text, one.sealed = n.Text, sealed
	c.put(key, all)
}

// of finds an entry, which is among the young ones then. The cache is locked.
func (c *nameCache) of(key contentKey) called {
	all, ok := c.young[key]
	if ok {
		return all
	}
	if all, ok = c.old[key]; ok {
		c.put(key, all)
	}
	return all
}

// put writes an entry. Where half of the room is taken, those that were not wanted
// since it last was are forgotten. The cache is locked.
func (c *nameCache) put(key contentKey, all called) {
	if before, ok := c.young[key]; ok {
		c.cost -= before.cost()
	}
	c.young[key] = all
	if c.cost += all.cost(); c.cost > c.max/2 {
		c.old, c.young, c.cost = c.young, make(map[contentKey]called), 0
	}
	c.held.Store(int64(len(c.young) + len(c.old)))
}

func (c *called) cost() int {
	bytes := calledCost
	for i := range c {
		bytes += len(c[i].text)
	}
	return bytes
}

// Texts are what is said of a content, by attribute, up to its author; empty where
// nothing is.
type Texts [wire.AttributePublished]string

// TextsOf is what is said of a content. It knows what came lately, of as many contents as
// Options.NamesMemory holds. Any goroutine may call it.
func (c *Collector) TextsOf(stream uint16, content uint64) (texts Texts) {
	n := c.cuts.names
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.of(contentKey{stream, content})
	for i := range all {
		texts[i] = all[i].text
	}
	return texts
}

// Learn has TextsOf know what the books of a store say of contents, where
// nothing has come of them since.
func (c *Collector) Learn(books []storage.Book) { c.cuts.names.learn(books, true) }

// NamesMost is how many names Learn has room for where NamesMemory is memory bytes.
func NamesMost(memory int) int { return memory / 4 * 3 / 2 / (calledCost + 64) }
