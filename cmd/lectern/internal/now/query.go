package now

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/lectern/lectern/storage/live"
	"github.com/lectern/lectern/wire"
)

// The bounds of docs/NOW.md.
const (
	limitMax        = live.ContentsMost
	limitDefault    = 20
	streamsAskedMax = 16
	contentsMax     = 20
)

// query is a question, checked.
type query struct {
	text     string // the same for all who ask the same
	streams  []uint16
	limit    int
	contents []uint64
	own      bool
}

// parse reads the parameters of a question.
func (b *Board) parse(raw string) (*query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("the question cannot be read: %w", err)
	}
	q := &query{limit: limitDefault}
	for key, texts := range values {
		switch key {
		case "stream":
			err = q.readStreams(texts, b.o.StreamNames())
		case "content":
			err = q.readContents(texts)
		case "limit":
			if q.limit, err = strconv.Atoi(texts[0]); err != nil || len(texts) > 1 || q.limit < 0 || q.limit > limitMax {
				err = fmt.Errorf("limit is %q; it is one number from 0 to %d", texts, limitMax)
			}
		case "nodes":
			if q.own = true; len(texts) > 1 || texts[0] != "own" {
				err = fmt.Errorf("nodes is %q; it is own, or left out", texts)
			}
		default:
			err = fmt.Errorf("%q is no parameter; there are stream, limit, content and nodes", key)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(q.contents) > 0 && len(q.streams) != 1 {
		return nil, fmt.Errorf("content wants the one stream that it is of")
	}
	q.text = fmt.Sprint(q.streams, q.limit, q.contents, q.own)
	return q, nil
}

// keys are the contents that were asked for by id.
func (q *query) keys() []live.Key {
	var keys []live.Key
	for _, id := range q.contents {
		keys = append(keys, live.Key{Stream: q.streams[0], ID: id})
	}
	return keys
}

func (q *query) readStreams(texts []string, names map[uint16]string) error {
	if len(texts) > streamsAskedMax {
		return fmt.Errorf("stream is given %d times; %d are the most", len(texts), streamsAskedMax)
	}
	for _, text := range texts {
		number, ok := streamNumber(text, names)
		if !ok {
			return fmt.Errorf("stream %q is neither a number from 0 to %d nor a name in the configuration", text, wire.StreamReserved-1)
		}
		if !slices.Contains(q.streams, number) {
			q.streams = append(q.streams, number)
		}
	}
	return nil
}

// streamNumber reads a stream's number or its name.
func streamNumber(text string, names map[uint16]string) (number uint16, ok bool) {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil && n < wire.StreamReserved {
		return uint16(n), true
	}
	for number, name := range names {
		if name == text {
			return number, true
		}
	}
	return 0, false
}

func (q *query) readContents(texts []string) error {
	if len(texts) > contentsMax {
		return fmt.Errorf("content is given %d times; %d are the most", len(texts), contentsMax)
	}
	for _, text := range texts {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("content %q is no id: a decimal number of 64 bits", text)
		}
		if !slices.Contains(q.contents, id) {
			q.contents = append(q.contents, id)
		}
	}
	return nil
}
