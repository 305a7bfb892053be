package main

import "testing"

// The columns of a terminal are counted, not characters.
func TestTableOfWideCharacters(t *testing.T) {
	for text, want := range map[string]int{"abc": 3, "日本語": 6, "한글": 4, "e\u0301": 1, "é": 1, "📚": 2, "ｆ": 2, "…": 1, "α": 1} {
		if got := columns(text); got != want {
			t.Errorf("%q takes %d columns, want %d", text, got, want)
		}
	}
	tab := table{left: 1}
	tab.add("NAME", "N")
	tab.add("/日本", "1")
	tab.add("/e\u0301te\u0301", "22")
	if got := tab.String(); got != "NAME    N\n/日本   1\n/e\u0301te\u0301   22\n" {
		t.Errorf("\n%s", got)
	}
}
