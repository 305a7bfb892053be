package clickhouse

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// readings are the rows that the queries of docs/QUERIES.md are asked about.
type readings struct {
	rows  []storage.Row
	slugs []string
	told  int64 // when the last window ended
}

// where adds up rows by a key.
func (q *readings) where(of func(r *storage.Row) (string, bool)) map[string]*readingSum {
	sums := map[string]*readingSum{}
	for i := range q.rows {
		r := &q.rows[i]
		key, ok := of(r)
		if !ok || r.Stream != 1 || r.Coarse == storage.CoarseContents || r.Variant > 0 {
			continue
		}
		if sums[key] == nil {
			sums[key] = &readingSum{users: map[uint64]bool{}, contents: map[uint64]bool{}}
		}
		s := sums[key]
		s.opens += uint64(r.Opens) * r.Weight()
		s.finishes += uint64(r.Finishes) * r.Weight()
		s.dwell += r.Dwell * r.Weight()
		s.contents[r.Content] = true
		if r.Coarse == storage.CoarseNot {
			s.users[r.User] = true
		}
		s.progress = max(s.progress, r.Progress)
	}
	return sums
}

type readingSum struct {
	opens, finishes, dwell uint64
	progress               uint8
	users, contents        map[uint64]bool
}

func (q *readings) slug(id uint64) string {
	for _, s := range q.slugs {
		if xxhash.Sum64String(s) == id {
			return s
		}
	}
	return ""
}

// lines are the sums as lines, ordered.
func lines(sums map[string]*readingSum, less func(a, b string) int, line func(key string, s *readingSum) string) (out []string) {
	var keys []string
	for k := range sums {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, less)
	for _, k := range keys {
		out = append(out, line(k, sums[k]))
	}
	return out
}

func at(minute uint32) time.Time { return time.Unix(int64(minute), 0).UTC() }

const timeFormat = "2006-01-02 15:04:05"

// answers are what plain counting gives for each section of the page.
func (q *readings) answers() map[string][]string {
	guide := xxhash.Sum64String("/guide/start")
	day := func(r *storage.Row) bool { return r.Day() == testDay }
	num := func(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n }
	byNumber := func(a, b string) int { return int(int64(num(a)>>1) - int64(num(b)>>1)) }

	top := q.where(func(r *storage.Row) (string, bool) {
		return fmt.Sprintf("%s %020d", q.slug(r.Content), r.Content), day(r)
	})
	own := func(r *storage.Row) bool { return r.Coarse == storage.CoarseNot }
	users := q.where(func(r *storage.Row) (string, bool) { return fmt.Sprint(r.User), day(r) && own(r) })
	over := q.where(func(r *storage.Row) (string, bool) { return fmt.Sprint(r.Content), true })
	unnamed := q.where(func(r *storage.Row) (string, bool) { return fmt.Sprint(r.Content), q.slug(r.Content) == "" })
	readers := q.where(func(r *storage.Row) (string, bool) { return fmt.Sprint(r.User), r.Content == guide && own(r) })
	pairs := q.where(func(r *storage.Row) (string, bool) {
		return fmt.Sprint(q.slug(r.Content), " ", r.User), q.slug(r.Content) != "" && own(r)
	})

	quarters := map[int]int{}
	for _, s := range readers {
		quarters[int(s.progress)/25*25]++
	}
	var far []string
	for _, from := range []int{0, 25, 50, 75, 100} {
		if quarters[from] > 0 {
			far = append(far, fmt.Sprint(from, " ", quarters[from]))
		}
	}
	began, finished := map[string]int{}, map[string]int{}
	for pair, s := range pairs {
		slug, _, _ := strings.Cut(pair, " ")
		began[slug]++
		if s.finishes > 0 {
			finished[slug]++
		}
	}
	var done []string
	for _, slug := range slices.Sorted(slices.Values(q.slugs)) {
		done = append(done, fmt.Sprintf("%s %d %d %v", slug, finished[slug], began[slug], math.RoundToEven(10*(100*float64(finished[slug])/float64(began[slug])))/10))
	}
	mostUsers := lines(users, func(a, b string) int {
		if d := int(users[b].dwell) - int(users[a].dwell); d != 0 {
			return d
		}
		return byNumber(a, b)
	}, func(k string, s *readingSum) string { return fmt.Sprint(k, " ", len(s.contents), " ", s.dwell) })
	streams := map[uint16]*[3]uint64{}
	for i := range q.rows {
		r := &q.rows[i]
		if !day(r) {
			continue
		}
		if streams[r.Stream] == nil {
			streams[r.Stream] = new([3]uint64)
		}
		s := streams[r.Stream]
		s[0], s[1] = s[0]+uint64(r.Opens)*r.Weight(), s[1]+uint64(r.Finishes)*r.Weight()
		if !own(r) {
			s[2] += r.Events() * r.Weight()
		}
	}
	var whole []string
	for _, stream := range slices.Sorted(maps.Keys(streams)) {
		s := streams[stream]
		whole = append(whole, fmt.Sprint(stream, " ", s[0], " ", s[1], " ", s[2]))
	}
	collector := fmt.Sprint(uint64(testCollector))
	return map[string][]string{
		"Names for ids": {fmt.Sprint(guide, " /guide/start Start Guides 1200")},
		"The most opened pages of a day, by name": lines(top, func(a, b string) int {
			if d := int(top[b].opens) - int(top[a].opens); d != 0 {
				return d
			}
			return strings.Compare(a, b)
		}, func(k string, s *readingSum) string {
			slug, _, _ := strings.Cut(k, " ")
			return strings.TrimSpace(fmt.Sprint(slug, " ", s.opens, " ", len(s.users), " ", s.finishes, " ", math.RoundToEven(float64(s.dwell)/60000)))
		}),
		"One page, minute by minute": lines(q.where(func(r *storage.Row) (string, bool) {
			return at(r.Minute).Format(timeFormat), r.Content == guide && day(r) && at(r.Minute).Hour() == 10
		}), strings.Compare, func(k string, s *readingSum) string {
			return fmt.Sprint(k, " ", len(s.users), " ", s.opens, " ", s.dwell)
		}),
		"One page, hour by hour": lines(q.where(func(r *storage.Row) (string, bool) {
			return at(r.Minute).Truncate(time.Hour).Format(timeFormat), r.Content == guide
		}), strings.Compare, func(k string, s *readingSum) string { return fmt.Sprint(k, " ", len(s.users), " ", s.opens) }),
		"Different readers over several days": lines(over, func(a, b string) int {
			if d := len(over[b].users) - len(over[a].users); d != 0 {
				return d
			}
			return byNumber(a, b)
		}, func(k string, s *readingSum) string { return fmt.Sprint(k, " ", len(s.users), " ", s.dwell) }),
		"Whole streams":                    whole,
		"The users who read most on a day": mostUsers[:5],
		"How far readers get":              far,
		"Who finished what they began":     done,
		"Contents that nobody has a name for": lines(unnamed, func(a, b string) int {
			if d := int(unnamed[b].opens) - int(unnamed[a].opens); d != 0 {
				return d
			}
			return byNumber(a, b)
		}, func(k string, s *readingSum) string { return fmt.Sprint(k, " ", s.opens) }),
		"Do the books balance":                   {},
		"Blocks that are not there exactly once": {},
		"Up to when each collector has told":     {collector + " " + time.UnixMilli(q.told).UTC().Format("2006-01-02 15:04:05.000")},
	}
}

// Each statement of the page is run, and its answer compared with a plain count.
func TestQueriesPage(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 6))
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	q := &readings{slugs: []string{"/guide/start", "/guide/next", "/about"}}
	contents := []uint64{1, 2, xxhash.Sum64String(q.slugs[0]), xxhash.Sum64String(q.slugs[1]), xxhash.Sum64String(q.slugs[2])}
	ten := int64(testDay*secondsPerDay+10*3600) * 1000
	hour := map[uint16]*storage.Book{}
	number := uint64(0)
	for _, day := range []uint32{testDay, testDay + 1} {
		for range 3 {
			number++
			b := randomBlock(r, number, 400)
			sums := map[uint16]uint64{}
			b.Day = day
			for i := range b.Rows.Len() {
				b.Rows.Minute[i] += (day - testDay) * secondsPerDay
				b.Rows.Content[i] = contents[r.IntN(len(contents))]
				b.Rows.User[i] = 1000 + r.Uint64N(30)
				switch storage.Coarse(b.Rows.Coarse[i]) {
				case storage.CoarseUsers:
					b.Rows.User[i] = 0
				case storage.CoarseContents:
					b.Rows.Content[i], b.Rows.User[i] = 0, 0
				}
				if b.Rows.User[i] == 1007 {
					b.Rows.Finishes[i] = 0 // who goes on
				}
				if b.Rows.Variant[i] > 0 {
					b.Rows.Variant[i] = 1 + b.Rows.Variant[i]%2
				}
				row := b.Rows.Row(i)
				sums[row.Stream] += row.Events()
				q.rows = append(q.rows, row)
			}
			for i := range b.Books { // balance
				k := &b.Books[i]
				k.Counts[storage.Accepted] = sums[k.Stream]
				k.Counts[storage.Sent] = k.Counts[storage.Accepted] + k.RefusedEvents() + k.Counts[storage.Shed] + uint64(k.Net(storage.Lost))
			}
			b.Window.Start = ten + int64(number-1)*20*60_000 // three in the hour, three after it
			b.Window.End = b.Window.Start + 20*60_000
			q.told = b.Window.End
			if day == testDay {
				for i := range b.Books {
					k := b.Books[i]
					if hour[k.Stream] == nil {
						hour[k.Stream] = &storage.Book{Stream: k.Stream}
					}
					hour[k.Stream].Add(&k)
				}
			}
			stored(t, s, b)
			stored(t, s, b)
		}
	}
	page, err := os.ReadFile("../../docs/QUERIES.md")
	if err != nil {
		t.Fatal(err)
	}
	want := q.answers()
	maps.Copy(want, q.publisher())
	for stream := uint16(1); stream <= 3; stream++ {
		k := hour[stream]
		want["How complete is this hour"] = append(want["How complete is this hour"], fmt.Sprint(stream, " ", k.Counts[storage.Sent], " ", k.Counts[storage.Accepted], " ", k.RefusedEvents(), " ", k.Counts[storage.Shed], " ", k.Net(storage.Lost), " 0 0 ",
			math.RoundToEven(100*(100*float64(k.Counts[storage.Accepted])/float64(k.Counts[storage.Sent])))/100))
		want["Why events were refused"] = append(want["Why events were refused"], fmt.Sprint(stream, " kind 6 6"), fmt.Sprint(stream, " magic 24 12"))
	}
	// A source that was met twice, with fifty events between that nobody saw.
	twice := &storage.Block{Collector: testCollector, Number: 98, Checksum: 1, Window: storage.Window{Start: ten - 7000_000, End: ten - 6900_000}}
	again := ten - 6900_000
	twice.Books = []storage.Book{{Stream: 4, Counts: storage.Counts{storage.Sent: 150, storage.Accepted: 140, storage.Lost: 10}, Spans: []storage.Span{
		{Source: 77, Met: ten - 7000_000, End: 100, Sent: 100, Lost: 10, At: again, Ended: storage.SpanLeft},
		{Source: 77, Met: again, Base: 150, End: 200, Sent: 50, At: again, Ended: storage.SpanEnded},
	}}}
	twice.Day = testDay
	twice.Rows.Append(&storage.Row{Stream: 4, Minute: testDay * secondsPerDay, Content: 3, User: 3, Opens: 140, First: testDay * secondsPerDay * 1000, Last: testDay * secondsPerDay * 1000})
	stored(t, s, twice)
	want["Whole streams"] = append(want["Whole streams"], "4 140 0 0")
	want["Which sources several collectors have, and what that comes to"] = []string{"4 77 2 0 200 50 60 0 " + time.UnixMilli(again).UTC().Format("2006-01-02 15:04:05.000")}
	// One block whose books are there, and whose rows are not.
	late := randomBlock(r, 99, 10)
	late.Window = storage.Window{Start: ten - 7200_000, End: ten - 7100_000}
	late.Books = nil
	if err := s.server.book(t.Context(), late, 0); err != nil {
		t.Fatal(err)
	}
	events := uint64(0)
	for i := range late.Rows.Len() {
		row := late.Rows.Row(i)
		events += row.Events()
	}
	want["Blocks that are under way"] = []string{fmt.Sprint(uint64(testCollector), " 99 ", time.UnixMilli(late.Window.Start).UTC().Format("2006-01-02 15:04:05.000"), " ", events)}

	want["What was forgotten"] = nil // TestForget has some

	for _, values := range []string{
		"xxHash64('/guide/start'), 'unsealed', 'name', '/guide/start'", "xxHash64('/guide/next'), 'unsealed', 'name', '/guide/next'", "xxHash64('/about'), 'unsealed', 'name', '/about'",
		"xxHash64('/guide/start'), 'unsealed', 'title', 'A stranger''s'", "xxHash64('/guide/start'), 'sealed', 'title', 'Start'",
		"xxHash64('/guide/start'), 'sealed', 'section', 'Guides'", "xxHash64('/guide/start'), 'sealed', 'words', '1200'",
		"xxHash64('/guide/next'), 'sealed', 'words', '1700'", "xxHash64('/about'), 'sealed', 'words', '300'",
	} {
		if err := server.Exec("INSERT INTO lectern.contents (stream, content, class, attribute, text, at) VALUES (1, " + values + ", now64())"); err != nil {
			t.Fatal(err)
		}
	}

	want["Readers of many contents over many days, about"] = want["Different readers over several days"]
	ran := askPage(t, server, string(page), want, "")
	for name := range want {
		if !ran[name] {
			t.Errorf("the page has no %q", name)
		}
	}
	askPage(t, server, string(page), want, " SETTINGS optimize_use_projections = 0")
	largeGranules(t, server)
	projected(t, server)
	_, statements := statementsOf(string(page))
	askPage(t, server, string(page), want, "")
	for section, projection := range map[string]string{
		"Whole streams": "by_minute", "Do the books balance": "by_minute", "Contents that nobody has a name for": "content_hours",
		"Readers of many contents over many days, about": "content_hours", "The users who read most on a day": "user_by_day",
	} {
		answeredFrom(t, server, section, statements[section][0], projection)
	}
	// Which are most opened is found out from the projection, and their readers are counted.
	top, _, _ := strings.Cut(statements["The most opened pages of a day, by name"][0], "\n)")
	_, top, _ = strings.Cut(top, "IN\n(")
	answeredFrom(t, server, "which pages are most opened", top, "content_hours")
}

// statementsOf are the statements of the page, by section.
func statementsOf(page string) (sections []string, statements map[string][]string) {
	statements = map[string][]string{}
	for part := range strings.SplitSeq(page, "\n## ") {
		section, _, _ := strings.Cut(part, "\n")
		sections = append(sections, section)
		for _, after := range strings.Split(part, "```sql\n")[1:] {
			statement, _, _ := strings.Cut(after, "\n```")
			statements[section] = append(statements[section], statement)
		}
	}
	return sections, statements
}

// askPage runs each statement of the page, and compares its answer. It returns what it
// has run.
func askPage(t *testing.T, server *clickhousetest.Server, page string, want map[string][]string, settings string) (ran map[string]bool) {
	t.Helper()
	ran = map[string]bool{}
	sections, statements := statementsOf(page)
	for _, section := range sections {
		for i, statement := range statements[section] {
			name := section
			if i == 1 && section == "How complete is this hour" {
				name = "Up to when each collector has told"
			}
			ran[name] = true
			if strings.HasPrefix(statement, "ALTER") {
				if err := server.Exec(statement + " SETTINGS mutations_sync = 2"); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
				continue
			}
			var got []string
			for _, row := range server.Query(statement + settings) {
				got = append(got, strings.TrimSpace(strings.Join(row, " ")))
			}
			if name == "What a day costs on disk" {
				if len(got) < 2 {
					t.Errorf("%s: %q", name, got)
				}
				continue
			}
			expected, ok := want[name]
			if !ok {
				t.Errorf("%s: nobody knows the answer", name)
			}
			if !slices.Equal(got, expected) {
				t.Errorf("%s%s:\ngot  %q\nwant %q", name, settings, got, expected)
			}
		}
	}
	return ran
}
