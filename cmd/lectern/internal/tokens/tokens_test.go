package tokens

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	one = "0123456789abcdef"
	two = "fedcba9876543210-"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	for text, want := range map[string][]string{
		one:                                   {one},
		one + "\n":                            {one},
		"\n " + one + "\r\n\n" + two + "\t\n": {one, two},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                     "no token",
		" \n\n":                                "no token",
		one[1:]:                                "less than 16 bytes",
		one + "\nshort\n":                      "less than 16 bytes",
		strings.Repeat(one+"\n", fileMax/17+1): "more than 16384 bytes",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), one[:8]) {
			t.Errorf("%.40q: %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := Read(path + "-not"); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestShown(t *testing.T) {
	list := []string{one, two}
	for authorization, want := range map[string]bool{
		"Bearer " + one: true, "Bearer " + two: true,
		"": false, "Bearer ": false, "Bearer": false, one: false, "bearer " + one: false, "Bearer " + one + " ": false,
		"Bearer " + one[1:]: false, "Bearer " + one + two: false, "Basic " + one: false,
	} {
		if got := Shown(authorization, list); got != want {
			t.Errorf("%q: %v", authorization, got)
		}
	}
	if Shown("Bearer ", nil) || Shown("Bearer "+one, nil) {
		t.Error("no token is none that could be shown")
	}
}
