//go:build linux && amd64

package clickhousetest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// orphan is set for a test process that is to be killed.
const orphan = "CLICKHOUSETEST_ORPHAN"

// TestDiesWithTest: the engine does not outlive a test process that was killed.
func TestDiesWithTest(t *testing.T) {
	if os.Getenv(orphan) != "" {
		s := Start(t, Options{Dir: os.Getenv(orphan)})
		fmt.Println("engine", s.current().cmd.Process.Pid)
		select {}
	}
	s := Start(t, Options{}) // skips, where there is none to start
	s.ours("starts servers of its own")
	self := exec.Command(os.Args[0], "-test.run=^TestDiesWithTest$")
	self.Env = append(os.Environ(), orphan+"="+t.TempDir())
	out, err := self.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = self.Process.Kill() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	var pid int
	if _, wrong := fmt.Sscanf(line, "engine %d", &pid); err != nil || wrong != nil {
		t.Fatalf("it said %q, %v", line, errors.Join(err, wrong))
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the engine is not there: %v", err)
	}
	if err := self.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = self.Wait()
	until(t, func() bool { return gone(pid) })
}

// gone says whether a process has ended, even if no one has waited for it.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X")
}

// TestTrace starts the engine under strace, which kills it at a rename.
func TestTrace(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT RUN: there is no strace here")
	}
	log := filepath.Join(t.TempDir(), "calls")
	s := Start(t, Options{Trace: []string{"strace", "-f", "-qq", "-o", log, "-P", "/nowhere", "-e", "trace=rename"}})
	plain(t, s)
	if err := dial(t, s, nil).Do(bounded(t), numbers("", 1)); err != nil {
		t.Fatal(err)
	}
	s.options.Trace = []string{"strace", "-f", "-qq", "-o", log, "-e", "trace=rename,renameat2",
		"-e", "inject=rename,renameat2:signal=KILL"}
	s.Restart()
	if err := dial(t, s, nil).Do(bounded(t), numbers("", 2)); err == nil {
		t.Error("an engine that was to be killed answered")
	}
	s.Wait()
	if calls, err := os.ReadFile(log); err != nil || !strings.Contains(string(calls), "tmp_insert") {
		t.Errorf("strace noted %q, %v", calls, err)
	}
	s.options.Trace = nil
	s.Restart()
	if got := s.Query("SELECT groupArray(n) FROM (SELECT n FROM plain ORDER BY n)")[0][0]; got != "[1]" && got != "[1,2]" {
		t.Errorf("stored: %s", got)
	}
}
