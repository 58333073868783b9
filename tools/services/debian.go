package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// debianTree is a server that is unpacked from Debian packages into a folder of
// its own, with all the libraries it needs, so that neither the machine's
// release of Debian nor root matters. It runs through the tree's own loader.
type debianTree struct {
	title  string
	folder string // in the cache; the last number is the recipe's revision
	suite  string // the Debian release that has this version
	pkg    string
	server string // path in the tree
	// plugins is the package that has the server's plugins, if another one:
	// ways to log in, such as MariaDB's ed25519. What it depends on stays away.
	plugins string
}

var debianTrees = map[Kind]debianTree{
	MySQL:      {"MySQL 9.7", "mysql-9.7-1", "sid", "mysql-server-core", "usr/sbin/mysqld", ""},
	MariaDB:    {"MariaDB 10.11", "mariadb-10.11-2", "bookworm", "mariadb-server-core", "usr/sbin/mariadbd", "mariadb-server"},
	MariaDB118: {"MariaDB 11.8", "mariadb-11.8-2", "sid", "mariadb-server-core", "usr/sbin/mariadbd", "mariadb-server"},
	Redis:      {"Redis 7.0", "redis-7.0-1", "bookworm", "redis-server", "usr/bin/redis-server", ""},
}

// notNeeded are packages that the servers depend on for their scripts only.
// The tree's package list claims that they are installed.
var notNeeded = []string{
	"adduser", "debconf", "init-system-helpers", "lsb-base", "passwd", "perl", "perl-base", "procps", "psmisc",
}

// locate returns how to run the tree's server.
func (t debianTree) locate(k Kind) (program, error) {
	cache, err := cacheDir()
	if err != nil {
		return program{}, err
	}
	root := filepath.Join(cache, t.folder)
	if !isDir(root) {
		return program{}, notInstalled(k)
	}
	return t.program(root)
}

// program returns how to run the server of the tree at root.
func (t debianTree) program(root string) (program, error) {
	var loader string
	var libraries []string
	for _, lib := range []string{"lib", "usr/lib"} { // older releases have both
		dirs, err := filepath.Glob(filepath.Join(root, lib, "*-linux-gnu*"))
		if err != nil {
			return program{}, err
		}
		for _, dir := range dirs {
			libraries = append(libraries, dir)
			if found, _ := filepath.Glob(filepath.Join(dir, "ld-linux*.so.*")); len(found) > 0 {
				loader = found[0]
			}
		}
	}
	if loader == "" {
		return program{}, fmt.Errorf("no loader in %s: remove the folder and install again", root)
	}
	return program{
		argv: []string{loader, "--library-path", strings.Join(libraries, ":"), filepath.Join(root, t.server)},
		root: filepath.Join(root, "usr"),
		own:  true,
	}, nil
}

// install fills the folder root from the Debian archive that the machine itself
// uses.
func (t debianTree) install(ctx context.Context, root string) error {
	apt := filepath.Join(root, ".apt")
	if err := t.download(ctx, apt); err != nil {
		return fmt.Errorf("fetch %s of Debian %s: %w", t.pkg, t.suite, err)
	}
	packages, err := filepath.Glob(filepath.Join(apt, "cache/archives/*.deb"))
	if err != nil {
		return err
	}
	unpack, unpackCtx := errgroup.WithContext(ctx)
	unpack.SetLimit(runtime.NumCPU())
	for _, p := range packages {
		unpack.Go(func() error { return run(unpackCtx, "dpkg-deb", "--extract", p, root) })
	}
	if err := unpack.Wait(); err != nil {
		return fmt.Errorf("unpack %s: %w", t.pkg, err)
	}
	for _, dir := range []string{".apt", "usr/share/doc", "usr/share/man", "usr/share/locale"} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			return fmt.Errorf("prune %s: %w", t.pkg, err)
		}
	}
	prog, err := t.program(root)
	if err != nil {
		return err
	}
	if err := run(ctx, prog.argv[0], append(prog.argv[1:], "--version")...); err != nil {
		return fmt.Errorf("try the installed server: %w", err)
	}
	return nil
}

// download fetches the package and all it depends on into the folder apt. Of
// the archives in the machine's settings the first that has the suite is used;
// what Debian has not signed, apt-get refuses.
func (t debianTree) download(ctx context.Context, apt string) error {
	mirrors, err := debianMirrors(ctx)
	if err != nil {
		return err
	}
	var refused []error
	for _, mirror := range mirrors {
		conf, err := t.aptConfiguration(apt, mirror)
		if err != nil {
			return fmt.Errorf("write apt's configuration: %w", err)
		}
		// The machine's own settings, proxies for one, are read before ours.
		if err := run(ctx, "apt-get", "--quiet", "--config-file="+conf, "update"); err != nil {
			refused = append(refused, fmt.Errorf("from %s: %w", mirror, err))
			continue
		}
		if err := run(ctx, "apt-get", "--quiet", "--config-file="+conf, "--yes", "--download-only", "install", t.pkg); err != nil || t.plugins == "" {
			return err
		}
		return run(ctx, "env", "--chdir="+filepath.Join(apt, "cache/archives"), "apt-get", "--quiet", "--config-file="+conf, "download", t.plugins)
	}
	return errors.Join(refused...)
}

// aptConfiguration makes the folder dir an apt world of its own, which knows
// one release and no installed packages, and returns its configuration file.
func (t debianTree) aptConfiguration(dir, mirror string) (conf string, err error) {
	var status strings.Builder
	for _, name := range notNeeded {
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nArchitecture: %s\nMulti-Arch: allowed\nVersion: 99:99\nMaintainer: -\nDescription: -\n\n", name, runtime.GOARCH)
	}
	conf = filepath.Join(dir, "apt.conf")
	files := map[string]string{
		filepath.Join(dir, "state/status"): status.String(),
		filepath.Join(dir, "sources.list"): fmt.Sprintf("deb [signed-by=%s] %s %s main\n", debianKeyring, mirror, t.suite),
		conf: fmt.Sprintf(`
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/state/status";
Dir::Cache "%[1]s/cache";
Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
`, dir),
	}
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return conf, nil
}

// debianMirrors returns the URIs of the archives in the machine's own apt
// settings, the likeliest to have every Debian release first.
func debianMirrors(ctx context.Context) ([]string, error) {
	// It fetches nothing, and works before the first real update.
	out, err := exec.CommandContext(ctx, "apt-get", "--print-uris", "update").Output()
	if err != nil {
		return nil, fmt.Errorf("ask apt-get for the machine's archives: %w", err)
	}
	mirrors := parseMirrors(string(out))
	if len(mirrors) == 0 {
		return nil, errors.New("apt's settings name no Debian archive: add one to /etc/apt/sources.list")
	}
	return mirrors, nil
}

// mainIndex matches the URI of a package list of Debian's component main:
// the archive, then the release.
var mainIndex = regexp.MustCompile(`(?m)^'(\S+?)/dists/(\S+?)/main/binary-`)

// parseMirrors reads what apt-get --print-uris update says.
func parseMirrors(uris string) []string {
	var mirrors, security []string
	for _, m := range mainIndex.FindAllStringSubmatch(uris, -1) {
		archive, release := m[1], m[2]
		switch {
		case slices.Contains(mirrors, archive) || slices.Contains(security, archive):
		case strings.Contains(release, "security"):
			security = append(security, archive)
		default:
			mirrors = append(mirrors, archive)
		}
	}
	return append(mirrors, security...)
}

// run runs a command to its end; an error holds the end of its output.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w\n%s", name, err, tail(out))
}
