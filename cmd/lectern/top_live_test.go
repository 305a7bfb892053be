package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lectern/lectern/cmd/lectern/internal/now"
)

// nowPage is an answer of a daemon, with names that want to harm a terminal.
func nowPage() *now.Page {
	velocity := 2.25
	hour := make([]uint64, 61)
	for i := range hour {
		hour[i] = uint64(i)
	}
	return &now.Page{
		Time: 1_700_000_000_000, Cluster: true, Unasked: 3,
		Streams: []now.StreamLine{
			{
				Stream: "7", Name: "news", Counts: now.Counts{Minute: 81234, MinuteError: 0.004, Five: 120034, FiveError: 0.004, Rate: 1320.52, Velocity: &velocity, Minutes: hour},
				Contents: []now.ContentLine{
					{Content: "1", Name: "/politics/\x1b[31mred", Counts: now.Counts{Minute: 4123, Five: 6002, Rate: 61.2, Minutes: hour}},
					{Content: "2", Name: "/世界/経済/とても長い名前の記事とても長い名前の記事", Counts: now.Counts{Minute: 5, Five: 6, Minutes: make([]uint64, 61)}},
					{Content: "18446744073709551615", Counts: now.Counts{}},
					{Content: "3", Name: "/budget", Title: "Budget\x1b", Section: "Politics", Author: "A. Writer", Counts: now.Counts{}},
				},
				Coarse: 17,
			},
		},
		Nodes: []now.Node{{Node: "10.0.0.1:8421", State: "own"}, {Node: "10.0.0.2:8421", State: "left_out", Why: "it did not\x07 answer"}},
	}
}

// What is shown is as wide as the terminal at the most, whatever things are called, and
// nothing in it moves the terminal.
func TestLivePage(t *testing.T) {
	for _, width := range []int{20, 40, 80, 100, 200} {
		for _, line := range livePage(nowPage(), width) {
			if columns(line) > width {
				t.Errorf("%d columns of %d: %q", columns(line), width, line)
			}
			if strings.ContainsAny(line, "\x1b\x07\n\r") {
				t.Errorf("%q", line)
			}
		}
	}
	want := strings.TrimPrefix(`
Read now, 22:13:20 UTC, by 1 daemons of 5
left out: 10.0.0.2:8421: "it did not\a answer"
not asked: 3 more daemons

STREAM 7 NEWS                  1 MIN    5 MIN  OPENS/S  TIMES  LAST HOUR
all                           ~81234  ~120034   1320.5    2.2  ▁▁▁▂▂▂▂▃▃▃▄▄▄▄▅▅▅▆▆▆▆▇▇▇████
"/politics/\x1b[31mred"         4123     6002     61.2      -  ▁▁▁▂▂▂▂▃▃▃▄▄▄▄▅▅▅▆▆▆▆▇▇▇████
/世界/経済/とても長い名前の…       5        6      0.0      -
18446744073709551615               0        0      0.0      -
"Budget\x1b · Politics · A.…       0        0      0.0      -
and readers of 17 events that are not known: there was no room
`, "\n")
	if got := strings.Join(livePage(nowPage(), 0), "\n") + "\n"; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// A screen holds so many lines, and keeps what it knew when the daemon does not answer.
func TestLiveScreen(t *testing.T) {
	screen := liveScreen(nowPage(), errors.New("nobody answers"), 80, 6)
	if n := strings.Count(screen, "\r\n"); n != 5 || !strings.Contains(screen, "nobody answers") || !strings.Contains(screen, "Read now") {
		t.Errorf("%d lines: %q", n, screen)
	}
	if screen := liveScreen(nil, errors.New("nobody answers"), 80, 1); strings.Count(screen, "\r\n") != 1 {
		t.Errorf("%q", screen)
	}
}

func TestQuitKey(t *testing.T) {
	for _, keys := range []string{"q", "xyzQ", "a\x03rest", ""} {
		r := strings.NewReader(keys)
		if quitKey(r); strings.HasSuffix(keys, "rest") && r.Len() != 4 {
			t.Errorf("%q: %d keys are left", keys, r.Len())
		}
	}
}

// Without a terminal it answers once, from the daemon that is named or configured.
func TestTopLiveOnce(t *testing.T) {
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked = r.URL.String(); strings.Contains(asked, "stream=9") {
			http.Error(w, "nothing is known\x1b here", http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(nowPage())
	}))
	defer server.Close()
	code, out, errs := runWith(t, nil, nil, "top", "--live", "--ops", server.URL, "--stream", "7", "-n", "3")
	if want := strings.Join(livePage(nowPage(), 0), "\n") + "\n"; code != 0 || out != want || errs != "" || asked != "/now.json?limit=3&stream=7" {
		t.Errorf("exit %d, asked %s: %s%s", code, asked, out, errs)
	}
	environ := []string{"LECTERN_OPS_ADDRESS=" + server.Listener.Addr().String()}
	code, out, _ = runWith(t, nil, environ, "top", "--live", "--json")
	if page := new(now.Page); code != 0 || json.Unmarshal([]byte(out), page) != nil || fmt.Sprint(page.Streams[0].Minute) != "81234" || asked != "/now.json?limit=10" {
		t.Errorf("exit %d, asked %s: %s", code, asked, out)
	}
	if code, _, errs := runWith(t, nil, nil, "top", "--live", "--ops", server.URL, "--stream", "9"); code != 1 || !strings.Contains(errs, "404") || strings.Contains(errs, "\x1b") {
		t.Errorf("exit %d: %s", code, errs)
	}
	for _, args := range [][]string{{"--live", "--all"}, {"--live", "-n", "101"}, {"--ops", server.URL}, {"--live", "--ops", "ftp://x"}} {
		if code, _, errs := runWith(t, nil, nil, append([]string{"top"}, args...)...); code != 2 || errs == "" {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
	if got := reachable(":8421") + " " + reachable("[::]:1") + " " + reachable("10.0.0.1:1"); got != "127.0.0.1:8421 127.0.0.1:1 10.0.0.1:1" {
		t.Error(got)
	}
}
