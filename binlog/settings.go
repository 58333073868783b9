package binlog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// setting is the statement that gives a variable of the server a value for
// good. Sessions that are open keep theirs.
func (s Server) setting(name, value string) string {
	if s.Flavor == MariaDB {
		return fmt.Sprintf("SET GLOBAL %s = '%s'; and in the server's configuration, under [mariadbd]: %s = %s", name, value, name, value)
	}
	return fmt.Sprintf("SET PERSIST %s = '%s';", name, value)
}

// settings checks the server's variables. One that a version does not have
// is as it must be.
func (c *checker) settings(tables []TableName) {
	version, err := one(c.conn, "SELECT VERSION()")
	if err != nil {
		c.add("cannot ask for the version: %v", "", err)
		return
	}
	c.Server.Version, c.Server.Flavor = version, MySQL
	if strings.Contains(strings.ToLower(version), "mariadb") {
		c.Server.Flavor = MariaDB
	}
	switch on, _ := c.variable("log_bin"); {
	case on == "1":
		c.logged = true
	case on == "":
	case c.Server.Flavor == MySQL:
		c.add("the binary log is off", "take skip-log-bin or disable-log-bin out of the server's configuration and restart it")
	default:
		c.add("the binary log is off", "add to the server's configuration, under [mariadbd]: log_bin = mariadb-bin, and restart it")
	}
	for _, must := range [][2]string{{"binlog_format", "ROW"}, {"binlog_row_image", "FULL"}, {"binlog_row_value_options", ""}} {
		name, want := must[0], must[1]
		if got, ok := c.variable(name); ok && !strings.EqualFold(got, want) {
			c.add("%s is %q, it must be %q", c.Server.setting(name, want), name, got, want)
		}
	}
	if c.logged {
		c.replicates()
		c.filters(tables)
	}
}

// variable reads a global variable; ok is false if the server has none of that
// name, or it cannot be read, which is a problem then.
func (c *checker) variable(name string) (value string, ok bool) {
	value, err := one(c.conn, "SELECT @@GLOBAL."+name)
	if err != nil && !isError(err, mysql.ER_UNKNOWN_SYSTEM_VARIABLE) {
		c.add("cannot read %s: %v", "", name, err)
	}
	return value, err == nil
}

// replicates checks that a replica logs what it replicates.
func (c *checker) replicates() {
	name := "log_replica_updates"
	logs, ok := c.variable(name)
	if !ok { // MariaDB, and MySQL before 8.0.26
		name = "log_slave_updates"
		logs, ok = c.variable(name)
	}
	if !ok || logs == "1" {
		return
	}
	// Those who may not see this are told about their grants.
	list, err := rows(c.conn, "SHOW REPLICA STATUS")
	if isError(err, mysql.ER_PARSE_ERROR) { // MySQL before 8.0.22
		list, err = rows(c.conn, "SHOW SLAVE STATUS")
	}
	replica := err == nil && len(list) > 0
	if c.Server.Flavor == MariaDB {
		from, _ := c.variable("gtid_slave_pos")
		replica = replica || from != ""
	}
	if replica {
		c.add("the server is a replica, and %s is off: what it replicates is not in its binary log",
			fmt.Sprintf("let chorusd read the primary, or add to the server's configuration: %s = ON, and restart it", name), name)
	}
}

// filters checks that the databases of the tables are logged.
func (c *checker) filters(tables []TableName) {
	only, except := c.logFilters()
	checked := map[string]bool{}
	for _, t := range tables {
		database := t.Schema
		if checked[database] {
			continue
		}
		checked[database] = true
		if len(only) > 0 && !slices.Contains(only, database) {
			c.add("database %s is not logged: binlog_do_db names others", "take binlog_do_db out of the server's configuration, or add this database there, and restart it", database)
		}
		if slices.Contains(except, database) {
			c.add("database %s is not logged: binlog_ignore_db names it", "take it out of binlog_ignore_db in the server's configuration and restart it", database)
		}
	}
}

// logFilters are the databases that are logged, of which none means all, and
// those that are not.
func (c *checker) logFilters() (only, except []string) {
	status, ok, err := logStatus(c.conn, c.Server.Flavor)
	if err != nil || !ok || len(status) < 4 {
		return nil, nil // privileges says so
	}
	return databaseList(status[2]), databaseList(status[3])
}

func databaseList(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.Split(string(text), ",")
}
