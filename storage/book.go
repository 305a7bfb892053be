package storage

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
)

// Window is the span of time, by the collector's clock in Unix milliseconds,
// in which what a block or a book says was received: [Start, End).
type Window struct {
	Start, End int64
	Config     uint64 // hash of the configuration that was in force at its end; 0: not known
}

// ConfigWord is the hash of the configuration as ledgers, metrics and the log have it, or
// nothing.
func (w Window) ConfigWord() string {
	if w.Config == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", w.Config)
}

// Account names an account: books of one account add up.
type Account struct {
	Stream uint16
	Class  Class
}

// Compare orders accounts by stream, then by class.
func (a Account) Compare(b Account) int {
	return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Class, b.Class))
}

// Counts are the numbers of a book, by Counter.
type Counts [Counters]uint64

// Book is the account of one stream's frames of one class over one window. Every
// event that a source says it sent is exactly one of accepted, refused, shed, lost
// and not found, or damaged, so
//
//	Sent = Accepted + sum of RefusedEvents + Shed + Lost - Found + Damaged
//
// holds for each book. Sent comes from the positions in the frames' headers,
// the others from counting.
type Book struct {
	Stream uint16
	Class  Class
	Counts Counts
	Spans  []Span // of sources, where other collectors may have seen more of them; beside the sum
	Names  []Name // of contents; beside the sum
}

// Account is the name of the book's account.
func (b *Book) Account() Account { return Account{b.Stream, b.Class} }

// Compare orders books by their accounts.
func (b *Book) Compare(o *Book) int { return b.Account().Compare(o.Account()) }

// LostMax is how many events a process counts as lost in one class, all streams
// together. What forged numbers say beyond it is Saturated: so all sums of a process
// stay exact where numbers have 53 bits, as in Prometheus, and no book is off.
const LostMax = 1 << 52

// sumMax is where sums end: they do not wrap, and are numbers of every ledger.
const sumMax = math.MaxInt64

// Add adds to one counter.
func (c *Counts) Add(to Counter, n uint64) { c[to] = add(c[to], n) }

// AddAll adds to all counters.
func (c *Counts) AddAll(o *Counts) {
	for k := range c {
		c[k] = add(c[k], o[k])
	}
}

// add is a sum, or sumMax where that is less.
func add(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 || sum > sumMax {
		return sumMax
	}
	return sum
}

// Net is a counter as ledgers have it: of Lost, what was not found. That is below
// zero where frames arrived that an earlier book called lost.
func (b *Book) Net(c Counter) int64 {
	if c == Lost {
		return net(b.Counts[Lost]) - net(b.Counts[Found])
	}
	return net(b.Counts[c])
}

func net(n uint64) int64 { return int64(min(n, sumMax)) }

// AddNet adds a number to a counter as ledgers have it.
func (b *Book) AddNet(c Counter, n int64) {
	if c == Lost && n < 0 {
		c, n = Found, -n
	}
	b.Counts[c] = add(b.Counts[c], uint64(n))
}

// RefusedEvents is the sum over all reasons.
func (b *Book) RefusedEvents() uint64 {
	var sum uint64
	for _, n := range b.Counts[RefusedEvents.Of(0):RefusedFrames.Of(0)] {
		sum = add(sum, n)
	}
	return sum
}

// Accounted is how many of the events sent the book says what became of.
func (b *Book) Accounted() int64 {
	sum := net(b.RefusedEvents())
	for c, of := range counterOf {
		sum += of.share * net(b.Counts[c])
	}
	return sum
}

// Balanced says whether every event sent is accounted for.
func (b *Book) Balanced() bool { return b.Net(Sent) == b.Accounted() }

// Compact leaves one of each span, and of each name.
func (b *Book) Compact() { b.Spans, b.Names = CompactSpans(b.Spans), CompactNames(b.Names) }

// IsZero says that nothing is in it.
func (b *Book) IsZero() bool { return b.Counts == Counts{} && len(b.Spans)+len(b.Names) == 0 }

// Add adds another book of the same account.
func (b *Book) Add(o *Book) {
	b.Counts.AddAll(&o.Counts)
	b.addSpans(o.Spans)
	b.addNames(o.Names)
}
