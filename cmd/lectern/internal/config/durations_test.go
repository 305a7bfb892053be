package config

import (
	"math"
	"testing"
	"time"
)

// Days are read where hours are, and what they are is reckoned in hours here.
func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 168 * time.Hour, "1d": 24 * time.Hour, "0d": 0, "0.5d": 12 * time.Hour, ".25d": 6 * time.Hour,
		"1d12h": 36 * time.Hour, "1d12h30m1.5s": 36*time.Hour + 30*time.Minute + 1500*time.Millisecond,
		"-1d": -24 * time.Hour, "-1d1h": -25 * time.Hour, "+2d": 48 * time.Hour, "-0d1h": -time.Hour,
		"106751d": 106751 * 24 * time.Hour, "48h": 48 * time.Hour, "250ms": 250 * time.Millisecond, "-1s": -time.Second,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "d", "7", "1e3d", "infd", "nand", "0x1d", "1_0d", "1 d", "7d ", "1d-1h", "1d+1h", "1h1d", "1dd", "7days", "1d2", "--1d",
		"106752d", "-106752d", "99999999999999999999d", "106751d24h", "-106751d24h",
	} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

// What is written is read as the same.
func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", 24 * time.Hour: "24h", 48 * time.Hour: "48h",
		72 * time.Hour: "3d", 73 * time.Hour: "73h", 168 * time.Hour: "7d", -72 * time.Hour: "-72h", 36500 * 24 * time.Hour: "36500d",
	} {
		got := FormatDuration(d)
		if got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
		if back, err := ParseDuration(got); err != nil || back != d {
			t.Errorf("%q is read as %v (%v), want %v", got, back, err, d)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"7d", "1d12h", "-1d", "1e3d", "106751d24h", "99999999999999999999d"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if plain, perr := time.ParseDuration(text); perr == nil && (err != nil || d != plain) {
			t.Errorf("%q: %v (%v), without days %v", text, d, err, plain)
		}
		if err == nil && d != math.MinInt64 {
			if back, err := ParseDuration(FormatDuration(d)); err != nil || back != d {
				t.Errorf("%v is read again as %v (%v)", d, back, err)
			}
		}
	})
}
