package accesslog

import (
	_ "embed"
	"strings"
)

//go:embed bots.txt
var botsText string

// botWords are those of bots.txt, by their first letter, and noBotWords the
// exceptions.
var botWords, noBotWords = func() (words [256][]string, except []string) {
	for line := range strings.Lines(botsText) {
		switch word := strings.TrimSpace(line); {
		case word == "" || word[0] == '#':
		case word[0] == '!':
			except = append(except, word[1:])
		default:
			words[word[0]] = append(words[word[0]], word)
		}
	}
	return words, except
}()

// IsBot reports whether a user agent is that of a program which reads for nobody,
// by the words of bots.txt. Agents say what they like: what gives itself out for a
// browser is none.
func IsBot(agent []byte) bool {
	if len(agent) == 0 || string(agent) == "-" {
		return true
	}
	for i, c := range agent {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		for _, word := range botWords[c] {
			if begins(agent[i:], word) && !excepted(agent, i, word) {
				return true
			}
		}
	}
	return false
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
