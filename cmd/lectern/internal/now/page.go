package now

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/lectern/lectern/storage/live"
	"github.com/lectern/lectern/wire"
)

// Page is the JSON of docs/NOW.md.
type Page struct {
	Time    int64        `json:"time"`
	Since   int64        `json:"since"`
	Cluster bool         `json:"cluster"`
	Streams []StreamLine `json:"streams"`
	Nodes   []Node       `json:"nodes"`
	Unasked int          `json:"unasked"`
}

// StreamLine is a stream of a Page.
type StreamLine struct {
	Stream string `json:"stream"`
	Name   string `json:"stream_name,omitempty"`
	Counts
	Coarse   uint64        `json:"coarse_1m"`
	Contents []ContentLine `json:"contents"`
}

// ContentLine is a content of a StreamLine.
type ContentLine struct {
	Content string `json:"content"`
	Name    string `json:"name,omitempty"`
	Title   string `json:"title,omitempty"`
	Section string `json:"section,omitempty"`
	Author  string `json:"author,omitempty"`
	Counts
}

// Counts are the figures of either.
type Counts struct {
	Minute      uint64   `json:"readers_1m"`
	MinuteError float64  `json:"readers_1m_error"`
	Five        uint64   `json:"readers_5m"`
	FiveError   float64  `json:"readers_5m_error"`
	Rate        float64  `json:"opens_per_second"`
	Velocity    *float64 `json:"velocity"`
	Minutes     []uint64 `json:"opens_by_minute"`
}

// Node is a daemon of which the figures are, or are not.
type Node struct {
	Node      string `json:"node"`
	Collector string `json:"collector,omitempty"` // 16 hexadecimal digits, as everywhere
	State     string `json:"state"`
	Why       string `json:"why,omitempty"`
	Time      int64  `json:"time,omitempty"`
	Since     int64  `json:"since,omitempty"`
}

// The words of Node.State.
const (
	stateOwn     = "own"
	stateAsked   = "asked"
	stateLeftOut = "left_out"
)

func collectorWord(id uint64) string { return fmt.Sprintf("%016x", id) }

// minutesShown is the last hour, and the minute that is running.
const minutesShown = 61

// page is the answer to a question.
func (b *Board) page(f *figures, q *query) *Page {
	p := &Page{Time: f.time, Since: f.since, Cluster: f.cluster, Streams: []StreamLine{}, Nodes: f.nodes, Unasked: f.unasked}
	names := b.o.StreamNames()
	for _, s := range b.streamsOf(f, q) {
		line := StreamLine{
			Stream: number(uint64(s.number)), Name: names[s.number], Counts: lineOf(&s.counts), Coarse: s.coarse,
			Contents: []ContentLine{},
		}
		for _, c := range s.contents[:min(q.limit, len(s.contents))] {
			line.Contents = append(line.Contents, b.contentLine(s.number, c))
		}
		for _, c := range b.more(f, q) {
			line.Contents = append(line.Contents, b.contentLine(s.number, c))
		}
		p.Streams = append(p.Streams, line)
	}
	return p
}

// streamsOf are the streams that were asked for, or those with the most readers; the
// first is that with the most.
func (b *Board) streamsOf(f *figures, q *query) []streamFigures {
	if len(q.streams) == 0 {
		return f.streams[:min(len(f.streams), live.StreamsMax)]
	}
	var all []streamFigures
	for _, n := range q.streams {
		all = append(all, b.streamOf(f, n))
	}
	slices.SortFunc(all, compareStreams)
	return all
}

// streamOf is one that was asked for: zeros where it is not known.
func (b *Board) streamOf(f *figures, n uint16) streamFigures {
	if i := slices.IndexFunc(f.streams, func(s streamFigures) bool { return s.number == n }); i >= 0 {
		return f.streams[i]
	}
	if !f.cluster {
		found := b.o.Readers.Top(limitMax, n)
		if all := streamsFrom(&found, &f.period); len(all) > 0 {
			return all[0]
		}
	}
	return streamFigures{number: n}
}

// more are the contents that were asked for by id, of the one stream that was.
func (b *Board) more(f *figures, q *query) (all []contentFigures) {
	keys := q.keys()
	if f.cluster {
		for _, k := range keys {
			all = append(all, contentFigures{k.ID, f.more[k]})
		}
		return all
	}
	for i, c := range b.o.Readers.Of(keys) {
		all = append(all, contentFigures{keys[i].ID, f.period.counts(&c.Counts)})
	}
	return all
}

func (b *Board) contentLine(stream uint16, c contentFigures) ContentLine {
	texts := b.o.TextsOf(stream, c.id)
	return ContentLine{
		Content: number(c.id), Name: cmp.Or(texts[wire.AttributeName], texts[wire.AttributeTitle]),
		Title: texts[wire.AttributeTitle], Section: texts[wire.AttributeSection], Author: texts[wire.AttributeAuthor],
		Counts: lineOf(&c.counts),
	}
}

func lineOf(c *counts) Counts {
	line := Counts{
		Minute: c.minute, MinuteError: rounded(c.minuteError, 4), Five: c.five, FiveError: rounded(c.fiveError, 4),
		Rate: rounded(c.rate, 3), Minutes: c.minutes[live.MinutesKept-minutesShown:],
	}
	if c.before > 0 {
		v := rounded(c.lately/c.before, 3)
		line.Velocity = &v
	}
	return line
}

// rounded keeps that number of decimals.
func rounded(x float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(x*scale) / scale
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
