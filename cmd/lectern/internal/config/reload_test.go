package config

import (
	"fmt"
	"strings"
	"testing"
)

// Of every key it is said whether it is taken while the daemon runs, and what is
// taken is what the other configuration has.
func TestReloadTakesOrNames(t *testing.T) {
	before, next := Defaults(), everythingElse(t)
	before.TLS.Address = ":1" // it runs
	taken, restart := before.Reload(&next)
	named := make(map[string]bool)
	for _, key := range restart {
		named[key] = true
	}
	old, want := valuesOf(&before), valuesOf(&next)
	for key, value := range valuesOf(&taken) {
		switch {
		case named[key] && value != old[key]:
			t.Errorf("%s takes a restart, and is %s, before %s", key, value, old[key])
		case !named[key] && value != want[key]:
			t.Errorf("%s is taken, and is %s, want %s", key, value, want[key])
		}
	}
	live := 0
	for key := range want {
		if !named[key] && want[key] != old[key] {
			live++
		}
	}
	// The log's level, three files of TLS, [streams], two streams, and what is an edge's.
	edge := 0
	for key := range want {
		if strings.HasPrefix(key, "edge.") && want[key] != old[key] {
			edge++
		}
	}
	if want := 1 + 3 + 6 + 2*len(new(Stream).settings()) + edge; live != want {
		t.Errorf("%d keys are taken, want %d; a restart takes %v", live, want, restart)
	}
	if again, rest := taken.Reload(&next); fmt.Sprint(rest) != fmt.Sprint(restart) || again.Hash() != taken.Hash() {
		t.Errorf("a second time: %v, before %v", rest, restart)
	}
}

func valuesOf(c *Config) map[string]string {
	values := make(map[string]string)
	for _, s := range c.Settings() {
		values[s.Key] = s.Value
	}
	return values
}

// A password is in no hash, and every other key is.
func TestHash(t *testing.T) {
	c := Defaults()
	first := c.Hash()
	c.ClickHouse.Password = "secret"
	withPassword := c.Hash()
	c.ClickHouse.Password = "other"
	if c.Hash() != withPassword {
		t.Error("the hash tells passwords apart")
	}
	seen := map[uint64]string{first: "the defaults"}
	for _, text := range []string{"listen.loops = 3", "stream.a.number = 1", "stream.b.number = 1", "stream.a.number = 1\nstream.b.number = 2"} {
		c, problems := Load(write(t, text), true, nil)
		if len(problems) > 0 || seen[c.Hash()] != "" {
			t.Errorf("%v: %s has the hash of %s", problems, text, seen[c.Hash()])
		}
		seen[c.Hash()] = text
	}
	again, _ := Load(write(t, "# other file\nstream.b.number = 1"), true, nil)
	if seen[again.Hash()] != "stream.b.number = 1" {
		t.Errorf("the same values have the hash of %q", seen[again.Hash()])
	}
}
