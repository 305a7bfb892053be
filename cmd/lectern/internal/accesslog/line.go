// Package accesslog reads the access logs of web servers: text in the common,
// the combined and Debian's vhost_combined format,
//
//	host ident user [17/May/2015:10:05:03 +0000] "GET /path?query HTTP/1.1" 200 203023 "referer" "agent"
//
// and JSON lines, also where a log collector has written something in front of
// each line. Logs are written by strangers: any bytes may come, in lines of any
// length. What is not sure to be read as it was meant is refused with a reason.
package accesslog

import (
	"bytes"
	"math"
	"math/rand/v2"
)

// Line is what one line says. Its slices point into the line that was parsed, or
// into the parser, and are good until its next call.
type Line struct {
	Client    []byte // the peer: an address, perhaps with a port, a host name, or "unix:"
	Forwarded []byte // X-Forwarded-For; nil where the line has none
	InFront   bool   // Forwarded stands in front of the line, in the client's place
	Time      int64  // Unix milliseconds
	Method    []byte // empty where the client sent no readable request
	Target    []byte // the request's target as the log has it, with its query
	Escaped   bool   // Target is escaped as text logs do: \x22, \"
	Status    int
	Agent     []byte  // the user agent; nil where the line has none
	OneOf     float64 // the log has one line of this many, at least 1
}

// Skipped is how many lines that the log does not have stand behind this one. Where
// that is no whole number it is rounded up as often as it takes for the sum to be
// right: of two lines in three, every second is one that stands for two.
func (l *Line) Skipped() uint16 {
	whole, part := math.Modf(l.OneOf - 1)
	if part > rand.Float64() {
		whole++
	}
	return uint16(whole)
}

// Opened reports whether the line stands for someone who got a piece of
// content: a GET answered 200, 206 or 304 (the client has it already).
func (l *Line) Opened() bool {
	if string(l.Method) != "GET" || len(l.Target) == 0 {
		return false
	}
	return l.Status == 200 || l.Status == 206 || l.Status == 304
}

// parseText reads a line of one of the text formats.
func (l *Line) parseText(line []byte, format Format) Reason {
	head, rest, why := l.consumeTime(line)
	if why != Read {
		return why
	}
	if why := l.parseHead(head, format); why != Read {
		return why
	}
	request, rest, ok := cutQuoted(rest)
	if !ok {
		return BadRequest
	}
	l.parseRequest(request)
	l.Escaped = true
	rest, ok = l.consumeStatus(rest)
	if !ok {
		return BadStatus
	}
	if quoted := l.parseQuoted(rest); format != Auto && format != Common && quoted < 2 {
		return NoAgent
	}
	return Read
}

// consumeTime finds the time, and returns what stands before it and, from its
// quote on, the request behind it. The user's name before it is the user's own
// choice and may hold brackets and spaces.
func (l *Line) consumeTime(line []byte) (head, request []byte, why Reason) {
	why = BadTime
	for from := 0; ; {
		i := bytes.Index(line[from:], []byte(" ["))
		if i < 0 {
			return nil, nil, why
		}
		i += from
		from = i + 2
		inside := line[from:min(len(line), from+timeSizeMax+1)]
		end := bytes.IndexByte(inside, ']')
		if end < 0 {
			continue
		}
		ms, ok := parseTime(inside[:end])
		if !ok {
			continue
		}
		rest := line[from+end+1:]
		if !bytes.HasPrefix(rest, []byte(` "`)) {
			why = BadRequest
			continue
		}
		l.Time = ms
		return line[:i], rest[1:], Read
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

// consumeStatus reads ` 200 203023`, where the size may be "-", and returns what
// follows.
func (l *Line) consumeStatus(b []byte) (rest []byte, ok bool) {
	if len(b) < len(" 200 0") || b[0] != ' ' || b[4] != ' ' {
		return nil, false
	}
	if l.Status, ok = parseStatus(b[1:4]); !ok {
		return nil, false
	}
	size, rest, _ := bytes.Cut(b[5:], []byte(" "))
	if string(size) == "-" {
		return rest, true
	}
	_, ok = digits(size)
	return rest, ok && len(size) > 0
}

// parseStatus reads the three digits of a status.
func parseStatus(b []byte) (status int, ok bool) {
	if len(b) != 3 {
		return 0, false
	}
	status, ok = digits(b)
	return status, ok && status >= 100
}

// parseQuoted reads what stands in quotes behind the size, and returns how many
// there are: the referer, the agent, and, as nginx's packages have it, the
// X-Forwarded-For.
func (l *Line) parseQuoted(b []byte) (n int) {
	for n < 3 {
		i := bytes.IndexByte(b, '"')
		if i < 0 {
			return n
		}
		inside, rest, ok := cutQuoted(b[i:])
		if !ok {
			return n
		}
		switch n++; n {
		case 2:
			l.Agent = inside
		case 3:
			if string(inside) != "-" {
				l.Forwarded = inside
			}
		}
		b = rest
	}
	return n
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
