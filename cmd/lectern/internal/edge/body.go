package edge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// body is what a page sends: see docs/edge/HTTP.md.
type body struct {
	Stream string      `json:"stream"`
	Page   string      `json:"page"`
	First  *uint64     `json:"first"`
	User   string      `json:"user"`
	Events []bodyEvent `json:"events"`
}

type bodyEvent struct {
	Kind     string `json:"kind"`
	Content  string `json:"content"`
	Age      int64  `json:"age"`
	Dwell    int64  `json:"dwell"`
	Progress *int64 `json:"progress"`
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

var kindsOf = map[string]emit.Kind{"open": emit.Open, "read": emit.Read, "finish": emit.Finish, "save": emit.Save, "share": emit.Share}

// parse reads a body, strictly: an unknown field is a mistyped one. The error says
// what is wrong with it.
func (b *body) parse(text []byte) (Reason, error) {
	if !utf8.Valid(text) {
		return Malformed, fmt.Errorf("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(b); err != nil {
		return Malformed, err
	}
	if d.More() {
		return Malformed, fmt.Errorf("something follows the object")
	}
	if len(b.Events) == 0 {
		return Malformed, fmt.Errorf("there are no events")
	}
	if (b.Page == "") != (b.First == nil) {
		return Malformed, fmt.Errorf(`"page" and "first" belong together`)
	}
	return Taken, nil
}

// batch makes events of a body.
func (b *body) batch(user uint64, now time.Time) (out batch, why Reason, err error) {
	if b.Page != "" {
		if out.page, err = strconv.ParseUint(b.Page, 16, 64); err != nil || len(b.Page) != pageDigits || out.page == 0 {
			return out, Malformed, fmt.Errorf("a page has a number of %d hexadecimal digits", pageDigits)
		}
		if out.first = *b.First; out.first >= numberMax {
			return out, OutOfRange, fmt.Errorf("first %d is not below %d", out.first, uint64(numberMax))
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
	}
	return out, Taken, nil
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
	case b.Progress != nil && (*b.Progress < 0 || *b.Progress > wire.ProgressMax):
		return OutOfRange, fmt.Errorf("progress %d is outside of 0 to %d percent", *b.Progress, wire.ProgressMax)
	}
	*e = emit.Event{Time: now.UnixMilli() - b.Age, Content: emit.ID(b.Content), User: user, Kind: kind, Dwell: uint32(b.Dwell)}
	if b.Progress != nil {
		e.Progress = emit.Percent(uint8(*b.Progress))
	}
	return Taken, nil
}
