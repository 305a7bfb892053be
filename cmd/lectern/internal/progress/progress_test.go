package progress

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for _, test := range []struct {
		state   State
		elapsed time.Duration
		want    string
	}{
		{State{Events: 0, Done: -1}, 0, "0 events  0/s  0s"},
		{State{Events: 1500, Done: -1}, 3 * time.Second, "1.5k events  500/s  3s"},
		{State{Events: 2_500_000, Done: 0.25}, 10 * time.Second, "██████░░░░░░░░░░░░░░░░░░  25%  2.5M events  250k/s  30s left"},
		{State{Events: 999, Done: 0}, time.Second, "░░░░░░░░░░░░░░░░░░░░░░░░   0%  999 events  999/s"},
		{State{Events: 5e9, Done: 1.5}, time.Second, "████████████████████████ 100%  5G events  5G/s  0s left"},
		{State{Events: 999_999, Done: 1}, time.Second, "████████████████████████ 100%  1M events  1M/s  0s left"},
		{State{Events: 1500, Done: -1, Unit: "rows"}, 3 * time.Second, "1.5k rows  500/s  3s"},
	} {
		if got := line(test.state, test.elapsed, 80); got != test.want {
			t.Errorf("%+v after %v is\n%q, want\n%q", test.state, test.elapsed, got, test.want)
		}
	}
	for _, state := range []State{{Events: 123_456_789_012, Done: 0.0001}, {Events: 123_456_789_012, Done: -1}, {Events: 1234, Done: 0.5}} {
		for columns := range 200 {
			got := line(state, 100*time.Hour, columns)
			if n := utf8.RuneCountInString(got); n >= max(1, columns) || columns >= 60 && state.Done > 0 && !strings.Contains(got, "left") {
				t.Errorf("in %d columns a line has %d: %q", columns, n, got)
			}
		}
	}
}

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		stop := Start(&b, func() State { return State{Events: 7, Done: -1} })
		time.Sleep(interval + interval/2)
		stop()
		if got, want := b.String(), "\r7 events  35/s  0s\x1b[K\r\x1b[K"; got != want {
			t.Errorf("drawn: %q, want %q", got, want)
		}
	})
}

func TestIsTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if IsTerminal(f) || IsTerminal(new(bytes.Buffer)) {
		t.Error("a file or a buffer is called a terminal")
	}
}
