// Package testdata holds what implementations of the protocol are tested by:
// SPEC.md beside it says how (sections 13 and 14).
package testdata

import "embed"

// Files has the dialogues, in dialogues/NAME.txt.
//
//go:embed dialogues/*.txt
var Files embed.FS
