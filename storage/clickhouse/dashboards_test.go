package clickhouse

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// board is what is looked at of a dashboard.
type board struct {
	Panels []struct {
		Type, Title string
		Targets     []struct{ RawSQL string }
	}
	Templating struct {
		List []struct {
			Name  string
			Query any
		}
	}
}

func readBoard(t *testing.T, file string) (b board) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return b
}

// A question is a statement of a dashboard, or of docs/QUERIES.md.
type question struct{ title, statement string }

// A view is what Grafana puts into the statements of a dashboard.
type view struct{ from, to, now, streams, step string }

// questionsOf are the statements of all dashboards as Grafana sends them, in their order.
func questionsOf(t *testing.T, v view) (all []question) {
	t.Helper()
	files, err := filepath.Glob("../../kube/components/dashboards/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("dashboards: %q, %v", files, err)
	}
	within := func(column string) string {
		return fmt.Sprintf("(%s >= '%s' AND %s < '%s')", column, v.from, column, v.to)
	}
	macros := strings.NewReplacer(
		"${reads}", "lectern.reads", "${ledger}", "lectern.ledger", "${stream:csv}", v.streams,
		"$__timeFilter(minute)", within("minute"), "$__timeFilter(window_end)", within("window_end"),
		"$__timeInterval(minute)", "toStartOfInterval(minute, INTERVAL "+v.step+" SECOND)", "now()", "toDateTime('"+v.now+"')",
		"$__fromTime", "toDateTime('"+v.from+"')", "$__toTime", "toDateTime('"+v.to+"')",
	)
	for _, file := range files {
		board := readBoard(t, file)
		for _, variable := range board.Templating.List {
			if sql, _ := variable.Query.(string); strings.HasPrefix(sql, "SELECT") {
				all = append(all, question{"variable " + variable.Name, macros.Replace(sql)})
			}
		}
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				if target.RawSQL != "" {
					all = append(all, question{p.Type + " " + p.Title, macros.Replace(target.RawSQL)})
				}
			}
		}
	}
	return all
}

// editorsPanels are the statements of the editors' dashboard by title, for stream 1 and
// this time, in steps of an hour.
func editorsPanels(t *testing.T, from, to string) map[string]string {
	t.Helper()
	panels := make(map[string]string)
	for _, q := range questionsOf(t, view{from: from, to: to, now: to, streams: "1", step: "3600"}) {
		panels[q.title] = q.statement
	}
	return panels
}

// reader is one with one content.
type reader struct{ content, user uint64 }

// Most read shows how far readers got: of each the furthest, once. It is compared with a
// plain count, where few enough read for the sketches to be exact: from rows, from the
// projections, and from some of both.
func TestMostRead(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 22))
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	furthest, finished, dwell := map[reader]uint8{}, map[reader]bool{}, map[uint64]uint64{}
	opens, saves, shares := map[uint64]uint64{}, map[uint64]uint64{}, map[uint64]uint64{}
	for number := range uint64(3) {
		b := randomBlock(r, number+1, 3000)
		for i := range b.Rows.Len() {
			b.Rows.Content[i], b.Rows.User[i] = r.Uint64N(70), r.Uint64N(40)
			b.Rows.Progress[i] = uint8(r.IntN(3)) * b.Rows.Progress[i] / 2 // a third tell none
			if row := b.Rows.Row(i); row.Stream == 1 && row.Coarse == storage.CoarseNot && row.Variant == 0 {
				k := reader{row.Content, row.User}
				furthest[k] = max(furthest[k], row.Progress)
				if row.Finishes > 0 {
					finished[k], furthest[k] = true, 100
				}
				dwell[k.content] += row.Dwell * row.Weight()
				opens[k.content] += uint64(row.Opens) * row.Weight()
				saves[k.content] += uint64(row.Saves) * row.Weight()
				shares[k.content] += uint64(row.Shares) * row.Weight()
			}
		}
		stored(t, s, b)
	}
	var want []string
	readers, done, half := map[uint64]int{}, map[uint64]int{}, map[uint64]int{}
	for k, far := range furthest {
		readers[k.content]++
		if finished[k] {
			done[k.content]++
		}
		if far >= 50 {
			half[k.content]++
		}
	}
	var contents []uint64
	for c := range readers {
		contents = append(contents, c)
	}
	slices.SortFunc(contents, func(a, b uint64) int {
		if d := readers[b] - readers[a]; d != 0 {
			return d
		}
		return strings.Compare(strconv.FormatUint(a, 10), strconv.FormatUint(b, 10))
	})
	round := func(x float64) string { return strconv.FormatFloat(math.Round(x*1e6)/1e6, 'f', -1, 64) }
	for _, c := range contents {
		n := float64(readers[c])
		want = append(want, fmt.Sprint(c, " ", readers[c], " ", opens[c], " ", round(float64(done[c])/n), " ", round(float64(half[c])/n), " ", round(float64(dwell[c])/n), " ", saves[c], " ", shares[c]))
	}
	// Contents are shown by their names, those of which none is known by their ids.
	called := map[uint64]string{}
	for c := range uint64(70) {
		if c%2 == 0 {
			called[c] = fmt.Sprint("/", c)
			if err := server.Exec(fmt.Sprintf("INSERT INTO lectern.contents (stream, content, class, attribute, text, at) VALUES (1, %d, 'unsealed', 'name', '/%d', now64()), (2, %d, 'sealed', 'name', 'another stream', now64())", c, c, c)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, c := range contents {
		if name := called[c]; name != "" {
			want[i] = name + want[i][strings.Index(want[i], " "):]
		}
	}
	statement := editorsPanels(t, "2024-10-04 00:00:00", "2024-10-05 00:00:00")["table Most read"]
	ask := func(how, settings string) {
		t.Helper()
		var got []string
		for _, row := range server.Query(statement + settings) {
			for i, cell := range row {
				if x, err := strconv.ParseFloat(cell, 64); err == nil && strings.Contains(cell, ".") {
					row[i] = round(x)
				}
			}
			got = append(got, strings.Join(row, " "))
		}
		checkMostRead(t, how, got, want, readers, contents)
	}
	ask("rows", " SETTINGS optimize_use_projections = 0")
	ask("as they came", "")
	largeGranules(t, server)
	projected(t, server)
	ask("projections", "")
}

// Read now has the contents with the most readers of five minutes, as a plain count has
// them, where these began in the hour before.
func TestReadNow(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 24))
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	now := uint32(testDay*secondsPerDay + 12*3600 + 2*60)
	with := map[uint64]map[uint64]bool{}
	for number := range uint64(3) {
		b := randomBlock(r, number+1, 3000)
		for i := range b.Rows.Len() {
			b.Rows.Minute[i] = now - uint32(r.IntN(20))*60
			b.Rows.Content[i], b.Rows.User[i] = r.Uint64N(70), r.Uint64N(400)
			if row := b.Rows.Row(i); row.Stream == 1 && row.Coarse == storage.CoarseNot && row.Variant == 0 && row.Minute >= now-5*60 {
				if with[row.Content] == nil {
					with[row.Content] = map[uint64]bool{}
				}
				with[row.Content][row.User] = true
			}
		}
		stored(t, s, b)
	}
	var want []string
	contents := slices.SortedFunc(maps.Keys(with), func(a, b uint64) int {
		return cmp.Or(len(with[b])-len(with[a]), strings.Compare(strconv.FormatUint(a, 10), strconv.FormatUint(b, 10)))
	})
	for _, c := range contents[:20] {
		want = append(want, fmt.Sprint(c, " ", len(with[c])))
	}
	statement := editorsPanels(t, "2024-10-04 00:00:00", "2024-10-04 12:02:00")["table Read now"]
	for _, how := range []string{"as they came", "projections"} {
		var got []string
		for _, row := range server.Query(statement) {
			got = append(got, strings.Join(row[:2], " "))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", how, got, want)
		}
		projected(t, server)
	}
}

// checkMostRead compares the lines with those that are wanted. Where several have as many
// readers at the end of the list, any of them may be in it.
func checkMostRead(t *testing.T, how string, got, want []string, readers map[uint64]int, contents []uint64) {
	t.Helper()
	if len(got) != 50 || len(want) < 60 {
		t.Fatalf("%s: %d lines, of %d contents", how, len(got), len(want))
	}
	last := readers[contents[49]]
	certain := slices.IndexFunc(contents, func(c uint64) bool { return readers[c] == last })
	for i := range certain {
		if got[i] != want[i] {
			t.Errorf("%s: line %d:\ngot  %q\nwant %q", how, i, got[i], want[i])
		}
	}
	for _, line := range got[certain:] {
		if !slices.Contains(want, line) {
			t.Errorf("%s: the line %q is no content's", how, line)
		}
	}
}

// Streams are chosen by their names, those without one by their numbers. Grafana's
// data source takes the first column for the value and the second for the text.
func TestEditorsChooseStreamsByName(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 24))
	server, o := started(t, clickhousetest.Options{})
	b := randomBlock(r, 1, 300)
	stored(t, opened(t, o), b)
	if _, err := Apply(t.Context(), o, Schema{Streams: map[uint16]string{2: "news", 60000: "silent"}}); err != nil {
		t.Fatal(err)
	}
	for _, v := range readBoard(t, "../../kube/components/dashboards/lectern-editors.json").Templating.List {
		if v.Name != "stream" {
			continue
		}
		query := strings.NewReplacer("${reads}", "lectern.reads", "now()", "toDateTime('2024-10-05 00:00:00')").Replace(v.Query.(string))
		var got []string
		for _, row := range server.Query(query) {
			got = append(got, strings.Join(row, " "))
		}
		want := []string{"2 news"}
		for stream := range uint16(100) {
			if stream != 2 && slices.Contains(b.Rows.Stream, stream) {
				want = append(want, fmt.Sprint(stream, " ", stream))
			}
		}
		if !slices.Equal(got, want) || len(want) < 3 {
			t.Errorf("streams are %q, want %q", got, want)
		}
		return
	}
	t.Error("there is no variable stream")
}

// Every panel of the editors' dashboard is answered where nothing was read and
// nothing sent, and none shows a share of nothing.
func TestEditorsSeeNothingWhereNothingIs(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 23))
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	b := randomBlock(r, 1, 100)
	b.Window = storage.Window{Start: int64(testDay) * secondsPerDay * 1000, End: int64(testDay)*secondsPerDay*1000 + 1000}
	stored(t, s, b)
	empty, full := editorsPanels(t, "2024-11-01 00:00:00", "2024-11-02 00:00:00"), editorsPanels(t, "2024-10-04 00:00:00", "2024-10-05 00:00:00")
	for title, statement := range empty {
		got := server.Query(statement)
		switch title {
		case "stat Complete", "stat Finish rate":
			if len(got) != 1 || got[0][0] != `\N` {
				t.Errorf("%s of nothing: %q", title, got)
			}
			if got := server.Query(full[title]); len(got) != 1 || got[0][0] == `\N` || got[0][0] == "0" {
				t.Errorf("%s of something: %q", title, got)
			}
		case "stat Readers", "stat Readers now":
			if len(got) != 1 || got[0][0] != "0" {
				t.Errorf("%s: %q", title, got)
			}
		default:
			if len(got) != 0 {
				t.Errorf("%s: %q", title, got)
			}
		}
	}
}
