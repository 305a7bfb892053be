package edge

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/valyala/fastjson"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// posted is a body that is understood: see docs/edge/HTTP.md. It is used again and
// again, and its texts are in the parser's memory: nothing of it may be kept.
type posted struct {
	stream string
	user   string // who reads, as the body names him; empty: it does not
	events int
	batch  batch // at times from the body's arrival on, so below 0
	own    bool  // its events name their readers, by id
	// unfit says that its events are none that can be, and err why.
	unfit Reason
	err   error

	parser fastjson.Parser
	page   string
	first  uint64
}

// reset makes p that of another body.
func (p *posted) reset() {
	p.batch.reset()
	*p = posted{parser: p.parser, batch: p.batch}
}

// date says when the events of a body were that came now, and who read. With own, those
// that name their readers are theirs.
func (p *posted) date(now time.Time, user uint64, own bool) {
	for i := range p.batch.events {
		e := &p.batch.events[i]
		e.Time += now.UnixMilli()
		if !p.own || !own {
			e.User = user
		}
	}
}

// refuse takes note of what is wrong with a body, of which the sender is to be told
// if he may send at all.
func (p *posted) refuse(why Reason, err error) {
	if p.unfit == Taken {
		p.unfit, p.err = why, err
	}
}

// bodyEvent is an event as a body has it. Its texts are the parser's.
type bodyEvent struct {
	kind     string
	content  string
	age      int64
	dwell    int64
	progress int64 // below 0: not known
	variant  int64 // 0: none was given
}

// Limits of a body.
const (
	bodySizeMax    = 8 << 10
	contentSizeMax = 512
	userSizeMax    = 256
	// ageMax is how old an event may be: a page that was offline for a day.
	ageMax = 24 * time.Hour
	// pageDigits are those of a page's number.
	pageDigits = 16
	// numberMax is what a page's numbers stay below.
	numberMax = 1 << 32
)

var kindsOf = map[string]emit.Kind{
	"open": emit.Open, "read": emit.Read, "finish": emit.Finish, "save": emit.Save, "share": emit.Share,
	"impression": emit.Impression, "click": emit.Click,
}

// parseJSON understands a body of JSON, strictly: an unknown field is a mistyped one.
// The error says what is wrong with it.
func parseJSON(p *posted, _ *http.Request, text []byte) (Reason, error) {
	if !utf8.Valid(text) || loneSurrogate(text) {
		return Malformed, errors.New("the body is not UTF-8")
	}
	v, err := p.parser.ParseBytes(text)
	if err != nil {
		return Malformed, errors.New("the body is not JSON")
	}
	if v.Type() != fastjson.TypeObject {
		return Malformed, errors.New("the body is not an object")
	}
	seen, err := visit(v, p.field)
	switch {
	case err != nil:
		return Malformed, err
	case p.events == 0:
		return Malformed, errors.New("there are no events")
	case (p.page == "") == (seen&fieldFirst != 0):
		return Malformed, errors.New(`"page" and "first" belong together`)
	}
	if p.page != "" {
		p.refuse(p.batch.number(p.page, p.first))
	}
	if len(p.user) > userSizeMax {
		p.refuse(OutOfRange, fmt.Errorf("the user has %d bytes, and %d at the most", len(p.user), userSizeMax))
	}
	return Taken, nil
}

// fields are some of those that an object may have.
type fields uint16

const (
	fieldStream fields = 1 << iota
	fieldPage
	fieldFirst
	fieldUser
	fieldEvents
	fieldKind
	fieldContent
	fieldAge
	fieldDwell
	fieldProgress
	fieldVariant
)

// visit calls take with every field of an object, until one is wrong. One that is
// there twice is: readers of JSON differ about which of them holds.
func visit(v *fastjson.Value, take func(name string, v *fastjson.Value) (fields, error)) (seen fields, err error) {
	o, err := v.Object()
	if err != nil {
		return 0, err
	}
	o.Visit(func(key []byte, v *fastjson.Value) {
		if err != nil {
			return
		}
		one, wrong := take(view(key), v)
		if wrong == nil && seen&one != 0 {
			wrong = errTwice
		}
		if wrong != nil {
			err = fmt.Errorf("field %.40q: %w", key, wrong)
		}
		seen |= one
	})
	return seen, err
}

var (
	errUnknown = errors.New("there is no such field")
	errTwice   = errors.New("it is there twice")
)

// loneSurrogate says whether a text of JSON has an escape that is half a character:
// no text in UTF-8 can be meant by it.
func loneSurrogate(text []byte) bool {
	half := false // the first half of a character is in front
	for i := bytes.IndexByte(text, '\\'); i >= 0 && i+1 < len(text); {
		r := rune(-1)
		if next := i + len(`\u0000`); text[i+1] == 'u' && next <= len(text) {
			if n, err := strconv.ParseUint(string(text[i+2:next]), 16, 16); err == nil {
				r = rune(n)
			}
		}
		second := r >= 0xDC00 && r <= 0xDFFF
		if half != second {
			return true
		}
		half = r >= 0xD800 && r <= 0xDBFF
		i += 2
		if r >= 0 {
			i += 4
		}
		next := bytes.IndexByte(text[i:], '\\')
		if half && next != 0 {
			return true
		}
		if next < 0 {
			return false
		}
		i += next
	}
	return half
}

// field takes one field of a body.
func (p *posted) field(name string, v *fastjson.Value) (one fields, err error) {
	switch name {
	case "stream":
		p.stream, err = text(v)
		return fieldStream, err
	case "page":
		p.page, err = text(v)
		return fieldPage, err
	case "user":
		p.user, err = text(v)
		return fieldUser, err
	case "first":
		p.first, err = v.Uint64()
		return fieldFirst, err
	case "events":
		all, err := v.Array()
		p.events = len(all)
		for i := 0; i < len(all) && err == nil; i++ {
			err = p.add(i, all[i])
		}
		return fieldEvents, err
	}
	return 0, errUnknown
}

// add takes event i of a body.
func (p *posted) add(i int, v *fastjson.Value) error {
	one := bodyEvent{progress: -1}
	if _, err := visit(v, one.field); err != nil {
		return err
	}
	e, why, err := one.event()
	if why != Taken {
		p.refuse(why, fmt.Errorf("event %d: %w", i, err))
		return nil
	}
	p.batch.events = append(p.batch.events, e)
	if names := p.batch.names; len(names) == 0 || names[len(names)-1] != one.content {
		p.batch.names = append(names, one.content)
	}
	return nil
}

// field takes one field of an event.
func (b *bodyEvent) field(name string, v *fastjson.Value) (one fields, err error) {
	switch name {
	case "kind":
		b.kind, err = text(v)
		return fieldKind, err
	case "content":
		b.content, err = text(v)
		return fieldContent, err
	case "age":
		b.age, err = v.Int64()
		return fieldAge, err
	case "dwell":
		b.dwell, err = v.Int64()
		return fieldDwell, err
	case "progress":
		if b.progress, err = v.Int64(); err == nil && b.progress < 0 {
			err = errors.New("it is below 0")
		}
		return fieldProgress, err
	case "variant":
		if b.variant, err = v.Int64(); err == nil && b.variant < 1 {
			err = errors.New("it is below 1")
		}
		return fieldVariant, err
	}
	return 0, errUnknown
}

func text(v *fastjson.Value) (string, error) {
	b, err := v.StringBytes()
	return view(b), err
}

// view is b as a text, as long as b stays what it is.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// number says which page's the events are, and the number of the first.
func (b *batch) number(page string, first uint64) (Reason, error) {
	id, err := strconv.ParseUint(page, 16, 64)
	switch {
	case err != nil || len(page) != pageDigits || id == 0:
		return Malformed, fmt.Errorf("the number of a page must be %d hexadecimal digits, not all of them 0", pageDigits)
	case first >= numberMax:
		return OutOfRange, fmt.Errorf("first %d is not below %d", first, uint64(numberMax))
	}
	b.page, b.first = id, first
	return Taken, nil
}

// unfit says that a content is markup, or made to look like something else in a log.
func unfit(r rune) bool { return r < ' ' || r == '<' || r == '>' || r >= 0x7F && r <= 0x9F }

// event is the event of one in a body, at how long before now it was.
func (b *bodyEvent) event() (e emit.Event, why Reason, err error) {
	kind, ok := kindsOf[b.kind]
	switch {
	case !ok:
		return e, Malformed, fmt.Errorf("there is no kind %.20q", b.kind)
	case b.content == "" || len(b.content) > contentSizeMax:
		return e, OutOfRange, fmt.Errorf("content has %d bytes; it has 1 to %d", len(b.content), contentSizeMax)
	case strings.ContainsFunc(b.content, unfit):
		return e, OutOfRange, errors.New("content has < or > or a control character, which no path has and no slug")
	case b.age < 0 || b.age > ageMax.Milliseconds():
		return e, OutOfRange, fmt.Errorf("age %d is outside of 0 to %d milliseconds", b.age, ageMax.Milliseconds())
	case b.dwell < 0 || b.dwell > wire.DwellMax:
		return e, OutOfRange, fmt.Errorf("dwell %d is outside of 0 to %d milliseconds", b.dwell, wire.DwellMax)
	case b.progress > wire.ProgressMax:
		return e, OutOfRange, fmt.Errorf("progress %d is outside of 0 to %d percent", b.progress, wire.ProgressMax)
	case b.variant > wire.VariantMax:
		return e, OutOfRange, fmt.Errorf("variant %d is outside of 1 to %d", b.variant, wire.VariantMax)
	case kind.OfHeadline() && (b.dwell > 0 || b.progress >= 0):
		return e, Malformed, fmt.Errorf("dwell and progress are of reading, and %.20q is of a headline", b.kind)
	case b.variant > 0 && !kind.OfHeadline():
		return e, Malformed, fmt.Errorf("a variant is of a headline, and %.20q is of reading", b.kind)
	}
	e = emit.Event{Time: -b.age, Content: emit.ID(b.content), Kind: kind, Dwell: uint32(b.dwell), Variant: uint8(b.variant)}
	if b.progress >= 0 {
		e.Progress = emit.Percent(uint8(b.progress))
	}
	return e, Taken, nil
}
