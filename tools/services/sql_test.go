package services

import (
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// variables returns what a server says about itself.
func variables(t *testing.T, s *SQLServer, names ...string) map[string]string {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got := make(map[string]string)
	for _, name := range names {
		var value string
		if err := db.QueryRowContext(t.Context(), "SELECT @@"+name).Scan(&value); err != nil {
			t.Fatal(err)
		}
		got[name] = value
	}
	return got
}

func startSQL(t *testing.T, k Kind, opts SQLOptions) *SQLServer {
	t.Helper()
	s, err := StartSQL(t.Context(), k, opts)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s.Server)
	return s
}

func TestSQLDefaults(t *testing.T) {
	for _, k := range sqlKinds {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			s := startSQL(t, k, SQLOptions{})
			got := variables(t, s, "log_bin", "binlog_format", "binlog_row_image", "server_id")
			for name, want := range map[string]string{
				"log_bin": "1", "binlog_format": "ROW", "binlog_row_image": "FULL", "server_id": strconv.Itoa(s.Port()),
			} {
				if got[name] != want {
					t.Errorf("%s is %s, want %s", name, got[name], want)
				}
			}
			db, err := sql.Open("mysql", "root@unix("+s.Socket()+")/")
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.PingContext(t.Context()); err != nil {
				t.Errorf("over the Unix socket: %v", err)
			}
			var users int
			if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM mysql.user WHERE User = '' OR User = 'root' AND Host <> 'localhost'").Scan(&users); err != nil {
				t.Fatal(err)
			}
			if users != 0 {
				t.Errorf("%d users who should not be", users)
			}
		})
	}
}

// Two servers of one template are two servers, and options win.
func TestSQLOptions(t *testing.T) {
	plain := variables(t, startSQL(t, MySQL, SQLOptions{}), "server_uuid", "gtid_mode", "binlog_row_metadata")
	changed := variables(t, startSQL(t, MySQL, SQLOptions{Args: []string{
		"--enforce-gtid-consistency=OFF", "--gtid-mode=OFF", "--binlog-row-metadata=FULL",
	}}), "server_uuid", "gtid_mode", "binlog_row_metadata")
	if plain["server_uuid"] == changed["server_uuid"] {
		t.Error("two servers have one UUID")
	}
	if plain["gtid_mode"] != "ON" || changed["gtid_mode"] != "OFF" {
		t.Errorf("gtid_mode: got %s and %s, want ON and OFF", plain["gtid_mode"], changed["gtid_mode"])
	}
	if plain["binlog_row_metadata"] != "MINIMAL" || changed["binlog_row_metadata"] != "FULL" {
		t.Errorf("binlog_row_metadata: got %s and %s, want MINIMAL and FULL", plain["binlog_row_metadata"], changed["binlog_row_metadata"])
	}
}

func TestPreferPath(t *testing.T) {
	prog, err := locate(Redis)
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	mark := filepath.Join(bin, "used")
	script := "#!/bin/sh\necho >" + mark + "\nexec " + prog.argv[0] + " " + prog.argv[1] + " " + prog.argv[2] + " " + prog.argv[3] + ` "$@"`
	if err := os.WriteFile(filepath.Join(bin, "redis-server"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, prefer := range []bool{false, true} {
		s, err := StartRedis(t.Context(), RedisOptions{PreferPath: prefer})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(mark); (err == nil) != prefer {
			t.Errorf("PreferPath %v: used the one on the PATH: %v", prefer, err == nil)
		}
	}
}
