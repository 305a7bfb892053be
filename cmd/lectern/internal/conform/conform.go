//go:build unix

package conform

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Outcome of a dialogue.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	NotDone Outcome = "not done" // the client lacks what it needs, or this machine does
)

// Result is what became of one dialogue.
type Result struct {
	Dialogue string   `json:"dialogue"`
	Comment  string   `json:"comment"`
	Outcome  Outcome  `json:"outcome"`
	Lacks    []string `json:"lacks,omitempty"`  // with NotDone
	Line     int      `json:"line,omitempty"`   // with Failed, of the script: where it was noticed
	Says     string   `json:"says,omitempty"`   // that line
	Reason   string   `json:"reason,omitempty"` // with Failed
	Bytes    string   `json:"bytes,omitempty"`  // of the frame or datagram that shows it, in hex
	Stderr   string   `json:"stderr,omitempty"` // with Failed, what the driver said there at last
}

// Runner plays dialogues with drivers.
type Runner struct {
	Command []string     // starts a driver
	Environ []string     // its environment; nil: this process's
	Trace   func(string) // is told every line that is spoken, if it is set
	Client  string       // what the last driver calls itself
	Has     []string     // and what it has
}

// Play plays one dialogue with a driver of its own. The error says that there is
// no driver, or no collector to be; what an emitter does wrong is in the Result.
func (r *Runner) Play(d Dialogue) (Result, error) {
	result := Result{Dialogue: d.Name, Comment: d.Comment, Outcome: OK}
	if r.Environ == nil {
		r.Environ = os.Environ()
	}
	trace := r.Trace
	if trace == nil {
		trace = func(string) {}
	}
	trace("# " + d.Name + ": " + d.Comment)
	s, err := openSockets()
	if err != nil {
		return result, err
	}
	defer s.close()
	p := &play{environ: r.Environ, args: r.Command, sockets: s, judge: newJudge(), names: map[string]uint64{}, trace: trace}
	err = p.begin()
	if p.driver != nil {
		defer func() { p.driver.stop() }()
	}
	if err != nil {
		return result, err
	}
	r.Client, r.Has = p.driver.client, p.driver.words()
	if result.Lacks = p.lacks(d.Needs); len(result.Lacks) > 0 {
		result.Outcome = NotDone
		return result, nil
	}
	p.all(d, &result)
	if result.Outcome == Failed {
		p.driver.kill()
		result.Stderr = p.driver.errors.String()
	}
	return result, nil
}

func (d *driver) words() (list []string) {
	for word := range d.has {
		list = append(list, word)
	}
	slices.Sort(list)
	return list
}

// lacks is what of a dialogue's needs is not there.
func (p *play) lacks(needs []string) (lacks []string) {
	for _, need := range needs {
		if need == "there" {
			if p.sockets.place(placeThere) == nil {
				lacks = append(lacks, "a second address, 127.0.0.2, on this machine")
			}
		} else if !p.driver.has[need] {
			lacks = append(lacks, need)
		}
	}
	return lacks
}

// all performs the lines, until one fails or a rule is broken.
func (p *play) all(d Dialogue, result *Result) {
	for i := range d.lines {
		var next *line
		if i+1 < len(d.lines) {
			next = &d.lines[i+1]
		}
		err := p.perform(&d.lines[i], next)
		if p.failed(result, err) {
			result.Line, result.Says = d.lines[i].number, d.lines[i].text
			return
		}
	}
	if p.failed(result, p.end()) {
		result.Line, result.Says = d.lines[len(d.lines)-1].number+1, "the end"
	}
}

// failed writes down what is wrong, if something is. A broken rule says more
// than that something did not come.
func (p *play) failed(result *Result, err error) bool {
	var rule *brokenRule
	switch {
	case len(p.judge.violations) > 0:
		v := p.judge.violations[0]
		result.Reason, result.Bytes = v.reason, hex.EncodeToString(v.bytes)
	case errors.As(err, &rule):
		result.Reason, result.Bytes = rule.reason, hex.EncodeToString(rule.bytes)
	case err != nil:
		result.Reason = err.Error()
	default:
		return false
	}
	result.Outcome = Failed
	return true
}

// String is the result on one line, and behind a failure what shows it.
func (r *Result) String() string {
	var b strings.Builder
	switch r.Outcome {
	case OK:
		fmt.Fprintf(&b, "ok        %-28s %s\n", r.Dialogue, r.Comment)
	case NotDone:
		fmt.Fprintf(&b, "NOT DONE  %-28s the client does not have: %s\n", r.Dialogue, strings.Join(r.Lacks, ", "))
	default:
		fmt.Fprintf(&b, "FAILED    %-28s %s\n          at line %d, %s\n          %s\n", r.Dialogue, r.Comment, r.Line, r.Says, strings.ReplaceAll(r.Reason, "\n", "\n          "))
		for at := 0; at < len(r.Bytes); at += 64 {
			fmt.Fprintf(&b, "          %6d  %s\n", at/2, r.Bytes[at:min(at+64, len(r.Bytes))])
		}
		if r.Stderr != "" {
			fmt.Fprintf(&b, "          the driver's standard error:\n          | %s\n", strings.ReplaceAll(r.Stderr, "\n", "\n          | "))
		}
	}
	return b.String()
}
