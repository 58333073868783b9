package services

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// RequirementsError is what a machine lacks to install some kinds.
type RequirementsError struct {
	Kinds   []Kind   // the kinds that cannot be installed
	Missing []string // one line each: what is missing, and how to get it
}

func (e *RequirementsError) Error() string {
	return fmt.Sprintf("cannot install %s:\n  - %s", titles(e.Kinds), strings.Join(e.Missing, "\n  - "))
}

// nodeMajor is the Node that Soketi's native code is built for. Under a newer
// one it starts without that code, and then opens no WebSocket.
const nodeMajor = 20

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// machine is what counts of a machine when something is to be installed on it.
type machine struct {
	system  string // its name for people, "Debian GNU/Linux 12 (bookworm)"
	debian  bool
	root    bool
	keyring bool     // Debian's archive keyring is there
	have    []string // programs on the PATH, of those that are needed
	node    int      // major version of Node, 0 without
}

// thisMachine looks at the machine that this process runs on.
func thisMachine(ctx context.Context) machine {
	m := machine{system: runtime.GOOS, root: os.Geteuid() == 0, node: nodeVersion(ctx)}
	release, _ := os.ReadFile("/etc/os-release") // absent: no Debian
	for line := range strings.Lines(string(release)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"`)
		switch key {
		case "ID":
			m.debian = value == "debian"
		case "PRETTY_NAME":
			m.system = value
		}
	}
	_, err := os.Stat(debianKeyring)
	m.keyring = err == nil
	for _, program := range []string{"apt-get", "dpkg-deb", "npm"} {
		if _, err := exec.LookPath(program); err == nil {
			m.have = append(m.have, program)
		}
	}
	return m
}

// check returns a [*RequirementsError] if kinds cannot all be installed on m.
func (m machine) check(kinds []Kind) error {
	var e RequirementsError
	for _, k := range kinds {
		lacks := m.lacks(k)
		if len(lacks) == 0 {
			continue
		}
		e.Kinds = append(e.Kinds, k)
		for _, line := range lacks {
			if !slices.Contains(e.Missing, line) {
				e.Missing = append(e.Missing, line)
			}
		}
	}
	if len(e.Kinds) == 0 {
		return nil
	}
	return &e
}

// lacks returns what m needs for k and does not have. Kinds that need the same
// get the same line.
func (m machine) lacks(k Kind) (lines []string) {
	need := func(have bool, format string, args ...any) {
		if !have {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	switch {
	case k == Soketi:
		need(m.node == nodeMajor, "Node %d for Soketi, and the PATH has %s: install it from nodejs.org", nodeMajor, nodeName(m.node))
		need(slices.Contains(m.have, "npm"), "npm: it comes with Node from nodejs.org; Debian has it in the package npm")
	case !m.debian:
		need(false, "Debian, and this is %s: install MySQL or MariaDB, Redis and Chromium yourself, on the PATH, where the machine's own will do", m.system)
	case systemPackages[k] != "":
		need(m.root, "root, to install %v for the whole machine: run `apt-get install %s` as root", k, systemPackages[k])
	default:
		need(slices.Contains(m.have, "apt-get"), "apt-get: it comes with the package apt")
		need(slices.Contains(m.have, "dpkg-deb"), "dpkg-deb: it comes with the package dpkg")
		need(m.keyring, "%s: run `apt-get install debian-archive-keyring` as root", debianKeyring)
	}
	return lines
}

// nodeVersion returns the major version of the Node on the PATH, 0 if there is
// none.
func nodeVersion(ctx context.Context) int {
	out, err := exec.CommandContext(ctx, "node", "--version").Output() // "v20.20.2"
	if err != nil {
		return 0
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
	n, _ := strconv.Atoi(major)
	return n
}

func nodeName(major int) string {
	if major == 0 {
		return "no Node"
	}
	return fmt.Sprintf("Node %d", major)
}

func titles(kinds []Kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.String()
	}
	return strings.Join(names, ", ")
}
