//go:build go1.26 && !linux

package wire_test

import (
	"slices"
	"testing"
)

// guarded gives every input memory of its own without room behind it.
type guarded struct{}

func newGuarded(testing.TB, int) *guarded { return &guarded{} }

func (*guarded) place(b []byte) []byte { return slices.Clip(slices.Clone(b)) }
