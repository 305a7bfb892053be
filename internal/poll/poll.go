// Package poll waits in tests for what other processes, the network or a clock bring
// about, of which nobody tells a test.
package poll

import (
	"testing"
	"time"
)

const (
	step    = 10 * time.Millisecond
	waitMax = time.Minute
)

// Until returns when happened does not say false any more. Within a minute it has to:
// the test fails otherwise, and says what it waited for.
func Until(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitMax); !happened(); time.Sleep(step) {
		if time.Now().After(deadline) {
			t.Fatalf("within %v it does not come to: %s", waitMax, what)
		}
	}
}
