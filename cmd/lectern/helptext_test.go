package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sampleHelp = `Do a thing.

Usage:

  lectern sample ls [--to udp|tcp]
  lectern sample verify [flags]
  lectern sample [flags]

  --to udp|tcp
                 over what; the first is quick
  --by content   contents (the default)
  --by user      users
  --since DURATION only so long ago. More text
  --all          of all time
  -n N           so many,
                 and not more

Behind them --all is no flag, nor is
  this.
`

// What a help text says of flags is read as it stands there.
func TestOptionsOfHelp(t *testing.T) {
	want := []option{
		{"--to", "udp|tcp", []string{"udp", "tcp"}, "over what; the first is quick"},
		{"--by", "content", []string{"content", "user"}, "contents (the default)"},
		{"--since", "DURATION", nil, "only so long ago. More text"},
		{"--all", "", nil, "of all time"},
		{"-n", "N", nil, "so many, and not more"},
	}
	if got := optionsOf(sampleHelp); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := actionsOf("sample", sampleHelp); !slices.Equal(got, []string{"ls", "verify"}) {
		t.Errorf("the actions are %v", got)
	}
}

// Every flag of every help text is one that its command takes, with a value where
// the text has one and without where it has none.
func TestHelpTextsAreTrue(t *testing.T) {
	p := &process{}
	n := 0
	for _, c := range p.commands() {
		for _, o := range optionsOf(c.help) {
			n++
			args := []string{c.name}
			if actions := actionsOf(c.name, c.help); len(actions) > 0 {
				args = append(args, actions[0])
			}
			// No command runs: the last argument is never a flag.
			given, refused := []string{o.name, "--no-such-flag", "--nor-this"}, "--no-such-flag is not a flag"
			if o.value != "" {
				given = []string{o.name, "x", "--nor-this"}
				refused = "--nor-this is not a flag"
			}
			code, _, stderr := runWith(t, nil, nil, append(args, given...)...)
			ofValue := o.value != "" && strings.Contains(stderr, o.name+` "x"`)
			if code != 2 || !strings.Contains(stderr, refused) && !ofValue {
				t.Errorf("%v, which takes %q: exit %d, %s", append(args, given...), o.value, code, stderr)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d flags are found in the help texts", n)
	}
}

// completing runs a script with a completion sourced, and returns what it prints; it is
// not run where there is no such shell.
func completing(t *testing.T, shell, script string) []string {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("NOT RUN: %v", err)
		}
		t.Skipf("NOT RUN: %v", err)
	}
	code, text, stderr := runWith(t, nil, nil, "completion", shell)
	if code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lectern"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a file", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(path, "-c", script)
	c.Dir = dir
	c.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell, err, out)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		word, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		list = append(list, word)
	}
	return list
}

// completions are lines that are typed, and some of what they may become.
var completions = []struct {
	typed       string
	has, hasNot []string
}{
	{"lectern s", []string{"serve", "schema", "spool"}, []string{"top", "--help"}},
	{"lectern top --", []string{"--config", "--since", "--json", "--help"}, []string{"--queue", "serve"}},
	{"lectern top --by ", []string{"content", "user"}, []string{"--all"}},
	{"lectern spool ", []string{"ls", "verify", "export", "init", "renew"}, []string{"serve"}},
	{"lectern completion ", []string{"bash", "zsh", "fish"}, nil},
	{"lectern help ", []string{"serve", "completion"}, nil},
	{"lectern serve --config ", []string{"a file", "b"}, []string{"--help"}},
}

func checkCompletion(t *testing.T, typed string, got, has, hasNot []string) {
	t.Helper()
	for _, word := range has {
		if !slices.Contains(got, word) {
			t.Errorf("%q becomes %q, without %s", typed, got, word)
		}
	}
	for _, word := range hasNot {
		if slices.Contains(got, word) {
			t.Errorf("%q becomes %q, with %s", typed, got, word)
		}
	}
}

func TestBashCompletion(t *testing.T) {
	for _, c := range completions {
		words := strings.Split(c.typed, " ")
		script := fmt.Sprintf(`source ./lectern; rm lectern; COMP_WORDS=(%s ""); COMP_CWORD=%d; COMP_WORDS[COMP_CWORD]=%q; _lectern; printf '%%s\n' "${COMPREPLY[@]}"`,
			strings.Join(words[:len(words)-1], " "), len(words)-1, words[len(words)-1])
		checkCompletion(t, c.typed, completing(t, "bash", script), c.has, c.hasNot)
	}
}

func TestFishCompletion(t *testing.T) {
	for _, c := range completions {
		checkCompletion(t, c.typed, completing(t, "fish", fmt.Sprintf("source ./lectern; rm lectern; complete -C %q", c.typed)), c.has, c.hasNot)
	}
}

// zsh's own functions are stood in for by ones that print what they are given.
func TestZshCompletion(t *testing.T) {
	const standIn = `compdef() { }; _files() { }
_describe() { print -l -- ${(P)2%%:*} }
_arguments() { local a; for a in "$@"; do case $a in
	1:what:*) print -l -- ${=${${a#1:what:\(}%\)}} ;;
	*) print -- ${${a#\*}%%\[*}; case $a in *:\(*\)) print -l -- ${=${${a##*:\(}%\)}} ;; *:_files) print -l -- * ;; esac ;;
esac; done }
`
	for _, c := range completions {
		words := strings.Split(c.typed, " ")
		script := standIn + fmt.Sprintf("source ./lectern; rm lectern; words=(%s %q); CURRENT=%d; _lectern", strings.Join(words[:len(words)-1], " "), words[len(words)-1], len(words))
		checkCompletion(t, c.typed, completing(t, "zsh", script), c.has, nil) // zsh itself picks what fits
	}
}

// The manual page has every command and every flag, and is one that mandoc reads.
func TestManualPage(t *testing.T) {
	code, page, stderr := runWith(t, nil, nil, "man")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	if _, again, _ := runWith(t, nil, nil, "man"); again != page {
		t.Error("it prints another page the second time")
	}
	if _, err := exec.LookPath("mandoc"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("NOT RUN: %v", err)
		}
		t.Skipf("NOT RUN: %v", err)
	}
	mandoc := func(args ...string) string {
		c := exec.Command("mandoc", args...)
		c.Stdin = strings.NewReader(page)
		out, err := c.CombinedOutput()
		if err != nil && args[1] != "lint" {
			t.Fatalf("mandoc %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for line := range strings.Lines(mandoc("-T", "lint", "-W", "warning")) {
		if !strings.Contains(line, "missing date") { // it has none, so that it stays the same
			t.Error(line)
		}
	}
	words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	var plain []byte // bold letters are struck twice
	raw := mandoc("-K", "utf-8", "-T", "utf8", "-O", "width=500")
	for i := 0; i < len(raw); i++ {
		if i+1 < len(raw) && raw[i+1] == '\b' {
			i++
			continue
		}
		plain = append(plain, raw[i])
	}
	shown := words(string(plain))
	for _, c := range (&process{}).commands() {
		if !strings.Contains(shown, "lectern "+c.name+" "+words(c.summary)) {
			t.Errorf("it has no %s", c.name)
		}
		for paragraph := range strings.SplitSeq(c.help, "\n\n") {
			if !strings.Contains(shown, words(paragraph)) {
				t.Errorf("of %s it has not:\n%s", c.name, paragraph)
			}
		}
	}
}
