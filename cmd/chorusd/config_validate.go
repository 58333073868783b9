package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // mysql.timezone must be known in images without zone files, too

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/pusher"
)

// validate looks at the values that the layers gave together. What only a
// server or the mapping can tell is not its business.
func (l *loader) validate(cfg Config) {
	l.check("state_dir", stateDirProblem(cfg.StateDir))
	l.check("mysql.addr", mysqlAddrProblem(cfg.MySQL.Addr))
	l.check("mysql.user", missing(cfg.MySQL.User))
	l.check("mysql.database", missing(cfg.MySQL.Database))
	l.adopt(cfg.MySQL.TLS.of("mysql", cfg.MySQL.Addr).Validate())
	l.check("mysql.timezone", zoneProblem(cfg.MySQL.Timezone))
	l.check("mysql.on_lost_position", choiceProblem(cfg.MySQL.OnLostPosition, onLostStop, onLostReload))
	l.check("mysql.start", startProblem(cfg.MySQL.Start))

	l.adopt(cfg.Redis.store().Validate())
	l.adopt(cfg.Redis.TLS.of("redis", cfg.Redis.servers()[0]).Validate())
	l.check("redis.on_lost_state", choiceProblem(cfg.Redis.OnLostState, onLostStop, onLostReload))
	if l.origins.has("redis.addr") {
		l.check("redis.addr", addrBesideProblem(cfg.Redis))
	}
	l.adopt(cfg.Pusher.Validate())

	l.check("channels.user", userChannelProblem(cfg.Channels.User))
	l.check("channels.poll_interval", positiveProblem(cfg.Channels.PollInterval))
	l.check("channels.window", belowProblem(cfg.Channels.Window, 1))
	l.check("channels.revocations", choiceProblem(cfg.Channels.Revocations, revocationsRows, revocationsMessage))
	if !l.refused["channels.poll_interval"] {
		l.check("channels.lease", leaseProblem(cfg.Channels.Lease, cfg.Channels.PollInterval))
	}

	if cfg.Laravel.AuthorizeURL != "" || cfg.asksLaravel() {
		l.adopt(cfg.Laravel.policies(func() string { return string(cfg.Laravel.Secret) }).Validate())
	}

	l.check("webhooks.listen", listenProblem(cfg.Webhooks.Listen, "127.0.0.1:8081"))
	l.check("webhooks.path", pathProblem(cfg.Webhooks.Path))
	l.check("admin.listen", listenProblem(cfg.Admin.Listen, "127.0.0.1:9187"))
	if cfg.Webhooks.Listen == cfg.Admin.Listen && !strings.HasSuffix(cfg.Admin.Listen, ":0") && cfg.Admin.Listen != "" {
		l.check("webhooks.listen", fmt.Errorf("is admin.listen's %q too; give it a port of its own", cfg.Admin.Listen))
	}

	l.check("tracing.endpoint", endpointProblem(cfg.Tracing.Endpoint))
	l.check("tracing.sample_ratio", ratioProblem(cfg.Tracing.SampleRatio))

	l.check("log.level", choiceProblem(cfg.Log.Level, "debug", "info", "warn", "error"))
	l.check("log.format", choiceProblem(cfg.Log.Format, "text", "json"))
	l.validateTables(cfg)
}

// validateTables checks that something is mapped. Whether the templates and
// columns make sense is for the package mapping and the database to say.
func (l *loader) validateTables(cfg Config) {
	if len(cfg.Tables) == 0 {
		l.check(tablesKey, errors.New("is empty, so there is nothing to publish; add a section [tables.NAME] with fields and visible_to"))
		return
	}
	for _, name := range sortedKeys(cfg.Tables) {
		table := cfg.Tables[name]
		if name == "" {
			l.check(joinKey(tablesKey, name), errors.New("has no name; name it as clients do, for example [tables.todos]"))
		}
		if len(table.Fields) == 0 {
			l.check(joinKey(tablesKey, name, "fields"), errors.New(`is missing; list the columns that clients get, for example fields = ["id", "title"]`))
		}
		if len(table.VisibleTo) == 0 {
			l.check(joinKey(tablesKey, name, "visible_to"), errors.New(`is missing; say who may see a row, for example visible_to = ["user:{user_id}"]`))
		}
	}
}

// adopt reports what a package finds wrong with its section, with the place
// that each key was set at. Such an error names its key, by its type or as the
// start of its text, "redis.db: …".
func (l *loader) adopt(errs []error) {
	for _, err := range errs {
		if wrong, ok := errors.AsType[*pusher.ConfigError](err); ok {
			l.check(wrong.Key, fmt.Errorf("%s; %s", wrong.Problem, wrong.Mend))
		} else if key, wrong, ok := strings.Cut(err.Error(), ": "); ok {
			l.check(key, errors.New(wrong))
		} else {
			l.problems.add(l.origins.at(""), "%v", err)
		}
	}
}

// errMissing is what check completes with the ways to set the key.
var errMissing = errors.New("is missing")

// check reports what is wrong with a key's value, unless the key was refused
// before. The text follows the key: "is missing; …".
func (l *loader) check(key string, wrong error) {
	if wrong == nil || l.refused[key] {
		return
	}
	text := wrong.Error()
	if errors.Is(wrong, errMissing) {
		text += "; " + l.howToSet(key)
	}
	l.refuse(key, l.origins.at(key), "%s %s", key, text)
}

func (l *loader) howToSet(name string) string {
	key, _ := l.key(name)
	section, _ := splitKey(name)
	return fmt.Sprintf("write %s under [%s], or set %s", key.example(), section, key.variable())
}

// The functions below return what is wrong with a value and how to mend it,
// or nil.

func missing(value string) error {
	if value == "" {
		return errMissing
	}
	return nil
}

func choiceProblem(value string, choices ...string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	mend := "write " + strings.Join(choices[:len(choices)-1], ", ") + " or " + choices[len(choices)-1]
	if near, ok := nearest(strings.ToLower(value), choices); ok {
		mend = fmt.Sprintf("did you mean %q?", near)
	}
	return fmt.Errorf("is %q; %s", value, mend)
}

func belowProblem(value, least int) error {
	if value < least {
		return fmt.Errorf("is %d; write %d or more", value, least)
	}
	return nil
}

func positiveProblem(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf(`is %q; write a time above zero, such as "5s"`, shortDuration(d))
	}
	return nil
}

func stateDirProblem(dir string) error {
	switch {
	case dir == "":
		return errors.New("is not set, and the environment has no STATE_DIRECTORY, XDG_STATE_HOME or HOME; write state_dir above the first section, or set CHORUSD_STATE_DIR")
	case !filepath.IsAbs(dir):
		return fmt.Errorf("is %q, which depends on where chorusd is started; write the path from / on", dir)
	}
	return nil
}

func mysqlAddrProblem(addr string) error {
	if strings.HasPrefix(addr, "/") {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	n, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || host == "":
		return fmt.Errorf(`is %q; write host:port, such as "127.0.0.1:3306", or the path of a Unix socket from / on`, addr)
	case portErr != nil || n == 0:
		return fmt.Errorf(`is %q, whose port is not a number from 1 to 65535; write for example "127.0.0.1:3306"`, addr)
	}
	return nil
}

// addrBesideProblem is for an address of one Redis that was given.
func addrBesideProblem(c redisConfig) error {
	switch {
	case len(c.Cluster) > 0:
		return errors.New("is set, and redis.cluster too; keep addr for one server, or cluster")
	case len(c.Sentinels) > 0:
		return errors.New("is set, and redis.sentinels too; keep addr for one server, or sentinels, which name it")
	}
	return nil
}

// listenProblem checks an address to listen on: empty is off, port 0 takes a
// free one, and without a host it is every interface.
func listenProblem(addr, example string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf(`is %q; write host:port, such as %q, or "" for off`, addr, example)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("is %q, whose port is not a number from 0 to 65535; write for example %q", addr, example)
	}
	return nil
}

func startProblem(text string) error {
	_, err := binlog.ParseStart(text)
	return err
}

func zoneProblem(name string) error {
	// "" and "Local" mean UTC and this machine's zone to Go: too easily
	// written by accident for a setting that decides what a time means.
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return fmt.Errorf(`is %q, which is no time zone; write what config/app.php has as timezone, such as "UTC" or "Europe/Rome"`, name)
	}
	return nil
}

func userChannelProblem(template string) error {
	switch {
	case !strings.Contains(template, "{id}"):
		return fmt.Errorf(`is %q, the same channel for every user; write {id} where the user's key belongs, such as "chorus.user.{id}"`, template)
	case strings.HasPrefix(template, "private-"):
		return fmt.Errorf(`is %q; leave "private-" out, it is put before every channel`, template)
	}
	return nil
}

func leaseProblem(lease, poll time.Duration) error {
	if lease/2 < poll {
		return fmt.Errorf("is %q, less than two polls (channels.poll_interval is %q), so one late poll would end it; write %q or more",
			shortDuration(lease), shortDuration(poll), shortDuration(2*poll))
	}
	return nil
}

func endpointProblem(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New(`is no URL; write where OTLP is received over HTTP, such as "http://127.0.0.1:4318"`)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("has more in it than a host and a path; what the receiver wants beside goes to the variable OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

func ratioProblem(ratio float64) error {
	if ratio > 0 && ratio <= 1 {
		return nil
	}
	return fmt.Errorf("is %v; write a number above 0, such as 0.01, and at most 1", ratio)
}

func pathProblem(path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " ?#") {
		return fmt.Errorf(`is %q; write a path from / on, such as "/webhooks"`, path)
	}
	return nil
}
