package clickhouse

import (
	"errors"
	"slices"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// outcome is what an error says, of a connection, a question or an insert. The
// table of docs/OPERATIONS.md has the errors of each.
type outcome int

const (
	unsure   outcome = iota // nobody knows whether the insert is there
	pressure                // it is not there, and will be taken later
	barred                  // nothing of this collector is taken until somebody fixes its account or the tables
	faulty                  // the server does not take what is in the block
)

// The reasons for which a collector is barred, as lectern_clickhouse_barred_total
// has them.
const (
	barredLogin    = "login"
	barredRights   = "rights"
	barredSettings = "settings"
	barredTables   = "tables"
	barredShard    = "shard"
)

// barredErrors are about the account, its settings or the tables. Every block
// would get the same answer, so that none is the cause.
var barredErrors = map[proto.Error]string{
	proto.ErrUnknownUser:                barredLogin,
	proto.ErrWrongPassword:              barredLogin,
	proto.ErrRequiredPassword:           barredLogin,
	proto.ErrIPAddressNotAllowed:        barredLogin,
	proto.ErrAuthenticationFailed:       barredLogin,
	proto.ErrUserExpired:                barredLogin,
	proto.ErrAccessDenied:               barredRights,
	proto.ErrDatabaseAccessDenied:       barredRights,
	proto.ErrUnknownRole:                barredRights,
	proto.ErrSetNonGrantedRole:          barredRights,
	proto.ErrFunctionNotAllowed:         barredRights,
	proto.ErrQueryIsProhibited:          barredRights,
	proto.ErrReadonly:                   barredRights,
	proto.ErrReadonlySetting:            barredSettings,
	proto.ErrSettingConstraintViolation: barredSettings,
	proto.ErrUnknownSetting:             barredSettings,
	proto.ErrSyntaxError:                barredSettings,
	proto.ErrTooManyRows:                barredSettings,
	proto.ErrTooManyBytes:               barredSettings,
	proto.ErrTooManyRowsOrBytes:         barredSettings,
	proto.ErrUnknownDatabase:            barredTables,
	proto.ErrUnknownTable:               barredTables,
	proto.ErrTableIsDropped:             barredTables,
	proto.ErrNoSuchColumnInTable:        barredTables,
	proto.ErrThereIsNoColumn:            barredTables,
	proto.ErrUnknownIdentifier:          barredTables,
	proto.ErrNotFoundColumnInBlock:      barredTables,
	proto.ErrNumberOfColumnsDoesntMatch: barredTables,
	proto.ErrIllegalColumn:              barredTables,
}

// faultyErrors are about values, so that another block may well be taken.
var faultyErrors = []proto.Error{
	proto.ErrTypeMismatch, proto.ErrCannotConvertType, proto.ErrViolatedConstraint, proto.ErrFunctionThrowIfValueIsNonZero,
	proto.ErrArgumentOutOfBound, proto.ErrValueIsOutOfRangeOfDataType, proto.ErrIncorrectData, proto.ErrDecimalOverflow,
	proto.ErrCannotInsertNullInOrdinaryColumn,
}

// pressureErrors are thrown before anything is written.
var pressureErrors = []proto.Error{
	proto.ErrTooManyParts, proto.ErrMemoryLimitExceeded, proto.ErrTableIsReadOnly, proto.ErrTooManySimultaneousQueries,
	proto.ErrNotEnoughSpace, proto.ErrQuotaExceeded, proto.ErrUserSessionLimitExceeded, proto.ErrServerOverloaded,
	proto.ErrTooFewLiveReplicas, proto.ErrUnsatisfiedQuorumForPreviousWrite, // where the profile wants a quorum
}

// classify judges an error, and says why where that is barred. A server's
// exception may be lost behind a broken pipe, so that what is no exception says
// nothing.
func classify(err error) (o outcome, reason string) {
	if p := new(problem); errors.As(err, &p) {
		return barred, p.reason
	}
	e, ok := ch.AsException(err)
	if !ok {
		return unsure, ""
	}
	if reason = barredErrors[e.Code]; reason != "" {
		return barred, reason
	}
	switch {
	case slices.Contains(faultyErrors, e.Code):
		return faulty, ""
	case slices.Contains(pressureErrors, e.Code):
		return pressure, ""
	}
	return unsure, ""
}

// problem is what is wrong with the tables, with what can be seen of them or with
// the server that has them, the reason as a metric has it, and what fixes it.
type problem struct{ reason, what, fix string }

func (p *problem) Error() string {
	if p.fix == "" {
		return "clickhouse: " + p.what
	}
	return "clickhouse: " + p.what + ". To fix it: " + p.fix
}
