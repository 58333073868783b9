package services

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// SQLOptions are how a MySQL or MariaDB server starts.
type SQLOptions struct {
	// Args are further server flags, "--binlog-row-metadata=FULL"; they win
	// over what is set by default: a server id, and the binlog on with ROW
	// format and full images.
	Args []string
	// PreferPath uses the machine's own server of that maker, if it has one,
	// of whatever version.
	PreferPath bool
}

// SQLServer is a MySQL or MariaDB server of one's own. User root has no
// password over TCP from loopback.
type SQLServer struct {
	*Server
}

// DSN returns the go-sql-driver data source name of user root on database,
// which may be empty. Params are like "parseTime=true".
func (s *SQLServer) DSN(database string, params ...string) string {
	dsn := "root@tcp(" + s.Addr + ")/" + database
	if len(params) > 0 {
		dsn += "?" + strings.Join(params, "&")
	}
	return dsn
}

// StartMySQL starts a MySQL server. ctx bounds the start only.
func StartMySQL(ctx context.Context, opts SQLOptions) (*SQLServer, error) {
	return StartSQL(ctx, MySQL, opts)
}

// StartMariaDB starts a MariaDB 10.11 server. ctx bounds the start only.
func StartMariaDB(ctx context.Context, opts SQLOptions) (*SQLServer, error) {
	return StartSQL(ctx, MariaDB, opts)
}

// StartSQL starts a server of kind k: MySQL, MariaDB or MariaDB118. ctx bounds
// the start only.
func StartSQL(ctx context.Context, k Kind, opts SQLOptions) (*SQLServer, error) {
	if !k.IsSQL() {
		return nil, fmt.Errorf("%v is not an SQL server", k)
	}
	prog, err := locateServer(k, opts.PreferPath)
	if err != nil {
		return nil, err
	}
	template, err := sqlTemplate(ctx, k, prog)
	if err != nil {
		return nil, err
	}
	s, err := newServer(ctx, k)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.Dir(), "data")
	// Within one file system that can do it, this shares the blocks.
	if err := os.CopyFS(data, os.DirFS(template)); err != nil {
		return nil, stopAfter(fmt.Errorf("copy the initialised data folder: %w", err), s)
	}
	server := &SQLServer{s}
	s.argv = slices.Concat(prog.argv, sqlFlags(k, prog), []string{
		"--datadir=" + data,
		"--tmpdir=" + s.Dir(),
		"--bind-address=127.0.0.1",
		"--port=" + strconv.Itoa(s.Port()),
		"--socket=" + server.Socket(),
		"--pid-file=" + filepath.Join(s.Dir(), "server.pid"),
		"--server-id=" + strconv.Itoa(s.Port()),
		"--log-bin=binlog",
		"--binlog-format=ROW",
		"--binlog-row-image=FULL",
	}, opts.Args)
	s.probe = server.ping
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return server, nil
}

// Socket returns the path of the server's Unix socket.
func (s *SQLServer) Socket() string { return filepath.Join(s.Dir(), "server.sock") }

// ping runs a query on a connection of its own.
func (s *SQLServer) ping(ctx context.Context) error {
	cfg, err := mysql.ParseDSN(s.DSN(""))
	if err != nil {
		return err
	}
	cfg.Logger = &mysql.NopLogger{} // a server that starts up may hang up
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var one int
	return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

// sqlFlags are the flags that a server of kind k needs before it runs at all.
func sqlFlags(k Kind, prog program) []string {
	flags := []string{"--no-defaults"}
	if os.Geteuid() == 0 {
		flags = append(flags, "--user=root") // it refuses to run as root unasked
	}
	if !k.isMariaDB() {
		flags = append(flags, "--secure-file-priv=", "--mysqlx=OFF")
	}
	if !prog.own {
		return flags
	}
	// The paths compiled into it are not where it is.
	share := sqlShare(prog)
	flags = append(flags,
		"--basedir="+prog.root,
		"--lc-messages-dir="+share,
		"--character-sets-dir="+filepath.Join(share, "charsets"),
	)
	if plugins := filepath.Join(prog.root, "lib", filepath.Base(share), "plugin"); isDir(plugins) {
		flags = append(flags, "--plugin-dir="+plugins)
	}
	return flags
}

// sqlShare returns the server's folder of messages, character sets and SQL.
func sqlShare(prog program) string {
	if dir := filepath.Join(prog.root, "share", "mariadb"); isDir(dir) {
		return dir // MariaDB from 11 on
	}
	return filepath.Join(prog.root, "share", "mysql")
}

// sqlTemplate returns a freshly initialised data folder of prog, to be copied:
// making one takes MySQL 4 s. It is kept in the cache, by version.
func sqlTemplate(ctx context.Context, k Kind, prog program) (string, error) {
	version, err := exec.CommandContext(ctx, prog.argv[0], append(slices.Clone(prog.argv[1:]), "--no-defaults", "--version")...).Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", prog.argv[0], err)
	}
	name := fmt.Sprintf("%s-data-%x", string(k), sha256.Sum256(version))[:len(k)+len("-data-")+12]
	return cached(ctx, name, func(dir string) error {
		flags := append(slices.Clone(prog.argv[1:]), sqlFlags(k, prog)...)
		flags = append(flags, "--datadir="+dir)
		var input []byte
		if k.isMariaDB() {
			flags = append(flags, "--bootstrap", "--skip-grant-tables", "--skip-networking")
			if input, err = mariaDBSystemSQL(sqlShare(prog)); err != nil {
				return err
			}
		} else {
			flags = append(flags, "--initialize-insecure", "--innodb-redo-log-capacity=8M")
		}
		cmd := exec.CommandContext(ctx, prog.argv[0], flags...)
		cmd.Stdin = bytes.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("initialise a data folder of %v: %w\n%s", k, err, bytes.TrimSpace(out))
		}
		// The server's UUID: each copy is to make its own.
		if err := os.Remove(filepath.Join(dir, "auto.cnf")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("initialise a data folder of %v: %w", k, err)
		}
		return nil
	})
}

// mariaDBSystemSQL returns what MariaDB's own installer feeds a bootstrapping
// server.
func mariaDBSystemSQL(share string) ([]byte, error) {
	input := []byte("create database mysql;\nuse mysql;\n" +
		// No anonymous users, and a root that logs in without the Unix socket.
		"set @skip_auth_anonymous=1;\nset @auth_root_socket=NULL;\n")
	for _, name := range []string{"system_tables", "performance_tables", "system_tables_data"} {
		text, err := os.ReadFile(filepath.Join(share, filepath.Base(share)+"_"+name+".sql"))
		if err != nil {
			return nil, fmt.Errorf("read MariaDB's system tables: %w", err)
		}
		input = append(append(input, text...), '\n')
	}
	return append(input, "delete from global_priv where User='root' and Host<>'localhost';\n"...), nil
}
