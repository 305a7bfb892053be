package native

import (
	"strings"
	"sync"
	"time"
)

// A Kind is what a fault does to a query.
type Kind string

// What can be done to a query. "Cut" closes the connection with a reset; what
// the client had not yet read is lost.
const (
	// CutBefore cuts when the query has arrived, before the server answers and
	// before it reads a block.
	CutBefore Kind = "cut before"
	// CutInside cuts when the header was sent and half of the first block came.
	CutInside Kind = "cut inside"
	// CutAfter cuts when all blocks have come; nothing is stored.
	CutAfter Kind = "cut after"
	// CutCommitted cuts when all is stored, in place of the answer.
	CutCommitted Kind = "cut committed"
	// CutLater cuts when all blocks have come, and stores them Delay later: the
	// client has long gone on when its insert appears.
	CutLater Kind = "cut later"
	// Silent stores nothing and never answers, until the client goes.
	Silent Kind = "silent"
	// SilentCommitted stores all and never answers, until the client goes.
	SilentCommitted Kind = "silent committed"
	// Late stores all, and answers Delay after that.
	Late Kind = "late"
	// Slow waits Delay before it stores, and answers then.
	Slow Kind = "slow"
	// Fail answers with the exception Code and Message in place of storing. It
	// does so where the server would: with a code that says that the table or a
	// column is wrong before the header, with any other after the last block.
	Fail Kind = "fail"
	// FailCommitted stores all, and then answers with the exception.
	FailCommitted Kind = "fail committed"
	// Lie stores nothing and answers as if it had.
	Lie Kind = "lie"
	// Refuse closes the port for Delay, or with none until Clear is called: new
	// connections are refused, those that are there are cut. It needs no query,
	// and Table and Times mean nothing to it.
	Refuse Kind = "refuse"
)

// AnyQuery as the table of a fault makes it hit any query, not only inserts. A
// query that sends no block is then treated as if it had sent them all.
const AnyQuery = "*"

// A Fault is what happens to the next queries that it fits.
type Fault struct {
	Kind Kind
	// Table is the table whose inserts are hit, with or without its database.
	// Empty: inserts into any table. AnyQuery: any query at all.
	Table string
	// Times is how many queries are hit. Zero: all, until Clear.
	Times int
	// Delay is for CutLater, Late, Slow and Refuse.
	Delay time.Duration
	// Code is the exception's, as 60 for UNKNOWN_TABLE; for Fail and FailCommitted.
	Code int32
	// Message is the exception's. Empty: one that says that it is a fault.
	Message string
}

// faults are those that are armed, in the order in which they were.
type faults struct {
	mu    sync.Mutex
	armed []Fault
}

func (f *faults) arm(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = append(f.armed, fault)
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = nil
}

// take returns the first fault that fits, and uses it up once. The table is
// empty for a query that is no insert.
func (f *faults) take(table string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.armed {
		fault := &f.armed[i]
		if !fault.fits(table) {
			continue
		}
		taken := *fault
		if fault.Times == 1 {
			f.armed = append(f.armed[:i], f.armed[i+1:]...)
		} else if fault.Times > 0 {
			fault.Times--
		}
		return taken
	}
	return Fault{}
}

func (f *Fault) fits(table string) bool {
	switch {
	case f.Table == AnyQuery:
		return true
	case table == "":
		return false
	case f.Table == "" || f.Table == table:
		return true
	}
	_, name, found := strings.Cut(table, ".")
	return found && name == f.Table
}
