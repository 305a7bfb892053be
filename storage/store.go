package storage

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// Answer is what a store says of a block.
type Answer int

// The answers.
const (
	Stored Answer = iota // the block is in its table, once; it may be released
	Retry                // not now, nor another block; the same one may be tried again at any time
	Unsure               // nobody knows yet whether the block is there; it is asked again later, and others go on
	Never                // not without a person's help: kept, shown, alarmed
)

// Store takes blocks, which never change.
type Store interface {
	// Store brings one block to its table and returns Stored only when it is
	// durable there. Storing a block again that is there already is harmless.
	// The error says why the answer is not Stored; Never and Unsure are for what
	// concerns this block alone, and not ErrBarred; with ErrAway, Unsure says that
	// the store was sent the block and did not answer. The block is only read, and
	// not kept after the return. One call at a time; blocks come in any order.
	Store(ctx context.Context, b *Block) (Answer, error)
	// LastNumber is the largest number of this collector's blocks that the
	// store has ever seen, 0 for none: numbering goes on behind it. An error
	// that is ErrAway says that the store may answer later; any other, such as
	// ErrBarred, needs a person.
	LastNumber(ctx context.Context) (uint64, error)
	// Close releases what the store holds. No call follows it.
	Close() error
}

// ErrAway says that a store cannot be asked now.
var ErrAway = errors.New("the store is away")

// ErrBarred says that a store takes no block at all until somebody fixes an
// account, a right or a table. No block is the cause: all are tried again, and go
// on by themselves then.
var ErrBarred = errors.New("the store takes nothing until this is fixed")

// ErrShardDamaged says that it cannot be read any more to which shard of its store
// a collector belongs.
var ErrShardDamaged = errors.New("the note of the shard that the collector belongs to is damaged")

// Reader answers questions about what is stored. Any goroutine may call it, also
// while another process writes.
type Reader interface {
	// Top returns, of each stream, the contents or users with the most opens, or
	// most of what TopQuery.Sort says; the lowest stream first, and most first in
	// it; ties by opens, then by reads, then by dwell, then by the lower id.
	Top(ctx context.Context, q TopQuery) ([]TopRow, error)
	// Books returns one entry an account, in their order.
	Books(ctx context.Context) ([]BookTotal, error)
	// Called is what contents are called: of each its name, or where nobody said
	// that, its title. Those of which neither is known are left out.
	Called(ctx context.Context, wanted []ContentKey) (map[ContentKey]string, error)
	// Names are the names, titles, sections and authors of the last two days, as books of
	// their accounts: the last ones to come, where there are more than most.
	Names(ctx context.Context, most int) ([]Book, error)
}

// NamesSince is how far back Reader.Names looks: emitters say each name once a day.
const NamesSince = 48 * time.Hour

// ContentKey names a content of a stream.
type ContentKey struct {
	Stream  uint16
	Content uint64
}

// By says what Top groups by.
type By int

// What Top groups by.
const (
	ByContent By = iota
	ByUser
)

// Sort says what Top sorts by.
type Sort int

// What Top sorts by.
const (
	SortOpens Sort = iota
	SortReads
	SortFinishes
	SortSaves
	SortShares
	SortDwell
)

// Sorts are the names of what Top sorts by.
var Sorts = []string{"opens", "reads", "finishes", "saves", "shares", "dwell"}

// TopQuery asks for the most read.
type TopQuery struct {
	By      By
	Sort    Sort
	Since   uint32   // only minutes from this one on, Unix seconds; 0 for all
	Limit   int      // rows of each stream, at most
	Streams []uint16 // only these; empty for all
}

// TopRow is one line of the answer. ID is a content or a user; Others is the
// number of different users of the content, or of contents of the user.
type TopRow struct {
	Stream   uint16
	ID       uint64
	Opens    uint64
	Reads    uint64
	Finishes uint64
	Saves    uint64
	Shares   uint64
	Dwell    uint64 // milliseconds
	Others   uint64
}

// Compare is below zero where r comes before o in an answer that is sorted so.
func (s Sort) Compare(r, o *TopRow) int {
	return cmp.Or(
		cmp.Compare(r.Stream, o.Stream), cmp.Compare(s.of(o), s.of(r)),
		cmp.Compare(o.Opens, r.Opens), cmp.Compare(o.Reads, r.Reads), cmp.Compare(o.Dwell, r.Dwell), cmp.Compare(r.ID, o.ID),
	)
}

func (s Sort) of(r *TopRow) uint64 {
	switch s {
	case SortReads:
		return r.Reads
	case SortFinishes:
		return r.Finishes
	case SortSaves:
		return r.Saves
	case SortShares:
		return r.Shares
	case SortDwell:
		return r.Dwell
	default:
		return r.Opens
	}
}
