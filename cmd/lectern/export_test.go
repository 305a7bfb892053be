package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
)

// notExported are columns of the table reads that an export has under another name, or
// does not have.
var notExported = map[string]string{
	"coarse":     "",          // a row of one reader is not
	"resume_lag": "resume_at", // as a moment
}

// readsColumnNames are the columns of the table reads, from the statements that make it.
func readsColumnNames(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("../../storage/clickhouse/schema/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("the schema is not there: %v", err)
	}
	statement := regexp.MustCompile(`(?s)CREATE TABLE IF NOT EXISTS \{\{\.Local "reads"\}\}.*?\n\((.*?)\n\)`)
	column := regexp.MustCompile(`(?m)^    (\w+) +[A-Z]\w+`)
	added := regexp.MustCompile(`ALTER TABLE \{\{\.(?:Local|Name) "reads"\}\}[^;]*?ADD COLUMN (?:IF NOT EXISTS )?(\w+)`)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if body := statement.FindSubmatch(b); body != nil {
			for _, m := range column.FindAllSubmatch(body[1], -1) {
				names = append(names, string(m[1]))
			}
		}
		for _, m := range added.FindAllSubmatch(b, -1) {
			names = append(names, string(m[1]))
		}
	}
	if len(names) < 20 || !slices.Contains(names, "stream") || !slices.Contains(names, "resume_lag") {
		t.Fatalf("these are not the columns of reads: %q", names)
	}
	return names
}

// What is stored of a reader is exported: each column of the table, and each field of a
// row.
func TestExportHasAllColumns(t *testing.T) {
	exported := func(r storage.Row) (keys []string, values map[string]string) {
		values = make(map[string]string)
		for _, c := range exportColumns(&r, streamNames{1: "news"}) {
			keys, values[c.key] = append(keys, c.key), fmt.Sprint(c.value)
		}
		return keys, values
	}
	keys, zero := exported(storage.Row{})
	for _, name := range readsColumnNames(t) {
		if other, renamed := notExported[name]; renamed {
			name = other
		}
		if name != "" && !slices.Contains(keys, name) {
			t.Errorf("the column %s is stored, and not exported: %q", name, keys)
		}
	}
	row := reflect.TypeFor[storage.Row]()
	for i := range row.NumField() {
		field := row.Field(i).Name
		if field == "Coarse" {
			continue
		}
		r := storage.Row{Resume: 1} // a lag is of a progress
		_, before := exported(r)
		v := reflect.ValueOf(&r).Elem().Field(i)
		if v.CanUint() {
			v.SetUint(v.Uint() + 1)
		} else {
			v.SetInt(v.Int() + 1)
		}
		if _, after := exported(r); reflect.DeepEqual(after, before) {
			t.Errorf("%s of a row is not in what is exported: %v", field, after)
		}
	}
	if zero["resume"] != "<nil>" || zero["resume_at"] != "<nil>" {
		t.Errorf("where no progress was told: %v", zero)
	}
}

func TestExportFormats(t *testing.T) {
	rows := []storage.Row{
		{Stream: 1, Minute: 1767225600, Content: 1<<64 - 1, User: 7, Opens: 1, Reads: 2, Dwell: 3000, Progress: 80, First: 1767225600123, Last: 1767225659000, Resume: 51, ResumeLag: 250, Skipped: 9},
		{Stream: 2, Minute: 1767225660, Content: 42, User: 7, Variant: 2, Impressions: 5, Clicks: 1, First: 1767225660000, Last: 1767225660000},
	}
	names := streamNames{1: "news"}
	for format, want := range map[string]string{
		"ndjson": `{"stream":"1","stream_name":"news","minute":"2026-01-01T00:00:00Z","content":"18446744073709551615","user":"7","opens":1,"reads":2,"finishes":0,"saves":0,"shares":0,"dwell_ms":3000,"progress":80,"first":"2026-01-01T00:00:00.123Z","last":"2026-01-01T00:00:59.000Z","skipped":9,"impressions":0,"clicks":0,"variant":0,"resume":50,"resume_at":"2026-01-01T00:00:58.750Z"}
{"stream":"2","stream_name":"","minute":"2026-01-01T00:01:00Z","content":"42","user":"7","opens":0,"reads":0,"finishes":0,"saves":0,"shares":0,"dwell_ms":0,"progress":0,"first":"2026-01-01T00:01:00.000Z","last":"2026-01-01T00:01:00.000Z","skipped":0,"impressions":5,"clicks":1,"variant":2,"resume":null,"resume_at":null}
`,
		"csv": `stream,stream_name,minute,content,user,opens,reads,finishes,saves,shares,dwell_ms,progress,first,last,skipped,impressions,clicks,variant,resume,resume_at
1,news,2026-01-01T00:00:00Z,18446744073709551615,7,1,2,0,0,0,3000,80,2026-01-01T00:00:00.123Z,2026-01-01T00:00:59.000Z,9,0,0,0,50,2026-01-01T00:00:58.750Z
2,,2026-01-01T00:01:00Z,42,7,0,0,0,0,0,0,0,2026-01-01T00:01:00.000Z,2026-01-01T00:01:00.000Z,0,5,1,2,,
`,
	} {
		var b strings.Builder
		if err := exportFormats[format](&b, rows, names); err != nil || b.String() != want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", format, err, b.String(), want)
		}
	}
}
