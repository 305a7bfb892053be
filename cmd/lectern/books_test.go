package main

import (
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
)

func goodBooks() []storage.BookTotal {
	return []storage.BookTotal{
		{Book: storage.Book{
			Stream: 1, Sent: 1000, Accepted: 900, Lost: 50, Shed: 20, Clamped: 3, Duplicate: 4, Stale: 5, Reordered: 6,
			Refused: []storage.Refused{{Reason: "size", Events: 10, Frames: 1}, {Reason: "count", Events: 20, Frames: 2}},
		}, Stored: 900},
		{Book: storage.Book{Stream: 7, Sent: 5, Accepted: 5}, Stored: 5},
		{Book: storage.Book{Stream: 65535, Refused: []storage.Refused{{Reason: "magic", Frames: 12}}}},
	}
}

const goodTable = `STREAM  SENT  ACCEPTED  STORED  LOST  OPEN  DAMAGED  SHED  REFUSED  CLAMPED  DUPLICATE  STALE  REORDERED
1       1000       900     900    50     0        0    20       30        3          4      5          6
7          5         5       5     0     0        0     0        0        0          0      0          0
-          0         0       0     0     0        0     0        0        0          0      0          0

STREAM  REFUSED FOR  EVENTS  FRAMES
1       count            20       2
1       size             10       1
-       magic             0      12

The stream "-" is for frames of which nothing could be believed, and of streams that are refused.

The books add up.
`

const goodJSON = `{"streams":[` +
	`{"stream":"1","sent":1000,"accepted":900,"stored":900,"lost":50,"open":0,"open_sources":0,"damaged":0,"shed":20,"refused":[{"reason":"count","events":20,"frames":2},{"reason":"size","events":10,"frames":1}],"clamped":3,"duplicate":4,"stale":5,"reordered":6,"adds_up":true},` +
	`{"stream":"7","sent":5,"accepted":5,"stored":5,"lost":0,"open":0,"open_sources":0,"damaged":0,"shed":0,"refused":[],"clamped":0,"duplicate":0,"stale":0,"reordered":0,"adds_up":true},` +
	`{"stream":"-","sent":0,"accepted":0,"stored":0,"lost":0,"open":0,"open_sources":0,"damaged":0,"shed":0,"refused":[{"reason":"magic","events":0,"frames":12}],"clamped":0,"duplicate":0,"stale":0,"reordered":0,"adds_up":true}` +
	`],"adds_up":true}` + "\n"

const openTable = `STREAM  SENT  ACCEPTED  STORED  LOST  OPEN  DAMAGED  SHED  REFUSED  CLAMPED  DUPLICATE  STALE  REORDERED
1         10         7       7     1     2        0     0        0        0          0      0          0

Open: 1 source that another collector may have, too, or go on with. The 2 events missing so far were lost, or counted there.

The books add up.
`

const openNoneMissing = `STREAM  SENT  ACCEPTED  STORED  LOST  OPEN  DAMAGED  SHED  REFUSED  CLAMPED  DUPLICATE  STALE  REORDERED
1         10        10      10     0     0        0     0        0        0          0      0          0

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
		{[]storage.BookTotal{{Book: storage.Book{Stream: 1, Sent: 10, Accepted: 7, Lost: 1}, Open: 2, OpenSources: 1, Stored: 7}}, "", openTable},
		{[]storage.BookTotal{{Book: storage.Book{Stream: 1, Sent: 10, Accepted: 10}, OpenSources: 3, Stored: 10}}, "", openNoneMissing},
		{[]storage.BookTotal{{Book: storage.Book{Stream: 1, Sent: 10, Accepted: 10}, OpenSources: 3, Stored: 10}}, "--json",
			`{"streams":[{"stream":"1","sent":10,"accepted":10,"stored":10,"lost":0,"open":0,"open_sources":3,"damaged":0,"shed":0,"refused":[],"clamped":0,"duplicate":0,"stale":0,"reordered":0,"adds_up":true}],"adds_up":true}` + "\n"},
		{nil, "", "Nothing is stored in \"d\": there are no books.\n"},
		{nil, "--json", `{"streams":[],"adds_up":true}` + "\n"},
	} {
		code, stdout, stderr := runWith(t, &library{books: test.books}, nil, append([]string{"books", "--dir", "d"}, strings.Fields(test.args)...)...)
		if code != 0 || stdout != test.want || stderr != "" {
			t.Errorf("%s: exit %d, %q\n%s", test.args, code, stderr, stdout)
		}
	}
}

func TestBooksThatDoNotAddUp(t *testing.T) {
	for _, test := range []struct {
		book storage.BookTotal
		want string
	}{
		{storage.BookTotal{Book: storage.Book{Stream: 3, Sent: 10, Accepted: 7, Shed: 1}, Stored: 7},
			"lectern books: stream 3 does not add up: 2 of the 10 events sent are neither accepted nor refused, shed, lost, open or damaged\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Sent: 10, Accepted: 7, Lost: 5}, Stored: 7},
			"lectern books: stream 3 does not add up: accepted, refused, shed, lost, open and damaged are 2 more than the 10 events sent\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Sent: 10, Accepted: 14, Lost: -4}, Stored: 14},
			"lectern books: stream 3 does not add up: lost is 4 below zero: more came late than was missing\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Sent: 10, Accepted: 10}, Stored: 7},
			"lectern books: stream 3 does not add up: 3 of the 10 events accepted are not stored\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Sent: 10, Accepted: 10}, Stored: 12},
			"lectern books: stream 3 does not add up: 2 events more are stored than the 10 accepted\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 3, Sent: 1000, Accepted: 593, Damaged: 407}, Stored: 593},
			"lectern books: stream 3 does not add up: 407 of the 1000 events sent had come, and a damaged spool lost what was counted of them\n"},
		{storage.BookTotal{Book: storage.Book{Stream: 65535, Sent: 1}, Stored: 1},
			"lectern books: stream - does not add up: 1 of the 1 events sent are neither accepted nor refused, shed, lost, open or damaged\n" +
				"lectern books: stream - does not add up: 1 events more are stored than the 0 accepted\n"},
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
