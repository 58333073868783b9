package binlog

import "fmt"

// setting is the statement that gives a variable of the server a value for
// good. Sessions that are open keep theirs.
func (s Server) setting(name, value string) string {
	if s.Flavor == MariaDB {
		return fmt.Sprintf("SET GLOBAL %s = '%s'; and in the server's configuration, under [mariadbd]: %s = %s", name, value, name, value)
	}
	return fmt.Sprintf("SET PERSIST %s = '%s';", name, value)
}
