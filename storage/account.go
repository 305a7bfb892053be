package storage

import (
	"fmt"

	"github.com/lectern/lectern/wire"
)

// Counter is one number of a Book: one of a closed list. The first, below Plain,
// stand alone; behind them each Family has one for every word of wire.Refusal. The
// same word stands in the spool, in the ledger's columns, in the metric, in
// `lectern books`, and in the docs. CONTRIBUTING.md says what another counter needs.
type Counter uint16

// The closed list of those that stand alone, in events.
const (
	Sent        Counter = iota // what sources say they sent, from the positions in their frames
	Accepted                   // counted
	Shed                       // came and found no room
	Lost                       // missing when a later frame of their source came
	Found                      // were lost, and came after all; ledgers have what is lost less what is found, as lost
	Damaged                    // sealed, and what became of them is not known: the log was damaged before it went to a store
	Clamped                    // accepted with the arrival's minute in place of their own
	Duplicate                  // of frames that had been taken already
	Stale                      // of frames too old to tell from duplicates; they stay lost
	Reordered                  // of frames that came after a later one of their source; each is in the sum, as what became of it
	Saturated                  // lost, and left out of Sent and Lost, whose sums have no room for them
	Userless                   // accepted in rows of a content and other users
	Contentless                // accepted in rows of other contents and other users
	Unweighted                 // that sampled ones which were accepted stood for, beside them, and that no row has
	Plain                      // how many they are
)

// counterOf has the word of each, and whether it is a share of what was sent: 1, or
// -1 for what is taken off it. The others are beside the sum.
var counterOf = [Plain]struct {
	word  string
	share int64
}{
	Sent:        {"sent", 0},
	Accepted:    {"accepted", 1},
	Shed:        {"shed", 1},
	Lost:        {"lost", 1},
	Found:       {"found", -1},
	Damaged:     {"damaged", 1},
	Clamped:     {"clamped", 0},
	Duplicate:   {"duplicate", 0},
	Stale:       {"stale", 0},
	Reordered:   {"reordered", 0},
	Saturated:   {"saturated", 0},
	Userless:    {"coarse_users", 0},
	Contentless: {"coarse_contents", 0},
	Unweighted:  {"unweighted", 0},
}

// Family is a group of counters, one for each reason.
type Family uint16

// The closed list of families.
const (
	RefusedEvents  Family = iota // events of frames that were refused and placed; a share of what was sent
	RefusedFrames                // frames that were refused
	UnplacedEvents               // events of frames that were refused and not placed: they show as lost, or come again
	Families                     // how many they are
)

var familyOf = [Families]struct{ word, unit string }{
	RefusedEvents:  {"refused", "events"},
	RefusedFrames:  {"refused", "frames"},
	UnplacedEvents: {"unplaced", "events"},
}

// Counters is how many counters there are in all: the size of a table indexed by
// one.
const Counters = int(Plain) + int(Families)*wire.Refusals

// Unknown stands in a Family for reasons that are none of this version's words: of a
// ledger that a later one wrote.
const Unknown = wire.Accepted

// Of is the family's counter for a reason.
func (f Family) Of(why wire.Refusal) Counter {
	return Plain + Counter(f)*Counter(wire.Refusals) + Counter(why)
}

// String is the family's word and what it counts, as in a ledger's column.
func (f Family) String() string { return familyOf[f].word + "_" + familyOf[f].unit }

// Metric is the name of its metric, which has the reason as a label.
func (f Family) Metric() string { return metricOf(familyOf[f].unit, familyOf[f].word) }

// String is the counter's word; behind that of a family stands the reason.
func (c Counter) String() string {
	if c < Plain {
		return counterOf[c].word
	}
	c -= Plain
	return Family(int(c)/wire.Refusals).String() + "." + wire.Refusal(int(c)%wire.Refusals).String()
}

// Metric is the name of the counter's metric.
func (c Counter) Metric() string { return metricOf("events", c.String()) }

func metricOf(unit, word string) string { return fmt.Sprintf("lectern_%s_%s_total", unit, word) }

// counterNamed is the way back from words.
var counterNamed = func() map[string]Counter {
	all := make(map[string]Counter, Counters)
	for c := range Counter(Counters) {
		all[c.String()] = c
	}
	return all
}()

// CounterNamed is the counter of this word.
func CounterNamed(word string) (c Counter, ok bool) {
	c, ok = counterNamed[word]
	return c, ok
}

// Reason is the word under which a reason is shown, and the way back, for ledgers.
func Reason(why wire.Refusal) string {
	if why == Unknown {
		return "unknown"
	}
	return why.String()
}

// ReasonNamed is the reason of this word, Unknown where it is none of the list.
func ReasonNamed(word string) wire.Refusal {
	why, _ := wire.ParseRefusal(word)
	return why
}

// LedgerCounters are the counters that have a column of their own in ledgers, in order: all
// that stand alone but Found.
var LedgerCounters = func() (all []Counter) {
	for c := range Plain {
		if c != Found {
			all = append(all, c)
		}
	}
	return all
}()

// Class tells the accounts of a stream apart by what its frames prove, so that what
// a stranger invents is never in one account with what a holder of the stream's key
// says.
type Class uint8

// The classes.
const (
	Unsealed Class = iota // frames that prove nothing
	Sealed                // frames whose tag was verified
	Classes               // how many they are
)

var classOf = [Classes]string{Unsealed: "unsealed", Sealed: "sealed"}

// String is the class's word.
func (c Class) String() string {
	if c < Classes {
		return classOf[c]
	}
	return "unknown"
}

// ClassNamed is the class of this word.
func ClassNamed(word string) (Class, bool) {
	for c, w := range classOf {
		if w == word {
			return Class(c), true
		}
	}
	return 0, false
}
