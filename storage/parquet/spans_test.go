package parquet

import (
	"math"
	"slices"
	"testing"
)

func TestSpansText(t *testing.T) {
	for text, want := range map[string]spans{
		"1": {{1, 1}}, "1-7,9": {{1, 7}, {9, 9}}, "5-18446744073709551615": {{5, math.MaxUint64}},
		"18446744073709551615": {{math.MaxUint64, math.MaxUint64}},
		"":                     nil, "0": nil, "0-3": nil, "3-1": nil, "2-2": nil, "1,2": nil, "2,1": nil, "1,": nil, "1-": nil, "-1": nil,
		"1-7,7": nil, "a": nil, "1 ": nil, "18446744073709551616": nil, "1-18446744073709551615,1": nil,
	} {
		got, err := parseSpans(text)
		if (err == nil) != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if want != nil && got.String() != text {
			t.Errorf("%q is written as %q", text, got)
		}
	}
}

// Sets of the numbers 1 to 16 against the bits of an integer.
func FuzzSpans(f *testing.F) {
	f.Add(uint16(0b1011), uint16(0b0100))
	f.Add(uint16(0), uint16(0xffff))
	set := func(bits uint16) (s spans) {
		for n := range uint64(16) {
			if bits>>n&1 == 1 {
				s = s.with(one(n + 1))
			}
		}
		return s
	}
	f.Fuzz(func(t *testing.T, a, b uint16) {
		x, y := set(a), set(b)
		if !slices.Equal(x.with(y), set(a|b)) {
			t.Errorf("%v with %v is %v", x, y, x.with(y))
		}
		if x.overlaps(y) != (a&b != 0) {
			t.Errorf("%v overlaps %v: %v", x, y, x.overlaps(y))
		}
		if x.covers(y) != (a|b == a) {
			t.Errorf("%v covers %v: %v", x, y, x.covers(y))
		}
		var n, last uint64
		for i := range uint64(16) {
			if a>>i&1 == 1 {
				n, last = n+1, i+1
			}
		}
		if x.count() != n || x.last() != last {
			t.Errorf("%v has %d, last %d", x, x.count(), x.last())
		}
		if back, err := parseSpans(x.String()); n > 0 && (err != nil || !slices.Equal(back, x)) {
			t.Errorf("%v comes back as %v, %v", x, back, err)
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{
		"20241004T03-000000000001.parquet", "20241004T03-000000000001-000000000012.parquet", "20241004T03-1.parquet",
		"20241004T03-c00000000000000ab-000000000001.parquet", "20241004T03-c00000000000000ab-000000000001-000000000012.parquet",
		"20241004T03-cab-000000000001.parquet", "20241004T03-c0000000000000000-000000000001.parquet", "20241004T03-c00000000000000ab.parquet",
		"20241004T24-000000000001.parquet", "x.parquet", "20241004T03-0000000000018446744073709551615.parquet", "20241004T03-000000000000.parquet",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseName(s); ok && n.String() != s {
			t.Errorf("%q is read as %q", s, n)
		}
	})
}
