package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

// What the kernel grants is raised where it is less, and never lowered.
func TestRaiseRmem(t *testing.T) {
	for _, test := range []struct {
		have string
		want int64
		then string
	}{{"212992\n", 8 << 20, "8388608\n"}, {"8388608\n", 8 << 20, "8388608\n"}, {"16777216\n", 8 << 20, "16777216\n"}} {
		path := file(t, "rmem_max", test.have)
		said, err := raiseRmem(path, test.want)
		if err != nil {
			t.Errorf("%q: %v", test.have, err)
		}
		if text, _ := os.ReadFile(path); string(text) != test.then {
			t.Errorf("%q became %q (%q), want %q", test.have, text, said, test.then)
		}
	}
	for _, text := range []string{"", "many\n"} {
		if _, err := raiseRmem(file(t, "rmem_max", text), 1); err == nil {
			t.Errorf("%q is taken for a number", text)
		}
	}
	if _, err := raiseRmem(t.TempDir()+"/rmem_max", 1); err == nil {
		t.Error("it raises what is not there")
	}
}

func TestRmemArguments(t *testing.T) {
	for args, want := range map[string]string{
		"rmem --raise 8MB":               `--raise "8MB" is not a size`,
		"rmem --raise 0":                 `--raise "0" is not a size`,
		"rmem --raise 8MiB --wait":       "do not go together",
		"rmem --raise 8MiB --config x":   "do not go together",
		"rmem --wait --config nobody.it": "do not go together",
	} {
		if code, _, stderr := runWith(t, nil, nil, strings.Fields(args)...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %q", args, code, stderr)
		}
	}
	// It waits until it is told to go.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	p := process{stdout: &out, stderr: &out}
	if code := p.run(ctx, []string{"rmem", "--wait"}); code != 0 || out.String() != "" {
		t.Errorf("exit %d, %q", code, out.String())
	}
}
