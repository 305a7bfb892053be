package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
)

var metricName = regexp.MustCompile(`lectern_[a-z_]*[a-z]`)

// docs/METRICS.md lists exactly the metrics that the source names, and those of the
// closed list of counters.
func TestMetricsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `") {
			documented[metricName.FindString(line)] = true
		}
	}
	inSource := make(map[string]bool)
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "clients" {
			return filepath.SkipDir // they are their users', and Caddy's module has metrics of its own
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, name := range metricName.FindAllString(string(source), -1) {
			inSource[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for c := range storage.Plain {
		inSource[c.Metric()] = true
	}
	for f := range storage.Families {
		inSource[f.Metric()] = true
	}
	// The database of lectern bench --table, and prefixes.
	for _, name := range []string{"lectern_bench", "lectern_stream", "lectern_key"} {
		delete(inSource, name)
	}
	if want, got := slices.Sorted(maps.Keys(inSource)), slices.Sorted(maps.Keys(documented)); !slices.Equal(got, want) {
		t.Errorf("the page lists\n%s\nthe source names\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
