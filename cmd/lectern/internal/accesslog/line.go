// Package accesslog reads the access logs of web servers, in the common and
// the combined log format:
//
//	host ident user [17/May/2015:10:05:03 +0000] "GET /path?query HTTP/1.1" 200 203023 "referer" "agent"
//
// Logs are written by strangers: any bytes may come, in lines of any length.
package accesslog

import (
	"bytes"
	"time"
)

// Line is what one line says. Its slices point into the line that was parsed.
type Line struct {
	Client []byte // address or name
	Time   int64  // Unix milliseconds
	Method []byte // empty where the client sent no readable request
	Target []byte // the request's target as the client wrote it, with its query
	Status int
}

// Parse reads one line, without its line ending. It is false where the line is
// not in the format. Whatever the client sent as its request is in the format,
// sense or not. Nothing is allocated.
func Parse(line []byte) (l Line, ok bool) {
	space := bytes.IndexByte(line, ' ')
	if space < 1 {
		return l, false
	}
	l.Client = line[:space]
	rest, ok := l.consumeTime(line[space:])
	if !ok || !bytes.HasPrefix(rest, []byte(` "`)) {
		return l, false
	}
	request, rest, ok := cutQuoted(rest[1:])
	if !ok {
		return l, false
	}
	l.parseRequest(request)
	return l, l.parseStatus(rest)
}

// Opened reports whether the line stands for someone who got a piece of
// content: a GET answered 200, 206 or 304 (the client has it already).
func (l *Line) Opened() bool {
	if string(l.Method) != "GET" || len(l.Target) == 0 {
		return false
	}
	return l.Status == 200 || l.Status == 206 || l.Status == 304
}

// Path returns the target without its query.
func (l *Line) Path() []byte {
	if i := bytes.IndexByte(l.Target, '?'); i >= 0 {
		return l.Target[:i]
	}
	return l.Target
}

// consumeTime finds the time and returns what follows. The user's name before
// it is the user's own choice and may hold brackets and spaces.
func (l *Line) consumeTime(b []byte) (rest []byte, ok bool) {
	for {
		i := bytes.Index(b, []byte(" ["))
		if i < 0 {
			return nil, false
		}
		b = b[i+2:]
		if len(b) > timeSize && b[timeSize] == ']' {
			if l.Time, ok = parseTime(b[:timeSize]); ok {
				return b[timeSize+1:], true
			}
		}
	}
}

// cutQuoted cuts what stands in quotes at the start of b from what follows. A
// quote inside is escaped with a backslash.
func cutQuoted(b []byte) (inside, rest []byte, ok bool) {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[1:i], b[i+1:], true
		}
	}
	return nil, nil, false
}

// parseRequest takes "GET /path HTTP/1.1" apart; the path may hold spaces, and
// HTTP/0.9 sends no version.
func (l *Line) parseRequest(b []byte) {
	method, target, ok := bytes.Cut(b, []byte(" "))
	if !ok {
		return
	}
	if i := bytes.LastIndex(target, []byte(" HTTP/")); i >= 0 {
		target = target[:i]
	}
	l.Method, l.Target = method, target
}

// parseStatus reads ` 200 203023`, where the size may be "-".
func (l *Line) parseStatus(b []byte) bool {
	if len(b) < len(" 200 0") || b[0] != ' ' || b[4] != ' ' {
		return false
	}
	status, ok := digits(b[1:4])
	if !ok || status < 100 {
		return false
	}
	l.Status = status
	size, _, _ := bytes.Cut(b[5:], []byte(" "))
	if string(size) == "-" {
		return true
	}
	for _, c := range size {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(size) > 0
}

const timeSize = len("17/May/2015:10:05:03 +0000")

// parseTime reads a time of exactly timeSize bytes. time.Parse would do, at
// three times the cost of all the rest of a line.
func parseTime(b []byte) (ms int64, ok bool) {
	if b[2] != '/' || b[6] != '/' || b[11] != ':' || b[14] != ':' || b[17] != ':' || b[20] != ' ' {
		return 0, false
	}
	month := bytes.Index([]byte("JanFebMarAprMayJunJulAugSepOctNovDec"), b[3:6])
	if month < 0 || month%3 != 0 {
		return 0, false
	}
	var n [7]int // day, year, hour, minute, second, zone's hours, zone's minutes
	for i, field := range [...][]byte{b[0:2], b[7:11], b[12:14], b[15:17], b[18:20], b[22:24], b[24:26]} {
		if n[i], ok = digits(field); !ok {
			return 0, false
		}
	}
	// Second 60 is a leap second.
	if n[2] > 23 || n[3] > 59 || n[4] > 60 || n[5] > 23 || n[6] > 59 || b[21] != '+' && b[21] != '-' {
		return 0, false
	}
	t := time.Date(n[1], time.Month(month/3+1), n[0], n[2], n[3], min(n[4], 59), 0, time.UTC)
	if t.Day() != n[0] {
		return 0, false // no such day in that month
	}
	zone := int64(n[5]*60+n[6]) * 60
	if b[21] == '-' {
		zone = -zone
	}
	ms = (t.Unix() + int64(max(n[4]-59, 0)) - zone) * 1000
	return ms, ms >= 0
}

// digits reads a number that is nothing but digits.
func digits(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
