package clickhouse

import (
	"errors"
	"slices"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// outcome is what an error says of an insert.
type outcome int

const (
	unsure   outcome = iota // nobody knows whether it is there
	pressure                // it is not there, and will be taken later
	definite                // it is not there, and needs a person
)

// definiteErrors are answers that the same insert would get again.
var definiteErrors = []proto.Error{
	proto.ErrUnknownTable, proto.ErrUnknownDatabase, proto.ErrNoSuchColumnInTable, proto.ErrUnknownIdentifier,
	proto.ErrTypeMismatch, proto.ErrThereIsNoColumn, proto.ErrNotFoundColumnInBlock, proto.ErrNumberOfColumnsDoesntMatch,
	proto.ErrIllegalColumn, proto.ErrUnknownSetting, proto.ErrSyntaxError, proto.ErrReadonly, proto.ErrCannotConvertType,
	proto.ErrUnknownUser, proto.ErrWrongPassword, proto.ErrRequiredPassword, proto.ErrIPAddressNotAllowed,
	proto.ErrAccessDenied, proto.ErrAuthenticationFailed,
}

// pressureErrors are thrown before anything is written.
var pressureErrors = []proto.Error{
	proto.ErrTooManyParts, proto.ErrMemoryLimitExceeded, proto.ErrTableIsReadOnly, proto.ErrTooManySimultaneousQueries,
	proto.ErrNotEnoughSpace,
}

// classify judges an error. A server's exception may be lost behind a broken
// pipe, so that what is no exception says nothing.
func classify(err error) outcome {
	if p := new(problem); errors.As(err, &p) {
		return definite
	}
	e, ok := ch.AsException(err)
	switch {
	case ok && slices.Contains(definiteErrors, e.Code):
		return definite
	case ok && slices.Contains(pressureErrors, e.Code):
		return pressure
	}
	return unsure
}

// problem is what is wrong with a table, and the statement that mends it.
type problem struct{ what, mend string }

func (p *problem) Error() string {
	if p.mend == "" {
		return "clickhouse: " + p.what
	}
	return "clickhouse: " + p.what + ". To mend it: " + p.mend
}
