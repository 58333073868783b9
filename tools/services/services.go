// Package services gives tests, the demo and the benchmarks real servers of
// their own: MySQL, MariaDB, Redis and Soketi, each on a free loopback port
// with its own data folder.
//
// [Install] fetches the servers into a per-user cache without touching the
// machine; the Start functions return when the server answers. A server ends
// with [Server.Stop], and with the process that started it, however that
// process ends. Tests use the helpers of package servicestest.
package services

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Kind names something that [Install] can install.
type Kind string

// The kinds. Those that are installed system-wide are no servers.
const (
	MySQL      Kind = "mysql"      // MySQL 9.7
	MariaDB    Kind = "mariadb"    // MariaDB 10.11
	MariaDB118 Kind = "mariadb118" // MariaDB 11.8
	Redis      Kind = "redis"      // Redis 7.0
	Soketi     Kind = "soketi"     // Soketi 1.6, a Pusher-compatible server
	Chromium   Kind = "chromium"   // the browser, installed system-wide

	// PerconaToolkit has pt-online-schema-change. It is installed system-wide,
	// and only where it is asked for: the longer tests alone use it.
	PerconaToolkit Kind = "percona-toolkit"
)

// systemPackages are the kinds that are packages of the machine's own Debian.
// They need hundreds of libraries, which no private tree should carry.
var systemPackages = map[Kind]string{Chromium: "chromium", PerconaToolkit: "percona-toolkit"}

// Kinds returns every kind that is installed unless others are named.
func Kinds() []Kind {
	return []Kind{MySQL, MariaDB, MariaDB118, Redis, Soketi, Chromium}
}

// ParseKind returns the kind called name.
func ParseKind(name string) (Kind, error) {
	known := append(Kinds(), PerconaToolkit)
	if k := Kind(name); slices.Contains(known, k) {
		return k, nil
	}
	names := make([]string, 0, len(known))
	for _, k := range known {
		names = append(names, string(k))
	}
	return "", fmt.Errorf("unknown kind %q, have %s", name, strings.Join(names, ", "))
}

// String returns the name and version for people, "MySQL 9.7".
func (k Kind) String() string {
	if t, ok := debianTrees[k]; ok {
		return t.title
	}
	switch k {
	case Soketi:
		return "Soketi " + soketiVersion
	case Chromium:
		return "Chromium"
	case PerconaToolkit:
		return "Percona Toolkit"
	}
	return string(k)
}

// IsSQL reports whether k is a MySQL or MariaDB server.
func (k Kind) IsSQL() bool { return k == MySQL || k.isMariaDB() }

func (k Kind) isMariaDB() bool { return k == MariaDB || k == MariaDB118 }

// ErrNotInstalled is wrapped by the Start functions when [Install] was not
// called for the kind.
var ErrNotInstalled = errors.New("not installed")

// Installed reports whether k was installed by [Install].
func Installed(k Kind) bool {
	_, err := locate(k)
	return err == nil
}

// OnPath returns the path of the machine's own server of kind k, of whatever
// version, looked for on the PATH and in /usr/sbin. MariaDB and MariaDB118
// both stand for any MariaDB here. Soketi is never looked for; the Chromium may
// be a Chrome.
func OnPath(k Kind) (path string, ok bool) {
	// Debian keeps daemons where a user's PATH does not look.
	return findServer(k, append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin"))
}

// findServer is OnPath with the folders to look in.
func findServer(k Kind, dirs []string) (path string, ok bool) {
	names := map[Kind][]string{
		MySQL:      {"mysqld"},
		MariaDB:    {"mariadbd", "mysqld"},
		MariaDB118: {"mariadbd", "mysqld"},
		Redis:      {"redis-server"},
		Chromium:   {"chromium", "chromium-browser", "google-chrome"},

		PerconaToolkit: {"pt-online-schema-change"},
	}[k]
	for _, name := range names {
		for _, dir := range dirs {
			path, err := exec.LookPath(filepath.Join(dir, name))
			if err != nil || name == "mysqld" && isMariaDBBinary(path) != k.isMariaDB() {
				continue
			}
			return path, true
		}
	}
	return "", false
}

// isMariaDBBinary tells which of the two a program called mysqld is.
func isMariaDBBinary(path string) bool {
	out, err := exec.Command(path, "--no-defaults", "--version").Output()
	return err == nil && strings.Contains(string(out), "MariaDB")
}

// program is how to run an installed server.
type program struct {
	argv []string // the command and the arguments that must come first
	root string   // the folder that holds share/, lib/ and so on; for SQL servers
	own  bool     // installed by this package, in a private tree
}

// locateServer finds the program of kind k: the machine's own if that is
// preferred and there is one, else the installed one.
func locateServer(k Kind, preferPath bool) (program, error) {
	if preferPath {
		if path, ok := OnPath(k); ok {
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				return program{}, fmt.Errorf("resolve %s: %w", path, err)
			}
			return program{argv: []string{path}, root: filepath.Dir(filepath.Dir(real))}, nil
		}
	}
	return locate(k)
}

// locate finds the installed program of kind k.
func locate(k Kind) (program, error) {
	switch k {
	case Soketi:
		return locateSoketi()
	case Chromium, PerconaToolkit:
		if path, ok := OnPath(k); ok {
			return program{argv: []string{path}}, nil
		}
		return program{}, notInstalled(k)
	}
	if t, ok := debianTrees[k]; ok {
		return t.locate(k)
	}
	return program{}, fmt.Errorf("unknown kind %q", string(k))
}

func notInstalled(k Kind) error {
	return fmt.Errorf("%v is %w: run `go run ./tools/services/cmd install %s`", k, ErrNotInstalled, string(k))
}
