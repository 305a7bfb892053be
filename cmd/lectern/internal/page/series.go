package page

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// series are the numbers of a page of metrics, by name and labels as they stand there.
type series map[string]float64

// leftOut are families of which there is a line for each stream or key: their number
// is the operator's, and nothing here asks for them.
var leftOut = []string{"lectern_stream_", "lectern_events_by_class_total", "lectern_key_"}

// ours says whether a line of the page of metrics is kept: those of the daemon, and
// what is asked for of the process.
func ours(line string) bool {
	if !strings.HasPrefix(line, "lectern_") {
		return strings.HasPrefix(line, "process_") || strings.HasPrefix(line, "go_memlimit_bytes") || strings.HasPrefix(line, "go_goroutines")
	}
	for _, prefix := range leftOut {
		if strings.HasPrefix(line, prefix) {
			return false
		}
	}
	return true
}

// readSeries reads the text format of Prometheus, as far as the daemon writes it.
func readSeries(page []byte) series {
	all := make(series)
	for line := range bytes.Lines(page) {
		text := string(bytes.TrimSpace(line))
		at := strings.LastIndexByte(text, ' ')
		if at < 0 || !ours(text) {
			continue
		}
		if v, err := strconv.ParseFloat(text[at+1:], 64); err == nil && !math.IsNaN(v) {
			all[text[:at]] = v
		}
	}
	return all
}

// family is the name of a series without its labels.
func family(name string) string {
	name, _, _ = strings.Cut(name, "{")
	return name
}

// label is the value of a label of a series; values have no quotes in them here.
func label(name, key string) string {
	_, rest, _ := strings.Cut(name, key+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
