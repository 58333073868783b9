package servicestest_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

func TestMain(m *testing.M) { servicestest.Main(m) }

// Two tests share a server and see nothing of each other.
func TestDatabases(t *testing.T) {
	var servers []*services.SQLServer
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			db := servicestest.NewDatabase(t, services.MariaDB)
			servers = append(servers, db.Server)
			db.MustExec(t, "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
			var got string
			if err := db.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&got); err != nil {
				t.Fatal(err)
			}
			if got != db.Name {
				t.Errorf("in database %s, want %s", got, db.Name)
			}
		})
	}
	if servers[0] != servers[1] {
		t.Error("each test has started a server")
	}
	rest := servicestest.CreateDatabase(t, servers[0])
	var left int
	if err := rest.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'test%' AND schema_name <> ?", rest.Name).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 0 {
		t.Errorf("%d databases of earlier tests are left", left)
	}
}

func TestRedisDatabases(t *testing.T) {
	for range 2 {
		r := servicestest.NewRedisDatabase(t)
		client := redis.NewClient(&redis.Options{Addr: r.Addr, DB: r.Number})
		defer client.Close()
		if fresh, err := client.SetNX(t.Context(), "key", "value", 0).Result(); err != nil || !fresh {
			t.Errorf("database %d is not empty: %v", r.Number, err)
		}
	}
}

// A server of a test's own ends with the test.
func TestOwnServers(t *testing.T) {
	var servers []*services.Server
	t.Run("test", func(t *testing.T) {
		servers = append(servers,
			servicestest.StartSQL(t, services.MariaDB, services.SQLOptions{}).Server,
			servicestest.StartRedis(t, services.RedisOptions{}).Server,
			servicestest.StartSoketi(t, services.SoketiOptions{}).Server,
		)
	})
	for _, s := range servers {
		<-s.Exited()
	}
}
