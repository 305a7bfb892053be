package edge

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/lectern/lectern/emit"
)

// An open by 42's reader 9, and a heartbeat of the same 10 seconds later, as
// wire/SPEC.md writes them in a frame.
const twoEvents = "11 00 2a 09 00 d1 10 27 10 27 1e"

func (e *testEdge) postBinary(t *testing.T, query string, body []byte, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("POST", e.url+"/v1/read?"+query, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", browser)
	r.Header.Set("Content-Type", "application/octet-stream")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	status, text, _ := do(t, r)
	return status, text
}

func TestBinaryBody(t *testing.T) {
	e := newTestEdge(t, nil)
	body := fromHex(t, twoEvents)
	const query = "stream=site&count=2&age=15000&page=00000000000000ff&first=0"
	for range 2 { // the second after a lost answer
		if status, text := e.postBinary(t, query, body); status != 204 {
			t.Fatalf("%d %s", status, text)
		}
	}
	at := e.now.UnixMilli() - 15000
	want := []emit.Event{
		{Time: at, Content: 42, User: 9},
		{Time: at + 10000, Content: 42, User: 9, Kind: emit.Read, Dwell: 10000, Progress: emit.Percent(30)},
	}
	if got := e.queues["site"].events; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v, want\n%v", got, want)
	}
	// Who may not be told from others is nobody, whatever the bytes name.
	e.postBinary(t, "stream=quiet&count=2", body)
	e.postBinary(t, "stream=site&count=2", body, "Sec-GPC: 1")
	for _, one := range append(e.queues["quiet"].events, e.queues["site"].events[2:]...) {
		if one.User != 0 {
			t.Errorf("%+v is somebody's", one)
		}
	}
}

func TestBinaryBodyRefused(t *testing.T) {
	e := newTestEdge(t, nil)
	body := fromHex(t, twoEvents)
	for query, want := range map[string]string{
		"count=2":                                   "no_stream",
		"stream=site":                               "malformed",
		"stream=site&count=0":                       "malformed",
		"stream=site&count=5000":                    "malformed",
		"stream=site&count=1":                       "malformed",
		"stream=site&count=3":                       "malformed",
		"stream=site&count=2&counts=2":              "malformed",
		"stream=site&stream=site&count=2":           "malformed",
		"stream=site&count=2&age=-1":                "out_of_range",
		"stream=site&count=2&age=86400001":          "out_of_range",
		"stream=site&count=2&page=ff":               "malformed",
		"stream=site&count=2&page=00000000000000ff": "out_of_range",
		"stream=site&count=2&first=1":               "malformed",
		"stream=site&count=2&first=x&page=1":        "malformed",
	} {
		if status, text := e.postBinary(t, query, body); status == 204 || !strings.HasPrefix(text, want) {
			t.Errorf("%s: %d %q, want %s", query, status, text, want)
		}
	}
	if n := len(e.queues["site"].events); n > 0 {
		t.Errorf("%d events are in the queue", n)
	}
}
