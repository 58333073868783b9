package binlog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// Server is what chorusd needs to know of a server.
type Server struct {
	Flavor  Flavor
	Version string
	// Identity tells servers apart: MySQL's server_uuid, MariaDB's server_id
	// and host name.
	Identity string
	// Current is the end of its binary log.
	Current Position
	// Earliest is where the log that it still has starts.
	Earliest Position

	logs []LogFile // oldest first
	// applied are the transactions that it has, also those that are not in
	// its own log; nil without GTIDs.
	applied mysql.GTIDSet
}

// Inspect asks the server who it is and where its binary log stands.
func Inspect(ctx context.Context, cfg Config) (Server, error) {
	conn, err := cfg.connect(ctx)
	if err != nil {
		return Server{}, err
	}
	defer conn.Close()
	return inspect(conn)
}

func inspect(conn *client.Conn) (Server, error) {
	version, err := one(conn, "SELECT VERSION()")
	if err != nil {
		return Server{}, fmt.Errorf("ask for the version: %w", err)
	}
	s := Server{Flavor: MySQL, Version: version}
	if strings.Contains(strings.ToLower(version), "mariadb") {
		s.Flavor = MariaDB
	}
	if s.Flavor == MariaDB {
		err = s.inspectMariaDB(conn)
	} else {
		err = s.inspectMySQL(conn)
	}
	return s, err
}

// one returns the only field of the only row; NULL is "".
func one(conn *client.Conn, query string) (string, error) {
	list, err := rows(conn, query)
	if err != nil {
		return "", err
	}
	if len(list) != 1 || len(list[0]) == 0 {
		return "", fmt.Errorf("%s: %d rows", query, len(list))
	}
	return string(list[0][0]), nil
}

// logStatus runs the statement that says where the binary log stands; ok is
// false if there is none.
func logStatus(conn *client.Conn, flavor Flavor) (row [][]byte, ok bool, err error) {
	list, err := rows(conn, logStatusStatement(flavor))
	if flavor == MySQL && isError(err, mysql.ER_PARSE_ERROR) { // before 8.2
		list, err = rows(conn, "SHOW MASTER STATUS")
	}
	if err != nil {
		return nil, false, fmt.Errorf("ask where the binary log stands: %w", err)
	}
	if len(list) == 0 {
		return nil, false, nil
	}
	return list[0], true, nil
}

func logStatusStatement(flavor Flavor) string {
	if flavor == MariaDB {
		return "SHOW MASTER STATUS"
	}
	return "SHOW BINARY LOG STATUS"
}

// identity asks for what Server.Identity is.
func identity(conn *client.Conn, flavor Flavor) (string, error) {
	query := "SELECT @@server_uuid"
	if flavor == MariaDB {
		query = "SELECT CONCAT(@@server_id, '@', @@hostname, ':', @@port)"
	}
	id, err := one(conn, query)
	if err != nil {
		return "", fmt.Errorf("ask for the server's identity: %w", err)
	}
	return id, nil
}

func (s *Server) inspectMySQL(conn *client.Conn) error {
	var err error
	if s.Identity, err = identity(conn, MySQL); err != nil {
		return err
	}
	mode, err := one(conn, "SELECT @@gtid_mode")
	if err != nil {
		return fmt.Errorf("ask for gtid_mode: %w", err)
	}
	status, ok, err := logStatus(conn, MySQL)
	if err != nil || !ok {
		return err
	}
	id := logID{server: s.Identity}
	s.Current = Position{Flavor: MySQL, log: id}
	s.Current.File, s.Current.Offset, err = fileAndOffset(status)
	if err != nil {
		return err
	}
	if s.logs, err = listLogs(conn); err != nil {
		return err
	}
	s.Earliest = Position{Flavor: MySQL, File: s.logs[0].Name, Offset: logHeader, log: id}
	if mode != "ON" {
		return nil
	}
	purged, err := one(conn, "SELECT @@gtid_purged")
	if err != nil {
		return fmt.Errorf("ask for gtid_purged: %w", err)
	}
	if s.Current.gtids, err = mysql.ParseMysqlGTIDSet(oneLine(string(status[4]))); err != nil {
		return fmt.Errorf("read the executed GTIDs: %w", err)
	}
	s.applied = s.Current.gtids
	if s.Earliest.gtids, err = mysql.ParseMysqlGTIDSet(oneLine(purged)); err != nil {
		return fmt.Errorf("read the purged GTIDs: %w", err)
	}
	return nil
}

// logHeader is the size of a binary log file's magic number: the offset of its first event.
const logHeader = 4

func (s *Server) inspectMariaDB(conn *client.Conn) error {
	var err error
	if s.Identity, err = identity(conn, MariaDB); err != nil {
		return err
	}
	status, ok, err := logStatus(conn, MariaDB)
	if err != nil || !ok {
		return err
	}
	id := logID{server: s.Identity}
	s.Current = Position{Flavor: MariaDB, log: id}
	s.Current.File, s.Current.Offset, err = fileAndOffset(status)
	if err != nil {
		return err
	}
	if s.logs, err = listLogs(conn); err != nil {
		return err
	}
	s.Earliest = Position{Flavor: MariaDB, File: s.logs[0].Name, Offset: logHeader, log: id}
	for _, p := range []*Position{&s.Current, &s.Earliest} {
		if err := p.findGTIDs(conn); err != nil {
			return err
		}
	}
	applied, err := one(conn, "SELECT @@GLOBAL.gtid_current_pos")
	if err != nil {
		return fmt.Errorf("ask for gtid_current_pos: %w", err)
	}
	if s.applied, err = mysql.ParseMariadbGTIDSet(applied); err != nil {
		return fmt.Errorf("read gtid_current_pos: %w", err)
	}
	return nil
}

// findGTIDs asks MariaDB which GTIDs come before a file and offset.
func (p *Position) findGTIDs(conn *client.Conn) error {
	text, err := one(conn, fmt.Sprintf("SELECT BINLOG_GTID_POS(%s, %d)", literal(p.File), p.Offset))
	if err != nil {
		return fmt.Errorf("ask for the GTIDs at %s:%d: %w", p.File, p.Offset, err)
	}
	if p.gtids, err = mysql.ParseMariadbGTIDSet(text); err != nil {
		return fmt.Errorf("read the GTIDs at %s:%d: %w", p.File, p.Offset, err)
	}
	return nil
}

func fileAndOffset(status [][]byte) (file string, offset uint64, err error) {
	if _, err := fmt.Sscan(string(status[1]), &offset); err != nil {
		return "", 0, fmt.Errorf("read the binary log's offset %q: %w", status[1], err)
	}
	return string(status[0]), offset, nil
}

// awaitExecuted waits, on MySQL, until transactions are visible to others; ok
// is false if they are not in time.
func awaitExecuted(conn *client.Conn, gtids string, most time.Duration) (ok bool, err error) {
	timedOut, err := one(conn, fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %d)", literal(gtids), int(most.Seconds())))
	return timedOut == "0", err
}

// listLogs lists the files of the binary log, oldest first: at least one.
func listLogs(conn *client.Conn) ([]LogFile, error) {
	list, err := rows(conn, "SHOW BINARY LOGS")
	if err != nil {
		return nil, fmt.Errorf("list the binary logs: %w", err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("list the binary logs: there is none")
	}
	files := make([]LogFile, len(list))
	for i, row := range list {
		if files[i].Name, files[i].Size, err = fileAndOffset(row); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// oneLine takes out the line breaks that the server puts between UUIDs.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "") }
