//go:build linux && amd64

package clickhousetest

import (
	"fmt"
	"testing"
)

// TestKillAt kills the engine at calls of each kind that one insert makes, before
// the call and after it. What is stored then is all of the insert or nothing, and
// the rename of the part is what decides.
func TestKillAt(t *testing.T) {
	s := Start(t, Options{})
	plain(t, s)
	client := dial(t, s, nil)
	s.Count()
	if err := client.Do(bounded(t), numbers("first", 1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	calls := s.Calls()
	counts := s.Count()
	for _, call := range []string{"mkdir", "create", "write", "rename", "send"} {
		if counts[call] == 0 {
			t.Fatalf("an insert made these calls: %q", calls)
		}
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	if total != len(calls) || counts["sync"] != 0 {
		t.Errorf("%v and %q differ", counts, calls)
	}
	for i, point := range []struct {
		call   string
		nth    int
		after  bool
		stored bool
	}{
		{"send", 1, false, false},
		{"mkdir", 1, false, false},
		{"mkdir", 1, true, false},
		{"create", counts["create"] / 2, false, false},
		{"create", counts["create"], true, false},
		{"write", 1, true, false},
		{"write", counts["write"], false, false},
		{"write", counts["write"], true, false},
		{"rename", 1, false, false},
		{"rename", 1, true, true},
		{"send", counts["send"], false, true},
		{"send", counts["send"], true, true},
	} {
		name := fmt.Sprintf("%s %d, after: %t", point.call, point.nth, point.after)
		s.Restart()
		do(t, s, "TRUNCATE TABLE plain")
		client := dial(t, s, nil)
		s.KillAt(point.call, point.nth, point.after)
		answer := client.Do(bounded(t), numbers(fmt.Sprint("token ", i), 4, 5))
		s.Wait()
		if !s.Killed() {
			t.Errorf("%s: not killed there", name)
		}
		answered := point.call == "send" && point.nth == counts["send"] && point.after
		if (answer == nil) != answered {
			t.Errorf("%s: the client was told %v", name, answer)
		}
		s.Restart()
		want := "0"
		if point.stored {
			want = "2"
		}
		if got := stored(s); got != want {
			t.Errorf("%s: %s rows, should be %s", name, got, want)
		}
		t.Logf("%s: %s rows, client: %v", name, stored(s), answer)
	}
}
