package main

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage/pages"
)

func TestMemoryLimit(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing", nil, 0},
		{"version 2, in a container", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20},
		{"version 2, no limit", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"version 2, a slice's is less", map[string]string{
			"proc/self/cgroup": "0::/a.slice/b.service\n", "sys/fs/cgroup/a.slice/memory.max": "1000000\n", "sys/fs/cgroup/a.slice/b.service/memory.max": "2000000\n",
		}, 1000000},
		{"version 1", map[string]string{
			"proc/self/cgroup":                                "5:cpu:/x\n4:memory:/x/y\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":      "9223372036854771712\n",
			"sys/fs/cgroup/memory/x/y/memory.limit_in_bytes":  "300000000\n",
			"sys/fs/cgroup/memory/else/memory.limit_in_bytes": "1\n",
			"sys/fs/cgroup/cpu/x/memory.limit_in_bytes":       "1\n",
		}, 300000000},
		{"nonsense", map[string]string{"proc/self/cgroup": "x\n0::/\n", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		root := t.TempDir()
		for name, text := range test.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, ok := memoryLimit(root); got != test.want && ok || ok != (test.want > 0) {
			t.Errorf("%s: %d, %t; want %d", test.name, got, ok, test.want)
		}
	}
}

// GOMEMLIMIT stands; without it a limit of the process leaves Go a share.
func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	root := t.TempDir()
	for name, text := range map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000000000\n"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	small, large := config.Defaults(), config.Defaults()
	small.Listen.Loops = 1
	large.Limits.SourcesMax = 10_000_000
	for _, test := range []struct {
		environ []string
		c       config.Config
		want    int64
		warns   bool
	}{
		{nil, small, 800_000_000, false},
		{[]string{"GOMEMLIMIT="}, large, 800_000_000, true},
		{[]string{"A=B", "GOMEMLIMIT=700MiB"}, large, math.MaxInt64, true},
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		mapped := pages.Mapped()
		var said bytes.Buffer
		soft := limitMemory(&test.c, test.environ, root, slog.New(slog.NewTextHandler(&said, nil)))
		if got := debug.SetMemoryLimit(-1); got != test.want-min(mapped, soft) || strings.Contains(said.String(), "limit_bytes=1000000000") != test.warns {
			t.Errorf("%v: %d, said %q", test.environ, got, said.String())
		}
		if soft == 0 {
			continue
		}
		// What stands beside the heap is in the limit, and Go does not count it.
		table := pages.Make[byte](200 << 20)
		mapped = pages.Mapped()
		limitHeap(soft)
		if got := debug.SetMemoryLimit(-1); got != soft-mapped {
			t.Errorf("the heap may have %d bytes beside %d that are mapped, of %d", got, mapped, soft)
		}
		table.Free()
	}
}
