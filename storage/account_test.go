package storage

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lectern/lectern/wire"
)

// Each counter has a word of its own, by which it is found again.
func TestWordsOfCounters(t *testing.T) {
	if len(counterNamed) != Counters {
		t.Errorf("%d words for %d counters", len(counterNamed), Counters)
	}
	for c := range Counter(Counters) {
		if got, ok := CounterNamed(c.String()); !ok || got != c || c.String() == "" {
			t.Errorf("the word of counter %d is %q, which is that of %d", c, c, got)
		}
	}
	for why := range wire.Refusal(wire.Refusals) {
		if ReasonNamed(Reason(why)) != why {
			t.Errorf("the reason %q is not found again", Reason(why))
		}
	}
	for class := range Classes {
		if got, ok := ClassNamed(class.String()); !ok || got != class {
			t.Errorf("the class %q is not found again", class)
		}
	}
	if _, ok := CounterNamed("made up"); ok || ReasonNamed("made up") != Unknown {
		t.Error("a word that is made up names something")
	}
}

// Books of any numbers, added up, are what 128 bits say, and end where a sum does.
func TestSumsDoNotWrap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var sum Book
		var want [Counters]float64
		for range 1 + r.IntN(5) {
			var b Book
			for c := range b.Counts {
				b.Counts[c] = r.Uint64() >> (1 + r.IntN(64))
				want[c] += float64(b.Counts[c])
			}
			sum.Add(&b)
		}
		for c, n := range sum.Counts {
			switch {
			case n > math.MaxInt64:
				t.Fatalf("%s is %d", Counter(c), n)
			case want[c] > 1.0001*math.MaxInt64 && n != math.MaxInt64, want[c] < 0.9999*math.MaxInt64 && math.Abs(float64(n)-want[c]) > want[c]/1e12:
				t.Fatalf("%s is %d, want %.0f", Counter(c), n, want[c])
			}
		}
		if n := sum.RefusedEvents(); n > math.MaxInt64 {
			t.Fatalf("%d refused", n)
		}
	}
}

// Of windows together the configuration is that of the one that ends last, where it is
// known.
func TestWindowWith(t *testing.T) {
	early, late, unknown := Window{Start: 1, End: 2, Config: 3}, Window{Start: 5, End: 6, Config: 7}, Window{Start: 8, End: 9}
	for _, all := range [][]Window{{early, late, unknown}, {late, early, unknown}, {unknown, late, early}, {unknown, early, late}} {
		var w Window
		for _, o := range all {
			w = w.With(o)
		}
		if w.Start != 1 || w.End != 9 || w.Config != 7 && all[0] != unknown {
			t.Errorf("%+v of %+v", w, all)
		}
	}
	if word := late.ConfigWord(); word != "0000000000000007" || unknown.ConfigWord() != "" {
		t.Errorf("%q, %q", word, unknown.ConfigWord())
	}
}
