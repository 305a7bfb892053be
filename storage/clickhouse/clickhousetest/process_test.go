//go:build linux && amd64

package clickhousetest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/ClickHouse/ch-go"
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

// TestTrace starts the engine behind another command, as strace would be, that
// waits for it: both are killed together.
func TestTrace(t *testing.T) {
	s := Start(t, Options{Trace: []string{"sh", "-c", `echo "behind $$" >&2; "$@"; exit 3`, "sh"}})
	plain(t, s)
	if err := dial(t, s, nil).Do(bounded(t), numbers("", 1)); err != nil {
		t.Fatal(err)
	}
	p := s.current()
	if want := fmt.Sprintf("behind %d\n", p.cmd.Process.Pid); !strings.HasPrefix(p.stderr.String(), want) {
		t.Errorf("it said %q, should begin with %q", p.stderr.String(), want)
	}
	s.Kill()
	if _, err := ch.Dial(bounded(t), ch.Options{Address: s.Address()}); err == nil {
		t.Error("the engine has outlived the command before it")
	}
	s.Restart()
	if got := stored(s); got != "1" {
		t.Errorf("after a restart: %s rows, should be 1", got)
	}
}
