package binlog

import (
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestLogStatusOfOlderServers: MariaDB refuses MySQL's new statement, too.
func TestLogStatusOfOlderServers(t *testing.T) {
	cfg := Config{Addr: servicestest.SharedSQL(t, services.MariaDB).Addr, User: "root", Password: func() string { return "" }}
	conn, err := cfg.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := rows(conn, logStatusStatement(MySQL)); err == nil {
		t.Fatal("it knows the new statement")
	}
	status, ok, err := logStatus(conn, MySQL)
	if err != nil || !ok || len(status) < 4 {
		t.Errorf("got %q, %v, %v", status, ok, err)
	}
}
