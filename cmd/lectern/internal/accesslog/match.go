package accesslog

// Match reports whether a path is one of the pattern's, in which * stands for any
// characters, slashes as well, and all else for itself.
func Match(pattern string, path []byte) bool {
	star, from := -1, 0 // the last star, and where in path what it stands for ends
	p, i := 0, 0
	for i < len(path) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == path[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// Paths chooses lines by their paths.
type Paths struct {
	Only []string // patterns of which one must match; empty for any path
	Skip []string // patterns of which none may
}

// Wants reports whether the path is among them.
func (p *Paths) Wants(path []byte) bool {
	wanted := len(p.Only) == 0
	for _, pattern := range p.Only {
		wanted = wanted || Match(pattern, path)
	}
	for _, pattern := range p.Skip {
		wanted = wanted && !Match(pattern, path)
	}
	return wanted
}
