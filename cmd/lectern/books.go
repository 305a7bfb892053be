package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
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
  forgotten        what was stored, and taken out on demand (lectern forget)
  lost             what never came to any collector; a late frame lowers it again
  open             what is missing here, but may have come to another collector;
                   within minutes it turns out as lost, or as accepted there
  damaged          what was counted, and destroyed in the spool by a damaged disk
                   before it was stored
  shed             what came and found no room: overload; the sources that send
                   most are hit first
  refused          what came and was not as wire/SPEC.md has it, by reason below
  clamped          accepted, with the minute of arrival in place of their own
  duplicate        what came again; beside the sum
  stale            what came too late to tell from duplicates; beside the sum
  reordered        what came after a later frame of its source, in time to be
                   taken; each is in the sum, as what became of it
  saturated        what forged numbers say is lost, beyond what sums can hold;
                   beside the sum
  coarse_users     accepted, and added up with other readers of the same content,
                   since the stream wanted more room than its share
  coarse_contents  accepted, and added up with other contents, likewise
  unweighted       what sampled events stood for, beside them, and no row says, for
                   want of room; beside the sum

They add up when sent = accepted + refused + shed + lost + open + damaged, lost is
not below zero, nothing is damaged, and accepted = stored + forgotten. While the
daemon stores a block, they may miss it for a moment: ask again. What waits in the
spool is in none of them; standard error says how much that is, and for how long it
has waited.

The stream "-" has the frames whose header could not be believed, not even its
stream, and those whose stream is refused (streams.unknown). It counts refused
frames, and no events.

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

// streamNames are those that the configuration has.
type streamNames map[uint16]string

func namesOf(c *config.Config) streamNames {
	names := make(streamNames)
	for _, s := range c.Named {
		names[uint16(s.Number)] = s.Name
	}
	return names
}

// word is how a stream is shown: its number, and its name behind it where it has one.
func (n streamNames) word(stream uint16) string {
	if name := n[stream]; name != "" {
		return streamWord(stream) + " " + name
	}
	return streamWord(stream)
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
	code := 0
	switch {
	case s.json:
		code = p.print("books", booksJSON(books, s.streams()))
	case len(books) == 0:
		code = p.print("books", fmt.Sprintf("Nothing is stored in %q: there are no books.\n", s.dir))
	default:
		code = p.print("books", booksTable(books, s.streams()))
	}
	if w := waiting(s.loaded); w.any() {
		fmt.Fprintf(p.stderr, "lectern books: not in these books yet: %s\n", w.say(p.now(), s.loaded))
	} else if memory := inMemory(ctx, s.loaded); len(books) == 0 && memory != "" {
		fmt.Fprintf(p.stderr, "lectern books: not in these books yet: nothing waits in the spool%s\n", memory)
	}
	for i := range books {
		for _, d := range discrepancies(&books[i]) {
			code = p.fail("books", fmt.Errorf("%s does not add up: %s", accountWord(&books[i], s.streams()), d))
		}
	}
	return code
}

// discrepancies says what does not add up in a stream's books, and by how much.
func discrepancies(t *storage.BookTotal) (all []string) {
	accounted := t.Accounted() + t.Open
	switch sent := t.Net(storage.Sent); {
	case sent > accounted:
		all = append(all, fmt.Sprintf("%d of the %d events sent are neither accepted nor refused, shed, lost, open or damaged", sent-accounted, sent))
	case sent < accounted:
		all = append(all, fmt.Sprintf("accepted, refused, shed, lost, open and damaged are %d more than the %d events sent", accounted-sent, sent))
	}
	if t.Net(storage.Lost) < 0 {
		all = append(all, fmt.Sprintf("lost is %d below zero: more came late than was missing", -t.Net(storage.Lost)))
	}
	if t.Counts[storage.Damaged] > 0 {
		all = append(all, fmt.Sprintf("%d of the %d events sent had come, and a damaged spool lost what was counted of them", t.Counts[storage.Damaged], t.Net(storage.Sent)))
	}
	switch accepted, there := t.Counts[storage.Accepted], t.Stored+t.Forgotten; {
	case accepted > there:
		all = append(all, fmt.Sprintf("%d of the %d events accepted are neither stored nor forgotten", accepted-there, accepted))
	case accepted < there:
		all = append(all, fmt.Sprintf("%d events more are stored, or forgotten, than the %d accepted", there-accepted, accepted))
	}
	return all
}

// bookColumns are the numbers of an account in the order in which they are shown:
// those of the closed list, and beside them what is counted in another way.
func bookColumns(b *storage.BookTotal) (all members) {
	for _, c := range storage.LedgerCounters {
		all.add(c.String(), b.Net(c))
		switch c {
		case storage.Accepted:
			all.add("stored", b.Stored)
			all.add("forgotten", b.Forgotten)
		case storage.Shed:
			all.add("refused", b.RefusedEvents())
		case storage.Lost:
			all.add("open", b.Open)
		}
	}
	return all
}

// reasonLine is what was refused for one reason.
type reasonLine struct {
	Reason   string `json:"reason"`
	Events   uint64 `json:"events"`
	Frames   uint64 `json:"frames"`
	Unplaced uint64 `json:"unplaced_events"`
}

// reasons are the reasons for which something was refused, by their words.
func reasons(b *storage.BookTotal) []reasonLine {
	lines := []reasonLine{}
	events, unplaced := b.ByReason(storage.RefusedEvents), b.ByReason(storage.UnplacedEvents)
	frames := b.ByReason(storage.RefusedFrames)
	for _, reason := range slices.Sorted(maps.Keys(frames)) {
		lines = append(lines, reasonLine{reason, events[reason], frames[reason], unplaced[reason]})
	}
	return lines
}

// accountWord names an account in a sentence.
func accountWord(b *storage.BookTotal, names streamNames) string {
	word := "stream " + names.word(b.Stream)
	if b.Class != storage.Unsealed {
		word += " (" + b.Class.String() + ")"
	}
	return word
}

func booksTable(books []storage.BookTotal, names streamNames) string {
	classes := slices.ContainsFunc(books, func(b storage.BookTotal) bool { return b.Class != storage.Unsealed })
	head := func(b *storage.BookTotal, more ...string) []string {
		row := []string{"STREAM"}
		if b != nil {
			row = []string{names.word(b.Stream)}
		}
		switch {
		case classes && b == nil:
			row = append(row, "CLASS")
		case classes:
			row = append(row, b.Class.String())
		}
		return append(row, more...)
	}
	t := table{left: len(head(nil))}
	t.add(head(nil, bookColumns(&storage.BookTotal{}).keys()...)...)
	refused := table{left: 1 + t.left}
	refused.add(head(nil, "REFUSED FOR", "EVENTS", "FRAMES", "UNPLACED")...)
	addUp, reserved := true, false
	var open int64
	var sources uint64
	for i := range books {
		b := &books[i]
		addUp = addUp && b.AddsUp()
		reserved = reserved || b.Stream == wire.StreamReserved
		open, sources = open+b.Open, sources+b.OpenSources
		t.add(head(b, bookColumns(b).values()...)...)
		for _, r := range reasons(b) {
			refused.add(head(b, printable(r.Reason), number(r.Events), number(r.Frames), number(r.Unplaced))...)
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

// booksJSON is one object, whose numbers have the words of the ledger's columns.
func booksJSON(books []storage.BookTotal, names streamNames) string {
	streams, addsUp := []members{}, true
	for i := range books {
		b := &books[i]
		var line members
		line.add("stream", streamWord(b.Stream))
		if name := names[b.Stream]; name != "" {
			line.add("stream_name", name)
		}
		line.add("class", b.Class.String())
		for _, column := range bookColumns(b) {
			if column.key == "refused" {
				column.value = reasons(b)
			}
			line = append(line, column)
		}
		line.add("open_sources", b.OpenSources)
		line.add("adds_up", b.AddsUp())
		streams = append(streams, line)
		addsUp = addsUp && b.AddsUp()
	}
	text, _ := json.Marshal(members{{"streams", streams}, {"adds_up", addsUp}}) // numbers and strings always marshal
	return string(text) + "\n"
}

// members are those of a JSON object, in order.
type members []member

type member struct {
	key   string
	value any
}

func (m *members) add(key string, value any) { *m = append(*m, member{key, value}) }

// keys are the keys, as heads of columns.
func (m members) keys() (all []string) {
	for _, k := range m {
		all = append(all, strings.ToUpper(k.key))
	}
	return all
}

// values are the values, as they are shown in columns.
func (m members) values() (all []string) {
	for _, k := range m {
		value := ""
		if k.value != nil {
			value = fmt.Sprint(k.value)
		}
		all = append(all, value)
	}
	return all
}

// MarshalJSON implements json.Marshaler.
func (m members) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, k := range m {
		if i > 0 {
			out = append(out, ',')
		}
		value, err := json.Marshal(k.value)
		if err != nil {
			return nil, err
		}
		out = append(append(strconv.AppendQuote(out, k.key), ':'), value...)
	}
	return append(out, '}'), nil
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
