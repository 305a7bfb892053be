package accesslog

import "bytes"

// cutPrefix takes off what a log collector writes in front of each line:
//
//	web-1  | …                                    docker compose logs
//	[pod/web-0/nginx] …                           kubectl logs --prefix
//	2026-11-28T20:00:01.000000001Z …              kubectl logs --timestamps
//	2026-11-28T20:00:01.000000001Z stdout F …     the files of a container runtime
//	<190>Nov 28 20:00:01 host nginx[7]: …         syslog, RFC 3164, also without <190> or host
//	2026-11-28T20:00:01+00:00 host nginx[7]: …    the files of rsyslog
//	<190>1 2026-11-28T20:00:01Z host nginx 7 - - … syslog, RFC 5424
//
// one within the other as well. What is none of these stays, and is refused with
// the line.
func cutPrefix(line []byte) ([]byte, Reason) {
	for range 4 {
		rest, why := cutOne(line)
		if why != Read || len(rest) == len(line) {
			return rest, why
		}
		line = rest
	}
	return line, Read
}

func cutOne(line []byte) ([]byte, Reason) {
	if len(line) == 0 {
		return line, Read
	}
	switch c := line[0]; {
	case c == 0x1b:
		return cutColour(line), Read
	case c == '<':
		return cutPriority(line), Read
	case c == '[':
		if rest, ok := bytes.CutPrefix(line, []byte("[pod/")); ok {
			if _, rest, ok := bytes.Cut(rest, []byte("] ")); ok {
				return rest, Read
			}
		}
		return line, Read
	case c >= '0' && c <= '9':
		if rest, ok := cutISO(line); ok {
			return cutRuntime(rest)
		}
	case c >= 'A' && c <= 'Z':
		if rest, ok := cutStamp(line); ok {
			return cutTag(rest), Read
		}
	}
	return cutCompose(line), Read
}

// cutColour takes one sequence that colours a terminal off.
func cutColour(line []byte) []byte {
	for i := 2; i < len(line) && line[1] == '['; i++ {
		if c := line[i]; c == 'm' {
			return line[i+1:]
		} else if c != ';' && (c < '0' || c > '9') {
			break
		}
	}
	return line
}

// cutCompose takes the name of a container off.
func cutCompose(line []byte) []byte {
	n := 0
	for n < len(line) && isNameByte(line[n]) {
		n++
	}
	rest := bytes.TrimLeft(line[n:], " ")
	if after, ok := bytes.CutPrefix(rest, []byte("| ")); ok && n > 0 {
		return after
	}
	return line
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// cutISO takes a time of RFC 3339 off.
func cutISO(line []byte) (rest []byte, ok bool) {
	stamp, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(stamp) < len("2026-11-28T20:00:01Z") || stamp[10] != 'T' {
		return line, false
	}
	_, ok = parseISO(stamp)
	return rest, ok
}

// cutRuntime takes what stands behind the time off: `stdout F ` in the files of a
// container runtime, the host and the tag in those of rsyslog, nothing where it
// is kubectl's.
func cutRuntime(line []byte) ([]byte, Reason) {
	for _, stream := range []string{"stdout ", "stderr "} {
		rest, ok := bytes.CutPrefix(line, []byte(stream))
		switch {
		case !ok:
		case bytes.HasPrefix(rest, []byte("F ")):
			return rest[2:], Read
		case bytes.HasPrefix(rest, []byte("P ")):
			return line, Partial
		}
	}
	return cutTag(line), Read
}

// cutStamp takes `Nov 28 20:00:01 ` off, where days below 10 have a space.
func cutStamp(line []byte) (rest []byte, ok bool) {
	const size = len("Nov 28 20:00:01 ")
	if len(line) < size || line[3] != ' ' || line[6] != ' ' || line[9] != ':' || line[12] != ':' || line[15] != ' ' {
		return line, false
	}
	if i := bytes.Index([]byte("JanFebMarAprMayJunJulAugSepOctNovDec"), line[:3]); i < 0 || i%3 != 0 {
		return line, false
	}
	_, okDay := digits(bytes.TrimLeft(line[4:6], " "))
	_, okTime := digits([]byte{line[7], line[8], line[10], line[11], line[13], line[14]})
	return line[size:], okDay && okTime
}

// cutTag takes a host and a tag off, `host nginx[7]: `, or the tag alone.
func cutTag(line []byte) []byte {
	if rest, ok := cutTagWord(line); ok {
		return rest
	}
	host, rest, ok := bytes.Cut(line, []byte(" "))
	if ok && (isName(host) || isAddress(host)) {
		if rest, ok := cutTagWord(rest); ok {
			return rest
		}
	}
	return line
}

func cutTagWord(line []byte) (rest []byte, ok bool) {
	word, rest, ok := bytes.Cut(line, []byte(": "))
	if !ok || len(word) == 0 || len(word) > 64 {
		return line, false
	}
	if name, id, has := bytes.Cut(word, []byte("[")); has {
		id, closed := bytes.CutSuffix(id, []byte("]"))
		if _, number := digits(id); !closed || !number {
			return line, false
		}
		word = name
	}
	for _, c := range word {
		if !isNameByte(c) && c != '/' {
			return line, false
		}
	}
	return rest, true
}

// cutPriority takes `<190>` off, and the rest of a header of RFC 5424 behind it.
func cutPriority(line []byte) []byte {
	priority, rest, ok := bytes.Cut(line[1:], []byte(">"))
	if _, number := digits(priority); !ok || !number || len(priority) < 1 || len(priority) > 3 {
		return line
	}
	body, ok := bytes.CutPrefix(rest, []byte("1 "))
	if !ok {
		if after, ok := cutStamp(rest); ok {
			return cutTag(after)
		}
		return rest
	}
	for range 5 { // time, host, application, process, message id
		if _, body, ok = bytes.Cut(body, []byte(" ")); !ok {
			return line
		}
	}
	if body, ok = cutStructured(body); !ok {
		return line
	}
	return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
}

// cutStructured takes the structured data of RFC 5424 off: "-", or elements in
// brackets, whose values may hold brackets and escaped quotes.
func cutStructured(b []byte) (rest []byte, ok bool) {
	if rest, ok := bytes.CutPrefix(b, []byte("- ")); ok {
		return rest, true
	}
	quoted, inside := false, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case inside && c == '"':
			quoted = !quoted
		case !quoted && c == '[':
			inside = true
		case inside && !quoted && c == ']':
			inside = false
		case !inside && c == ' ' && i > 0:
			return b[i+1:], true
		case !inside:
			return b, false
		}
	}
	return b, false
}
