package main

import (
	"context"
	"fmt"
	"strings"
)

const completionHelp = `Print what a shell completes commands and flags by.

Usage:

  lectern completion bash|zsh|fish

For bash, for everybody on the machine, or in ~/.bashrc:

  lectern completion bash > /etc/bash_completion.d/lectern
  source <(lectern completion bash)

For zsh, in a directory of $fpath; for fish:

  lectern completion zsh > /usr/local/share/zsh/site-functions/_lectern
  lectern completion fish > ~/.config/fish/completions/lectern.fish
`

// runCompletion is `lectern completion`.
func (p *process) runCompletion(_ context.Context, args []string) int {
	shell, code, done := p.parseAction(newFlags("completion"), args, completionHelp, "which shell")
	if done {
		return code
	}
	write := map[string]func([]command) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[shell]
	return p.print("completion", write(p.commands()))
}

// secondWords are what may stand behind a command: its actions, or for help the
// commands.
func secondWords(c command, all []command) []string {
	if c.name != "help" {
		return actionsOf(c.name, c.help)
	}
	var names []string
	for _, other := range all {
		names = append(names, other.name)
	}
	return names
}

func bashCompletion(all []command) string {
	var names []string
	var values, words strings.Builder
	for _, c := range all {
		names = append(names, c.name)
		list := secondWords(c, all)
		for _, o := range optionsOf(c.help) {
			list = append(list, o.name)
			switch {
			case o.takesPath():
				fmt.Fprintf(&values, "\t\"%s %s\") compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n", c.name, o.name)
			case o.value != "":
				fmt.Fprintf(&values, "\t\"%s %s\") words='%s' ;;\n", c.name, o.name, strings.Join(o.words, " "))
			}
		}
		fmt.Fprintf(&words, "\t%s) words='%s --help' ;;\n", c.name, strings.Join(list, " "))
	}
	return `# bash completion for lectern, made by "lectern completion bash".
_lectern() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words=
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W '` + strings.Join(names, " ") + ` --help --version' -- "$word")
		return
	fi
	case "$command" in
` + words.String() + `	esac
	case "$command $before" in
` + values.String() + `	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _lectern lectern
`
}

// zshText is a text within single quotes, where zsh gives [ ] and : a meaning.
func zshText(text string) string {
	return strings.NewReplacer(`'`, `'\''`, `\`, `\\`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(text)
}

func zshCompletion(all []command) string {
	var names, cases strings.Builder
	for _, c := range all {
		fmt.Fprintf(&names, "\t\t'%s:%s'\n", c.name, zshText(c.summary))
		fmt.Fprintf(&cases, "\t%s)\n\t\t_arguments \\\n", c.name)
		for _, o := range optionsOf(c.help) {
			value := ""
			switch {
			case o.takesPath():
				value = ":" + o.value + ":_files"
			case len(o.words) > 0:
				value = ":" + o.name + ":(" + strings.Join(o.words, " ") + ")"
			case o.value != "":
				value = ":" + zshText(o.value) + ":"
			}
			fmt.Fprintf(&cases, "\t\t\t'*%s[%s]%s' \\\n", o.name, zshText(o.short()), value)
		}
		if second := secondWords(c, all); len(second) > 0 {
			fmt.Fprintf(&cases, "\t\t\t'1:what:(%s)' \\\n", strings.Join(second, " "))
		}
		cases.WriteString("\t\t\t'--help[show what it takes]'\n\t\t;;\n")
	}
	return `#compdef lectern
# zsh completion for lectern, made by "lectern completion zsh".
_lectern() {
	local -a commands
	commands=(
` + names.String() + `	)
	if (( CURRENT == 2 )); then
		_describe command commands
		_arguments '--help[show the commands]' '--version[show the version]'
		return
	fi
	shift words
	(( CURRENT-- ))
	case "$words[1]" in
` + cases.String() + `	esac
}
# Read as a function of $fpath it is called at once; sourced, it is told of.
if [ "$funcstack[1]" = _lectern ]; then
	_lectern "$@"
else
	compdef _lectern lectern
fi
`
}

// fishText is a text within single quotes.
func fishText(text string) string { return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) }

func fishCompletion(all []command) string {
	var b strings.Builder
	b.WriteString("# fish completion for lectern, made by \"lectern completion fish\".\ncomplete -c lectern -f\n")
	b.WriteString("complete -c lectern -n __fish_use_subcommand -l version -d 'show the version'\ncomplete -c lectern -l help -d 'show what it takes'\n")
	for _, c := range all {
		fmt.Fprintf(&b, "complete -c lectern -n __fish_use_subcommand -a %s -d '%s'\n", c.name, fishText(c.summary))
		behind := "-n '__fish_seen_subcommand_from " + c.name + "'"
		if second := secondWords(c, all); len(second) > 0 {
			words := strings.Join(second, " ")
			not := "; and not __fish_seen_subcommand_from " + words // one of them is enough
			if c.name == "help" {
				not = "" // it is among them itself
			}
			fmt.Fprintf(&b, "complete -c lectern -n '__fish_seen_subcommand_from %s%s' -a '%s'\n", c.name, not, words)
		}
		for _, o := range optionsOf(c.help) {
			flag := "-l " + strings.TrimPrefix(o.name, "--")
			if !strings.HasPrefix(o.name, "--") {
				flag = "-s " + strings.TrimPrefix(o.name, "-")
			}
			switch {
			case o.takesPath():
				flag += " -r -F"
			case len(o.words) > 0:
				flag += " -x -a '" + strings.Join(o.words, " ") + "'"
			case o.value != "":
				flag += " -x"
			}
			fmt.Fprintf(&b, "complete -c lectern %s %s -d '%s'\n", behind, flag, fishText(o.short()))
		}
	}
	return b.String()
}
