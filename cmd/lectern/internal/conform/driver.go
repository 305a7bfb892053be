//go:build unix

package conform

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startWait is how long a driver may take to answer the first line, and
	// answerWait each other: real time, which decides about nothing else.
	startWait  = time.Minute
	answerWait = time.Minute
	// lineMax bounds an answer.
	lineMax = 64 << 10
)

// driver is the process around the emitter.
type driver struct {
	command *exec.Cmd
	in      io.WriteCloser
	answers chan string // closed at the end of its output
	errors  tail
	client  string
	has     map[string]bool
	trace   func(string)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - 4096; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// start runs the command and says hello.
func start(args, environ []string, trace func(string)) (*driver, error) {
	d := &driver{command: exec.Command(args[0], args[1:]...), answers: make(chan string, 1), has: map[string]bool{}, trace: trace}
	d.command.Env = environ
	d.command.Stderr = &d.errors
	d.command.WaitDelay = time.Second
	d.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its children end with it
	var err error
	if d.in, err = d.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.command.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the driver: %w", err)
	}
	go d.read(out)
	if err := d.hello(); err != nil {
		d.kill()
		return nil, fmt.Errorf("%w\n%s", err, d.errors.String())
	}
	return d, nil
}

func (d *driver) read(out io.Reader) {
	defer close(d.answers)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "#") {
			d.answers <- lines.Text()
		}
	}
}

func (d *driver) hello() error {
	a, err := d.ask("hello 1", startWait)
	if err != nil {
		return err
	}
	if a.word != "ok" || a.keys["client"] == "" {
		return fmt.Errorf("the driver answers hello with %q, and not with ok client=NAME/VERSION has=WORD,…", a.text)
	}
	d.client = a.keys["client"]
	for _, word := range strings.Split(a.keys["has"], ",") {
		d.has[word] = true
	}
	return nil
}

// answer is a driver's.
type answer struct {
	text, word, reason string
	keys               map[string]string
}

// ask sends a line and returns the answer.
func (d *driver) ask(command string, wait time.Duration) (a answer, err error) {
	d.trace("> " + command)
	if _, err := io.WriteString(d.in, command+"\n"); err != nil {
		return a, d.gone(command)
	}
	select {
	case text, ok := <-d.answers:
		if !ok {
			return a, d.gone(command)
		}
		d.trace("    " + text)
		a = answer{text: text, keys: map[string]string{}}
		for i, word := range strings.Fields(text) {
			if key, value, ok := strings.Cut(word, "="); ok {
				a.keys[key] = value
			} else if i == 0 {
				a.word = word
			} else if i == 1 {
				a.reason = word
			}
		}
		if a.word == "error" {
			return a, fmt.Errorf("the driver says: %s", text)
		}
		return a, nil
	case <-time.After(wait):
		return a, fmt.Errorf("the driver has not answered %q within %v", command, wait)
	}
}

func (d *driver) gone(command string) error {
	d.kill()
	return fmt.Errorf("the driver has ended (%v) and does not answer %q", d.command.ProcessState, command)
}

// kill ends the process, and those that it forked, at once.
func (d *driver) kill() {
	if d.command.ProcessState != nil {
		return // its number may be another's by now
	}
	_ = syscall.Kill(-d.command.Process.Pid, syscall.SIGKILL)
	d.wait()
}

// stop ends its input and gives it a moment.
func (d *driver) stop() {
	if d.command.ProcessState != nil {
		return
	}
	_ = d.in.Close()
	timer := time.AfterFunc(2*time.Second, func() { _ = syscall.Kill(-d.command.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	d.wait()
}

// wait waits for its end, once.
func (d *driver) wait() {
	_ = d.in.Close()
	for range d.answers {
	}
	_ = d.command.Wait()
}
