package caddylectern

import (
	"net/url"
	"strings"
)

// normalPath is the path of a request in the form that "lectern emit --log" gives it,
// so that a page is one content whoever counts it: letters, digits and -._~ stand for
// themselves, other escapes have capital digits, what may not stand in a path is
// escaped, "." and ".." are resolved, and a ;jsessionid=… goes.
func normalPath(u *url.URL) string {
	raw := u.RawPath
	if raw == "" {
		raw = strings.ReplaceAll(u.Path, "%", "%25")
	}
	if i := strings.Index(strings.ToLower(raw), ";jsessionid="); i >= 0 {
		end := strings.IndexByte(raw[i:], '/')
		if end < 0 {
			end = len(raw) - i
		}
		raw = raw[:i] + raw[i+end:]
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' && i+2 < len(raw) {
			if n, ok := hexByte(raw[i+1], raw[i+2]); ok {
				appendByte(&b, n, true)
				i += 2
				continue
			}
		}
		appendByte(&b, c, false)
	}
	return removeDots(b.String())
}

const hexDigits = "0123456789ABCDEF"

// appendByte writes a byte as it stands in a path: one that was escaped stays so,
// unless it stands for itself anyway.
func appendByte(b *strings.Builder, c byte, escaped bool) {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0,
		!escaped && strings.IndexByte("%/:@!$&'()*+,;=", c) >= 0:
		b.WriteByte(c)
	default:
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
}

func hexByte(high, low byte) (byte, bool) {
	h, l := hexDigit(high), hexDigit(low)
	return byte(h<<4 | l), h >= 0 && l >= 0
}

func hexDigit(c byte) int {
	if c >= 'a' && c <= 'f' {
		c -= 'a' - 'A'
	}
	return strings.IndexByte(hexDigits, c)
}

// removeDots resolves the segments "." and "..".
func removeDots(path string) string {
	if !strings.Contains(path, "/.") {
		if path == "" {
			return "/"
		}
		return path
	}
	var out []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".", "..":
			if segment == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, segment)
		}
	}
	return "/" + strings.Join(out, "/")
}
