package now

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/live"
	"github.com/lectern/lectern/wire"
)

const start = int64(1_700_000_040_000) // a whole minute

// board is a Board, and a function that makes cuts of one second.
type board struct {
	*Board
	readers *live.Readers
	minutes *storage.Minutes
	end     int64
}

func newBoard(number uint64) *board {
	b := &board{readers: live.New(live.Options{ReadersMax: 1 << 20, ContentsMax: 1 << 12}), minutes: storage.NewMinutes(), end: start}
	b.minutes.Watch(b.readers, storage.Window{})
	b.Board = New(Options{
		Readers: b.readers, Collector: number, Address: func() string { return "127.0.0.1:8421" },
		StreamNames: func() map[uint16]string { return map[uint16]string{7: "news", 9: "shop"} },
		TextsOf: func(stream uint16, content uint64) (t collector.Texts) {
			if content%2 == 1 {
				t[wire.AttributeName] = fmt.Sprintf("/%d/<%d>", stream, content)
				t[wire.AttributeAuthor] = fmt.Sprint("author of ", content)
			} else if content == 6 {
				t[wire.AttributeTitle], t[wire.AttributeSection] = "Six", "Numbers"
			}
			return t
		},
		Clock: time.Now,
	})
	return b
}

// cut ends a window of so many seconds, in whose first second all rows are.
func (b *board) cut(seconds int64, rows ...storage.Row) {
	begin := b.end
	b.end += seconds * 1000
	for i := range rows {
		rows[i].First, rows[i].Last, rows[i].Minute = begin+1, begin+2, uint32(begin/60_000*60)
	}
	b.minutes.AddCut(storage.Window{Start: begin, End: b.end}, rows)
}

// open is one reader who opens a content.
func open(stream uint16, content, user uint64) storage.Row {
	return storage.Row{Stream: stream, Content: content, User: user, Opens: 1}
}

func (b *board) get(t *testing.T, query string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", "/now.json"+query, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func (b *board) page(t *testing.T, query string) (p Page) {
	t.Helper()
	w := b.get(t, query)
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d, %v: %s", query, w.Code, err, w.Body)
	}
	return p
}

// Every field of the answer stands in docs/NOW.md, and nothing else does.
func TestAnswerIsThatOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/NOW.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	decoder := json.NewDecoder(strings.NewReader(example))
	decoder.DisallowUnknownFields()
	var p Page
	if err := decoder.Decode(&p); err != nil {
		t.Fatalf("the example has what the answer has not: %v", err)
	}
	again, _ := json.Marshal(p)
	var want, got any
	_, _ = json.Unmarshal([]byte(example), &want), json.Unmarshal(again, &got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the example is\n%v, the answer would be\n%v", want, got)
	}
}

// minutes are those of the last hour: the given are the last.
func minutes(last ...uint64) []uint64 {
	return append(make([]uint64, minutesShown-len(last)), last...)
}

func TestAnswer(t *testing.T) {
	b := newBoard(0xabc)
	if p := b.page(t, ""); p.Time != 0 || len(p.Streams) != 0 {
		t.Fatalf("before the first cut: %+v", p)
	}
	for i := range uint64(20 * 60) { // an open a second, of a new reader each
		b.cut(1, open(7, 1, i))
	}
	for i := range uint64(5 * 60) { // then three
		b.cut(1, open(7, 1, i+10_000), open(7, 1, i+20_000), open(7, 2, i+10_000))
	}
	b.cut(1, open(9, 1<<63+1, 5))
	// The last minute ends with the second in which the cut ends, which has just begun, and
	// in the one before it nobody read the news.
	velocity := func(v float64) *float64 { return &v }
	series := func(each, then uint64) []uint64 {
		all := minutes()
		for i := range 20 {
			all[61-1-25+i] = each
		}
		for i := range 5 {
			all[61-1-5+i] = then
		}
		return all
	}
	want := Page{
		Time: b.end, Since: start,
		Streams: []StreamLine{
			{
				Stream: "7", Name: "news", Contents: []ContentLine{
					{Content: "1", Name: "/7/<1>", Author: "author of 1", Counts: Counts{Minute: 58 * 2, Five: 298 * 2, Rate: rounded(100/51.0, 3), Velocity: velocity(2), Minutes: series(60, 120)}},
					{Content: "2", Counts: Counts{Minute: 58, Five: 298, Rate: rounded(50/51.0, 3), Velocity: nil, Minutes: series(0, 60)}},
				},
				Counts: Counts{Minute: 58 * 2, Five: 298 * 2, Rate: rounded(150/51.0, 3), Velocity: velocity(3), Minutes: series(60, 180)},
			},
			{
				Stream: "9", Name: "shop", Contents: []ContentLine{
					{Content: "9223372036854775809", Name: "/9/<9223372036854775809>", Author: "author of 9223372036854775809", Counts: Counts{Minute: 1, Five: 1, Rate: rounded(1/51.0, 3), Minutes: minutes(1)}},
				},
				Counts: Counts{Minute: 1, Five: 1, Rate: rounded(1/51.0, 3), Minutes: minutes(1)},
			},
		},
		Nodes: []Node{{Node: "127.0.0.1:8421", Collector: "0000000000000abc", State: "own", Time: b.end, Since: start}},
	}
	if got := b.page(t, ""); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s, want\n%s", indented(got), indented(want))
	}
}

// What is said of a content stands beside it; a title is its name where it has no other.
func TestAnswerHasWhatIsSaid(t *testing.T) {
	b := newBoard(1)
	b.cut(1, open(7, 6, 1))
	c := b.page(t, "").Streams[0].Contents[0]
	if c.Content != "6" || c.Name != "Six" || c.Title != "Six" || c.Section != "Numbers" || c.Author != "" {
		t.Errorf("%+v", c)
	}
}

func indented(x any) string {
	text, _ := json.MarshalIndent(x, "", " ")
	return string(text)
}

func TestQuestions(t *testing.T) {
	b := newBoard(1)
	var rows []storage.Row
	for c := range uint64(200) {
		for i := range 200 - c {
			rows = append(rows, open(7, c, i))
		}
	}
	for s := range uint16(40) {
		rows = append(rows, open(100+s, 1, 1))
	}
	b.cut(1, rows...)
	for query, want := range map[string]string{
		"":                               "7:20 100:1 101:1 102:1 103:1 104:1 105:1 106:1 107:1 108:1 109:1 110:1 111:1 112:1 113:1 114:1 115:1 116:1 117:1 118:1 119:1 120:1 121:1 122:1 123:1 124:1 125:1 126:1 127:1 128:1 129:1 130:1",
		"?stream=139&stream=7&limit=100": "7:100 139:1",
		"?stream=news&limit=0":           "7:0",
		"?stream=shop":                   "9:0",
		"?stream=news&limit=1&content=199&content=5000&nodes=own": "7:3",
	} {
		got := ""
		for _, s := range b.page(t, query).Streams {
			got += fmt.Sprintf(" %s:%d", s.Stream, len(s.Contents))
		}
		if got != " "+want {
			t.Errorf("%s: got%s, want %s", query, got, want)
		}
	}
	p := b.page(t, "?stream=7&limit=1&content=199&content=5000")
	for i, want := range []string{"0 200", "199 1", "5000 0"} {
		if c := p.Streams[0].Contents[i]; fmt.Sprint(c.Content, " ", c.Minute) != want {
			t.Errorf("content %d: %s with %d readers, want %s", i, c.Content, c.Minute, want)
		}
	}
	for _, query := range []string{
		"?stream=65535", "?stream=-1", "?stream=nobody", "?limit=101", "?limit=-1", "?limit=1&limit=2", "?limit=x", "?nodes=all", "?content=1",
		"?stream=7&content=x", "?stream=7&stream=9&content=1", "?wat=1", "?stream=%zz",
		"?" + strings.Repeat("stream=1&", 17), "?stream=7" + strings.Repeat("&content=1", 21),
	} {
		if w := b.get(t, query); w.Code != http.StatusBadRequest || len(w.Body.String()) < 10 {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

// An answer is made once for all who ask the same until the next cut, and whoever has
// it gets no other.
func TestAnswersAreShared(t *testing.T) {
	b := newBoard(1)
	b.cut(1, open(7, 1, 1))
	first := b.get(t, "?stream=7&limit=3")
	tag := first.Header().Get("ETag")
	if w := b.get(t, "?limit=3&stream=news", "If-None-Match", tag); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	q, _ := b.parse("stream=7&limit=3")
	if one, two := b.answer(t.Context(), q), b.answer(t.Context(), q); one != two {
		t.Error("the same question of the same cut was answered twice")
	}
	b.cut(1)
	if w := b.get(t, "?stream=7&limit=3", "If-None-Match", tag); w.Code != http.StatusOK || w.Header().Get("ETag") == tag {
		t.Errorf("after a cut: %d", w.Code)
	}
	for i := range 100 {
		b.page(t, fmt.Sprintf("?limit=%d", i))
	}
	if n := len(b.answers); n > answersMax {
		t.Errorf("%d answers are kept", n)
	}
}
