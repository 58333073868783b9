package binlog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// Start is where a first run begins. The zero value is no start; ParseStart
// reads one.
type Start struct {
	text string
	find func(Start, context.Context, Config, Server) (Position, error)

	time   time.Time
	file   string
	offset uint64
	flavor Flavor // whose GTIDs they are
	gtids  mysql.GTIDSet
}

// The forms of a start that are words.
const (
	StartNow      = "now"
	StartEarliest = "earliest"
)

// A source of MySQL with tags and intervals, and a GTID of MariaDB, whose
// numbers have no zeros before them, or most dates would be one.
const (
	startDomain = `(0|[1-9][0-9]*)-(0|[1-9][0-9]*)-(0|[1-9][0-9]*)`
	startUUID   = `[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(:([a-zA-Z_][a-zA-Z0-9_]{0,31}|[1-9][0-9]*(-[1-9][0-9]*)?))+`
)

var (
	startPlace   = regexp.MustCompile(`^([^\s:/]+\.[0-9]+):([0-9]+)$`)
	startMySQL   = regexp.MustCompile(`^` + startUUID + `(,` + startUUID + `)*$`)
	startMariaDB = regexp.MustCompile(`^` + startDomain + `(,` + startDomain + `)*$`)
)

// ParseStart reads the text of a start: "now", "earliest", a time (RFC 3339),
// a position "mysql-bin.000042:1337", or a set of GTIDs. The error says what
// there is to write; whether a server has such a start is for Find to say.
func ParseStart(text string) (Start, error) {
	s := Start{text: text}
	switch text {
	case StartNow:
		s.find = func(_ Start, _ context.Context, _ Config, server Server) (Position, error) {
			return server.Current.Clone(), nil
		}
		return s, nil
	case StartEarliest:
		s.find = func(_ Start, _ context.Context, _ Config, server Server) (Position, error) {
			return server.Earliest.Clone(), nil
		}
		return s, nil
	}
	var err error
	if s.time, err = time.Parse(time.RFC3339, text); err == nil {
		s.find = Start.findTime
		return s, nil
	}
	if m := startPlace.FindStringSubmatch(text); m != nil {
		s.file, s.find = m[1], Start.findPlace
		if s.offset, err = strconv.ParseUint(m[2], 10, 64); err != nil || s.offset < logHeader {
			return Start{}, fmt.Errorf("is %q, whose offset is none: a file's first event is at %d", text, logHeader)
		}
		return s, nil
	}
	set := strings.Join(strings.Fields(text), "") // servers put line breaks between UUIDs
	switch {
	case startMySQL.MatchString(set):
		s.flavor = MySQL
	case startMariaDB.MatchString(set):
		s.flavor = MariaDB
	default:
		return Start{}, fmt.Errorf(`is %q; write "now", "earliest", a time such as "2026-03-29T08:00:00+02:00", a position such as "mysql-bin.000042:1337", or a set of GTIDs, such as "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77" of MySQL or "0-1-77" of MariaDB`, text)
	}
	s.find = Start.findGTIDs
	if s.gtids, err = mysql.ParseGTIDSet(string(s.flavor), set); err != nil {
		return Start{}, fmt.Errorf("is %q, which is no set of GTIDs: %w", text, err)
	}
	if set, ok := s.gtids.(*mysql.MariadbGTIDSet); ok && len(set.Sets) != 1+strings.Count(text, ",") {
		return Start{}, fmt.Errorf("is %q, which has several GTIDs of one domain; write the last one of each", text)
	}
	return s, nil
}

// StartError says why a server's log cannot be read from a start, and what
// there is instead.
type StartError struct{ Start, Problem string }

func (e *StartError) Error() string { return fmt.Sprintf("mysql.start = %q: %s", e.Start, e.Problem) }

func (s Start) problem(format string, args ...any) error {
	return &StartError{s.text, fmt.Sprintf(format, args...)}
}

// Find looks the start up in a server's log; server is what Inspect said of
// it. For a time or a position it may read up to two files of the log. What
// the log does not have is a *StartError.
func (s Start) Find(ctx context.Context, cfg Config, server Server) (Position, error) {
	p, err := s.find(s, ctx, cfg, server)
	if _, ok := errors.AsType[*StartError](err); err != nil && !ok {
		return Position{}, fmt.Errorf("find mysql.start = %q in the binary log: %w", s.text, err)
	}
	return p, err
}

// findPlace makes sure that an offset lies between two transactions and finds
// which GTIDs come before it, both by reading its file from the head.
func (s Start) findPlace(ctx context.Context, cfg Config, server Server) (Position, error) {
	conn, files, err := listFiles(ctx, cfg)
	if err != nil {
		return Position{}, err
	}
	defer conn.Close()
	i := slices.IndexFunc(files, func(f LogFile) bool { return f.Name == s.file })
	if i < 0 {
		return Position{}, s.problem("the server has no binary log file of that name; it has %s", between(files))
	}
	size := files[i].Size
	if s.offset > size {
		return Position{}, s.problem("that file ends at %d; the server has %s", size, between(files))
	}
	w, err := walkFile(conn, cfg, server, s.file)
	if err != nil {
		return Position{}, err
	}
	return w.to(ctx, second{seen: func(*header) error {
		switch at := w.tail; {
		case at.file == s.file && at.offset < s.offset:
			return nil
		case at.tx.open:
			return s.problem("it lies inside of a transaction, which starts at %s:%d", at.tx.file, at.tx.start)
		case at.file != s.file && s.offset < size, at.file == s.file && at.offset > s.offset:
			return s.problem("it lies inside of an event, which starts at %s:%d", s.file, w.last)
		default:
			return w.found(at.file, at.offset)
		}
	}})
}

// findTime finds the first transaction whose time, as harmonics bear it, is
// not before the one asked for.
func (s Start) findTime(ctx context.Context, cfg Config, server Server) (Position, error) {
	conn, files, err := listFiles(ctx, cfg)
	if err != nil {
		return Position{}, err
	}
	defer conn.Close()
	clock, err := one(conn, "SELECT UTC_TIMESTAMP(6)")
	if err != nil {
		return Position{}, fmt.Errorf("ask for the server's time: %w", err)
	}
	now, err := time.Parse(time.DateTime, clock)
	if err != nil {
		return Position{}, fmt.Errorf("read the server's time: %w", err)
	}
	if s.time.After(now) {
		return Position{}, s.problem("that is in the future; on the server it is %s", now.Format(time.RFC3339))
	}
	first := s.time
	if server.Flavor == MariaDB {
		first = first.Truncate(time.Second) // it logs no fractions
	}
	file, err := s.fileAt(ctx, cfg, server, files, first)
	if err != nil {
		return Position{}, err
	}
	w, err := walkFile(conn, cfg, server, file)
	if err != nil {
		return Position{}, err
	}
	least := uint64(max(first.UnixMicro(), 0))
	return w.to(ctx, second{
		begun: func(tx *transaction) error {
			if tx.time < least {
				return nil
			}
			return w.found(tx.file, tx.start)
		},
		seen: func(*header) error {
			at := Position{File: w.tail.file, Offset: w.tail.offset}
			if w.tail.tx.open || !at.Covers(Position{File: server.Current.File, Offset: server.Current.Offset}) {
				return nil
			}
			return w.found(at.File, at.Offset) // nothing has happened since
		},
	})
}

// fileAt names the file to search for a time from. A file's head is from the
// time when the statement started that filled the one before, which may have
// run for long; so it is the file before the last whose head is early enough.
func (s Start) fileAt(ctx context.Context, cfg Config, server Server, files []LogFile, at time.Time) (string, error) {
	for i, f := range slices.Backward(files) {
		seconds, err := begun(ctx, cfg, server, f.Name)
		if err != nil {
			return "", err
		}
		created := time.Unix(int64(seconds), 0)
		// It has whole seconds, and may be of any part of its last one.
		if !created.Add(time.Second).After(at) {
			return files[max(i-1, 0)].Name, nil
		}
		if i == 0 {
			return "", s.problem("the binary log goes back to %s only, where %s starts; to begin there: mysql.start = \"earliest\"",
				created.UTC().Format(time.RFC3339), f.Name)
		}
	}
	return "", errors.New("there is no binary log file")
}

// findGTIDs makes sure that the server has all transactions that are not in
// the set, and those that are.
func (s Start) findGTIDs(ctx context.Context, cfg Config, server Server) (Position, error) {
	has := server.Current.gtids
	switch {
	case server.Flavor != s.flavor:
		return Position{}, s.problem("these are GTIDs of %s, and the server is %s", s.flavor, server.Flavor)
	case has == nil:
		return Position{}, s.problem("the server has no GTIDs (gtid_mode is not ON); write a time or a position such as %s:%d",
			server.Current.File, server.Current.Offset)
	case !has.Contain(s.gtids):
		return Position{}, s.problem("the server has not had all of these transactions; it has had %s", has)
	case !s.gtids.Contain(server.Earliest.gtids):
		return Position{}, s.problem("the binary log does not go back that far: purged are the transactions up to %s; what comes after those is mysql.start = \"earliest\"",
			server.Earliest.gtids)
	}
	p := Position{Flavor: s.flavor, gtids: s.gtids.Clone()}
	if err := tryDump(ctx, cfg, server, p); errors.Is(err, ErrPositionLost) {
		return Position{}, s.problem("%v", err)
	} else if err != nil {
		return Position{}, err
	}
	return p, nil
}

func listFiles(ctx context.Context, cfg Config) (*client.Conn, []LogFile, error) {
	conn, err := cfg.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	files, err := listLogs(conn)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, files, nil
}

// between names the files of a log, which has at least one.
func between(files []LogFile) string {
	if len(files) == 1 {
		return files[0].Name
	}
	return files[0].Name + " to " + files[len(files)-1].Name
}
