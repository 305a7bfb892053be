package accesslog

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const good = `83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a/b.png?x=1 HTTP/1.1" 200 203023 "http://h/" "Mozilla/5.0 (X11)"`

// with returns the good line with one part replaced.
func with(old, new string) string { return strings.Replace(good, old, new, 1) }

func TestParse(t *testing.T) {
	const ms = 1431857103000 // date -u -d '2015-05-17 10:05:03' +%s
	for _, test := range []struct {
		line                   string
		client, method, target string
		status                 int
		time                   int64
	}{
		{good, "83.149.9.216", "GET", "/a/b.png?x=1", 200, ms},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.0" 304 -`, "h", "GET", "/", 304, ms},
		{`h - - [17/May/2015:10:05:03 +0000] "GET /" 200 5`, "h", "GET", "/", 200, ms}, // HTTP/0.9
		{with("83.149.9.216", "2001:db8::1"), "2001:db8::1", "GET", "/a/b.png?x=1", 200, ms},
		{with("+0000", "+0530"), "83.149.9.216", "GET", "/a/b.png?x=1", 200, ms - 19800_000},
		{with("+0000", "-0800"), "83.149.9.216", "GET", "/a/b.png?x=1", 200, ms + 28800_000},
		{with("17/May/2015:10:05:03", "29/Feb/2016:23:59:59"), "83.149.9.216", "GET", "/a/b.png?x=1", 200, 1456790399000},
		{with("17/May/2015:10:05:03", "31/Dec/2016:23:59:60"), "83.149.9.216", "GET", "/a/b.png?x=1", 200, 1483228800000},
		{with("17/May/2015:10:05:03", "01/Jan/1970:00:00:00"), "83.149.9.216", "GET", "/a/b.png?x=1", 200, 0},
		{with("- - [", `- O'Brian [x] y [`), "83.149.9.216", "GET", "/a/b.png?x=1", 200, ms},
		{with("/a/b.png?x=1", "/a b c"), "83.149.9.216", "GET", "/a b c", 200, ms},
		{with("/a/b.png?x=1", `/a\"b\\`), "83.149.9.216", "GET", `/a\"b\\`, 200, ms},
		{with("/a/b.png?x=1", "/\x00\xff\xe4"), "83.149.9.216", "GET", "/\x00\xff\xe4", 200, ms},
		{with("/a/b.png?x=1", "/x HTTP/1.1"), "83.149.9.216", "GET", "/x HTTP/1.1", 200, ms},
		{with("GET", "POST"), "83.149.9.216", "POST", "/a/b.png?x=1", 200, ms},
		{with(`"GET /a/b.png?x=1 HTTP/1.1" 200`, `"-" 408`), "83.149.9.216", "", "", 408, ms},
		{with(`"GET /a/b.png?x=1 HTTP/1.1" 200`, `"\x16\x03\x01" 400`), "83.149.9.216", "", "", 400, ms},
		{with(`"GET /a/b.png?x=1 HTTP/1.1" 200`, `"" 400`), "83.149.9.216", "", "", 400, ms},
	} {
		l, ok := Parse([]byte(test.line))
		if !ok {
			t.Errorf("%s\nis not read", test.line)
			continue
		}
		if string(l.Client) != test.client || string(l.Method) != test.method || string(l.Target) != test.target ||
			l.Status != test.status || l.Time != test.time {
			t.Errorf("%s\nis read as %s %s %s %d %d", test.line, l.Client, l.Method, l.Target, l.Status, l.Time)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	lines := []string{
		"", " ", "\x00\x01\x02", "hello world", strings.Repeat("[", 1000), strings.Repeat(" [", 1000),
		with("83.149.9.216", ""),
		with("[17/May", "17/May"), with("+0000]", "+0000"), with("+0000", "00000"), with("+0000", "+00:0"), with("+0000", "+2400"), with("+0000", "+0060"),
		with("17/May", "7/May"), with("17/May", "1x/May"), with("May", "may"), with("May", "ayJ"), with("2015", "0x15"), with("2015", "1969"),
		with("17/May", "31/Apr"), with("17/May/2015", "29/Feb/2015"), with("17/May", "00/May"),
		with("10:05:03", "24:05:03"), with("10:05:03", "10:60:03"), with("10:05:03", "10:05:61"), with("10:05:03", "10-05-03"),
		with(`] "GET`, `] GET`), with(`] "GET`, `]"GET`), with(` HTTP/1.1"`, ` HTTP/1.1`)[:90], with(` HTTP/1.1"`, ` HTTP/1.1\"`)[:90],
		with(" 200 ", " 20 "), with(" 200 ", " 2000 "), with(" 200 ", " 2x0 "), with(" 200 ", " 099 "), with(" 200 ", " - "),
		with(" 203023", " "), with(" 203023", " 20x"), with(" 203023", " -1"),
	}
	end := strings.Index(good, "203023") + 1
	for n := range end {
		lines = append(lines, good[:n])
	}
	for _, line := range lines {
		if l, ok := Parse([]byte(line)); ok {
			t.Errorf("%q is read as %+v", line, l)
		}
	}
}

func TestOpened(t *testing.T) {
	for line, want := range map[string]bool{
		good:                      true,
		with(" 200 ", " 206 "):    true,
		with(" 200 ", " 304 "):    true,
		with(" 200 ", " 201 "):    false,
		with(" 200 ", " 301 "):    false,
		with(" 200 ", " 404 "):    false,
		with(" 200 ", " 500 "):    false,
		with("GET", "HEAD"):       false,
		with("GET", "get"):        false,
		with("GET", "GETS"):       false,
		with("/a/b.png?x=1", ""):  false,
		with("GET /a/b.png", "-"): false,
	} {
		l, ok := Parse([]byte(line))
		if !ok || l.Opened() != want {
			t.Errorf("%s\nread %v, opened %v", line, ok, l.Opened())
		}
	}
}

func TestPath(t *testing.T) {
	for target, want := range map[string]string{
		"/": "/", "/a?": "/a", "/a?b?c": "/a", "/?q": "/", "?": "", "/a%3Fb": "/a%3Fb", "http://h/a?b": "http://h/a",
	} {
		l := Line{Target: []byte(target)}
		if got := string(l.Path()); got != want {
			t.Errorf("the path of %q is %q, want %q", target, got, want)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	line := []byte(good)
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse(line) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// lines reads everything; a line that is too long shows as "…".
func lines(t *testing.T, r io.Reader) (all []string, err error) {
	t.Helper()
	log, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	for {
		line, err := log.Next()
		switch {
		case err == io.EOF:
			return all, nil
		case err == ErrLineTooLong:
			all = append(all, "…")
		case err != nil:
			return all, err
		default:
			all = append(all, string(line))
		}
	}
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

func TestReader(t *testing.T) {
	fits := strings.Repeat("x", LineSizeMax-1)
	long := strings.Repeat("y", 3*LineSizeMax+5)
	for name, test := range map[string]struct {
		in   string
		want []string
	}{
		"nothing":               {"", nil},
		"one byte":              {"a", []string{"a"}},
		"no ending":             {"a\nb", []string{"a", "b"}},
		"both endings":          {"a\r\n\r\n\nb\r\r\n", []string{"a", "", "", "b\r"}},
		"binary":                {"\x00\xff\x1f\x8b\n\x8b", []string{"\x00\xff\x1f\x8b", "\x8b"}},
		"just fits":             {fits + "\nz", []string{fits, "z"}},
		"too long":              {long + "\nz\n" + long + "\n", []string{"…", "z", "…"}},
		"too long, no end":      {"z\n" + long, []string{"z", "…"}},
		"gzip":                  {zipped("a\nb\n"), []string{"a", "b"}},
		"gzip, joined":          {zipped("a\nb") + zipped("c\nd"), []string{"a", "bc", "d"}},
		"gzip of a long line":   {zipped(long + "\nz"), []string{"…", "z"}},
		"gzip of nothing":       {zipped(""), nil},
		"gzip magic later only": {"a\x1f\x8b\n", []string{"a\x1f\x8b"}},
	} {
		for _, r := range []io.Reader{strings.NewReader(test.in), iotest.DataErrReader(iotest.HalfReader(strings.NewReader(test.in)))} {
			got, err := lines(t, r)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%s: %d lines, error %v; want %d lines", name, len(got), err, len(test.want))
			}
		}
	}
}

func TestReaderFails(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		in    io.Reader
		lines int
	}{
		"gzip cut off":         {strings.NewReader(zipped(strings.Repeat("a\n", 10))[:20]), -1},
		"gzip magic, no gzip":  {strings.NewReader("\x1f\x8bhello, this is no gzip at all"), 0},
		"at once":              {iotest.ErrReader(broken), 0},
		"later":                {io.MultiReader(strings.NewReader("a\nb\n"), iotest.ErrReader(broken)), 2},
		"inside of a long one": {io.MultiReader(strings.NewReader(strings.Repeat("y", 2*LineSizeMax)), iotest.ErrReader(broken)), 0},
	} {
		got, err := lines(t, test.in)
		if err == nil || test.lines >= 0 && len(got) != test.lines {
			t.Errorf("%s: %d lines, error %v", name, len(got), err)
		}
	}
}

// FuzzParse compares with the standard library's reading of the time, and wants
// a line made of what was read to be read as the same.
func FuzzParse(f *testing.F) {
	for _, line := range []string{good, with("+0000", "-1130"), with("- - [", "- [ [ "), `h - - [01/Jan/1970:00:00:00 +0000] "" 400 -`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		l, ok := Parse(line)
		if !ok {
			return
		}
		at := time.UnixMilli(l.Time).UTC()
		request := "-"
		if len(l.Method)+len(l.Target) > 0 {
			request = fmt.Sprintf("%s %s HTTP/1.1", l.Method, l.Target)
		}
		again := fmt.Sprintf(`%s - - [%s] "%s" %d 0`, l.Client, at.Format("02/Jan/2006:15:04:05 -0700"), request, l.Status)
		if at.Year() > 9999 {
			return
		}
		m, ok := Parse([]byte(again))
		if !ok || !bytes.Equal(m.Client, l.Client) || m.Time != l.Time || m.Status != l.Status ||
			!bytes.Equal(m.Method, l.Method) || !bytes.Equal(m.Target, l.Target) {
			t.Errorf("%q was read as %+v, and\n%q as %v %+v", line, l, again, ok, m)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	line := []byte(good)
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, ok := Parse(line); !ok {
			b.Fatal("not read")
		}
	}
}
