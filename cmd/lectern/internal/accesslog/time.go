package accesslog

import (
	"bytes"
	"time"
)

// timeSizeMax is the longest time of a text log: its seconds may have nanoseconds.
const timeSizeMax = len("17/May/2015:10:05:03.123456789 +0000")

// parseTime reads 17/May/2015:10:05:03 +0000, perhaps with a fraction of the
// second. time.Parse would do, at three times the cost of all the rest of a line.
func parseTime(b []byte) (ms int64, ok bool) {
	const size = len("17/May/2015:10:05:03")
	if len(b) < size || b[2] != '/' || b[6] != '/' || b[11] != ':' || b[14] != ':' || b[17] != ':' {
		return 0, false
	}
	month := bytes.Index([]byte("JanFebMarAprMayJunJulAugSepOctNovDec"), b[3:6])
	if month < 0 || month%3 != 0 {
		return 0, false
	}
	t := moment{month: month/3 + 1}
	rest := b[size:]
	if !t.fields(b[7:11], b[0:2], b[12:14], b[15:17], b[18:20]) || !t.fraction(&rest) {
		return 0, false
	}
	if len(rest) != len(" +0000") || rest[0] != ' ' || !t.zone(rest[1], rest[2:4], rest[4:6]) {
		return 0, false
	}
	return t.unix()
}

// parseISO reads 2026-11-28T20:00:01+00:00, as RFC 3339 has it, also with a
// space for the T and without the colon in the zone.
func parseISO(b []byte) (ms int64, ok bool) {
	const size = len("2026-11-28T20:00:01")
	if len(b) < size || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != ' ' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	var t moment
	if t.month, ok = digits(b[5:7]); !ok || t.month < 1 || t.month > 12 {
		return 0, false
	}
	rest := b[size:]
	if !t.fields(b[0:4], b[8:10], b[11:13], b[14:16], b[17:19]) || !t.fraction(&rest) {
		return 0, false
	}
	switch {
	case string(rest) == "Z":
	case len(rest) == len("+00:00") && rest[3] == ':' && t.zone(rest[0], rest[1:3], rest[4:6]):
	case len(rest) == len("+0000") && t.zone(rest[0], rest[1:3], rest[3:5]):
	default:
		return 0, false
	}
	return t.unix()
}

// parseEpoch reads a number of seconds since 1970, of milliseconds, microseconds
// or nanoseconds, by its size, perhaps with a fraction.
func parseEpoch(b []byte) (ms int64, ok bool) {
	whole, fraction, point := bytes.Cut(b, []byte("."))
	n, ok := digits(whole)
	if !ok || len(whole) == 0 || len(whole) > 19 || n < 0 || point && len(fraction) == 0 {
		return 0, false
	}
	if _, ok := digits(fraction); !ok {
		return 0, false
	}
	switch {
	case len(whole) > 17:
		return int64(n / 1e6), true
	case len(whole) > 14:
		return int64(n / 1e3), true
	case len(whole) > 11:
		return int64(n), true
	}
	return int64(n)*1000 + int64(milliseconds(fraction)), true
}

// moment is a time as it is written.
type moment struct {
	year, month, day, hour, minute, second int
	ms                                     int
	offset                                 int64 // of the zone, seconds east
}

func (t *moment) fields(year, day, hour, minute, second []byte) bool {
	var n [5]int
	for i, field := range [...][]byte{year, day, hour, minute, second} {
		var ok bool
		if n[i], ok = digits(field); !ok {
			return false
		}
	}
	t.year, t.day, t.hour, t.minute, t.second = n[0], n[1], n[2], n[3], n[4]
	return t.hour <= 23 && t.minute <= 59 && t.second <= 60 // a leap second
}

// fraction takes a fraction of the second, if there is one, off the start of b.
func (t *moment) fraction(b *[]byte) bool {
	rest := *b
	if len(rest) == 0 || rest[0] != '.' && rest[0] != ',' {
		return true
	}
	n := 1
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	if n == 1 || n > 10 {
		return false
	}
	t.ms = milliseconds(rest[1:n])
	*b = rest[n:]
	return true
}

// milliseconds reads the digits behind a point.
func milliseconds(fraction []byte) (ms int) {
	for i := range 3 {
		ms *= 10
		if i < len(fraction) {
			ms += int(fraction[i] - '0')
		}
	}
	return ms
}

func (t *moment) zone(sign byte, hours, minutes []byte) bool {
	h, okH := digits(hours)
	m, okM := digits(minutes)
	if !okH || !okM || h > 23 || m > 59 || sign != '+' && sign != '-' {
		return false
	}
	if t.offset = int64(h*60+m) * 60; sign == '-' {
		t.offset = -t.offset
	}
	return true
}

// unix is the moment in Unix milliseconds, false where there is no such day, or
// it was before 1970.
func (t *moment) unix() (ms int64, ok bool) {
	at := time.Date(t.year, time.Month(t.month), t.day, t.hour, t.minute, min(t.second, 59), 0, time.UTC)
	if at.Day() != t.day {
		return 0, false
	}
	ms = (at.Unix()+int64(max(t.second-59, 0))-t.offset)*1000 + int64(t.ms)
	return ms, ms >= 0
}
