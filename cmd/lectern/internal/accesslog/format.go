package accesslog

import (
	"bytes"
	"fmt"

	"github.com/valyala/fastjson"
)

// Format is how the lines of a log are written.
type Format int

// The formats.
const (
	Auto          Format = iota // whichever of the others fits a line
	Common                      // NCSA's common log format; what follows the size is passed over
	Combined                    // with referer and agent: the default of nginx and Apache
	VhostCombined               // with the virtual host and its port in front: Debian's other_vhosts_access.log
	JSON                        // one object a line
)

// formatNames are the formats by their names.
var formatNames = []string{"auto", "common", "combined", "vhost_combined", "json"}

func (f Format) String() string { return formatNames[f] }

// ParseFormat returns the format of that name.
func ParseFormat(name string) (Format, error) {
	for i, n := range formatNames {
		if n == name {
			return Format(i), nil
		}
	}
	return 0, fmt.Errorf("%q is not one of auto, common, combined, vhost_combined and json", name)
}

// Reason says why a line was not read.
type Reason int

// The reasons.
const (
	Read       Reason = iota // none: it was
	Empty                    // nothing in it
	Comment                  // it begins with #
	TooLong                  // longer than LineSizeMax
	Partial                  // a container runtime has cut it
	BadTime                  // no time in brackets, or one that there is not
	BadHead                  // what stands before the time is not host, ident, user
	BadClient                // the client is neither an address nor a name
	BadRequest               // no request in quotes
	BadStatus                // no status and size behind the request
	NoAgent                  // no referer and agent in quotes
	BadJSON                  // not one JSON object
	NoTime                   // no field with a time
	NoClient                 // no field with the client
	NoRequest                // no fields with the request, or method and target
	NoStatus                 // no field with the status
	BadSampled               // a field with how the log is sampled, which it cannot be
	NotJSON                  // text where JSON was asked for
	Reasons                  // how many there are
)

var reasonTexts = [Reasons]string{
	"was read", "is empty", "is a comment", "is longer than 256 KiB", "is a part of a line that a container runtime has cut",
	"has no readable time in brackets", "has not just HOST IDENT USER before its time", "has neither an address nor a name for its client",
	"has no request in quotes behind its time", "has no status and size behind its request", "has no referer and agent in quotes",
	"is not one JSON object", "has no readable time (--field time=NAME)", "has no readable client (--field client=NAME)",
	"has no request (--field request=NAME, or method and target)", "has no readable status (--field status=NAME)", "has no readable rate of sampling (--field sampled=NAME)", "is text and not JSON",
}

// String is what the line did not have, as words that follow "the line".
func (r Reason) String() string { return reasonTexts[r] }

// Parser reads lines. It is not safe for concurrent use.
type Parser struct {
	format Format
	fields fields
	json   fastjson.Parser
	text   [3][]byte // of numbers in JSON
}

// NewParser returns a parser of the format. Named are fields of JSON lines, by
// what they mean (see FieldNames): they are looked for in place of the known
// ones. A name is that of a member, or of members within members with points
// between them.
func NewParser(format Format, named map[string]string) (*Parser, error) {
	p := &Parser{format: format}
	return p, p.fields.name(named)
}

// Parse reads one line, without its line ending. Whatever the client sent as its
// request is in the format, sense or not. A line of text costs no allocation.
func (p *Parser) Parse(line []byte) (l Line, why Reason) {
	l.OneOf = 1
	line, why = cutPrefix(line)
	switch {
	case why != Read:
		return l, why
	case len(bytes.TrimSpace(line)) == 0:
		return l, Empty
	case line[0] == '#':
		return l, Comment
	case line[0] == '{' && (p.format == Auto || p.format == JSON):
		why = p.parseJSON(&l, line)
	case p.format == JSON:
		return l, NotJSON
	default:
		why = l.parseText(line, p.format)
	}
	return l, why
}
