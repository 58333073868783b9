package binlog_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
	"github.com/chorusd/chorusd/transport"
)

// everySQL are the kinds of server that have their own ways to log in.
var everySQL = []services.Kind{services.MySQL, services.MariaDB, services.MariaDB118}

// restricted creates a user with the documented grants and returns how
// chorusd logs in as it. identified is what follows CREATE USER.
func restricted(t *testing.T, db *servicestest.Database, identified string) binlog.Config {
	t.Helper()
	cfg := configOf(t, db)
	cfg.User = "user_" + db.Name
	account := "'" + cfg.User + "'@'%'"
	db.MustExec(t, "CREATE USER "+account+" "+identified)
	t.Cleanup(func() { _, _ = db.Exec("DROP USER " + account) })
	for _, grant := range documentedGrants(db.Server.Kind, account, db.Name+".a") {
		db.MustExec(t, grant)
	}
	return cfg
}

// documentedGrants are those of docs/OPERATIONS.md.
func documentedGrants(kind services.Kind, account string, tables ...string) []string {
	monitor := "BINLOG MONITOR"
	if kind == services.MySQL {
		monitor = "REPLICATION CLIENT"
	}
	grants := []string{
		fmt.Sprintf("GRANT REPLICATION SLAVE ON *.* TO %s", account),
		fmt.Sprintf("GRANT %s ON *.* TO %s", monitor, account),
	}
	for _, table := range tables {
		grants = append(grants, fmt.Sprintf("GRANT SELECT ON %s TO %s", table, account))
	}
	return grants
}

// works checks, tails and reads back a row of table a(id, v).
func works(t *testing.T, db *servicestest.Database, cfg binlog.Config) {
	t.Helper()
	name := binlog.TableName{Schema: db.Name, Table: "a"}
	report := binlog.Check(t.Context(), cfg, []binlog.TableName{name})
	if len(report.Problems) > 0 {
		t.Fatalf("problems: %v", report.Problems)
	}
	db.MustExec(t, "DELETE FROM a")
	admin := configOf(t, db)
	rec := newRecorder(current(t, admin))
	stop := follow(t, cfg, rec.pos, rec, name)
	db.MustExec(t, "INSERT INTO a VALUES (6, 'x')", "INSERT INTO a VALUES (7, 'y')")
	end := current(t, admin)
	if got := rec.until(t, end); len(got) != 2 || got[1] != `insert a [7,"y"]` {
		t.Errorf("the tail gave %q", got)
	}
	reader := binlog.NewReader(cfg, report.Server)
	defer reader.Close()
	table, err := reader.Table(t.Context(), name)
	if err != nil || table == nil {
		t.Fatalf("table %v: %v", table, err)
	}
	var got []string
	_, err = reader.Rows(t.Context(), table, []int{0, 1}, []binlog.KeyColumn{{Column: 0}}, []string{"[7]"}, end, func(r *binlog.Row) error {
		text, err := rowJSON(r)
		got = append(got, text)
		return err
	})
	if err != nil || len(got) != 1 || got[0] != `[7,"y"]` {
		t.Errorf("the reader gave %q, %v", got, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

const accessTable = "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20))"

// refusedFor has Check name one problem, that is not one to wait for, with
// all the words.
func refusedFor(t *testing.T, cfg binlog.Config, words ...string) {
	t.Helper()
	problems := binlog.Check(t.Context(), cfg, nil).Problems
	if len(problems) != 1 || problems[0].Passing {
		t.Errorf("problems %v, want one that does not pass", problems)
		return
	}
	for _, word := range words {
		if !strings.Contains(problems[0].String(), word) {
			t.Errorf("the problem does not say %q: %s", word, problems[0])
		}
	}
}

// TestTLS has users who must log in over TLS, so that a connection of any kind
// that is not encrypted fails.
func TestTLS(t *testing.T) {
	ours, other := servicestest.NewAuthority(t), servicestest.NewAuthority(t)
	cert, key := ours.Certificate(t, "127.0.0.1")
	for _, kind := range everySQL {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			server := servicestest.StartSQL(t, kind, services.SQLOptions{Args: []string{
				"--ssl-ca=" + ours.CA, "--ssl-cert=" + cert, "--ssl-key=" + key,
			}})
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, accessTable)
			plain := restricted(t, db, "IDENTIFIED BY 'pw' REQUIRE SSL")
			plain.Password = func() string { return "pw" }
			over := func(way transport.TLS) binlog.Config {
				cfg := plain
				way.Section, way.Addr = "mysql", cfg.Addr
				cfg.TLS = way.Config
				return cfg
			}
			refusedFor(t, plain, "Access denied", "mysql.tls")
			refusedFor(t, over(transport.TLS{Mode: transport.VerifyCA, CA: other.CA}), "unknown authority", "mysql.tls_ca")
			refusedFor(t, over(transport.TLS{Mode: transport.VerifyIdentity, CA: ours.CA, ServerName: "db.example.com"}), "db.example.com", "mysql.tls_server_name")
			refusedFor(t, over(transport.TLS{Mode: transport.VerifyCA, CA: "/nowhere/ca.pem"}), "mysql.tls_ca", "/nowhere/ca.pem")
			works(t, db, over(transport.TLS{Mode: transport.VerifyIdentity, CA: ours.CA}))
			works(t, db, over(transport.TLS{Mode: transport.Required}))

			// And who must show a certificate.
			db.MustExec(t, "ALTER USER '"+plain.User+"'@'%' REQUIRE X509")
			refusedFor(t, over(transport.TLS{Mode: transport.VerifyIdentity, CA: ours.CA}), "Access denied", "mysql.tls_cert")
			mine := transport.TLS{Mode: transport.VerifyIdentity, CA: ours.CA}
			mine.Cert, mine.Key = ours.Certificate(t)
			works(t, db, over(mine))
			theirs := mine
			theirs.Cert, theirs.Key = other.Certificate(t)
			// The server may hang up before its reason can be read.
			problems := binlog.Check(t.Context(), over(theirs), nil).Problems
			if len(problems) != 1 || !problems[0].Passing && !strings.Contains(problems[0].String(), "mysql.tls_cert") {
				t.Errorf("with a certificate of another authority: %v", problems)
			}
		})
	}
}

// TestServersOwnTLS is on servers as they come: MySQL makes an authority and
// certificates without a name, MariaDB from 11.4 on one that nobody can verify.
func TestServersOwnTLS(t *testing.T) {
	for _, kind := range everySQL {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			db := servicestest.NewDatabase(t, kind)
			db.MustExec(t, accessTable)
			over := func(way transport.TLS) binlog.Config {
				cfg := configOf(t, db)
				way.Addr = cfg.Addr
				cfg.TLS = way.Config
				return cfg
			}
			required := over(transport.TLS{Mode: transport.Required})
			switch kind {
			case services.MySQL:
				ca := db.Server.Dir() + "/data/ca.pem"
				works(t, db, required)
				works(t, db, over(transport.TLS{Mode: transport.VerifyCA, CA: ca}))
				refusedFor(t, over(transport.TLS{Mode: transport.VerifyIdentity, CA: ca}), "mysql.tls_server_name", "verify_ca")
			case services.MariaDB:
				refusedFor(t, required, "does not support TLS", "ssl_cert", "disabled")
			default:
				works(t, db, required)
				refusedFor(t, over(transport.TLS{Mode: transport.VerifyCA}), "mysql.tls_ca")
			}
		})
	}
}

// TestSecureTransportRequired names the setting, where the server demands it
// of everybody.
func TestSecureTransportRequired(t *testing.T) {
	server := servicestest.StartSQL(t, services.MySQL, services.SQLOptions{})
	db := servicestest.CreateDatabase(t, server)
	db.MustExec(t, "SET GLOBAL require_secure_transport = ON")
	refusedFor(t, configOf(t, db), "insecure transport", "mysql.tls")
}

// TestLogins is every way to log in that there is on the servers, each time
// with a cold cache, over TCP without TLS, over TLS and over the socket.
func TestLogins(t *testing.T) {
	const password = `it's a "long" pässword`
	quoted := "'" + strings.ReplaceAll(password, "'", "''") + "'"
	for _, kind := range everySQL {
		plugins := map[string]string{
			"mysql_native_password": "IDENTIFIED BY " + quoted,
			"ed25519":               "IDENTIFIED VIA ed25519 USING PASSWORD(" + quoted + ")",
		}
		if kind == services.MySQL {
			plugins = map[string]string{
				"caching_sha2_password": "IDENTIFIED WITH caching_sha2_password BY " + quoted,
				"sha256_password":       "IDENTIFIED WITH sha256_password BY " + quoted,
			}
		}
		for plugin, identified := range plugins {
			t.Run(kind.String()+" "+plugin, func(t *testing.T) {
				t.Parallel()
				db := servicestest.NewDatabase(t, kind)
				db.MustExec(t, accessTable)
				if plugin == "ed25519" {
					db.MustExec(t, "INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519'")
				}
				cfg := restricted(t, db, identified)
				var logins atomic.Int32
				cfg.Password = func() string {
					logins.Add(1)
					db.MustExec(t, "FLUSH PRIVILEGES") // empties the cache
					return password
				}
				works(t, db, cfg)
				if n := logins.Load(); n < 4 { // of check, tail (SQL and dump) and reader
					t.Errorf("the password was asked for %d times", n)
				}
				if kind != services.MariaDB { // which has no TLS here
					over := cfg
					over.TLS = transport.TLS{Addr: cfg.Addr, Mode: transport.Required}.Config
					works(t, db, over)
				}
				if plugin != "sha256_password" { // which the server takes for no secret over a socket
					cfg.Addr = db.Server.Socket()
					works(t, db, cfg)
				}
				cfg.Password = func() string { return "wrong" }
				refusedFor(t, cfg, "Access denied", "mysql.password")
			})
		}
	}
}

// TestUnknownLogin names the ways that there are.
func TestUnknownLogin(t *testing.T) {
	db := servicestest.NewDatabase(t, services.MariaDB118)
	db.MustExec(t, "INSTALL PLUGIN IF NOT EXISTS parsec SONAME 'auth_parsec'", accessTable)
	cfg := restricted(t, db, "IDENTIFIED VIA parsec USING PASSWORD('pw')")
	refusedFor(t, cfg, "parsec", "ed25519")
}

// TestRotatedPassword changes the password under a running tail and ends its
// connections: it waits, says so once, and asks again when the password that
// it is given is another one.
func TestRotatedPassword(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			db := servicestest.NewDatabase(t, kind)
			db.MustExec(t, accessTable)
			cfg := restricted(t, db, "IDENTIFIED BY 'before'")
			var password atomic.Value
			password.Store("before")
			var log lines
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			cfg.Password = func() string { return password.Load().(string) }
			rec := newRecorder(current(t, cfg))
			stop := follow(t, cfg, rec.pos, rec, binlog.TableName{Schema: db.Name, Table: "a"})
			db.MustExec(t, "INSERT INTO a VALUES (1, 'x')")
			rec.until(t, current(t, cfg))

			db.MustExec(t, "ALTER USER '"+cfg.User+"'@'%' IDENTIFIED BY 'after'")
			db.KillConnections(t, cfg.User)
			db.MustExec(t, "INSERT INTO a VALUES (2, 'y')")
			log.await(t, "refuse each other")
			password.Store("after")
			if got := rec.until(t, current(t, cfg)); len(got) != 2 {
				t.Errorf("the tail gave %q", got)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if n := strings.Count(log.String(), "refuse each other"); n != 1 {
				t.Errorf("the refusal was logged %d times", n)
			}
		})
	}
}
