package binlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/chorusd/chorusd/transport"
)

// A Problem is something that keeps chorusd from reading a server exactly.
type Problem struct {
	What string
	// Mend is the statement or configuration line that mends it.
	Mend string
	// Passing says that waiting may mend it: the server cannot be reached.
	Passing bool
}

func (p Problem) String() string {
	if p.Mend == "" {
		return p.What
	}
	return p.What + "; to mend it: " + p.Mend
}

// Report is what Check found.
type Report struct {
	Server Server
	// Tables that exist and can be read, as they are now.
	Tables map[TableName]*Table
	// Indexes of these tables: the columns of each, in order.
	Indexes  map[TableName][][]string
	Problems []Problem
}

// Check looks at everything that reading these tables needs, and those that
// fit a pattern: the server's settings, the user's grants, the tables. It finds
// all problems at once. That nothing fits a pattern is none.
func Check(ctx context.Context, cfg Config, tables []TableName, patterns ...Pattern) Report {
	r := Report{Tables: map[TableName]*Table{}, Indexes: map[TableName][][]string{}}
	conn, err := cfg.connect(ctx)
	if err != nil {
		r.add("%v", mendConnection(cfg, err), err)
		r.Problems[0].Passing = Passing(err) && !Refused(err)
		return r
	}
	defer conn.Close()
	c := checker{Report: &r, conn: conn, user: "CURRENT_USER()"}
	if user, err := one(conn, "SELECT CURRENT_USER()"); err == nil {
		name, host, _ := strings.Cut(user, "@")
		c.user = fmt.Sprintf("'%s'@'%s'", strings.ReplaceAll(name, "'", "''"), host)
	}
	fitting, err := matching(conn, patterns)
	if err != nil {
		c.add("%v", "", err)
	}
	for _, name := range fitting {
		if !slices.Contains(tables, name) {
			tables = append(slices.Clip(tables), name)
		}
	}
	c.settings(tables)
	c.privileges(ctx, cfg)
	for _, p := range patterns {
		c.pattern(p)
	}
	for _, name := range tables {
		c.table(name)
	}
	return r
}

// mendConnection says what mends a connection that did not come about.
func mendConnection(cfg Config, err error) string {
	if mend := transport.Mend("mysql", err); mend != "" {
		return mend
	}
	own := (*refusedError)(nil)
	switch {
	case errors.As(err, &own):
		return ""
	case lacksTLS(err):
		return "let the server have a certificate (ssl_cert, ssl_key), or set mysql.tls to \"disabled\""
	case unknownLogin(err):
		return "let the user log in by caching_sha2_password (MySQL), or ed25519 or mysql_native_password (MariaDB)"
	case isError(err, erSecureTransportRequired):
		return "set mysql.tls to \"verify_identity\" and mysql.tls_ca, or to \"required\""
	case !isError(err, denials...):
		return "see that the server runs and that mysql.addr is its address"
	case cfg.TLS == nil:
		return "see that mysql.user and mysql.password are right and that this user may log in from this host; if it must use TLS (REQUIRE SSL), set mysql.tls"
	default:
		return "see that mysql.user and mysql.password are right and that this user may log in from this host; if it must show a certificate (REQUIRE X509), set mysql.tls_cert and mysql.tls_key"
	}
}

func (r *Report) add(what, mend string, args ...any) {
	r.Problems = append(r.Problems, Problem{What: fmt.Sprintf(what, args...), Mend: mend})
}

type checker struct {
	*Report
	conn   *client.Conn
	user   string // quoted, for GRANT statements
	logged bool
}

// privileges checks what the user may do by doing it, which sees through
// roles, defaults and managed servers.
func (c *checker) privileges(ctx context.Context, cfg Config) {
	if !c.logged {
		return // neither can be told from an empty answer
	}
	server, err := inspect(c.conn)
	switch {
	case isError(err, erSpecificAccessDenied):
		privilege := "REPLICATION CLIENT"
		if c.Server.Flavor == MariaDB {
			privilege = "BINLOG MONITOR"
		}
		c.add("the user lacks %s, needed to ask where the binary log stands", fmt.Sprintf("GRANT %s ON *.* TO %s;", privilege, c.user), privilege)
	case err != nil:
		c.add("%v", "", err)
	default:
		c.Server = server
	}
	switch err := probeDump(ctx, cfg, c.Server.Flavor); {
	case isError(err, erSpecificAccessDenied, mysql.ER_ACCESS_DENIED_ERROR):
		c.add("the user lacks REPLICATION SLAVE, needed to read the binary log", fmt.Sprintf("GRANT REPLICATION SLAVE ON *.* TO %s;", c.user))
	case err != nil:
		c.add("cannot read the binary log: %v", "", err)
	}
}

// probeDump starts to read the binary log and stops at the first event.
func probeDump(ctx context.Context, cfg Config, flavor Flavor) error {
	cfg.Logger = slog.New(slog.DiscardHandler)
	// Not its own: MariaDB would end the stream of a running chorusd.
	cfg.ServerID = anyServerID()
	s := &Source{cfg: cfg, server: Server{Flavor: flavor}}
	sc, err := s.syncerConfig()
	if err != nil {
		return err
	}
	syncer := replication.NewBinlogSyncer(sc)
	defer syncer.Close()
	// An empty name is the server's oldest file.
	streamer, err := syncer.StartSync(mysql.Position{Pos: logHeader})
	if err != nil {
		return err
	}
	_, err = streamer.GetEvent(ctx)
	return err
}

// table checks that a table is there, can be read and has a key.
func (c *checker) table(name TableName) {
	if _, err := rows(c.conn, "SELECT * FROM "+name.quoted()+" LIMIT 0"); err != nil {
		switch {
		case isError(err, mysql.ER_NO_SUCH_TABLE, mysql.ER_BAD_DB_ERROR):
			c.add("table %s does not exist", "mend its name (source) or mysql.database, or run the app's migrations", name)
		case isError(err, mysql.ER_COLUMNACCESS_DENIED_ERROR):
			c.add("the user may read some columns of table %s only, but the binary log counts them all", fmt.Sprintf("GRANT SELECT ON %s TO %s;", name.quoted(), c.user), name)
		case isError(err, mysql.ER_TABLEACCESS_DENIED_ERROR, mysql.ER_DBACCESS_DENIED_ERROR):
			c.add("the user may not read table %s, or it does not exist", fmt.Sprintf("GRANT SELECT ON %s TO %s;", name.quoted(), c.user), name)
		default:
			c.add("cannot read table %s: %v", "", name, err)
		}
		return
	}
	t, err := readTable(c.conn, name)
	kind := ""
	if err == nil && t != nil {
		kind, err = tableType(c.conn, name)
	}
	switch {
	case err != nil:
		c.add("%v", "", err)
	case kind == "VIEW":
		c.add("%s is a view, and the binary log has no changes of views", "map the tables that it is made of", name)
	case kind == "SYSTEM VERSIONED":
		c.add("table %s keeps its history in itself (system versioning): in the binary log, old rows cannot be told from present ones",
			fmt.Sprintf("ALTER TABLE %s DROP SYSTEM VERSIONING;", name.quoted()), name)
	case t == nil:
		c.add("the columns of table %s cannot be seen", fmt.Sprintf("GRANT SELECT ON %s TO %s;", name.quoted(), c.user), name)
	default:
		c.Tables[name] = t
		if c.Indexes[name], err = readIndexes(c.conn, name); err != nil {
			c.add("%v", "", err)
		}
	}
}
