package services

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What is installed costs nothing and says nothing, in several processes too.
func TestInstallOfWhatIsInstalled(t *testing.T) {
	helpers := []*helper{startHelper(t, "install"), startHelper(t, "install")}
	var progress bytes.Buffer
	if err := Install(t.Context(), &progress, Kinds()...); err != nil {
		t.Fatal(err)
	}
	if progress.Len() > 0 {
		t.Errorf("said %q", progress.String())
	}
	for _, h := range helpers {
		if h.lines.Scan() {
			t.Errorf("said %q", h.lines.Text())
		}
		if err := h.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestStartOfWhatIsNotInstalled(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for k, want := range map[Kind]string{
		MySQL:  "MySQL 9.7 is not installed: run `go run ./tools/services/cmd install mysql`",
		Redis:  "Redis 7.0 is not installed: run `go run ./tools/services/cmd install redis`",
		Soketi: "Soketi 1.6.1 is not installed: run `go run ./tools/services/cmd install soketi`",
	} {
		_, err := locate(k)
		if !errors.Is(err, ErrNotInstalled) || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
}

func TestRequirements(t *testing.T) {
	debian := machine{
		system: "Debian GNU/Linux 12 (bookworm)", debian: true, root: true, keyring: true,
		have: []string{"apt-get", "dpkg-deb", "npm"}, node: 20,
	}
	for _, test := range []struct {
		name   string
		change func(m *machine)
		kinds  []Kind
		want   string
	}{
		{"complete", func(*machine) {}, Kinds(), ""},
		{"servers need no root", func(m *machine) { m.root = false }, []Kind{MySQL, Redis, Soketi}, ""},
		{"Soketi needs no Debian", func(m *machine) { m.debian = false }, []Kind{Soketi}, ""},
		{
			"old Node", func(m *machine) { m.node = 18 }, Kinds(),
			"cannot install Soketi 1.6.1:\n" +
				"  - Node 20 for Soketi, and the PATH has Node 18: install it from nodejs.org",
		},
		{
			"too new a Node", func(m *machine) { m.node = 24 }, Kinds(),
			"cannot install Soketi 1.6.1:\n" +
				"  - Node 20 for Soketi, and the PATH has Node 24: install it from nodejs.org",
		},
		{
			"no Debian, no Node",
			func(m *machine) { *m = machine{system: "Fedora Linux 42"} },
			[]Kind{MySQL, Redis, Soketi},
			"cannot install MySQL 9.7, Redis 7.0, Soketi 1.6.1:\n" +
				"  - Debian, and this is Fedora Linux 42: install MySQL or MariaDB, Redis and Chromium yourself, on the PATH, where the machine's own will do\n" +
				"  - Node 20 for Soketi, and the PATH has no Node: install it from nodejs.org\n" +
				"  - npm: it comes with Node from nodejs.org; Debian has it in the package npm",
		},
		{
			"no root, no tools",
			func(m *machine) { m.root, m.keyring, m.have = false, false, nil },
			[]Kind{MariaDB, Chromium},
			"cannot install MariaDB 10.11, Chromium:\n" +
				"  - apt-get: it comes with the package apt\n" +
				"  - dpkg-deb: it comes with the package dpkg\n" +
				"  - /usr/share/keyrings/debian-archive-keyring.gpg: run `apt-get install debian-archive-keyring` as root\n" +
				"  - root, to install Chromium for the whole machine: run `apt-get install chromium` as root",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := debian
			test.change(&m)
			got := ""
			if err := m.check(test.kinds); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestParseMirrors(t *testing.T) {
	const uris = `
'http://mirror.test/debian-security/dists/bookworm-security/InRelease' mirror.test_InRelease 0
'http://mirror.test/debian-security/dists/bookworm-security/main/binary-amd64/Packages.xz' a 0
'https://docker.test/linux/debian/dists/bookworm/stable/binary-amd64/Packages.xz' b 0
'http://mirror.test/debian/dists/bookworm/InRelease' mirror.test_InRelease 0
'http://mirror.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' c 0
'http://mirror.test/debian/dists/bookworm-updates/main/binary-amd64/Packages.xz' d 0
'https://other.test/dists/bookworm/main/binary-all/Packages.xz' e 0
`
	got := parseMirrors(uris)
	want := []string{"http://mirror.test/debian", "https://other.test", "http://mirror.test/debian-security"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := parseMirrors(""); len(got) != 0 {
		t.Errorf("of nothing: got %q", got)
	}
}

// Which of the two a mysqld is, it says itself.
func TestFindServer(t *testing.T) {
	bin := t.TempDir()
	script := func(name, says string) string {
		path := filepath.Join(bin, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+says+"'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	check := func(k Kind, want string) {
		t.Helper()
		if got, ok := findServer(k, []string{t.TempDir(), bin}); got != want || ok != (want != "") {
			t.Errorf("%v: got %q, %v, want %q", k, got, ok, want)
		}
	}
	mysqld := script("mysqld", "mysqld  Ver 9.7.4 for Linux on x86_64")
	check(MySQL, mysqld)
	script("mysqld", "mysqld  Ver 10.11.18-MariaDB")
	check(MariaDB, mysqld)
	check(MySQL, "")
	mariadbd := script("mariadbd", "mariadbd  Ver 11.8.9-MariaDB")
	check(MariaDB118, mariadbd)
	check(Soketi, "")
	check(Redis, "")
	check(Redis, script("redis-server", "Redis server v=7.0.15"))
}
