package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/chorusd/chorusd/mapping"
)

var update = flag.Bool("update", false, "rewrite the golden files under testdata")

// minimal is the least that a configuration needs.
const minimal = `
[mysql]
database = "app"
[pusher]
app_id = "1"
key = "k"
secret = "s"
[tables.todos]
fields = ["id"]
visible_to = ["user:{user_id}"]
`

// home is an environment in which state_dir has a default.
var home = []string{"HOME=/home/app", "PATH=/bin"}

func writeConfig(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parseFlags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("chorusd", pflag.ContinueOnError)
	flags.String("config", "", "a flag that is no setting")
	bindFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func TestLoadConfigDefaults(t *testing.T) {
	got, err := loadConfig(writeConfig(t, minimal), home, parseFlags(t))
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	want.StateDir = "/home/app/.local/state/chorusd"
	want.MySQL.Database = "app"
	want.Pusher.AppID, want.Pusher.Key, want.Pusher.Secret = "1", "k", "s"
	want.Tables = map[string]mapping.Table{"todos": {Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{user_id}")}}
	got.origins = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestLoadConfigPrecedence(t *testing.T) {
	const file = minimal + `
[redis]
db = 1
[channels]
lease = "20s"
poll_interval = "4s"
[webhooks]
listen = ""
`
	for _, tc := range []struct {
		name    string
		environ []string
		args    []string
		want    func(*Config)
	}{
		{name: "file over defaults", want: func(*Config) {}},
		{
			name:    "environment over file",
			environ: []string{"CHORUSD_REDIS_DB=2", "CHORUSD_CHANNELS_POLL_INTERVAL=3s", "CHORUSD_PUSHER_TLS=true"},
			want: func(c *Config) {
				c.Redis.DB, c.Channels.PollInterval, c.Pusher.TLS = 2, 3*time.Second, true
			},
		},
		{
			name:    "flags over environment",
			environ: []string{"CHORUSD_REDIS_DB=2", "CHORUSD_MYSQL_SERVER_ID=4294967295"},
			args:    []string{"--redis.db=3", "--pusher.tls", "--config=x", "--channels.lease", "1m", "--mysql.timezone=Europe/Rome"},
			want: func(c *Config) {
				c.Redis.DB, c.Pusher.TLS, c.Channels.Lease = 3, true, time.Minute
				c.MySQL.ServerID, c.MySQL.Timezone = 4294967295, "Europe/Rome"
			},
		},
		{
			name:    "lists",
			environ: []string{"CHORUSD_REDIS_SENTINELS=a:1, b:2", "CHORUSD_REDIS_SENTINEL_PASSWORD=s"},
			args:    []string{"--redis.sentinel_master=app", "--redis.sentinels=c:3,"},
			want: func(c *Config) {
				c.Redis.Sentinels, c.Redis.SentinelMaster, c.Redis.SentinelPassword = []string{"c:3"}, "app", "s"
			},
		},
		{
			name:    "a list from the environment",
			environ: []string{"CHORUSD_REDIS_CLUSTER=a:1, b:2", "CHORUSD_REDIS_DB=0"},
			want:    func(c *Config) { c.Redis.Cluster, c.Redis.DB = []string{"a:1", "b:2"}, 0 },
		},
		{
			name:    "an empty value is a value",
			environ: []string{"CHORUSD_ADMIN_LISTEN="},
			want:    func(c *Config) { c.Admin.Listen = "" },
		},
		{
			name:    "top-level key",
			environ: []string{"CHORUSD_STATE_DIR=/srv/a"},
			args:    []string{"--state_dir=/srv/b"},
			want:    func(c *Config) { c.StateDir = "/srv/b" },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeConfig(t, file)
			want, err := loadConfig(path, home, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want.Redis.DB != 1 || want.Channels.Lease != 20*time.Second {
				t.Fatalf("the file does not count: %+v", want)
			}
			tc.want(&want)
			got, err := loadConfig(path, append(tc.environ, home...), parseFlags(t, tc.args...))
			if err != nil {
				t.Fatal(err)
			}
			got.origins, want.origins = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%+v, want\n%+v", got, want)
			}
		})
	}
}

func TestLoadConfigSecretFiles(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]Secret{
		"hunter2":          "hunter2",
		"hunter2\n":        "hunter2",
		"hunter2\r\n":      "hunter2",
		" two\nlines \n":   " two\nlines ",
		"trailing\n\n":     "trailing\n",
		"\"quo\\ted\" €\n": "\"quo\\ted\" €",
	} {
		file := filepath.Join(dir, "password")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := loadConfig(writeConfig(t, minimal), append(home, "CHORUSD_MYSQL_PASSWORD_FILE="+file), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.MySQL.Password != want {
			t.Errorf("file with %q: got %q, want %q", content, string(got.MySQL.Password), string(want))
		}
	}
}

// TestSecretFilesAreReadAgain follows a file that is rotated.
func TestSecretFilesAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	put := func(content string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("one\n")
	cfg, err := loadConfig(writeConfig(t, minimal), append(home, "CHORUSD_MYSQL_PASSWORD_FILE="+file), nil)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	mysql := cfg.secret("mysql.password", cfg.MySQL.Password, slog.New(slog.NewTextHandler(&log, nil)))
	redis := cfg.secret("redis.password", "fixed", slog.New(slog.DiscardHandler))
	expect := func(want string) {
		t.Helper()
		if got := mysql(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect("one")
	put("two\n")
	expect("two")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect("two")
	expect("two")
	if n := strings.Count(log.String(), "cannot read a secret again"); n != 1 {
		t.Errorf("that the file is gone was logged %d times:\n%s", n, log.String())
	}
	put("three")
	expect("three")
	if got := redis(); got != "fixed" {
		t.Errorf("a secret from no file: got %q", got)
	}
}

// TestBadFiles holds each file of testdata/bad against the exact message it
// must be refused with.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			_, err := loadConfig(file, home, nil)
			if err == nil {
				t.Fatal("loaded without an error")
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestBadEnvironmentAndFlags(t *testing.T) {
	dir := t.TempDir()
	path := writeConfig(t, minimal)
	set := filepath.Join(dir, "set")
	if err := os.WriteFile(set, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent")
	for _, tc := range []struct {
		name    string
		path    string
		environ []string
		args    []string
		want    []string
	}{
		{
			name:    "misspelt variable",
			environ: []string{"CHORUSD_MYSQL_PASSWRD=x", "CHORUSD_SERVICE_HOST=10.0.0.1"},
			want: []string{
				"CHORUSD_MYSQL_PASSWRD: no such setting; did you mean CHORUSD_MYSQL_PASSWORD?",
				"CHORUSD_SERVICE_HOST: no such setting; unset it",
			},
		},
		{
			name:    "variable far from any",
			environ: []string{"CHORUSD_X=1"},
			want:    []string{"CHORUSD_X: no such setting; unset it"},
		},
		{
			name:    "tables",
			environ: []string{"CHORUSD_TABLES_TODOS_FIELDS=id"},
			want:    []string{"CHORUSD_TABLES_TODOS_FIELDS: tables are set in the file alone; move it there and unset the variable"},
		},
		{
			name:    "unreadable file",
			environ: []string{"CHORUSD_MYSQL_PASSWORD_FILE=" + absent},
			want:    []string{`CHORUSD_MYSQL_PASSWORD_FILE: cannot read "` + absent + `": no such file or directory; let it name a file that chorusd may read`},
		},
		{
			name:    "value and file",
			environ: []string{"CHORUSD_MYSQL_PASSWORD=x", "CHORUSD_MYSQL_PASSWORD_FILE=" + set},
			want:    []string{"CHORUSD_MYSQL_PASSWORD_FILE: CHORUSD_MYSQL_PASSWORD is set too; unset one of the two"},
		},
		{
			name:    "misspelt variable of a file",
			environ: []string{"CHORUSD_PUSHER_SECRT_FILE=" + set},
			want:    []string{"CHORUSD_PUSHER_SECRT_FILE: no such setting; did you mean CHORUSD_PUSHER_SECRET?"},
		},
		{
			name:    "texts that do not fit",
			environ: []string{"CHORUSD_PUSHER_CONCURRENCY=many", "CHORUSD_REDIS_DB=", "CHORUSD_PUSHER_TLS=yes", "CHORUSD_MYSQL_SERVER_ID=4294967296"},
			args:    []string{"--pusher.timeout=5", "--channels.window=1e6"},
			want: []string{
				"CHORUSD_MYSQL_SERVER_ID: mysql.server_id is outside of 0 to 4294967295; the default is 0",
				`CHORUSD_PUSHER_CONCURRENCY: pusher.concurrency is "many", not a whole number; the default is 8`,
				`CHORUSD_PUSHER_TLS: pusher.tls is "yes", not true or false; the default is false`,
				`CHORUSD_REDIS_DB: redis.db is "", not a whole number; the default is 0`,
				`--channels.window: channels.window is "1e6", not a whole number; the default is 100000`,
				`--pusher.timeout: pusher.timeout is "5", not a duration such as "5s" or "250ms"; the default is "5s"`,
			},
		},
		{
			name:    "impossible values, named where they were given",
			environ: []string{"CHORUSD_MYSQL_START=latest"},
			args:    []string{"--channels.lease=1s", "--state_dir=relative"},
			want: []string{
				`CHORUSD_MYSQL_START: mysql.start is "latest"; write "now", "earliest", a time such as "2026-03-29T08:00:00+02:00", a position such as "mysql-bin.000042:1337", or a set of GTIDs, such as "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77" of MySQL or "0-1-77" of MariaDB`,
				`--channels.lease: channels.lease is "1s", less than two polls (channels.poll_interval is "5s"), so one late poll would end it; write "10s" or more`,
				`--state_dir: state_dir is "relative", which depends on where chorusd is started; write the path from / on`,
			},
		},
		{
			name:    "one Redis and several",
			environ: []string{"CHORUSD_REDIS_CLUSTER=a:1,b", "CHORUSD_REDIS_ADDR=c:1"},
			args:    []string{"--redis.db=2", "--redis.sentinel_master=app", "--redis.on_lost_state=go"},
			want: []string{
				"CHORUSD_REDIS_ADDR: redis.addr is set, and redis.cluster too; keep addr for one server, or cluster",
				`CHORUSD_REDIS_CLUSTER: redis.cluster "b" is not host:port; write for example cluster = ["127.0.0.1:6379"]`,
				"--redis.db: redis.db is 2, but a Redis Cluster has no database but 0; write db = 0, and give each app a prefix of its own",
				`--redis.on_lost_state: redis.on_lost_state is "go"; write stop or reload`,
				`--redis.sentinel_master: redis.sentinel_master is set, but redis.sentinels is empty; write their addresses, for example sentinels = ["127.0.0.1:26379"]`,
			},
		},
		{
			name:    "no file, and the environment is still looked at",
			path:    absent,
			environ: []string{"CHORUSD_X=1"},
			want: []string{
				absent + ": cannot be read: no such file or directory; name the file with --config, config.toml.example is one to start from",
				"CHORUSD_X: no such setting; unset it",
			},
		},
		{
			name:    "no home",
			environ: []string{"HOME="},
			want:    []string{path + ": state_dir is not set, and the environment has no STATE_DIRECTORY, XDG_STATE_HOME or HOME; write state_dir above the first section, or set CHORUSD_STATE_DIR"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			from := path
			if tc.path != "" {
				from = tc.path
			}
			_, err := loadConfig(from, append(append([]string(nil), home...), tc.environ...), parseFlags(t, tc.args...))
			if err == nil {
				t.Fatal("loaded without an error")
			}
			if got, want := err.Error(), strings.Join(tc.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestDefaultStateDir(t *testing.T) {
	for _, tc := range []struct {
		environ []string
		want    string
	}{
		{[]string{"HOME=/home/a", "XDG_STATE_HOME=/state", "STATE_DIRECTORY=/var/lib/chorusd"}, "/var/lib/chorusd"},
		{[]string{"STATE_DIRECTORY=/var/lib/chorusd:/var/lib/other"}, "/var/lib/chorusd"},
		{[]string{"HOME=/home/a", "XDG_STATE_HOME=/state"}, "/state/chorusd"},
		{[]string{"HOME=/home/a", "XDG_STATE_HOME=state"}, "/home/a/.local/state/chorusd"},
		{[]string{"HOME=relative"}, ""},
		{nil, ""},
	} {
		if got := defaultStateDir(tc.environ); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.environ, got, tc.want)
		}
	}
}

func TestConfigAt(t *testing.T) {
	path := writeConfig(t, minimal)
	cfg, err := loadConfig(path, append(home, "CHORUSD_MYSQL_USER=x"), parseFlags(t, "--log.level=debug"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"mysql.database":      path + ":3",
		"mysql.user":          "CHORUSD_MYSQL_USER",
		"mysql.addr":          path + ":2",
		"log.level":           "--log.level",
		"redis.addr":          path,
		"tables.todos.fields": path + ":9",
		"tables.todos.key":    path + ":8",
	} {
		if got := cfg.at(key).String(); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const password = "hunter2"
	cfg := defaultConfig()
	cfg.MySQL.Password, cfg.Redis.Password, cfg.Pusher.Secret, cfg.Pusher.EncryptionKey = password, password, password, password
	cfg.Redis.SentinelPassword = password

	var printed strings.Builder
	for _, verb := range []string{"v", "+v", "#v", "s", "q", "x", "X", "d", "T"} {
		fmt.Fprintf(&printed, "%"+verb+"\n", cfg.MySQL.Password)
		fmt.Fprintf(&printed, "%"+verb+"\n", cfg)
		fmt.Fprintf(&printed, "%"+verb+"\n", &cfg.MySQL)
		fmt.Fprintf(&printed, "%"+verb+"\n", []Secret{password})
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
		slog.New(handler).Info("config", "config", cfg, "mysql", cfg.MySQL, "password", cfg.MySQL.Password)
	}
	encoded, err := json.Marshal(map[string]any{"config": cfg, "password": cfg.MySQL.Password})
	if err != nil {
		t.Fatal(err)
	}
	printed.Write(encoded)
	printed.WriteString(fmt.Errorf("error: %v", cfg.MySQL).Error())

	got := printed.String()
	for _, leak := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%X", password), fmt.Sprintf("%d", []byte(password))} {
		if strings.Contains(got, leak) {
			t.Errorf("%q is in the output:\n%s", leak, got)
		}
	}
	if !strings.Contains(got, redacted) {
		t.Errorf("%q is not in the output:\n%s", redacted, got)
	}
	if got := Secret("").String(); got != "" {
		t.Errorf("an unset secret: got %q, want nothing", got)
	}
}

// A problem must not tell the secret that it is about.
func TestProblemsDoNotTellSecrets(t *testing.T) {
	const digits = "8351947"
	path := writeConfig(t, strings.Replace(minimal, `secret = "s"`, "secret = "+digits, 1)+"[redis]\npassword = ["+digits+"]\n")
	_, err := loadConfig(path, home, nil)
	if err == nil || strings.Contains(err.Error(), digits) {
		t.Errorf("got %v", err)
	}
}

func TestFlags(t *testing.T) {
	flags := parseFlags(t)
	for _, key := range configKeys() {
		flag := flags.Lookup(key.name)
		switch {
		case key.secret() && flag != nil:
			t.Errorf("%s: a secret has a flag", key.name)
		case !key.secret() && flag == nil:
			t.Errorf("%s: no flag", key.name)
		case flag != nil && flag.Usage == "":
			t.Errorf("%s: no usage text", key.name)
		}
		if strings.HasSuffix(key.variable(), "_FILE") {
			t.Errorf("%s: looks like the file of another variable", key.variable())
		}
	}
	usage := flags.FlagUsages()
	for _, want := range []string{`--mysql.addr string`, `(default "127.0.0.1:3306")`, `--channels.lease duration`, `(default 15s)`} {
		if !strings.Contains(usage, want) {
			t.Errorf("no %s in\n%s", want, usage)
		}
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"addr", "user", "password", "database", "db"}
	for name, want := range map[string]string{
		"adr": "addr", "address": "addr", "dtabaase": "database", "addrs": "addr", "pasword": "password", "pass": "password",
		"username": "user", "databse": "database", "xyz": "", "d": "db",
	} {
		if got, _ := nearest(name, candidates); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func FuzzLoadConfig(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.toml", "../../config.toml.example"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	path := filepath.Join(f.TempDir(), "config.toml")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := loadConfig(path, home, nil)
		if err == nil {
			return
		}
		found, ok := errors.AsType[problems](err)
		if !ok {
			t.Fatalf("not a list of problems: %v", err)
		}
		for _, p := range found {
			if line := p.String(); !strings.HasPrefix(line, path) || strings.ContainsAny(line, "\n\r") {
				t.Errorf("not one line that begins with the place: %q", line)
			}
			if p.at.line > bytes.Count(content, []byte("\n"))+1 {
				t.Errorf("beyond the end of the file: %s", p)
			}
		}
	})
}
