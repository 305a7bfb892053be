package native

import (
	"errors"
	"io"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
)

// Codes of ClickHouse exceptions that the server itself gives.
const (
	notFoundColumn = 10
	noSuchColumn   = 16
	unknownSetting = 115
	notImplemented = 48
	sameID         = 216
	badPassword    = 516
	otherException = 1002
)

// atHeader are the codes of exceptions that come before the server asks for the
// blocks of an insert: they are about the query and not about its rows.
var atHeader = map[int32]bool{
	16: true, 47: true, 60: true, 62: true, 81: true, 115: true, 164: true, 497: true, 516: true,
}

var errEnd = io.EOF

// exceptionOf makes an error into what is sent for it.
func exceptionOf(err error) proto.Exception {
	e := new(chdb.Error)
	if !errors.As(err, &e) {
		e = &chdb.Error{Code: otherException, Name: "UNKNOWN_EXCEPTION", Message: err.Error()}
	}
	return proto.Exception{
		Code: proto.Error(e.Code), Name: "DB::Exception", Message: "DB::Exception: " + e.Message,
	}
}

// planned is the exception of a fault.
func planned(f Fault) error {
	message := f.Message
	if message == "" {
		message = "a fault that the test asked for"
	}
	name := "UNKNOWN_EXCEPTION"
	if code := proto.Error(f.Code); code.IsAError() {
		name = code.String()
	}
	return &chdb.Error{Code: f.Code, Name: name, Message: message}
}
