package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/storage"
)

// bad is a name that would clear a terminal.
const bad = "/bad\x1b[2J"

// topLibrary has the id of "abc" as the authors of xxHash publish it.
func topLibrary() *library {
	return &library{rows: []storage.TopRow{
		{Stream: 1, ID: math.MaxUint64, Opens: 12345, Reads: 99, Finishes: 7, Saves: 1, Dwell: 3_723_499, Others: 500},
		{Stream: 65534, ID: 0x44BC2CF5AD770999, Opens: 12, Shares: 3, Dwell: 59_499, Others: 4},
		{ID: xxhash.Sum64String(bad), Opens: 1, Dwell: 60_000, Others: 1},
	}}
}

const topOut = `STREAM  CONTENT               OPENS  READS  FINISHES  SAVES  SHARES     DWELL  USERS
1       18446744073709551615  12345     99         7      1       0  1h02m03s    500
65534   4952883123889572249      12      0         0      0       3       59s      4
0       5009042949651592945       1      0         0      0       0     1m00s      1
`

const topNamed = `STREAM  CONTENT               OPENS  READS  FINISHES  SAVES  SHARES     DWELL  USERS
1       18446744073709551615  12345     99         7      1       0  1h02m03s    500
65534   abc                      12      0         0      0       3       59s      4
0       "/bad\x1b[2J"             1      0         0      0       0     1m00s      1
`

const topLines = `{"stream":"1","id":"18446744073709551615","opens":12345,"reads":99,"finishes":7,"saves":1,"shares":0,"dwell_ms":3723499,"users":500}
{"stream":"65534","id":"4952883123889572249","name":"abc","opens":12,"reads":0,"finishes":0,"saves":0,"shares":3,"dwell_ms":59499,"users":4}
{"stream":"0","id":"5009042949651592945","name":"/bad\u001b[2J","opens":1,"reads":0,"finishes":0,"saves":0,"shares":0,"dwell_ms":60000,"users":1}
`

func TestTop(t *testing.T) {
	names := map[storage.ContentKey]string{
		{Stream: 65534, Content: 0x44BC2CF5AD770999}: "abc", {Stream: 0, Content: xxhash.Sum64String(bad)}: bad,
		{Stream: 2, Content: math.MaxUint64}: "of another stream",
	}
	for _, test := range []struct {
		names map[storage.ContentKey]string
		args  []string
		want  string
	}{
		{nil, nil, topOut},
		{names, nil, topNamed},
		{names, []string{"--json"}, topLines},
	} {
		l := topLibrary()
		l.names = test.names
		code, stdout, stderr := runWith(t, l, nil, append([]string{"top", "--dir", "d"}, test.args...)...)
		if code != 0 || stdout != test.want || stderr != "" {
			t.Errorf("%v: exit %d, %q\n%s", test.args, code, stderr, stdout)
		}
	}
}

func TestTopByUser(t *testing.T) {
	// Users have no names, whatever content has their id.
	l := &library{rows: []storage.TopRow{{ID: 5, Opens: 2, Others: 1}}, names: map[storage.ContentKey]string{{Content: 5}: "a content"}}
	_, stdout, _ := runWith(t, l, nil, "top", "--dir=d", "--by=user")
	if stdout != "STREAM  USER  OPENS  READS  FINISHES  SAVES  SHARES  DWELL  CONTENTS\n0       5         2      0         0      0       0     0s         1\n" {
		t.Error("\n" + stdout)
	}
	_, stdout, _ = runWith(t, l, nil, "top", "--dir=d", "--by=user", "--json")
	if stdout != `{"stream":"0","id":"5","opens":2,"reads":0,"finishes":0,"saves":0,"shares":0,"dwell_ms":0,"contents":1}`+"\n" {
		t.Error("\n" + stdout)
	}
}

func TestTopAsks(t *testing.T) {
	const noon = 1_772_366_400 // of the day that the tests' clock shows, 30 s before it
	for _, test := range []struct {
		args string
		want storage.TopQuery
	}{
		{"", storage.TopQuery{Since: noon - 24*60*60, Limit: 10}},
		{"--since 1h", storage.TopQuery{Since: noon - 60*60, Limit: 10}},
		{"--since 7d", storage.TopQuery{Since: noon - 7*24*60*60, Limit: 10}},
		{"--since 1d12h", storage.TopQuery{Since: noon - 36*60*60, Limit: 10}},
		{"--since 45s", storage.TopQuery{Since: noon - 60, Limit: 10}},
		{"--since 1000000h", storage.TopQuery{Limit: 10}},
		{"--all -n 100000", storage.TopQuery{Limit: 100_000}},
		{"--all --sort dwell", storage.TopQuery{Limit: 10, Sort: storage.SortDwell}},
		{"--all --by user --stream 3 --stream=65534", storage.TopQuery{By: storage.ByUser, Limit: 10, Streams: []uint16{3, 65534}}},
	} {
		l := &library{}
		runWith(t, l, nil, append([]string{"top", "--dir", "d"}, strings.Fields(test.args)...)...)
		if fmt.Sprintf("%+v", l.asked) != fmt.Sprintf("%+v", test.want) {
			t.Errorf("%s: asked %+v, want %+v", test.args, l.asked, test.want)
		}
	}
}

// A stream may be asked for by its name.
func TestTopAsksByName(t *testing.T) {
	path := file(t, "c.toml", "[stream.site]\nnumber = 7\n[stream.shop]\nnumber = 9\n")
	l := &library{}
	if code, _, stderr := runWith(t, l, nil, "top", "--config", path, "--all", "--stream", "3", "--stream", "shop", "--stream", "site"); code != 0 {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if want := []uint16{3, 9, 7}; !slices.Equal(l.asked.Streams, want) {
		t.Errorf("streams %v, want %v", l.asked.Streams, want)
	}
	if code, _, stderr := runWith(t, l, nil, "top", "--config", path, "--stream", "sho"); code != 2 || !strings.Contains(stderr, `--stream "sho": it is neither a stream, 0 to 65534, nor the name of one in the configuration; did you mean "shop"?`) {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

// The directory comes from --dir, else from the configuration.
func TestStoreDirectory(t *testing.T) {
	path := file(t, "c.toml", "parquet.dir = \"/srv/reads\"\n")
	t.Chdir(t.TempDir())
	for _, command := range []string{"top", "books"} {
		for args, want := range map[string]string{
			"":                                      "data/parquet",
			"--config " + path:                      "/srv/reads",
			"--config " + path + " --dir elsewhere": "elsewhere",
			"--dir elsewhere":                       "elsewhere",
		} {
			l := &library{}
			if code, _, stderr := runWith(t, l, nil, append([]string{command}, strings.Fields(args)...)...); code != 0 || l.dir != want {
				t.Errorf("%s %s: exit %d, %q, %s", command, args, code, l.dir, stderr)
			}
		}
		l := &library{}
		if runWith(t, l, []string{"LECTERN_PARQUET_DIR=/srv/env"}, command); l.dir != "/srv/env" {
			t.Errorf("%s: from the environment: %q", command, l.dir)
		}
		code, _, stderr := runWith(t, l, nil, command, "--config", "none.toml")
		if code != 1 || stderr != "lectern "+command+": none.toml: cannot read the configuration: no such file or directory\n" {
			t.Errorf("%s: exit %d, %s", command, code, stderr)
		}
		code, _, stderr = runWith(t, nil, nil, command, "--dir", "/none")
		if code != 1 || stderr != "lectern "+command+": cannot open the store in \"/none\": the disk is gone\n" {
			t.Errorf("%s: exit %d, %s", command, code, stderr)
		}
		code, stdout, stderr := runWith(t, &library{err: fmt.Errorf("a torn file")}, nil, command, "--dir", "d")
		if code != 1 || stdout != "" || stderr != "lectern "+command+": cannot read the store in \"d\": a torn file\n" {
			t.Errorf("%s: exit %d, %s", command, code, stderr)
		}
	}
}

func TestTopFindsNothing(t *testing.T) {
	for args, want := range map[string]string{
		"":                      "nothing was read in the last 24h; try --all, or a longer --since",
		"--since 90m --json":    "nothing was read in the last 1h30m; try --all, or a longer --since",
		"--stream 4":            "nothing of these streams was read in the last 24h; try --all, or a longer --since",
		"--all --json":          `nothing is stored in "d"; what arrives is stored after window.flush_interval, by default when its minute is over`,
		"--all --stream 4 -n 1": `nothing of these streams is stored in "d"; what arrives is stored after window.flush_interval, by default when its minute is over`,
	} {
		code, stdout, stderr := runWith(t, &library{}, nil, append([]string{"top", "--dir", "d"}, strings.Fields(args)...)...)
		if code != 0 || stdout != "" || stderr != "lectern top: "+want+"\n" {
			t.Errorf("%s: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestTopUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--by reader":           `--by "reader" is neither content nor user`,
		"--all --since 1h":      "--all and --since exclude each other",
		"--since 0s":            "--since 0s is not longer than nothing",
		"--since -1h":           "--since -1h is not longer than nothing",
		"--since yesterday":     `--since "yesterday" is not a duration, such as "10s" (ms, s, m, h, d)`,
		"--sort readers":        `--sort "readers" is not one of opens, reads, finishes, saves, shares, dwell; did you mean "reads"?`,
		"-n 0":                  "-n 0 is outside of 1 to 100000",
		"-n 100001":             "-n 100001 is outside of 1 to 100000",
		"--stream 65535":        `--stream "65535": it is not a stream, 0 to 65534`,
		"--stream 1 --stream x": `--stream "x": it is neither a stream, 0 to 65534, nor the name of one in the configuration`,
		"more":                  `"more" is not a flag, and nothing else is taken`,
	} {
		code, stdout, stderr := runWith(t, topLibrary(), nil, append([]string{"top", "--dir", "d"}, strings.Fields(args)...)...)
		if code != 2 || stdout != "" || stderr != "lectern top: "+want+"\nRun \"lectern top --help\" to see what it takes.\n" {
			t.Errorf("%s: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}
