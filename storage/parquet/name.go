package parquet

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	suffix     = ".parquet"
	tempPrefix = ".tmp-"
	hourLayout = "20060102T15"
	dayPrefix  = "day="
)

// name is what a file's name says: the hour, who numbered the blocks, and which
// they are, from first to last.
type name struct {
	hour        string
	collector   uint64 // 0: the one that the directory drew
	first, last uint64
	merged      bool
}

func (n name) String() string {
	base := n.hour + tag(n.collector)
	if n.merged {
		return fmt.Sprintf("%s-%012d-%012d%s", base, n.first, n.last, suffix)
	}
	return fmt.Sprintf("%s-%012d%s", base, n.first, suffix)
}

// tag is what the names of a collector's files have behind the hour.
func tag(collector uint64) string {
	if collector == 0 {
		return ""
	}
	return "-c" + hex(collector)
}

// parseName says whether the store gives such names, and what this one tells.
func parseName(file string) (name, bool) {
	base, ok := strings.CutSuffix(file, suffix)
	fields := strings.Split(base, "-")
	n := name{hour: fields[0]}
	if _, err := time.Parse(hourLayout, n.hour); err != nil || !ok {
		return name{}, false
	}
	fields = fields[1:]
	if len(fields) > 0 && strings.HasPrefix(fields[0], "c") {
		n.collector, _ = strconv.ParseUint(fields[0][1:], 16, 64)
		fields = fields[1:]
	}
	if len(fields) < 1 || len(fields) > 2 {
		return name{}, false
	}
	n.merged = len(fields) == 2
	n.first, _ = strconv.ParseUint(fields[0], 10, 64)
	n.last = n.first
	if n.merged {
		n.last, _ = strconv.ParseUint(fields[1], 10, 64)
	}
	return n, n.String() == file && n.first > 0
}

// readable says whether a file of that name is part of a table. What begins
// with a dot is not: it may be half written.
func readable(file string) bool {
	return strings.HasSuffix(file, suffix) && !strings.HasPrefix(file, ".")
}

func hourOf(t time.Time) string { return t.UTC().Format(hourLayout) }

// dayFolder is the folder of a day, given as days since 1970-01-01.
func dayFolder(day uint32) string {
	return dayPrefix + time.Unix(int64(day)*secondsPerDay, 0).UTC().Format(time.DateOnly)
}

// parseDay is the way back.
func parseDay(folder string) (day uint32, ok bool) {
	date, ok := strings.CutPrefix(folder, dayPrefix)
	t, err := time.Parse(time.DateOnly, date)
	if !ok || err != nil || t.Unix() < 0 {
		return 0, false
	}
	return uint32(t.Unix() / secondsPerDay), true
}

const secondsPerDay = 24 * 60 * 60
