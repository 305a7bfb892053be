package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// Attribute says what a text is of its content.
type Attribute uint8

// The closed list of attributes.
const (
	AttributeName      Attribute = 0 // the text that the id is the hash of: it certifies itself
	AttributeTitle     Attribute = 1
	AttributeSection   Attribute = 2
	AttributeAuthor    Attribute = 3
	AttributePublished Attribute = 4 // Unix milliseconds, in decimal
	AttributeWords     Attribute = 5 // how many it has, in decimal

	Attributes = 6 // how many they are
)

var attributeWords = [Attributes]string{"name", "title", "section", "author", "published", "words"}

// String returns the attribute's word, or "unknown".
func (a Attribute) String() string {
	if a < Attributes {
		return attributeWords[a]
	}
	return "unknown"
}

// AttributeNamed is the attribute of this word.
func AttributeNamed(word string) (Attribute, bool) {
	for a, w := range attributeWords {
		if w == word {
			return Attribute(a), true
		}
	}
	return 0, false
}

const (
	// NameTextMax is the longest text of a name, in bytes.
	NameTextMax = 512
	// nameHead is the bytes of a name in front of its text.
	nameHead = 1 + 2 + 8
	// NameSizeMax is the most bytes that a name takes in a frame.
	NameSizeMax = nameHead + NameTextMax
)

// Name is one text of one content.
type Name struct {
	Content   uint64
	Attribute Attribute
	Text      []byte
}

// Size is the bytes that the name takes in a frame.
func (n *Name) Size() int { return nameHead + len(n.Text) }

// Good says whether a collector takes the name: SPEC.md has the rules in section
// 16. It allocates nothing.
func (n *Name) Good() bool {
	switch {
	case len(n.Text) > NameTextMax, n.Attribute >= Attributes:
		return false
	case n.Attribute == AttributeName:
		return len(n.Text) > 0 && ID(n.Text) == n.Content && utf8.Valid(n.Text)
	case n.Attribute >= AttributePublished:
		return isNumber(n.Text)
	}
	return utf8.Valid(n.Text)
}

// isNumber says whether a text is a number below NumberMax, in decimal, or empty.
func isNumber(text []byte) bool {
	if len(text) > 15 || len(text) > 1 && text[0] == '0' {
		return false
	}
	var value uint64
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
		value = 10*value + uint64(c-'0')
	}
	return value < NumberMax
}

// AppendName appends a name to the body of a names frame. Whoever calls it has
// seen to it that the name is Good.
//
//	+---------------+------------+-------------+-----------+
//	| attribute (1) | length (2) | content (8) | text      |
//	+---------------+------------+-------------+-----------+
func AppendName(dst []byte, n *Name) []byte {
	dst = append(dst, byte(n.Attribute))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(n.Text)))
	dst = binary.LittleEndian.AppendUint64(dst, n.Content)
	return append(dst, n.Text...)
}

// ReadName reads the name at the start of what is left of a body, and returns what
// is behind it. The text points into body. Nothing is allocated.
func ReadName(body []byte) (n Name, rest []byte, why Refusal) {
	if len(body) < nameHead {
		return n, nil, RefusedName
	}
	end := nameHead + int(binary.LittleEndian.Uint16(body[1:]))
	if len(body) < end {
		return n, nil, RefusedName
	}
	n = Name{Content: binary.LittleEndian.Uint64(body[3:]), Attribute: Attribute(body[0]), Text: body[nameHead:end:end]}
	if !n.Good() {
		return Name{}, nil, RefusedName
	}
	return n, body[end:], Accepted
}

// CheckNames says whether a body is one of a names frame: at least one name, and
// nothing that is none.
func CheckNames(body []byte) Refusal {
	for first := true; first || len(body) > 0; first = false {
		var why Refusal
		if _, body, why = ReadName(body); why != Accepted {
			return why
		}
	}
	return Accepted
}
