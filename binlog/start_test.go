package binlog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

func TestParseStart(t *testing.T) {
	const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	for _, text := range []string{
		"now", "earliest", "2026-03-29T08:00:00Z", "2026-03-29T08:00:00.25+02:00",
		"mysql-bin.000042:1337", "binlog.000001:4", "a-b_c.d.1000000:4294967400",
		uuid + ":1-77", uuid + ":1-3:5", uuid + ":blue:1-3", uuid + ":1:blue:1-3,\n" + strings.Replace(uuid, "3e", "4E", 1) + ":7",
		"0-1-77", "0-1-77,3-2-5",
	} {
		if _, err := binlog.ParseStart(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"":                              `is ""; write "now", "earliest", a time such as`,
		"latest":                        `a position such as "mysql-bin.000042:1337", or a set of GTIDs`,
		"2026-03-29":                    "write",
		"2026-03-29 08:00:00":           "write",
		"2026-02-30T08:00:00Z":          "write",
		"mysql-bin.000042":              "write",
		"mysql-bin.000042:":             "write",
		"mysql-bin:4":                   "write",
		"mysql-bin.000042:3":            "a file's first event is at 4",
		"binlog.1:18446744073709551616": "offset",
		uuid:                            "write",
		uuid + ":":                      "write",
		uuid + ":0":                     "write",
		uuid + ":5-3":                   "no set of GTIDs",
		uuid + ":blue":                  "no set of GTIDs",
		uuid + ":1-77,0-1-77":           "write",
		"0-1":                           "write",
		"0-1-5,0-2-6":                   "several GTIDs of one domain",
		"0-1-99999999999999999999":      "no set of GTIDs",
	} {
		if _, err := binlog.ParseStart(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}

// scalar runs a query of one value.
func scalar(t *testing.T, db *servicestest.Database, query string) string {
	t.Helper()
	var s string
	if err := db.QueryRowContext(t.Context(), query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

func find(t *testing.T, cfg binlog.Config, text string) (binlog.Position, error) {
	t.Helper()
	start, err := binlog.ParseStart(text)
	if err != nil {
		t.Fatal(err)
	}
	server, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return start.Find(t.Context(), cfg, server)
}

// moment is a point of a server's log by all its names.
type moment struct {
	pos               binlog.Position
	time, gtids, file string
	offset            uint64
}

func (m moment) place() string { return fmt.Sprintf("%s:%d", m.file, m.offset) }

func (m moment) forms() []string {
	forms := []string{m.place(), m.time}
	if m.gtids != "" {
		forms = append(forms, m.gtids)
	}
	return forms
}

// momentOf is now, in a second of its own: MariaDB's log has whole ones.
func momentOf(t *testing.T, cfg binlog.Config, db *servicestest.Database) moment {
	t.Helper()
	scalar(t, db, "SELECT SLEEP(1.1)")
	at := current(t, cfg)
	m := moment{pos: at, file: at.File, offset: at.Offset}
	m.time = strings.Replace(scalar(t, db, "SELECT UTC_TIMESTAMP(6)"), " ", "T", 1) + "Z"
	scalar(t, db, "SELECT SLEEP(0.01)")
	if at.HasGTIDs() {
		if at.Flavor == binlog.MariaDB {
			m.gtids = scalar(t, db, "SELECT @@gtid_binlog_pos")
		} else {
			m.gtids = scalar(t, db, "SELECT @@gtid_executed")
		}
	}
	return m
}

// TestStarts begins at every point of a log of three files by each of its
// names: all that comes after is read, and nothing from before.
func TestStarts(t *testing.T) {
	onAll(t, func(t *testing.T, db *servicestest.Database) {
		cfg := configOf(t, db)
		db.MustExec(t, "CREATE TABLE t (id INT PRIMARY KEY)")
		tagged := ""
		if pos := current(t, cfg); pos.Flavor == binlog.MariaDB {
			tagged = "SET gtid_domain_id = 7"
		} else if pos.HasGTIDs() {
			tagged = "SET gtid_next = 'AUTOMATIC:blue'"
		}
		var moments []moment
		var want []string
		for id, transaction := range [][]string{
			{"INSERT INTO t VALUES (0)"},
			{"START TRANSACTION", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (101)", "COMMIT"},
			{"FLUSH BINARY LOGS", tagged, "INSERT INTO t VALUES (2)"},
			{"INSERT INTO t VALUES (3)", "FLUSH BINARY LOGS"},
			{"XA START 'x'", "INSERT INTO t VALUES (4)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'"},
		} {
			moments = append(moments, momentOf(t, cfg, db))
			alone(t, db, slices.DeleteFunc(transaction, func(s string) bool { return s == "" })...)
			want = append(want, fmt.Sprintf("insert t [%d]", id))
		}
		moments = append(moments, momentOf(t, cfg, db))
		end := moments[len(moments)-1].pos
		for i, m := range moments {
			for _, text := range m.forms() {
				from, err := find(t, cfg, text)
				if err != nil {
					t.Fatal(err)
				}
				if !from.Covers(m.pos) || m.pos.HasGTIDs() != from.HasGTIDs() {
					t.Errorf("%q is found at %s, not %s", text, from, m.pos)
				}
				rec := newRecorder(from)
				own := cfg
				own.ServerID = 1000 + serverIDs.Add(1)
				stop := follow(t, own, from, rec, binlog.TableName{Schema: db.Name, Table: "t"})
				got := slices.DeleteFunc(rec.until(t, end), func(line string) bool { return line == "insert t [101]" })
				if !slices.Equal(got, want[i:]) {
					t.Errorf("from %q comes %q, want %q", text, got, want[i:])
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			}
		}
		// A file's own ends are places too.
		for _, text := range []string{moments[0].file + ":4", moments[4].file + ":4"} {
			if _, err := find(t, cfg, text); err != nil {
				t.Error(err)
			}
		}
		_, err := find(t, cfg, fmt.Sprintf("%s:%d", moments[0].file, fileSizes(t, db)[moments[0].file]))
		if err != nil {
			t.Error(err)
		}
	})
}

// fileSizes are those of the binary log files.
func fileSizes(t *testing.T, db *servicestest.Database) map[string]uint64 {
	t.Helper()
	sizes := map[string]uint64{}
	for _, row := range table(t, db, "SHOW BINARY LOGS") {
		var size uint64
		if _, err := fmt.Sscan(row[1], &size); err != nil {
			t.Fatal(err)
		}
		sizes[row[0]] = size
	}
	return sizes
}

// table is the result of a query.
func table(t *testing.T, db *servicestest.Database, query string) [][]string {
	t.Helper()
	list, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	names, err := list.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for list.Next() {
		row, into := make([]string, len(names)), make([]any, len(names))
		for i := range row {
			into[i] = &row[i]
		}
		if err := list.Scan(into...); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStartsThatAreNotThere names what there is instead.
func TestStartsThatAreNotThere(t *testing.T) {
	onAll(t, func(t *testing.T, db *servicestest.Database) {
		cfg := configOf(t, db)
		db.MustExec(t, "CREATE TABLE t (id INT PRIMARY KEY)")
		before := momentOf(t, cfg, db)
		db.MustExec(t, "INSERT INTO t VALUES (1)", "FLUSH BINARY LOGS")
		here := momentOf(t, cfg, db)
		inside := table(t, db, fmt.Sprintf("SHOW BINLOG EVENTS IN '%s' FROM %d", before.file, before.offset))
		size := fileSizes(t, db)[before.file]

		wrong := map[string]string{
			"nothing.000001:4":                                 "no binary log file of that name; it has " + before.file + " to " + here.file,
			fmt.Sprintf("%s:%d", before.file, size+1):          fmt.Sprintf("that file ends at %d", size),
			fmt.Sprintf("%s:%d", before.file, size-1):          "inside of an event",
			fmt.Sprintf("%s:%d", here.file, here.offset+1):     "ends at",
			fmt.Sprintf("%s:5", before.file):                   "inside of an event, which starts at " + before.file + ":4",
			fmt.Sprintf("%s:%d", before.file, before.offset+1): "inside of a transaction, which starts at " + before.place(),
			before.file + ":" + inside[1][1]:                   "inside of a transaction, which starts at " + before.place(),
			before.file + ":" + inside[2][1]:                   "inside of a transaction, which starts at " + before.place(),
			"2020-01-01T00:00:00Z":                             `goes back to 20`,
			"2999-01-01T00:00:00Z":                             "in the future; on the server it is",
		}
		const ofMySQL, ofMariaDB = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77", "0-1-4000"
		switch {
		case here.pos.Flavor == binlog.MariaDB:
			wrong[ofMySQL] = "GTIDs of mysql, and the server is mariadb"
			wrong[ofMariaDB] = "has not had all of these transactions; it has had " + here.gtids
			wrong[here.gtids+",9-1-1"] = "has not had all"
			domain, rest, _ := strings.Cut(before.gtids, "-")
			_, number, _ := strings.Cut(rest, "-")
			wrong[domain+"-999-"+number] = "not in the master's binlog"
		case here.gtids != "":
			wrong[ofMariaDB] = "GTIDs of mariadb, and the server is mysql"
			wrong[ofMySQL] = "has not had all of these transactions; it has had " + here.gtids
		default:
			wrong[ofMySQL] = "no GTIDs (gtid_mode is not ON); write a time or a position such as " + here.place()
		}
		refused(t, cfg, wrong)

		purge(t, db)
		here = momentOf(t, cfg, db)
		wrong = map[string]string{
			before.place(): "no binary log file of that name; it has " + here.file,
			before.time:    "goes back to",
		}
		if before.gtids != "" {
			wrong[before.gtids] = "purged are the transactions up to " + here.gtids
		}
		refused(t, cfg, wrong)
		for _, text := range here.forms() {
			if from, err := find(t, cfg, text); err != nil || !from.Covers(here.pos) {
				t.Errorf("after the purge, %q is found at %s, %v", text, from, err)
			}
		}
	})
}

// refused looks starts up and wants each to fail with such a problem.
func refused(t *testing.T, cfg binlog.Config, wrong map[string]string) {
	t.Helper()
	for text, want := range wrong {
		from, err := find(t, cfg, text)
		e, ok := errors.AsType[*binlog.StartError](err)
		if !ok || e.Start != text || !strings.Contains(e.Problem, want) {
			t.Errorf("%q is found at %s, error %v; want %q in it", text, from, err, want)
		}
	}
}
