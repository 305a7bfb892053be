package clickhousetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/native"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/trace"
)

// A process is the engine's, from its start to its end.
type process struct {
	cmd    *exec.Cmd
	data   string // the directory of the engine's data
	ready  native.Ready
	client http.Client
	gone   chan struct{} // closed when the process is no more
	stderr tail

	tracing  sync.Once
	traced   *trace.Tracer
	traceErr error
}

// patience is how long a process may take to start, on a machine that is busy.
const patience = 2 * time.Minute

// command is the package of the command behind the process.
const command = "github.com/lectern/lectern/storage/clickhouse/clickhousetest/engine"

// build builds the command, once for a test binary: without the race detector and
// without cgo, whatever the tests are built with. The file is open and has no
// name any more, so that nothing is left of it.
var build = sync.OnceValues(func() (*os.File, error) {
	dir, err := os.MkdirTemp("", "clickhousetest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "engine")
	cmd := exec.Command("go", "build", "-race=false", "-buildvcs=false", "-o", path, command)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w\n%s", command, err, out)
	}
	return os.Open(path)
})

// start starts the process and waits until it serves. It returns the process
// with an error too, if there is one.
func start(config native.Config, prefix []string) (*process, error) {
	file, err := build()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.Dir, 0o755); err != nil {
		return nil, err
	}
	args := append(append([]string(nil), prefix...), fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()), "serve", string(text))
	p := &process{gone: make(chan struct{}), cmd: exec.Command(args[0], args[1:]...)}
	p.data = filepath.Join(config.Dir, "data")
	p.cmd.Dir = config.Dir
	p.cmd.Env = append(os.Environ(), "TZ=UTC")
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = attributes()
	if _, err := p.cmd.StdinPipe(); err != nil { // its end is the process's
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := fork(p.cmd); err != nil {
		return nil, err
	}
	said := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(stdout).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &p.ready)
		}
		said <- err
		_, _ = io.Copy(io.Discard, stdout)
		_ = p.cmd.Wait()
		close(p.gone)
	}()
	select {
	case err = <-said:
	case <-time.After(patience):
		err = fmt.Errorf("not ready after %v", patience)
	}
	if err != nil {
		p.kill()
		return p, fmt.Errorf("%w\n%s", err, p.stderr.String())
	}
	return p, nil
}

// fork starts a command from a thread that never ends: a process that is to die
// with its parent dies with the thread that started it.
func fork(cmd *exec.Cmd) error {
	forks <- cmd
	return <-forked
}

var (
	forks  = make(chan *exec.Cmd)
	forked = make(chan error)
)

func init() {
	go func() {
		runtime.LockOSThread()
		for cmd := range forks {
			forked <- cmd.Start()
		}
	}()
}

// kill ends the process, and what it was started with, and waits for that.
func (p *process) kill() {
	killGroup(p.cmd.Process)
	<-p.gone
	p.client.CloseIdleConnections()
}

// ask sends a request to the process.
func (p *process) ask(path string, body []byte) ([]byte, error) {
	answer, err := p.client.Post("http://"+p.ready.Control+path, "", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	return text, err
}

// trace attaches a tracer to the process, the first time that it is called.
func (p *process) trace() (*trace.Tracer, error) {
	p.tracing.Do(func() { p.traced, p.traceErr = attach(p.cmd.Process.Pid, p.data) })
	return p.traced, p.traceErr
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// longest is how much a tail keeps.
const longest = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if extra := len(t.text) - longest; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
