package config

import "strings"

// prefix is what every variable of Lectern's begins with.
const prefix = "LECTERN_"

// foreign says that a variable with the prefix is none of ours: what tests set,
// and what the kubelet tells every pod about a Service by the name of lectern.
func foreign(name string) bool {
	return strings.HasPrefix(name, "LECTERN_TEST_") ||
		strings.HasPrefix(name, "LECTERN_SERVICE_") ||
		name == "LECTERN_PORT" || strings.HasPrefix(name, "LECTERN_PORT_")
}

// variable is the name of the variable for a key.
func variable(key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (l *loader) readEnviron(environ []string) {
	values := make(map[string]string)
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, prefix) && !foreign(name) {
			values[name] = value
		}
	}
	var names []string
	for _, s := range l.settings {
		name := variable(s.key)
		names = append(names, name)
		if value, ok := values[name]; ok {
			l.from[s.key] = origin{variable: name}
			l.settle(s.key, s.set(value))
			delete(values, name)
		}
	}
	for name := range values {
		l.problems = append(l.problems, Problem{Key: name, Message: "unknown variable" + didYouMean(Nearest(name, names))})
	}
}
