package config

import (
	"regexp"
	"strings"
)

// prefix is what every variable of Lectern's begins with.
const prefix = "LECTERN_"

// foreign says that a variable with the prefix is none of ours: what tests set,
// and what the kubelet tells every container about a Service whose name begins
// with lectern.
func foreign(name, value string) bool {
	return strings.HasPrefix(name, "LECTERN_TEST_") || linkName.MatchString(name) && linkValue.MatchString(value)
}

// A Service by the name of lectern-ops brings LECTERN_OPS_SERVICE_HOST,
// LECTERN_OPS_SERVICE_PORT, LECTERN_OPS_SERVICE_PORT_name, LECTERN_OPS_PORT and
// LECTERN_OPS_PORT_n_TCP, the last also with _PROTO, _PORT and _ADDR behind it
// (Kubernetes, "Environment variables" of the page on Services). The form of
// the value is asked for too, so that no mistaken key of ours passes as one.
var (
	linkName  = regexp.MustCompile(`^LECTERN(_[A-Z0-9_]+)?(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)?)$`)
	linkValue = regexp.MustCompile(`^([0-9]{1,5}|tcp|udp|sctp|((tcp|udp|sctp)://)?([0-9]{1,3}(\.[0-9]{1,3}){3}|\[?[0-9a-fA-F]*:[0-9a-fA-F:.]*\]?)(:[0-9]{1,5})?)$`)
)

// variable is the name of the variable for a key.
func variable(key string) string {
	return prefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

func (l *loader) readEnviron(environ []string) {
	values := make(map[string]string)
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, prefix) {
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
	for name, value := range values {
		if foreign(name, value) {
			continue
		}
		message := "unknown variable" + didYouMean(Nearest(name, names))
		if strings.HasPrefix(name, prefix+"STREAM_") {
			message = "unknown variable: a variable overrides a key of a [stream.NAME] that the file has"
		}
		l.problems = append(l.problems, Problem{Key: name, Message: message})
	}
}
