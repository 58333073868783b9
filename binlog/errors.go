package binlog

import (
	"errors"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/chorusd/chorusd/transport"
)

// ErrPositionLost says that the server no longer has the binary log from the
// position asked for: the changes in between are lost to chorusd.
var ErrPositionLost = errors.New("the server no longer has the binary log from there")

// serverError is the error packet that err carries, if it does.
func serverError(err error) (*mysql.MyError, bool) {
	return errors.AsType[*mysql.MyError](err)
}

// isError says whether the server answered with one of these error codes.
func isError(err error, codes ...uint16) bool {
	e, ok := serverError(err)
	return ok && slices.Contains(codes, e.Code)
}

// Error codes that go-mysql does not name.
const (
	erSpecificAccessDenied = 1227
	erShutdown             = 1053
	erNormalShutdown       = 1077
	erConnectionKilled     = 1927 // MariaDB
	erSlaveSameID          = 4052 // MariaDB
	erQueryInterrupted     = 1317
	erServerGone           = 2006
	erTooManyConnections   = 1040
	erOutOfResources       = 1041
	erReadingNet           = 1158
	erNetReadInterrupted   = 1159
	erErrorOnWrite         = 1160
	erNetWriteInterrupted  = 1161
	erAborted              = 1152
	erServerOffline        = 3032
)

// denials are the answers to a login or a statement that this user may not
// make, at least not now or not in this way.
var denials = []uint16{
	mysql.ER_ACCESS_DENIED_ERROR, mysql.ER_ACCESS_DENIED_NO_PASSWORD_ERROR, mysql.ER_DBACCESS_DENIED_ERROR,
	mysql.ER_TABLEACCESS_DENIED_ERROR, mysql.ER_COLUMNACCESS_DENIED_ERROR, erSpecificAccessDenied,
	mysql.ER_HOST_NOT_PRIVILEGED, mysql.ER_HOST_IS_BLOCKED, mysql.ER_MUST_CHANGE_PASSWORD, mysql.ER_MUST_CHANGE_PASSWORD_LOGIN,
	erAccountLocked, erAccountLockedForNow, erMariaDBUserBlocked, erMariaDBAccountLocked, erSecureTransportRequired,
}

// Error codes of denials that go-mysql does not name.
const (
	erAccountLocked           = 3118
	erAccountLockedForNow     = 3955 // after FAILED_LOGIN_ATTEMPTS
	erSecureTransportRequired = 3159
	erMariaDBUserBlocked      = 4150 // max_password_errors
	erMariaDBAccountLocked    = 4151
)

// refusedError is a connection that this side refuses.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// Refused says whether an error is about who may connect, and how: one side
// refuses the other's credentials, encryption or way to log in, or the user
// lacks a grant. Somebody may be about to change them, so while chorusd runs
// it waits, but asks seldom. At a start it is a mistake.
func Refused(err error) bool {
	if _, own := errors.AsType[*refusedError](err); own || isError(err, denials...) {
		return true
	}
	return err != nil && (lacksTLS(err) || unknownLogin(err) || transport.Mend("", err) != "")
}

// The errors of go-mysql's client have no types.

func lacksTLS(err error) bool {
	return strings.Contains(err.Error(), "does not support TLS")
}

func unknownLogin(err error) bool {
	_, answer := serverError(err)
	return !answer && strings.Contains(err.Error(), "auth plugin")
}

// Passing says whether an error is one that a healthy server stops giving:
// the network's, or one of a server that stops, starts or is busy, or whose
// rows somebody else has locked, or of a table that changed while a statement
// was made for it, or one that Refused is about. Anything else would be there
// again at the next try.
func Passing(err error) bool {
	if _, own := errors.AsType[*fatalError](err); own {
		return false
	}
	if _, ok := serverError(err); !ok || Refused(err) {
		return true // not an answer of the server: the connection
	}
	return isError(err, mysql.ER_LOCK_WAIT_TIMEOUT, mysql.ER_LOCK_DEADLOCK,
		mysql.ER_TABLE_DEF_CHANGED, mysql.ER_NO_SUCH_TABLE, mysql.ER_BAD_FIELD_ERROR, erShutdown, erNormalShutdown, erConnectionKilled, erSlaveSameID,
		erQueryInterrupted, erServerGone, erTooManyConnections, erOutOfResources, erReadingNet,
		erNetReadInterrupted, erErrorOnWrite, erNetWriteInterrupted, erAborted, erServerOffline)
}
