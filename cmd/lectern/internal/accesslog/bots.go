package accesslog

import (
	_ "embed"
	"strings"
)

//go:embed bots.txt
var botsText string

// Program is what a user agent says it is.
type Program uint8

// The programs that ask for pages.
const (
	Browser  Program = iota // somebody reads, as far as it says
	Bot                     // it reads for nobody
	Expander                // it makes a preview, for whom somebody sends a link
)

// botWord is a word of bots.txt.
type botWord struct {
	text string
	is   Program
}

// botWords are those of bots.txt, by their first two letters, and noBotWords the
// exceptions.
var botWords, noBotWords = func() (words [1 << 10][]botWord, except []string) {
	for line := range strings.Lines(botsText) {
		switch word := strings.TrimSpace(line); {
		case word == "" || word[0] == '#':
		case word[0] == '!':
			except = append(except, word[1:])
		case word[0] == '>':
			at := pair(word[1], word[2])
			words[at] = append(words[at], botWord{word[1:], Expander})
		default:
			at := pair(word[0], word[1])
			words[at] = append(words[at], botWord{word, Bot})
		}
	}
	return words, except
}()

// pair is where words are that begin with two letters, in any case.
func pair(a, b byte) int { return int(a&31)<<5 | int(b&31) }

// IsBot reports whether a user agent is that of a program which reads for nobody,
// be it a Bot or an Expander.
func IsBot(agent []byte) bool { return ProgramOf(agent) != Browser }

// ProgramOf is what a user agent says it is, by the words of bots.txt. Agents say what
// they like: what gives itself out for a browser is one.
func ProgramOf(agent []byte) (is Program) {
	if len(agent) == 0 || string(agent) == "-" {
		return Bot
	}
	for i := range len(agent) - 1 {
		for _, word := range botWords[pair(agent[i], agent[i+1])] {
			if word.is > is && begins(agent[i:], word.text) && !excepted(agent, i, word.text) {
				is = word.is
			}
		}
	}
	return is
}

// excepted reports whether the word at i belongs to an exception.
func excepted(agent []byte, i int, word string) bool {
	for _, e := range noBotWords {
		at := strings.Index(e, word)
		if at >= 0 && i >= at && begins(agent[i-at:], e) {
			return true
		}
	}
	return false
}

func begins(b []byte, word string) bool {
	return len(b) >= len(word) && indexFold(b[:len(word)], word) == 0
}
