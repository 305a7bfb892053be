package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

const versionHelp = `Show the version.

Usage:

  lectern version

"lectern --version" does the same.
`

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// buildVersion is the version that the linker was told, or else what the
// toolchain knows.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return versionOf(info)
	}
	return "unknown"
}

// revisionDigits is how much of a commit's hash is shown.
const revisionDigits = 12

func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" {
		return "unknown"
	}
	revision = revision[:min(len(revision), revisionDigits)]
	if settings["vcs.modified"] == "true" {
		revision += "-dirty"
	}
	return revision
}

// runVersion is `lectern version`.
func (p *process) runVersion(_ context.Context, args []string) int {
	if code, done := p.parse(newFlags("version"), args, versionHelp); done {
		return code
	}
	return p.print("version", fmt.Sprintf("lectern %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
}
