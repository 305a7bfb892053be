package chdb

import (
	"regexp"
	"strconv"
)

// An Error is a ClickHouse exception.
type Error struct {
	Code    int32  // as 60
	Name    string // as "UNKNOWN_TABLE"
	Message string // as "Unknown table ..."
}

func (e *Error) Error() string {
	return "Code: " + strconv.Itoa(int(e.Code)) + ". DB::Exception: " + e.Message + " (" + e.Name + ")"
}

var exception = regexp.MustCompile(`(?s)^Code: (\d+)\. DB::Exception: (.*?)(?: \(([A-Z0-9_]+)\))?\s*$`)

// parseError reads the text that the engine has for an exception.
func parseError(text string) *Error {
	m := exception.FindStringSubmatch(text)
	if m == nil {
		return &Error{Code: 1002, Name: "UNKNOWN_EXCEPTION", Message: text}
	}
	code, _ := strconv.Atoi(m[1])
	return &Error{Code: int32(code), Name: m[3], Message: m[2]}
}
