// Package hush keeps the standard logger quiet until Speak.
//
// On machines without pressure stall information VictoriaMetrics/metrics logs a
// line when it is initialised, so every command would print it. Packages are
// initialised in the order of their import paths, each as soon as what it
// imports is (Go specification, "Program initialization"): this one needs log
// alone and comes before net/http, for which that package has to wait.
package hush

import (
	"io"
	"log"
	"os"
)

func init() { log.SetOutput(io.Discard) }

// Speak lets the standard logger write to standard error again.
func Speak() { log.SetOutput(os.Stderr) }
