package format

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestHead(t *testing.T) {
	head := AppendHead(nil, "LLOG")
	if string(head) != "LLOG\x01\x00\x00\x00" {
		t.Errorf("a head is %q", head)
	}
	for _, c := range []struct {
		b    string
		want error
	}{
		{string(head) + "more", nil},
		{"LLOG\x02\x00\x00\x00", ErrVersion},
		{"LLOG\x00\x00\x00\x00", ErrVersion},
		{"LLOG\x01\x00\x00", ErrMagic},
		{"LRUN\x01\x00\x00\x00", ErrMagic},
		{"", ErrMagic},
	} {
		if err := CheckHead([]byte(c.b), "LLOG"); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.b, err, c.want)
		}
	}
}

func TestText(t *testing.T) {
	text := Text("lectern-x", "one", "two")
	const want = "lectern-x 1\none\ntwo\n92a1aad1\n"
	if string(text) != want {
		t.Errorf("a text is\n%q, want\n%q", text, want)
	}
	lines, err := ParseText("lectern-x", text)
	if err != nil || !slices.Equal(lines, []string{"one", "two"}) {
		t.Errorf("%q, %v", lines, err)
	}
	if lines, err := ParseText("lectern-x", Text("lectern-x")); err != nil || len(lines) != 0 {
		t.Errorf("of no lines: %q, %v", lines, err)
	}
	for i := range text { // no byte of it can change, nor be missing
		changed := slices.Clone(text)
		changed[i] ^= 4
		if _, err := ParseText("lectern-x", changed); err == nil {
			t.Errorf("with byte %d changed it is read", i)
		}
		if _, err := ParseText("lectern-x", text[:i]); err == nil {
			t.Errorf("%d bytes of it are read", i)
		}
	}
	for in, want := range map[string]error{
		strings.Replace(string(text), " 1", " 2", 1):   ErrVersion,
		strings.Replace(string(text), " 1", " 10", 1):  ErrVersion,
		strings.Replace(string(text), " 1", " one", 1): ErrMagic,
		strings.Replace(string(text), "two", "twi", 1): ErrChecksum,
		strings.Replace(string(text), "-x", "-y", 1):   ErrMagic,
		string(text) + "\n":                            ErrChecksum,
		"00000000000000a7\n00000000000000a7\n":         ErrMagic,
		"lectern-x 1\n":                                ErrChecksum,
	} {
		if _, err := ParseText("lectern-x", []byte(in)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
}
