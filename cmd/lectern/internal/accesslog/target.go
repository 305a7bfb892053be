package accesslog

import (
	"bytes"
	"strings"
)

// Targets brings the targets of requests to one form, so that one page is one
// content however it was asked for. It is what RFC 3986 (6.2.2) calls syntax-based
// normalization:
//
//   - the scheme and the host of an absolute target go, and so does a fragment;
//   - the query goes, unless it is to be kept;
//   - the escapes of a text log (\x22) become the bytes that they stand for;
//   - %XX of a letter, a digit or one of -._~ becomes that character, other
//     escapes get capital digits, and what may not stand in a path is escaped;
//   - "." and ".." are resolved; an empty path is "/";
//   - a ;jsessionid=… goes, which names a reader and not a page.
//
// Everything else stays, a slash at the end as well, unless it is to be trimmed.
// It is not safe for concurrent use.
type Targets struct {
	KeepQuery bool
	TrimSlash bool // a slash at the path's end goes, but for that of "/"
	raw, text []byte
}

// Of is the content that a line is about. The slice is good until the next call.
// path is it without its query.
func (t *Targets) Of(l *Line) (content, path []byte) {
	target := l.Target
	if l.Escaped && bytes.IndexByte(target, '\\') >= 0 {
		t.raw = unescape(t.raw[:0], target)
		target = t.raw
	}
	target, _, _ = bytes.Cut(target, []byte("#"))
	target, query, asked := bytes.Cut(target, []byte("?"))
	target = cutOrigin(target)
	if i := indexFold(target, ";jsessionid="); i >= 0 {
		end := bytes.IndexByte(target[i:], '/')
		if end < 0 {
			end = len(target) - i
		}
		t.text = append(append(t.text[:0], target[:i]...), target[i+end:]...)
		target = append(t.raw[:0], t.text...)
		t.raw = target
	}
	t.text = removeDots(appendNormal(t.text[:0], target, false))
	if t.TrimSlash && len(t.text) > 1 {
		t.text = bytes.TrimSuffix(t.text, []byte("/"))
	}
	if len(t.text) == 0 {
		t.text = append(t.text, '/')
	}
	n := len(t.text)
	if t.KeepQuery && asked && len(query) > 0 {
		t.text = appendNormal(append(t.text, '?'), query, true)
	}
	return t.text, t.text[:n]
}

// cutOrigin takes http://host off.
func cutOrigin(target []byte) []byte {
	for _, scheme := range []string{"http://", "https://"} {
		if indexFold(target[:min(len(target), len(scheme))], scheme) == 0 {
			rest := target[len(scheme):]
			if i := bytes.IndexByte(rest, '/'); i >= 0 {
				return rest[i:]
			}
			return nil
		}
	}
	return target
}

// indexFold is where b has text, which is in small letters, in any case.
func indexFold(b []byte, text string) int {
next:
	for i := 0; i+len(text) <= len(b); i++ {
		for k := range len(text) {
			c := b[i+k]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			if c != text[k] {
				continue next
			}
		}
		return i
	}
	return -1
}

// unescape appends what the escapes of nginx and Apache stand for.
func unescape(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			dst = append(dst, b[i])
			continue
		}
		i++
		switch c := b[i]; c {
		case 'x':
			if n, ok := hexByte(b[i+1:]); ok {
				dst = append(dst, n)
				i += 2
				continue
			}
			dst = append(dst, '\\', 'x')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'b':
			dst = append(dst, '\b')
		case 'v':
			dst = append(dst, '\v')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// hexByte reads the two digits that b begins with.
func hexByte(b []byte) (n byte, ok bool) {
	if len(b) < 2 {
		return 0, false
	}
	for _, c := range b[:2] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | (c - '0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | (c - 'a' + 10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | (c - 'A' + 10)
		default:
			return 0, false
		}
	}
	return n, true
}

const hexDigits = "0123456789ABCDEF"

// appendNormal appends a path, or a query, with its escapes in one form.
func appendNormal(dst, b []byte, query bool) []byte {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' {
			n, ok := hexByte(b[i+1:])
			switch {
			case !ok:
				dst = append(dst, '%')
				continue
			case unreserved(n):
				dst = append(dst, n)
			default:
				dst = append(dst, '%', hexDigits[n>>4], hexDigits[n&15])
			}
			i += 2
			continue
		}
		if unreserved(c) || strings.IndexByte("/:@!$&'()*+,;=", c) >= 0 || query && c == '?' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// removeDots resolves the segments "." and ".." of a path in place.
func removeDots(b []byte) []byte {
	if !bytes.Contains(b, []byte("/.")) {
		return b
	}
	out := b[:0]
	for i := 0; i < len(b); {
		end := i + 1
		for end < len(b) && b[end] != '/' {
			end++
		}
		last := end == len(b)
		switch segment := b[i:end]; string(segment) {
		case "/.":
		case "/..":
			out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
		default:
			out = append(out, segment...)
			last = false
		}
		if last {
			out = append(out, '/')
		}
		i = end
	}
	return out
}
