package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// day is what a "d" stands for: 24 hours, whatever the clocks of a place do.
const day = 24 * time.Hour

// durationUnits is what messages say of the units.
const durationUnits = `such as "10s" (ms, s, m, h, d)`

// ParseDuration is time.ParseDuration with days before the rest: "7d", "1d12h",
// "0.5d". A day is 24 hours.
func ParseDuration(text string) (time.Duration, error) {
	number, rest, ok := strings.Cut(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	days, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Trim(number, "+-.0123456789") != "" { // no exponents, no "inf"
		return 0, fmt.Errorf("invalid duration %q", text)
	}
	nanoseconds := math.Round(days * float64(day))
	// The largest float64 that is no int64 is the first that does not fit.
	if math.Abs(nanoseconds) >= math.MaxInt64 {
		return 0, fmt.Errorf("duration %q is out of range", text)
	}
	d := time.Duration(nanoseconds)
	if rest == "" {
		return d, nil
	}
	if strings.ContainsAny(rest[:1], "+-") {
		return 0, fmt.Errorf("invalid duration %q", text) // one sign, in front
	}
	more, err := time.ParseDuration(rest)
	if err != nil {
		return 0, err
	}
	if strings.HasPrefix(number, "-") {
		more = -more
	}
	sum := d + more
	if (more > 0) != (sum > d) && more != 0 {
		return 0, fmt.Errorf("duration %q is out of range", text)
	}
	return sum, nil
}

// daysFrom is the least that is written in days; below it hours are as easy to
// read.
const daysFrom = 3 * day

// FormatDuration is Duration.String without "0m0s" behind round hours, and whole
// days as days: "7d".
func FormatDuration(d time.Duration) string {
	if d >= daysFrom && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
