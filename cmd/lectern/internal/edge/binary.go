package edge

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// binaryType is the content type of a body of the protocol's events.
const binaryType = "application/octet-stream"

// parseBinary understands a body of events as wire/SPEC.md has them in a frame
// (section 3). What a frame's header would say stands in the query: stream, count,
// age (how many milliseconds ago the frame's time is; 0 without), and page and
// first as in JSON.
func parseBinary(p *posted, r *http.Request, body []byte) (Reason, error) {
	query := r.URL.Query()
	for name, values := range query {
		if !binaryFields[name] || len(values) != 1 {
			return Malformed, fmt.Errorf("%.40q: there is no such field, or it is there twice", name)
		}
	}
	count, err := strconv.Atoi(query.Get("count"))
	if err != nil || count < 1 || count > bodySizeMax/wire.EventSizeMin {
		return Malformed, errors.New("count is not the number of events")
	}
	age, err := number(query, "age", 0)
	if err != nil || age > uint64(ageMax.Milliseconds()) {
		return OutOfRange, fmt.Errorf("age is outside of 0 to %d milliseconds", ageMax.Milliseconds())
	}
	if query.Has("page") || query.Has("first") {
		first, err := number(query, "first", numberMax)
		if err != nil {
			return Malformed, errors.New("first is no number")
		}
		if why, err := p.batch.number(query.Get("page"), first); why != Taken {
			return why, err
		}
	}
	events, refused := wire.DecodeEvents(make([]wire.Event, count), body, count)
	if refused != wire.Accepted {
		return Malformed, fmt.Errorf("the events are refused: %v", refused)
	}
	p.stream, p.events, p.own = query.Get("stream"), count, true
	for i := range events {
		w := &events[i]
		p.batch.events = append(p.batch.events, eventOf(w, min(int64(w.At)-int64(age), 0)))
	}
	return Taken, nil
}

// eventOf is an event of the protocol as an emitter takes it.
func eventOf(w *wire.Event, at int64) emit.Event {
	e := emit.Event{Time: at, Content: w.Content, User: w.User, Kind: w.Kind, Dwell: w.Dwell, Variant: w.Variant()}
	if w.Kind.OfHeadline() {
		e.Dwell = 0
	}
	if w.HasProgress {
		e.Progress = emit.Percent(w.Progress)
	}
	return e
}

var binaryFields = map[string]bool{"stream": true, "count": true, "age": true, "page": true, "first": true}

// number is a field of a query, or otherwise where it is not there.
func number(query url.Values, name string, otherwise uint64) (uint64, error) {
	if !query.Has(name) {
		return otherwise, nil
	}
	return strconv.ParseUint(query.Get(name), 10, 64)
}
