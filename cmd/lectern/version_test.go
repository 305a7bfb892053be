package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	defer func(before string) { version = before }(version)
	version = "v1.2.3"
	want := "lectern v1.2.3 " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	for _, word := range []string{"version", "--version", "-version", "-V"} {
		if code, stdout, stderr := runWith(t, nil, nil, word); code != 0 || stdout != want || stderr != "" {
			t.Errorf("%s: exit %d, %q, %q", word, code, stdout, stderr)
		}
	}
}

func TestVersionOfABuild(t *testing.T) {
	const revision = "0123456789abcdef0123456789abcdef01234567"
	for _, test := range []struct {
		module, revision, modified, want string
	}{
		{"v1.4.0", revision, "false", "v1.4.0"},
		{"(devel)", revision, "false", "0123456789ab"},
		{"", revision, "true", "0123456789ab-dirty"},
		{"(devel)", "", "", "unknown"},
		{"", "abc", "", "abc"},
	} {
		info := debug.BuildInfo{Main: debug.Module{Version: test.module}, Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: test.revision}, {Key: "vcs.modified", Value: test.modified},
		}}
		if got := versionOf(&info); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}
