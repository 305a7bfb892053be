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

// name is what a file's name says: the hour, and the blocks from first to last.
type name struct {
	hour        string
	first, last uint64
	merged      bool
}

func (n name) String() string {
	if n.merged {
		return fmt.Sprintf("%s-%012d-%012d%s", n.hour, n.first, n.last, suffix)
	}
	return fmt.Sprintf("%s-%012d%s", n.hour, n.first, suffix)
}

// parseName says whether the store gives such names, and what this one tells.
func parseName(file string) (name, bool) {
	base, ok := strings.CutSuffix(file, suffix)
	fields := strings.Split(base, "-")
	if !ok || len(fields) < 2 || len(fields) > 3 {
		return name{}, false
	}
	n := name{hour: fields[0], merged: len(fields) == 3}
	if _, err := time.Parse(hourLayout, n.hour); err != nil {
		return name{}, false
	}
	n.first, _ = strconv.ParseUint(fields[1], 10, 64)
	n.last = n.first
	if n.merged {
		n.last, _ = strconv.ParseUint(fields[2], 10, 64)
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
