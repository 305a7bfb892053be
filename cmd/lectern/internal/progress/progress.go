// Package progress shows on a terminal how far a long job is.
package progress

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// interval is how often the line is drawn anew.
const interval = 200 * time.Millisecond

// barSize is the width of the bar, in columns, where there is room.
const barSize = 24

// columnsDefault is the width of a terminal that does not say its own.
const columnsDefault = 80

// State is how far the job is.
type State struct {
	Events uint64
	// Done is the share that is done, 0 to 1; negative where nobody knows.
	Done float64
	Unit string // what Events counts; "events" where it is empty
}

// IsTerminal reports whether a person may be looking at w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Start draws the state on w until the function that it returns is called,
// which wipes the line. state is called from another goroutine.
func Start(w io.Writer, state func() State) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		began := time.Now()
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fmt.Fprint(w, "\r", line(state(), time.Since(began), columns(w)), "\x1b[K")
			case <-quit:
				fmt.Fprint(w, "\r\x1b[K")
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// line is the state after elapsed, in fewer than that number of columns: a line that
// wraps could not be drawn over. The bar gives way first, then the end.
func line(s State, elapsed time.Duration, columns int) string {
	rate := float64(s.Events) / max(elapsed.Seconds(), 0.001)
	text := fmt.Sprintf("%s %s  %s/s", short(float64(s.Events)), cmp.Or(s.Unit, "events"), short(rate))
	if s.Done < 0 {
		return cut(text+"  "+elapsed.Round(time.Second).String(), columns-1)
	}
	done := min(s.Done, 1)
	text = fmt.Sprintf("%3.0f%%  %s", done*100, text)
	if done > 0 {
		left := time.Duration(float64(elapsed) * (1 - done) / done)
		text += "  " + left.Round(time.Second).String() + " left"
	}
	size := min(barSize, columns-1-len(text)-1)
	if size < 1 {
		return cut(text, columns-1)
	}
	full := int(done * float64(size))
	return strings.Repeat("█", full) + strings.Repeat("░", size-full) + " " + text
}

// cut is the beginning of text, which is ASCII, in at most that number of columns.
func cut(text string, columns int) string { return text[:min(len(text), max(0, columns))] }

// short writes a number with three digits or so and its thousands' letter.
func short(n float64) string {
	for _, unit := range []string{"", "k", "M"} {
		switch {
		case n < 999.5 && unit == "":
			return fmt.Sprintf("%.0f", n)
		case n < 999.5:
			return fmt.Sprintf("%.3g%s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.3gG", n)
}
