package binlog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
)

func lost(format string, args ...any) error {
	return fatal("%w: %w", ErrPositionLost, fmt.Errorf(format, args...))
}

// verify makes sure that the server still is one whose log goes on from pos,
// and returns what it is now. The error says what became of the log.
func (s *Source) verify(ctx context.Context, pos Position) (Server, error) {
	now, err := Inspect(ctx, s.cfg)
	if err != nil {
		return now, err
	}
	if now.Flavor != s.server.Flavor {
		return now, fatal("the server is now %s, it was %s", now.Flavor, s.server.Flavor)
	}
	if now.Current.File == "" {
		return now, lost("the server writes no binary log any more (log_bin)")
	}
	before := pos.log.server
	if before == "" {
		before = s.server.Identity
	}
	switch {
	case pos.gtids == nil && now.Identity != before:
		return now, lost("another server (%s, before %s) answers, and without GTIDs its positions mean something else", now.Identity, before)
	case pos.gtids != nil && now.Current.gtids == nil:
		return now, lost("the server has no GTIDs any more, by which its log was read so far: gtid_mode must be ON")
	}
	same, err := s.sameLog(ctx, pos, now)
	if err != nil || pos.gtids == nil {
		return now, err
	}
	if now.Flavor == MariaDB {
		return now, verifyDomains(pos, now, same)
	}
	return now, s.verifySets(ctx, pos, now)
}

// sameLog says whether the server still has the file that pos is in, and it is
// that file and no other of its name. After a reset the numbers of files and
// of transactions begin anew, and once they have come as far as before, only
// the time at which a file was begun tells.
func (s *Source) sameLog(ctx context.Context, pos Position, now Server) (bool, error) {
	if pos.log.created == 0 || pos.log.server != now.Identity {
		return false, nil
	}
	i := slices.IndexFunc(now.logs, func(f LogFile) bool { return f.Name == pos.File })
	if i < 0 {
		if newest := now.Current.File; older(newest, pos.File) {
			return false, s.resetOrRestored(ctx, pos, now, fmt.Sprintf("it has come to %s only, and was read up to %s before", newest, pos.File))
		}
		return false, nil // purged
	}
	created, err := begun(ctx, s.cfg, s.server, pos.File)
	if err != nil {
		return false, err
	}
	if created != pos.log.created {
		return false, s.resetOrRestored(ctx, pos, now, fmt.Sprintf("its %s was begun at %s, the one that was read at %s",
			pos.File, atTime(created), atTime(pos.log.created)))
	}
	if size := now.logs[i].Size; pos.Offset > size {
		return false, restored(fmt.Sprintf("its %s ends at %d, and was read up to %d before", pos.File, size, pos.Offset))
	}
	return true, nil
}

// older says whether one file of a server's binary log comes before another.
func older(a, b string) bool {
	base := func(name string) string { return name[:strings.LastIndexByte(name, '.')+1] }
	return base(a) == base(b) && mysql.CompareBinlogFileName(a, b) < 0
}

// resetOrRestored tells by the oldest file why there is another log in place of
// the one that was read.
func (s *Source) resetOrRestored(ctx context.Context, pos Position, now Server, why string) error {
	oldest, err := begun(ctx, s.cfg, s.server, now.logs[0].Name)
	if err != nil {
		return err
	}
	if oldest <= pos.log.created {
		return restored(why)
	}
	statement := "RESET BINARY LOGS AND GTIDS"
	if now.Flavor == MariaDB {
		statement = "RESET MASTER"
	}
	return lost("the binary log was reset (%s), or the server set up anew: %s", statement, why)
}

func restored(why string) error {
	return lost("the server was restored from an older backup, or lost the end of its binary log in a crash (see sync_binlog): %s", why)
}

func atTime(seconds uint32) string {
	return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}

// verifySets makes sure, on MySQL, that all transactions that were read are
// there, and that none that was not read has been purged.
func (s *Source) verifySets(ctx context.Context, pos Position, now Server) error {
	if now.applied.Contain(pos.gtids) && pos.gtids.Contain(now.Earliest.gtids) {
		return nil
	}
	conn, err := s.cfg.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	subtract := func(a, b string) (string, error) {
		text, err := one(conn, fmt.Sprintf("SELECT GTID_SUBTRACT(%s, %s)", a, b))
		return oneLine(text), err
	}
	read := pos.gtids.String()
	// The log has a transaction a moment before the server counts it, and a
	// replica that was promoted may still be applying.
	if _, err := awaitExecuted(conn, read, executedTimeout); err != nil {
		return fmt.Errorf("wait for the GTIDs that were read: %w", err)
	}
	lacking, err := subtract(literal(read), "@@GLOBAL.gtid_executed")
	if err != nil {
		return fmt.Errorf("compare gtid_executed: %w", err)
	}
	if lacking != "" {
		return lacks(pos, now, lacking)
	}
	purged, err := subtract("@@GLOBAL.gtid_purged", literal(read))
	if err != nil {
		return fmt.Errorf("compare gtid_purged: %w", err)
	}
	if purged != "" {
		return lostToPurge(purged)
	}
	return nil
}

// executedTimeout is how long transactions that were read may take until the
// server counts them as executed.
const executedTimeout = 3 * time.Second

// lacks is the error about transactions that were read and that the server
// does not have.
func lacks(pos Position, now Server, what string) error {
	what = "it lacks " + what + ", which was read"
	if before := pos.log.server; before != "" && before != now.Identity {
		return lost("another server (%s, before %s) answers, and has not all of the other's transactions: %s", now.Identity, before, what)
	}
	return restored(what)
}

func lostToPurge(what string) error {
	return lost("purged before it was read (see binlog_expire_logs_seconds): %s", what)
}

// verifyDomains does for MariaDB what can be told from the last transaction of
// each domain; the server itself compares more when it is asked for the log.
// same says that the log is the one that was read: what it has no domain of
// any more was taken out by FLUSH … DELETE_DOMAIN_ID.
func verifyDomains(pos Position, now Server, same bool) error {
	applied, earliest, seen := domains(now.applied), domains(now.Earliest.gtids), domains(pos.gtids)
	var lacking, purged []string
	for domain, read := range seen {
		if has, ok := applied[domain]; ok && has.SequenceNumber < read.SequenceNumber || !ok && !same {
			lacking = append(lacking, read.String())
		}
	}
	for domain, first := range earliest {
		read, ok := seen[domain]
		if !ok || read.SequenceNumber < first.SequenceNumber {
			purged = append(purged, "transactions up to "+first.String())
		}
	}
	switch {
	case len(lacking) > 0:
		slices.Sort(lacking)
		return lacks(pos, now, strings.Join(lacking, ","))
	case len(purged) > 0:
		slices.Sort(purged)
		return lostToPurge(strings.Join(purged, ", "))
	}
	return nil
}

func domains(set mysql.GTIDSet) map[uint32]*mysql.MariadbGTID {
	if m, ok := set.(*mysql.MariadbGTIDSet); ok {
		return m.Sets
	}
	return nil
}

// connectedTo notes which server the next events come from. By GTIDs its log
// goes on where another's ended, but that one's file means nothing here.
func (t *tail) connectedTo(now Server) {
	if t.pos.gtids != nil && t.pos.log.server != now.Identity {
		t.pos.File, t.pos.Offset, t.pos.log = "", 0, logID{}
		t.file, t.offset, t.log = "", 0, logID{}
	}
	t.log.server = now.Identity
	t.quiet = 0
}

// quietHeartbeats is after how many without an event between them the server
// is asked whether its log is still there.
const quietHeartbeats = 3

// awaken ends a reading that nothing would come from any more: after a reset
// servers may keep it waiting at the end of a file that is gone, MySQL until
// the new one has become as long.
func (t *tail) awaken(ctx context.Context) error {
	if t.quiet++; t.quiet < quietHeartbeats || t.second != nil || t.log.server == "" {
		return nil
	}
	t.quiet = 0
	if err := t.ask(ctx); err != nil {
		return err
	}
	end, err := t.logEnd()
	if err != nil {
		return err
	}
	if at := (Position{File: t.file, Offset: t.offset}); !(Position{File: end.File, Offset: end.Offset}).Covers(at) {
		return fmt.Errorf("the binary log ends at %s:%d, before %s, up to which it was read", end.File, end.Offset, t.where())
	}
	return nil
}
