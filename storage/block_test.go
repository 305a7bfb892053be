package storage

import (
	"math/rand/v2"
	"testing"
)

// Columns say of their rows what the rows say of themselves.
func TestColumnsAreTheirRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var c Columns
	var events uint64
	for range 300 {
		row := Row{
			Stream: uint16(r.Uint32N(2)), Minute: r.Uint32N(3)*60 + r.Uint32N(2)*SecondsPerDay, Content: r.Uint64N(2), User: r.Uint64N(2),
			Opens: r.Uint32(), Reads: r.Uint32N(2), Finishes: r.Uint32N(2), Saves: r.Uint32N(2), Shares: r.Uint32N(2), Impressions: r.Uint32N(2), Clicks: r.Uint32N(2), Variant: uint8(r.IntN(2)),
			Resume: uint8(r.IntN(102)), ResumeLag: uint16(r.IntN(2)),
		}
		events += row.Events()
		c.Append(&row)
		if got := c.Row(c.Len() - 1); got != row {
			t.Fatalf("%+v comes back as %+v", row, got)
		}
	}
	if got := c.Events(); got != events {
		t.Errorf("%d events, want %d", got, events)
	}
	for i := range c.Len() {
		for j := range c.Len() {
			a, b := c.Row(i), c.Row(j)
			if got, want := c.Compare(i, j), CompareKeys(&a, &b); got != want {
				t.Fatalf("%+v and %+v: %d, want %d", a, b, got, want)
			}
		}
	}
}
