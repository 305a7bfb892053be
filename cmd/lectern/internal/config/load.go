package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// FileDefault is what Load reads when nobody names a file.
const FileDefault = "config.toml"

// fileMax bounds how much of a file is read.
const fileMax = 1 << 20

// Load reads the file at path and then the variables of environ, which has the
// form of os.Environ. With explicit the file must be there; without it a missing
// file means the defaults, and an empty path is FileDefault.
//
// All problems are reported at once: those of the file by line, then those of
// the environment by name. What a problem is about keeps its default; with any
// problem the Config is not to be used.
func Load(path string, explicit bool, environ []string) (Config, []Problem) {
	return load(path, explicit, environ, false)
}

// Check is Load, and reports as a problem, too, what a key names and cannot be read.
func Check(path string, explicit bool, environ []string) (Config, []Problem) {
	return load(path, explicit, environ, true)
}

func load(path string, explicit bool, environ []string, files bool) (Config, []Problem) {
	c := Defaults()
	if path == "" && !explicit {
		path = FileDefault
	}
	l := loader{config: &c, settings: c.settings(), path: path, from: make(map[string]origin)}
	l.readFile(explicit)
	l.readEnviron(environ)
	l.findContradictions()
	if files {
		l.openFiles()
	}
	sortProblems(l.problems)
	return c, l.problems
}

// openFiles reports what is named and cannot be read.
func (l *loader) openFiles() {
	for _, s := range l.config.settings() {
		if !s.opens {
			continue
		}
		path, _ := strconv.Unquote(s.show())
		if path == "" {
			continue
		}
		if err := readable(path); err != nil {
			l.problem(s.key, "%v; without it nothing starts that needs it", err)
		}
	}
}

// readable says why a file or directory cannot be read.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read what it names: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		_, err = f.ReadDir(1)
	} else if err == nil {
		_, err = f.Read(make([]byte, 1))
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is empty", path)
	}
	return err
}

// loader gathers settings and problems.
type loader struct {
	config   *Config
	settings []setting
	path     string
	from     map[string]origin // of the keys that are not at their defaults
	problems []Problem
}

// origin says where a key was set.
type origin struct {
	file     string
	line     int
	variable string
	bad      bool // and that it could not be
}

// problem reports what is wrong with a key, where it was set.
func (l *loader) problem(key, format string, args ...any) {
	o := l.from[key]
	if o.variable != "" {
		key = o.variable
	}
	l.problems = append(l.problems, Problem{o.file, o.line, key, fmt.Sprintf(format, args...)})
}

func (l *loader) readFile(explicit bool) {
	text, err := readText(l.path)
	if !explicit && errors.Is(err, fs.ErrNotExist) {
		return
	}
	l.config.File = l.path
	if err != nil {
		if perr := new(fs.PathError); errors.As(err, &perr) {
			err = perr.Err // the path stands in front anyway
		}
		l.problems = append(l.problems, Problem{File: l.path, Message: fmt.Sprintf("cannot read the configuration: %v", err)})
		return
	}
	var sections map[string]toml.Primitive
	meta, err := toml.Decode(text, &sections)
	if err != nil {
		p := Problem{File: l.path, Message: err.Error()}
		if perr := (toml.ParseError{}); errors.As(err, &perr) {
			// The library's own line is one too many where a line ends too early.
			p.Line = 1 + strings.Count(text[:min(max(0, perr.Position.Start), len(text))], "\n")
			p.Message = strings.ReplaceAll(perr.Message, "\n", `\n`)
			if secretLine.MatchString(strings.Split(text, "\n")[p.Line-1]) {
				p.Message = "cannot be read: one string in quotes is wanted" // the library shows what it found
			}
		}
		l.problems = append(l.problems, p)
		return
	}
	for name, section := range sections {
		raw, _ := locate(&meta, section)
		if table, ok := raw.(map[string]any); !ok || len(table) == 0 && !slices.Contains(l.sections(), name) {
			l.takeFromFile(&meta, toml.Key{name}, section)
			continue
		}
		if name == "stream" {
			l.takeStreams(&meta, section)
			continue
		}
		var keys map[string]toml.Primitive
		_ = meta.PrimitiveDecode(section, &keys) // it is a table
		for key, value := range keys {
			l.takeFromFile(&meta, toml.Key{name, key}, value)
		}
	}
}

// secretLine is a line of which nothing is shown. What stands before an @ may be
// the password of an address.
var secretLine = regexp.MustCompile(`password["']?\s*=|@`)

// readText reads a file that is not larger than a configuration can be.
func readText(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if len(text) > fileMax {
		return "", fmt.Errorf("it is larger than %s", FormatSize(fileMax))
	}
	return string(text), err
}

// takeFromFile takes what stands at a key of the file.
func (l *loader) takeFromFile(meta *toml.MetaData, key toml.Key, value toml.Primitive) {
	name := key.String()
	raw, line := locate(meta, value)
	l.from[name] = origin{file: l.path, line: line}
	s := l.setting(name)
	switch {
	case s != nil:
		l.settle(name, s.take(raw))
	case len(key) == 1 && slices.Contains(l.sections(), name):
		l.problem(name, "wants a table: [%s]", name)
	default:
		l.problem(name, "unknown key%s", didYouMean(l.nearestKey(key)))
	}
}

// locate gives a value and its line. The library tells the line only with the
// error of an Unmarshaler, so there is one that always fails.
func locate(meta *toml.MetaData, value toml.Primitive) (raw any, line int) {
	var l located
	err := meta.PrimitiveDecode(value, &l)
	if perr := (toml.ParseError{}); errors.As(err, &perr) {
		line = perr.Position.Line
	}
	return l.raw, line
}

type located struct{ raw any }

var errLocated = errors.New("located")

func (l *located) UnmarshalTOML(raw any) error {
	l.raw = raw
	return errLocated
}

// settle keeps the outcome of setting a key.
func (l *loader) settle(name string, err error) {
	if err != nil {
		l.problem(name, "%v", err)
		o := l.from[name]
		o.bad = true
		l.from[name] = o
	}
}

// take sets the key to a TOML value.
func (s *setting) take(raw any) error {
	if _, ok := raw.(string); !ok && s.secret {
		return fmt.Errorf("wants %s, in quotes", s.wants) // what it got is not shown
	}
	switch v := raw.(type) {
	case string:
		if s.takes&asString != 0 {
			return s.set(v)
		}
		return fmt.Errorf("wants %s, without quotes; got %s", s.wants, quote(v))
	case int64:
		if s.takes&asInteger != 0 {
			return s.set(strconv.FormatInt(v, 10))
		}
		return fmt.Errorf("wants %s; got the integer %d", s.wants, v)
	case bool:
		if s.takes&asBool != 0 {
			return s.set(strconv.FormatBool(v))
		}
		return fmt.Errorf("wants %s; got %t", s.wants, v)
	case float64:
		return fmt.Errorf("wants %s; got %v", s.wants, v)
	case map[string]any:
		return fmt.Errorf("wants %s; got a table", s.wants)
	case []any, []map[string]any:
		return fmt.Errorf("wants %s; got an array", s.wants)
	}
	return fmt.Errorf("wants %s; got a date or a time", s.wants)
}

func (l *loader) setting(key string) *setting {
	for i := range l.settings {
		if l.settings[i].key == key {
			return &l.settings[i]
		}
	}
	return nil
}

func (l *loader) keys() (keys []string) {
	for _, s := range l.settings {
		keys = append(keys, s.key)
	}
	return keys
}

func (l *loader) sections() (names []string) {
	for _, s := range l.settings {
		section, _, _ := strings.Cut(s.key, ".")
		names = append(names, section)
	}
	return append(slices.Compact(names), "stream")
}

// nearestKey is what an unknown key was probably meant to be: a key of the same
// name elsewhere, or one that is spelt almost so.
func (l *loader) nearestKey(key toml.Key) string {
	if k := l.kin(key); k != "" {
		return k
	}
	for _, k := range l.keys() {
		if strings.HasSuffix(k, "."+key[len(key)-1]) && !strings.HasSuffix(k, ".address") {
			return k
		}
	}
	if len(key) == 1 {
		if section := Nearest(key[0], l.sections()); section != "" {
			return "[" + section + "]"
		}
	}
	return Nearest(strings.Join(key, "."), l.keys())
}

// kin is the one key of the same section that says the same thing of another: queue_size
// for size_max. The last words of a name say what it is a limit of, and are no kin.
func (l *loader) kin(key toml.Key) (one string) {
	if len(key) != 2 {
		return ""
	}
	words := strings.Split(key[1], "_")
	for _, k := range l.keys() {
		name, ok := strings.CutPrefix(k, key[0]+".")
		if !ok || !slices.ContainsFunc(strings.Split(name, "_"), func(w string) bool {
			return w != "max" && w != "min" && slices.Contains(words, w)
		}) {
			continue
		}
		if one != "" {
			return ""
		}
		one = k
	}
	return one
}

func didYouMean(suggestion string) string {
	if suggestion == "" {
		return ""
	}
	return "; did you mean " + suggestion + "?"
}
