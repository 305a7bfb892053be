package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

const booksHelp = `Show what became of every event, stream by stream, and whether it adds up.

Usage:

  lectern books [--config FILE] [--dir DIR] [--json]

Flags:

  --config FILE    the configuration that names the store (default ./config.toml,
                   and where there is none the built-in defaults)
  --dir DIR        read the Parquet store in this directory instead
  --json           one JSON object: {"streams":[…],"adds_up":true}

What the columns count, in events:

  sent             what the sources said they sent
  accepted         what was counted
  stored           what the stored rows hold, counted from the rows themselves
  lost             what never came to any collector; a late frame lowers it again
  open             what is missing of sources that another collector may have too:
                   lost, or accepted there, which settles within minutes
  damaged          what had come and was taken from the spool by a damaged disk
                   before it was stored
  shed             what came and found no room: overload
  refused          what came and was not as wire/SPEC.md has it, by reason below
  clamped          accepted, with the minute of arrival in place of their own
  duplicate        what came again; beside the sum
  stale            what came too late to tell from duplicates; beside the sum
  reordered        what came after a later frame of its source, in time to be
                   taken; each is in the sum, as what became of it

They add up when sent = accepted + refused + shed + lost + open + damaged, lost is
not below zero, nothing is damaged, and stored = accepted. While the daemon stores a
block, they may miss it for a moment: ask again. What waits in the spool is in none
of them; standard error says how much that is, and for how long it has waited.

The stream "-" is for frames of which nothing could be believed, not even the
stream, and of those whose stream is refused (streams.unknown): there are frames
refused, and no events.

Exit status: 0 when they add up; 1 when they do not, or the store cannot be
read; 2 when the arguments make no sense.
`

// streamWord is how a stream is shown: the reserved one is no emitter's.
func streamWord(stream uint16) string {
	if stream == wire.StreamReserved {
		return "-"
	}
	return number(int(stream))
}

// runBooks is `lectern books`.
func (p *process) runBooks(ctx context.Context, args []string) int {
	s := newStoreFlags("books")
	if code, done := p.parse(s.flags, args, booksHelp); done {
		return code
	}
	reader, ok := p.openStore(s)
	if !ok {
		return 1
	}
	stop := p.watch(reader)
	books, err := reader.Books(ctx)
	stop()
	if err != nil {
		return p.fail("books", fmt.Errorf("cannot read the store in %q: %w", s.dir, err))
	}
	for i := range books {
		slices.SortFunc(books[i].Refused, func(a, b storage.Refused) int { return cmp.Compare(a.Reason, b.Reason) })
	}
	code := 0
	switch {
	case s.json:
		code = p.print("books", booksJSON(books))
	case len(books) == 0:
		code = p.print("books", fmt.Sprintf("Nothing is stored in %q: there are no books.\n", s.dir))
	default:
		code = p.print("books", booksTable(books))
	}
	if w := waiting(s.loaded); w.any() {
		fmt.Fprintf(p.stderr, "lectern books: not in these books yet: %s\n", w.say(p.now(), s.loaded))
	} else if memory := inMemory(ctx, s.loaded); len(books) == 0 && memory != "" {
		fmt.Fprintf(p.stderr, "lectern books: not in these books yet: nothing waits in the spool%s\n", memory)
	}
	for i := range books {
		for _, d := range discrepancies(&books[i]) {
			code = p.fail("books", fmt.Errorf("stream %s does not add up: %s", streamWord(books[i].Stream), d))
		}
	}
	return code
}

// discrepancies says what does not add up in a stream's books, and by how much.
func discrepancies(t *storage.BookTotal) (all []string) {
	accounted := int64(t.Accepted) + int64(t.RefusedEvents()) + int64(t.Shed) + t.Lost + t.Open + int64(t.Damaged)
	switch sent := int64(t.Sent); {
	case sent > accounted:
		all = append(all, fmt.Sprintf("%d of the %d events sent are neither accepted nor refused, shed, lost, open or damaged", sent-accounted, sent))
	case sent < accounted:
		all = append(all, fmt.Sprintf("accepted, refused, shed, lost, open and damaged are %d more than the %d events sent", accounted-sent, sent))
	}
	if t.Lost < 0 {
		all = append(all, fmt.Sprintf("lost is %d below zero: more came late than was missing", -t.Lost))
	}
	if t.Damaged > 0 {
		all = append(all, fmt.Sprintf("%d of the %d events sent had come, and a damaged spool lost what was counted of them", t.Damaged, t.Sent))
	}
	switch {
	case t.Accepted > t.Stored:
		all = append(all, fmt.Sprintf("%d of the %d events accepted are not stored", t.Accepted-t.Stored, t.Accepted))
	case t.Accepted < t.Stored:
		all = append(all, fmt.Sprintf("%d events more are stored than the %d accepted", t.Stored-t.Accepted, t.Accepted))
	}
	return all
}

func booksTable(books []storage.BookTotal) string {
	t := table{left: 1}
	t.add("STREAM", "SENT", "ACCEPTED", "STORED", "LOST", "OPEN", "DAMAGED", "SHED", "REFUSED", "CLAMPED", "DUPLICATE", "STALE", "REORDERED")
	refused := table{left: 2}
	refused.add("STREAM", "REFUSED FOR", "EVENTS", "FRAMES")
	addUp, reserved := true, false
	var open int64
	var sources uint64
	for i := range books {
		b := &books[i]
		addUp = addUp && b.AddsUp()
		reserved = reserved || b.Stream == wire.StreamReserved
		open, sources = open+b.Open, sources+b.OpenSources
		stream := streamWord(b.Stream)
		t.add(stream, number(b.Sent), number(b.Accepted), number(b.Stored), number(b.Lost), number(b.Open), number(b.Damaged), number(b.Shed),
			number(b.RefusedEvents()), number(b.Clamped), number(b.Duplicate), number(b.Stale), number(b.Reordered))
		for _, r := range b.Refused {
			refused.add(stream, printable(r.Reason), number(r.Events), number(r.Frames))
		}
	}
	var s strings.Builder
	s.WriteString(t.String())
	if len(refused.rows) > 1 {
		s.WriteString("\n" + refused.String())
	}
	if reserved {
		s.WriteString("\nThe stream \"-\" is for frames of which nothing could be believed, and of streams that are refused.\n")
	}
	if sources > 0 {
		fmt.Fprintf(&s, "\nOpen: %s that another collector may have, too, or go on with. %s\n", plural(sources, "source"), missing(uint64(max(0, open))))
	}
	if addUp {
		s.WriteString("\nThe books add up.\n")
	} else {
		s.WriteString("\nThe books do NOT add up.\n")
	}
	return s.String()
}

// plural is a number of things.
func plural(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return number(n) + " " + thing + "s"
}

// bookLine is one stream of --json.
type bookLine struct {
	Stream    string        `json:"stream"`
	Sent      uint64        `json:"sent"`
	Accepted  uint64        `json:"accepted"`
	Stored    uint64        `json:"stored"`
	Lost      int64         `json:"lost"`
	Open      int64         `json:"open"`
	OpenOf    uint64        `json:"open_sources"`
	Damaged   uint64        `json:"damaged"`
	Shed      uint64        `json:"shed"`
	Refused   []refusedLine `json:"refused"`
	Clamped   uint64        `json:"clamped"`
	Duplicate uint64        `json:"duplicate"`
	Stale     uint64        `json:"stale"`
	Reordered uint64        `json:"reordered"`
	AddsUp    bool          `json:"adds_up"`
}

type refusedLine struct {
	Reason string `json:"reason"`
	Events uint64 `json:"events"`
	Frames uint64 `json:"frames"`
}

func booksJSON(books []storage.BookTotal) string {
	out := struct {
		Streams []bookLine `json:"streams"`
		AddsUp  bool       `json:"adds_up"`
	}{[]bookLine{}, true}
	for i := range books {
		b := &books[i]
		line := bookLine{
			Stream: streamWord(b.Stream), Sent: b.Sent, Accepted: b.Accepted, Stored: b.Stored, Lost: b.Lost,
			Open: b.Open, OpenOf: b.OpenSources, Damaged: b.Damaged, Shed: b.Shed, Refused: []refusedLine{}, Clamped: b.Clamped, Duplicate: b.Duplicate, Stale: b.Stale, Reordered: b.Reordered,
			AddsUp: b.AddsUp(),
		}
		for _, r := range b.Refused {
			line.Refused = append(line.Refused, refusedLine(r))
		}
		out.Streams = append(out.Streams, line)
		out.AddsUp = out.AddsUp && line.AddsUp
	}
	text, _ := json.Marshal(out) // numbers and strings always marshal
	return string(text) + "\n"
}

// missing is what is not known yet of the events that open sources miss here.
func missing(events uint64) string {
	switch events {
	case 0:
		return "No event is missing so far."
	case 1:
		return "The 1 event missing so far was lost, or counted there."
	}
	return fmt.Sprintf("The %s missing so far were lost, or counted there.", plural(events, "event"))
}
