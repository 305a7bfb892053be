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

	"github.com/klauspost/compress/zstd"
)

const good = `83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a/b.png?x=1 HTTP/1.1" 200 203023 "http://h/" "Mozilla/5.0 (X11)"`

// with returns the good line with one part replaced.
func with(old, new string) string { return strings.Replace(good, old, new, 1) }

// parse reads one line in that format.
func parse(t *testing.T, f Format, line string) (Line, Reason) {
	t.Helper()
	p, err := NewParser(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.Parse([]byte(line))
}

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
		l, why := parse(t, Auto, test.line)
		if why != Read {
			t.Errorf("%s\nis not read: it %v", test.line, why)
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
		// A head of which something is missing, or before which something stands.
		with("83.149.9.216 ", ""), with("83.149.9.216 - ", ""), with("83.149.9.216 - - ", ""), with("83.149.9.216 - - ", " "), with("83.149.9.216", "9.9.216"),
		with("83.149.9.216", "216"), with("83.149.9.216", ":db8::5"), with("83.149.9.216", "-"), with("83.149.9.216", "83.149.9.216,"), with("83.149.9.216", "a/b"),
		"web-1 x " + good, "x y z " + good, "- " + strings.Replace(good, "- - [", "- [", 1), "pid=7 " + good, "web-1: " + good, "[web-1] " + good, "2026-11-28 20:00:01 " + good,
		"INFO web-1 - " + good, "<abc> " + good, "Nov 28 20:00:01 " + with("83.149.9.216 - - ", ""), "2026-11-28T20:00:01Z stdout P " + good,
		with("[17/May", "17/May"), with("+0000]", "+0000"), with("+0000", "00000"), with("+0000", "+00:0"), with("+0000", "+2400"), with("+0000", "+0060"),
		with("17/May", "7/May"), with("17/May", "1x/May"), with("May", "may"), with("May", "ayJ"), with("2015", "0x15"), with("2015", "1969"),
		with("17/May", "31/Apr"), with("17/May/2015", "29/Feb/2015"), with("17/May", "00/May"), with("10:05:03", "10:05:03."), with("10:05:03", "10:05:03.1234567890"),
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
		if l, why := parse(t, Auto, line); why == Read {
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
		l, why := parse(t, Auto, line)
		if why != Read || l.Opened() != want {
			t.Errorf("%s\nread %v, opened %v", line, why, l.Opened())
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	p, _ := NewParser(Auto, nil)
	clients := Clients{Trusted: TrustedDefault}
	var targets Targets
	for _, text := range []string{
		good, with("83.149.9.216", "2001:db8::1"), with("83.149.9.216", "192.0.2.10, 10.0.0.1 10.9.9.9"), with("83.149.9.216", "h.example.org"),
		"web-1  | " + good, "2026-11-28T20:00:01.000000001Z stdout F " + good, "<190>Nov 28 20:00:01 h nginx: " + good, "www.example.org:443 " + good,
		with("/a/b.png", "/%61/./b;jsessionid=1A/c\\x22"), "nothing of a log",
		`{"time":"2026-11-28T20:00:01+00:00","remote_addr":"192.0.2.10","request":"GET /a HTTP/1.1","status":200}`,
	} {
		line := []byte(text)
		n := testing.AllocsPerRun(100, func() {
			if l, why := p.Parse(line); why == Read {
				clients.Of(&l)
				targets.Of(&l)
				IsBot(l.Agent)
			}
		})
		if n != 0 {
			t.Errorf("%v allocations for %s", n, text)
		}
	}
}

type counting struct {
	io.Reader
	n int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// lines reads everything; a line that is too long shows as "…".
func lines(t *testing.T, r io.Reader) (all []string, err error) {
	t.Helper()
	read := &counting{Reader: r}
	log, err := NewReader(read)
	if err != nil {
		return nil, err
	}
	for {
		line, err := log.Next()
		switch {
		case err == io.EOF:
			rest, err := log.Rest()
			if err == ErrLineTooLong {
				all = append(all, "…")
			} else if rest != nil {
				all = append(all, string(rest))
			}
			if n := log.Offset(); !log.Packed() && n != read.n {
				t.Errorf("%d bytes were read, and the offset is %d", read.n, n)
			}
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

func zstded(s string) string {
	e, _ := zstd.NewWriter(nil)
	return string(e.EncodeAll([]byte(s), nil))
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
		"gzip, padded":          {zipped("a\nb\n") + strings.Repeat("\x00", 70_000), []string{"a", "b"}},
		"gzip, padded, joined":  {zipped("a\n") + "\x00\x00" + zipped("b\n") + "\x00", []string{"a", "b"}},
		"zstd":                  {zstded("a\nb"), []string{"a", "b"}},
		"zstd, joined":          {zstded("a\nb") + zstded("c\n"+long+"\nd\n"), []string{"a", "bc", "…", "d"}},
		"zstd of nothing":       {zstded(""), nil},
		"UTF-8 mark":            {"\xef\xbb\xbfa\nb\n", []string{"a", "b"}},
		"UTF-8 mark in gzip":    {zipped("\xef\xbb\xbfa\n"), []string{"a"}},
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
		"gzip, then other":     {strings.NewReader(zipped("a\nb\n") + "c\n"), 2},
		"zstd cut off":         {strings.NewReader(zstded(strings.Repeat("a\n", 10))[:12]), -1},
		"zstd magic, no zstd":  {strings.NewReader("\x28\xb5\x2f\xfdhello, this is no zstd at all"), 0},
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
	for _, line := range []string{
		good, with("+0000", "-1130"), with("- - [", "- [ [ "), `h - - [01/Jan/1970:00:00:00 +0000] "" 400 -`,
		"web-1 | " + good, "<1>1 - - - - - - " + good, "h:1 " + good, `{"time":1,"client":"h","request":"GET /","status":200}`,
	} {
		f.Add([]byte(line))
	}
	p, _ := NewParser(Auto, nil)
	again, _ := NewParser(Common, nil)
	clients := Clients{Trusted: TrustedDefault, From: FromForwarded}
	f.Fuzz(func(t *testing.T, line []byte) {
		l, why := p.Parse(line)
		if why != Read {
			return
		}
		content, path := (&Targets{KeepQuery: true}).Of(&l)
		once := string(content)
		if string(path)+once[len(path):] != once {
			t.Errorf("%q is not the beginning of %q", path, once)
		}
		if twice, _ := (&Targets{KeepQuery: true}).Of(&Line{Target: []byte(once)}); string(twice) != once {
			t.Errorf("%q becomes %q, and that %q", l.Target, once, twice)
		}
		if client := clients.Of(&l); !isAddress(client) && !isName(client) && string(client) != "unix:" {
			t.Errorf("%q is a client", client)
		}
		at := time.UnixMilli(l.Time).UTC()
		if at.Year() > 9999 || bytes.ContainsAny(l.Target, "\"\\") || bytes.ContainsAny(l.Method, "\"\\ ") {
			return
		}
		request := "-"
		if len(l.Method)+len(l.Target) > 0 {
			request = fmt.Sprintf("%s %s HTTP/1.1", l.Method, l.Target)
		}
		text := fmt.Sprintf(`%s - - [%s] "%s" %d 0`, l.Client, at.Format("02/Jan/2006:15:04:05.000 -0700"), request, l.Status)
		m, why := again.Parse([]byte(text))
		if why != Read || !bytes.Equal(m.Client, l.Client) || m.Time != l.Time || m.Status != l.Status ||
			!bytes.Equal(m.Method, l.Method) || !bytes.Equal(m.Target, l.Target) {
			t.Errorf("%q was read as %+v, and\n%q as %v %+v", line, l, text, why, m)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, text := range map[string]string{
		"text": good,
		"json": `{"time":"2026-11-28T20:00:01+00:00","remote_addr":"192.0.2.10","request":"GET /a HTTP/1.1","status":200,"body_bytes_sent":100,"http_user_agent":"Mozilla/5.0"}`,
	} {
		b.Run(name, func(b *testing.B) {
			p, _ := NewParser(Auto, nil)
			line := []byte(text)
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if _, why := p.Parse(line); why != Read {
					b.Fatal("not read")
				}
			}
		})
	}
}
