package main

import (
	"regexp"
	"slices"
	"strings"
)

// The help texts are where a command's flags are written down. Completion and the
// manual page are made of them, so that they say the same.

// option is one flag of a help text.
type option struct {
	name  string   // with its dashes
	value string   // what it takes, in capitals or as one word of several; empty: nothing
	words []string // what it takes, where that is one of a few words
	text  string   // what it does, on one line
}

// short is the beginning of what an option does, for a list.
func (o *option) short() string {
	text := o.text
	for _, end := range []string{"; ", ". ", " (", ": ", ", which"} {
		text, _, _ = strings.Cut(text, end)
	}
	return strings.TrimSuffix(text, ".")
}

// takesPath says that its value is a file or a directory.
func (o *option) takesPath() bool { return o.value == "FILE" || o.value == "DIR" }

// optionLine is the first line of an option: one space before its value, more
// before what it does.
var optionLine = regexp.MustCompile(`^  (--?[A-Za-z][A-Za-z-]*)(?: (\S+))?(?: +(\S.*))?$`)

// optionsOf reads the flags out of a help text, each once.
func optionsOf(help string) (all []option) {
	var open bool // the lines that follow go on with the last one
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		if m := optionLine.FindStringSubmatch(line); m != nil {
			all = append(all, option{name: m[1], value: m[2], words: wordsOf(m[2]), text: m[3]})
			open = true
		} else if open = open && strings.HasPrefix(line, "    "); open {
			o := &all[len(all)-1]
			o.text = strings.TrimSpace(o.text + " " + strings.TrimSpace(line))
		}
	}
	for line := range strings.Lines(help) {
		if strings.HasPrefix(line, "  lectern ") {
			for _, m := range usageOption.FindAllStringSubmatch(line, -1) {
				all = append(all, option{name: m[1], value: m[2]})
			}
		}
	}
	return merged(all)
}

// usageOption is a flag that a line of usage shows and no list explains.
var usageOption = regexp.MustCompile(`[ \[](--[a-z][a-z-]*)(?: ([A-Z]+)\b)?`)

// merged makes one of the lines that describe one flag with its different words.
func merged(all []option) (list []option) {
	for _, o := range all {
		if i := slices.IndexFunc(list, func(p option) bool { return p.name == o.name }); i >= 0 {
			if o.text != "" {
				list[i].words = append(list[i].words, o.words...)
			}
			continue
		}
		list = append(list, o)
	}
	return list
}

var plainWord = regexp.MustCompile(`^[a-z][a-z-]*$`)

// wordsOf are the words of "udp|tcp", nothing of what stands for anything else.
func wordsOf(value string) (words []string) {
	for word := range strings.SplitSeq(value, "|") {
		if !plainWord.MatchString(word) {
			return nil
		}
		words = append(words, word)
	}
	return words
}

// actionsOf are the words that may stand behind a command, out of the lines that
// show its usage.
func actionsOf(name, help string) (all []string) {
	for line := range strings.Lines(help) {
		rest, ok := strings.CutPrefix(line, "  lectern "+name+" ")
		if !ok {
			continue
		}
		if fields := strings.Fields(rest); len(fields) > 0 {
			all = append(all, wordsOf(fields[0])...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
