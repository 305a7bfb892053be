package edge

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// body is what a page sends: see docs/edge/HTTP.md.
type body struct {
	Stream string
	Page   string
	First  uint64
	User   string
	Events []bodyEvent

	numbered bool // First was given
}

type bodyEvent struct {
	Kind     string
	Content  string
	Age      int64
	Dwell    int64
	Progress int64 // below 0: not known
	Variant  int64 // 0: none was given
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

// parseJSON understands a body of JSON.
func parseJSON(_ *http.Request, text []byte) (posted, Reason, error) {
	var b body
	why, err := b.parse(text)
	return posted{stream: b.Stream, events: len(b.Events), user: b.User, batch: b.batch}, why, err
}

// parsers keep the memory of reading JSON.
var parsers fastjson.ParserPool

// parse reads a body, strictly: an unknown field is a mistyped one. The error says
// what is wrong with it.
func (b *body) parse(text []byte) (Reason, error) {
	if !utf8.Valid(text) || loneSurrogate(text) {
		return Malformed, errors.New("the body is not UTF-8")
	}
	p := parsers.Get()
	defer parsers.Put(p)
	v, err := p.ParseBytes(text)
	if err != nil {
		return Malformed, errors.New("the body is not JSON")
	}
	o, err := v.Object()
	if err != nil {
		return Malformed, errors.New("the body is not an object")
	}
	if err := visit(o, b.field); err != nil {
		return Malformed, err
	}
	if len(b.Events) == 0 {
		return Malformed, errors.New("there are no events")
	}
	if (b.Page == "") == b.numbered {
		return Malformed, errors.New(`"page" and "first" belong together`)
	}
	return Taken, nil
}

// visit calls f with every field of an object, until one is wrong. One that is there
// twice is: readers of JSON differ about which of them holds.
func visit(o *fastjson.Object, f func(name string, v *fastjson.Value) error) (err error) {
	seen := make([]string, 0, 8)
	o.Visit(func(key []byte, v *fastjson.Value) {
		if err != nil {
			return
		}
		name := word(key)
		if err = f(name, v); err == nil && slices.Contains(seen, name) {
			err = errTwice
		}
		if err != nil {
			err = fmt.Errorf("field %.40q: %w", key, err)
			return
		}
		seen = append(seen, name)
	})
	return err
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

// field takes one field of a body. What it keeps it copies: the parser goes on with
// another body.
func (b *body) field(name string, v *fastjson.Value) (err error) {
	switch name {
	case "stream":
		b.Stream, err = text(v)
	case "page":
		b.Page, err = text(v)
	case "user":
		b.User, err = text(v)
	case "first":
		b.First, err = v.Uint64()
		b.numbered = true
	case "events":
		var all []*fastjson.Value
		if all, err = v.Array(); err == nil {
			b.Events = make([]bodyEvent, len(all))
		}
		for i := 0; i < len(all) && err == nil; i++ {
			b.Events[i].Progress = -1
			var o *fastjson.Object
			if o, err = all[i].Object(); err == nil {
				err = visit(o, b.Events[i].field)
			}
		}
	default:
		return errUnknown
	}
	return err
}

// field takes one field of an event.
func (b *bodyEvent) field(name string, v *fastjson.Value) (err error) {
	switch name {
	case "kind":
		b.Kind, err = text(v)
	case "content":
		b.Content, err = text(v)
	case "age":
		b.Age, err = v.Int64()
	case "dwell":
		b.Dwell, err = v.Int64()
	case "progress":
		if b.Progress, err = v.Int64(); err == nil && b.Progress < 0 {
			err = errors.New("it is below 0")
		}
	case "variant":
		if b.Variant, err = v.Int64(); err == nil && b.Variant < 1 {
			err = errors.New("it is below 1")
		}
	default:
		return errUnknown
	}
	return err
}

func text(v *fastjson.Value) (string, error) {
	b, err := v.StringBytes()
	return word(b), err
}

// word is a copy of b. The words that every body has are copied once for all.
func word(b []byte) string {
	if known, ok := words[string(b)]; ok {
		return known
	}
	return string(b)
}

// words are names of fields, and kinds.
var words = func() map[string]string {
	all := make(map[string]string)
	for _, one := range []string{"stream", "page", "first", "user", "events", "kind", "content", "age", "dwell", "progress"} {
		all[one] = one
	}
	for one := range kindsOf {
		all[one] = one
	}
	return all
}()

// batch makes events of a body.
func (b *body) batch(user uint64, _ bool, now time.Time) (out batch, why Reason, err error) {
	if b.Page != "" {
		if why, err = out.number(b.Page, b.First); why != Taken {
			return out, why, err
		}
	}
	if len(b.User) > userSizeMax {
		return out, OutOfRange, fmt.Errorf("the user has %d bytes, and %d at the most", len(b.User), userSizeMax)
	}
	out.events = make([]emit.Event, len(b.Events))
	for i := range b.Events {
		if why, err := b.Events[i].event(&out.events[i], user, now); err != nil {
			return out, why, fmt.Errorf("event %d: %w", i, err)
		}
		if content := b.Events[i].Content; i == 0 || content != b.Events[i-1].Content {
			out.names = append(out.names, content)
		}
	}
	return out, Taken, nil
}

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

// event makes an event of one in a body.
func (b *bodyEvent) event(e *emit.Event, user uint64, now time.Time) (Reason, error) {
	kind, ok := kindsOf[b.Kind]
	switch {
	case !ok:
		return Malformed, fmt.Errorf("there is no kind %.20q", b.Kind)
	case b.Content == "" || len(b.Content) > contentSizeMax:
		return OutOfRange, fmt.Errorf("content has %d bytes; it has 1 to %d", len(b.Content), contentSizeMax)
	case b.Age < 0 || b.Age > ageMax.Milliseconds():
		return OutOfRange, fmt.Errorf("age %d is outside of 0 to %d milliseconds", b.Age, ageMax.Milliseconds())
	case b.Dwell < 0 || b.Dwell > wire.DwellMax:
		return OutOfRange, fmt.Errorf("dwell %d is outside of 0 to %d milliseconds", b.Dwell, wire.DwellMax)
	case b.Progress > wire.ProgressMax:
		return OutOfRange, fmt.Errorf("progress %d is outside of 0 to %d percent", b.Progress, wire.ProgressMax)
	case b.Variant > wire.VariantMax:
		return OutOfRange, fmt.Errorf("variant %d is outside of 1 to %d", b.Variant, wire.VariantMax)
	case kind.OfHeadline() && (b.Dwell > 0 || b.Progress >= 0):
		return Malformed, fmt.Errorf("dwell and progress are of reading, and %.20q is of a headline", b.Kind)
	case b.Variant > 0 && !kind.OfHeadline():
		return Malformed, fmt.Errorf("a variant is of a headline, and %.20q is of reading", b.Kind)
	}
	*e = emit.Event{Time: now.UnixMilli() - b.Age, Content: emit.ID(b.Content), User: user, Kind: kind, Dwell: uint32(b.Dwell), Variant: uint8(b.Variant)}
	if b.Progress >= 0 {
		e.Progress = emit.Percent(uint8(b.Progress))
	}
	return Taken, nil
}
