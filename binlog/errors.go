package binlog

import (
	"errors"
	"slices"

	"github.com/go-mysql-org/go-mysql/mysql"
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

// Passing says whether an error is one that a healthy server stops giving:
// the network's, or one of a server that stops, starts or is busy, or whose
// rows somebody else has locked, or of a table that changed while a statement
// was made for it. Anything else would be there again at the next try.
func Passing(err error) bool {
	if _, own := errors.AsType[*fatalError](err); own {
		return false
	}
	if _, ok := serverError(err); !ok {
		return true // not an answer of the server: the connection
	}
	return isError(err, mysql.ER_LOCK_WAIT_TIMEOUT, mysql.ER_LOCK_DEADLOCK,
		mysql.ER_TABLE_DEF_CHANGED, mysql.ER_NO_SUCH_TABLE, mysql.ER_BAD_FIELD_ERROR, erShutdown, erNormalShutdown, erConnectionKilled, erSlaveSameID,
		erQueryInterrupted, erServerGone, erTooManyConnections, erOutOfResources, erReadingNet,
		erNetReadInterrupted, erErrorOnWrite, erNetWriteInterrupted, erAborted, erServerOffline)
}
