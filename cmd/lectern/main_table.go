package main

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// table is text in columns: the first row is the header.
type table struct {
	left int // columns that are aligned to the left; the others are to the right
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// String aligns the columns, two spaces apart. The last one is not padded.
func (t *table) String() string {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(cell))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-columns(cell))
			switch {
			case i >= t.left:
				b.WriteString(pad + cell)
			case i == len(row)-1:
				b.WriteString(cell)
			default:
				b.WriteString(cell + pad)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// columns is how many of a terminal's columns a text takes: two for each character
// that East Asian writing and pictures are made of, none for an accent that stands
// on the one before it. What is ambiguous takes one, whatever the locale.
func columns(text string) int { return terminal.StringWidth(text) }

var terminal = &runewidth.Condition{StrictEmojiNeutral: true}

// number is a count in decimal.
func number[T int | int64 | uint64](n T) string {
	if n < 0 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(uint64(n), 10)
}

// printable is a text that comes from elsewhere, without what a terminal would
// take for a command.
func printable(text string) string {
	for _, r := range text {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return strconv.Quote(text)
		}
	}
	return text
}
