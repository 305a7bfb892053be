package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// bookLine is what other tests want of one line of --json.
type bookLine struct {
	Stream                       string
	Sent, Accepted, Stored, Shed uint64
	Lost, Open                   int64
	AddsUp                       bool `json:"adds_up"`
}

func goodBooks() []storage.BookTotal {
	books := []storage.BookTotal{
		{Book: storage.Book{
			Stream: 1, Counts: storage.Counts{storage.Sent: 1000, storage.Accepted: 900, storage.Lost: 50, storage.Shed: 20, storage.Clamped: 3, storage.Duplicate: 4, storage.Stale: 5, storage.Reordered: 6},
		}, Stored: 880, Forgotten: 20},
		{Book: storage.Book{Stream: 7, Counts: storage.Counts{storage.Sent: 5, storage.Accepted: 5}}, Stored: 5},
		{Book: storage.Book{Stream: 65535}},
	}
	refused := func(b *storage.BookTotal, why wire.Refusal, events, frames, unplaced uint64) {
		b.Counts[storage.RefusedEvents.Of(why)], b.Counts[storage.RefusedFrames.Of(why)], b.Counts[storage.UnplacedEvents.Of(why)] = events, frames, unplaced
	}
	refused(&books[0], wire.RefusedSize, 10, 1, 0)
	refused(&books[0], wire.RefusedCount, 20, 2, 0)
	refused(&books[0], wire.RefusedCredit, 0, 3, 45)
	refused(&books[2], wire.RefusedMagic, 0, 12, 0)
	return books
}

const goodTable = `STREAM  SENT  ACCEPTED  STORED  FORGOTTEN  SHED  REFUSED  LOST  OPEN  DAMAGED  CLAMPED  DUPLICATE  STALE  REORDERED  SATURATED  COARSE_USERS  COARSE_CONTENTS  UNWEIGHTED
1       1000       900     880         20    20       30    50     0        0        3          4      5          6          0             0                0           0
7          5         5       5          0     0        0     0     0        0        0          0      0          0          0             0                0           0
-          0         0       0          0     0        0     0     0        0        0          0      0          0          0             0                0           0

STREAM  REFUSED FOR  EVENTS  FRAMES  UNPLACED
1       count            20       2         0
1       credit            0       3        45
1       size             10       1         0
-       magic             0      12         0

The stream "-" is for frames of which nothing could be believed, and of streams that are refused.

The books add up.
`

const goodJSON = `{"streams":[` +
	`{"stream":"1","class":"unsealed","sent":1000,"accepted":900,"stored":880,"forgotten":20,"shed":20,"refused":[{"reason":"count","events":20,"frames":2,"unplaced_events":0},{"reason":"credit","events":0,"frames":3,"unplaced_events":45},{"reason":"size","events":10,"frames":1,"unplaced_events":0}],"lost":50,"open":0,"damaged":0,"clamped":3,"duplicate":4,"stale":5,"reordered":6,"saturated":0,"coarse_users":0,"coarse_contents":0,"unweighted":0,"open_sources":0,"adds_up":true},` +
	`{"stream":"7","class":"unsealed","sent":5,"accepted":5,"stored":5,"forgotten":0,"shed":0,"refused":[],"lost":0,"open":0,"damaged":0,"clamped":0,"duplicate":0,"stale":0,"reordered":0,"saturated":0,"coarse_users":0,"coarse_contents":0,"unweighted":0,"open_sources":0,"adds_up":true},` +
	`{"stream":"-","class":"unsealed","sent":0,"accepted":0,"stored":0,"forgotten":0,"shed":0,"refused":[{"reason":"magic","events":0,"frames":12,"unplaced_events":0}],"lost":0,"open":0,"damaged":0,"clamped":0,"duplicate":0,"stale":0,"reordered":0,"saturated":0,"coarse_users":0,"coarse_contents":0,"unweighted":0,"open_sources":0,"adds_up":true}` +
	`],"adds_up":true}` + "\n"

const openTable = `STREAM  SENT  ACCEPTED  STORED  FORGOTTEN  SHED  REFUSED  LOST  OPEN  DAMAGED  CLAMPED  DUPLICATE  STALE  REORDERED  SATURATED  COARSE_USERS  COARSE_CONTENTS  UNWEIGHTED
1         10         7       7          0     0        0     1     2        0        0          0      0          0          0             0                0           0

Open: 1 source that another collector may have, too, or go on with. The 2 events missing so far were lost, or counted there.

The books add up.
`

const openNoneMissing = `STREAM  SENT  ACCEPTED  STORED  FORGOTTEN  SHED  REFUSED  LOST  OPEN  DAMAGED  CLAMPED  DUPLICATE  STALE  REORDERED  SATURATED  COARSE_USERS  COARSE_CONTENTS  UNWEIGHTED
1         10        10      10          0     0        0     0     0        0        0          0      0          0          0             0                0           0

Open: 3 sources that another collector may have, too, or go on with. No event is missing so far.

The books add up.
`

func TestBooks(t *testing.T) {
	for _, test := range []struct {
		books []storage.BookTotal
		args  string
		want  string
	}{
		{goodBooks(), "", goodTable},
		{goodBooks(), "--json", goodJSON},
		{[]storage.BookTotal{{Book: storage.Book{Stream: 1, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 7, storage.Lost: 1}}, Open: 2, OpenSources: 1, Stored: 7}}, "", openTable},
		{[]storage.BookTotal{{Book: storage.Book{Stream: 1, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 10}}, OpenSources: 3, Stored: 10}}, "", openNoneMissing},
		{[]storage.BookTotal{{Book: storage.Book{Stream: 1, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 10}}, OpenSources: 3, Stored: 10}}, "--json",
			`{"streams":[{"stream":"1","class":"unsealed","sent":10,"accepted":10,"stored":10,"forgotten":0,"shed":0,"refused":[],"lost":0,"open":0,"damaged":0,"clamped":0,"duplicate":0,"stale":0,"reordered":0,"saturated":0,"coarse_users":0,"coarse_contents":0,"unweighted":0,"open_sources":3,"adds_up":true}],"adds_up":true}` + "\n"},
		{nil, "", "Nothing is stored in \"d\": there are no books.\n"},
		{nil, "--json", `{"streams":[],"adds_up":true}` + "\n"},
	} {
		code, stdout, stderr := runWith(t, &library{books: test.books}, nil, append([]string{"books", "--dir", "d"}, strings.Fields(test.args)...)...)
		if code != 0 || stdout != test.want || stderr != "" {
			t.Errorf("%s: exit %d, %q\n%s", test.args, code, stderr, stdout)
		}
	}
}

// Every counter of the closed list is in the help, in the table and in the JSON.
func TestBooksHaveEveryCounter(t *testing.T) {
	b := storage.BookTotal{Book: storage.Book{Stream: 1}}
	for c := range b.Counts {
		b.Counts[c] = uint64(c) + 1000
	}
	_, table, _ := runWith(t, &library{books: []storage.BookTotal{b}}, nil, "books", "--dir", "d")
	_, out, _ := runWith(t, &library{books: []storage.BookTotal{b}}, nil, "books", "--dir", "d", "--json")
	var got struct{ Streams []map[string]any }
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Streams) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range storage.LedgerCounters {
		if got.Streams[0][c.String()] != float64(b.Net(c)) || !strings.Contains(table, " "+strings.ToUpper(c.String())) {
			t.Errorf("%s is %v, want %d, in\n%s", c, got.Streams[0][c.String()], b.Net(c), table)
		}
		if !strings.Contains(booksHelp, "\n  "+c.String()+" ") {
			t.Errorf("the help does not say what %s is", c)
		}
	}
	refused := got.Streams[0]["refused"].([]any)
	if len(refused) != wire.Refusals {
		t.Errorf("%d reasons, want %d", len(refused), wire.Refusals)
	}
	for _, line := range refused {
		r := line.(map[string]any)
		why := storage.ReasonNamed(r["reason"].(string))
		for f, key := range []string{storage.RefusedEvents: "events", storage.RefusedFrames: "frames", storage.UnplacedEvents: "unplaced_events"} {
			if r[key] != float64(b.Counts[storage.Family(f).Of(why)]) {
				t.Errorf("%s of %s is %v", key, r["reason"], r[key])
			}
		}
	}
}

func TestBooksThatDoNotAddUp(t *testing.T) {
	for _, test := range []struct {
		book storage.BookTotal
		want string
	}{
		{storage.BookTotal{Book: storage.Book{Stream: 3, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 7, storage.Shed: 1}}, Stored: 7},
			"lectern books: stream 3 does not add up: 2 of the 10 events sent are neither accepted nor refused, shed, lost, open or damaged\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 7, storage.Lost: 5}}, Stored: 7},
			"lectern books: stream 3 does not add up: accepted, refused, shed, lost, open and damaged are 2 more than the 10 events sent\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 14, storage.Found: 4}}, Stored: 14},
			"lectern books: stream 3 does not add up: lost is 4 below zero: more came late than was missing\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 10}}, Stored: 7},
			"lectern books: stream 3 does not add up: 3 of the 10 events accepted are neither stored nor forgotten\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 10}}, Stored: 12},
			"lectern books: stream 3 does not add up: 2 events more are stored, or forgotten, than the 10 accepted\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Counts: storage.Counts{storage.Sent: 1000, storage.Accepted: 593, storage.Damaged: 407}}, Stored: 593},
			"lectern books: stream 3 does not add up: 407 of the 1000 events sent had come, and a damaged spool lost what was counted of them\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 65535, Counts: storage.Counts{storage.Sent: 1}}, Stored: 1},
			"lectern books: stream - does not add up: 1 of the 1 events sent are neither accepted nor refused, shed, lost, open or damaged\n" +
				"lectern books: stream - does not add up: 1 events more are stored, or forgotten, than the 0 accepted\n"},
	} {
		books := append([]storage.BookTotal{goodBooks()[0]}, test.book)
		code, stdout, stderr := runWith(t, &library{books: books}, nil, "books", "--dir", "d")
		if code != 1 || stderr != test.want || !strings.HasSuffix(stdout, "\nThe books do NOT add up.\n") {
			t.Errorf("%+v: exit %d, %q\n%s", test.book, code, stderr, stdout)
		}
		code, stdout, stderr = runWith(t, &library{books: books}, nil, "books", "--dir", "d", "--json")
		if code != 1 || stderr != test.want || !strings.HasSuffix(stdout, `"adds_up":false}],"adds_up":false}`+"\n") || strings.Count(stdout, `"adds_up":true`) != 1 {
			t.Errorf("%+v: exit %d, %q\n%s", test.book, code, stderr, stdout)
		}
	}
}
