package main

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lectern/lectern/cmd/lectern/internal/now"
)

// The columns of a name, and of the last hour, where there is no terminal to say how
// many there are.
const (
	liveColumns    = 100
	liveHourMost   = 60
	liveHourLeast  = 10
	liveNameLeast  = 12
	liveOthersWide = 44 // the figures between the two, and the gaps
)

// livePage is the lines of what is read now, for a terminal of that number of columns; 0
// is no terminal.
func livePage(p *now.Page, columns int) []string {
	if columns == 0 {
		columns = liveColumns
	}
	lines := []string{cutColumns(liveHead(p), columns)}
	for _, n := range p.Nodes {
		if n.Why != "" {
			lines = append(lines, cutColumns("left out: "+printable(n.Node)+": "+printable(n.Why), columns))
		}
	}
	if p.Unasked > 0 {
		lines = append(lines, cutColumns(fmt.Sprintf("not asked: %d more daemons", p.Unasked), columns))
	}
	for i := range p.Streams {
		lines = append(lines, "")
		lines = append(lines, liveStream(&p.Streams[i], columns)...)
	}
	if len(p.Streams) == 0 {
		lines = append(lines, "", "Nobody reads anything.")
	}
	return lines
}

func liveHead(p *now.Page) string {
	head := "Read now, " + time.UnixMilli(p.Time).UTC().Format("15:04:05 UTC")
	if !p.Cluster {
		return head
	}
	asked := 0
	for _, n := range p.Nodes {
		if n.Why == "" {
			asked++
		}
	}
	return fmt.Sprintf("%s, by %d daemons of %d", head, asked, len(p.Nodes)+p.Unasked)
}

// liveStream is a line for the stream and one for each of its contents.
func liveStream(s *now.StreamLine, columns int) []string {
	hour := min(liveHourMost, max(liveHourLeast, (columns-liveOthersWide)/2))
	name := max(liveNameLeast, columns-liveOthersWide-hour)
	t := table{left: 1}
	row := func(what string, c *now.Counts) {
		t.add(padColumns(cutColumns(printable(what), name), name), readersWord(c.Minute, c.MinuteError), readersWord(c.Five, c.FiveError),
			fmt.Sprintf("%.1f", c.Rate), velocityWord(c.Velocity), spark(c.Minutes, hour))
	}
	word := "stream " + s.Stream
	if s.Name != "" {
		word += " " + s.Name
	}
	t.add(padColumns(cutColumns(printable(strings.ToUpper(word)), name), name), "1 MIN", "5 MIN", "OPENS/S", "TIMES", padColumns("LAST HOUR", hour))
	row("all", &s.Counts)
	for i := range s.Contents {
		row(liveContent(&s.Contents[i]), &s.Contents[i].Counts)
	}
	var lines []string
	for line := range strings.Lines(t.String()) {
		lines = append(lines, cutColumns(strings.TrimRight(line, " \n"), columns))
	}
	if s.Coarse > 0 {
		lines = append(lines, cutColumns(fmt.Sprintf("and readers of %d events that are not known: there was no room", s.Coarse), columns))
	}
	return lines
}

// liveContent is what a content is called, best by its title, with its section and author.
func liveContent(c *now.ContentLine) string {
	what := cmp.Or(c.Title, c.Name, c.Content)
	for _, more := range []string{c.Section, c.Author} {
		if more != "" {
			what += " · " + more
		}
	}
	return what
}

// readersWord is a number of readers, with a mark where it is an estimate.
func readersWord(n uint64, failure float64) string {
	if failure > 0 {
		return "~" + number(n)
	}
	return number(n)
}

func velocityWord(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *v)
}

var sparks = []rune("▁▂▃▄▅▆▇█")

// spark draws numbers as bars, at most that many, the last numbers on the right; each bar is the
// most of those that it stands for. The minute that is running is not over and left out.
func spark(numbers []uint64, bars int) string {
	if len(numbers) == 0 || bars <= 0 {
		return ""
	}
	numbers = numbers[:len(numbers)-1]
	heights, most := make([]uint64, min(bars, len(numbers))), uint64(0)
	for i, n := range numbers {
		at := i * len(heights) / len(numbers)
		heights[at] = max(heights[at], n)
		most = max(most, n)
	}
	var b strings.Builder
	for _, n := range heights {
		if n == 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(sparks[int(math.Ceil(float64(n)/float64(most)*float64(len(sparks))))-1])
	}
	return b.String() + strings.Repeat(" ", bars-len(heights))
}

// cutColumns is as much of the beginning of a text as fits into a number of columns.
func cutColumns(text string, most int) string {
	if columns(text) <= most {
		return text
	}
	for columns(text) > most-1 && text != "" {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text + "…"
}

func padColumns(text string, to int) string {
	return text + strings.Repeat(" ", max(0, to-columns(text)))
}
