package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/pflag"
)

// flagUsage is the usage text of each key's flag. Secrets have no flag, since
// flags show in the list of processes.
var flagUsage = map[string]string{
	"state_dir":                 "folder of the first-run marker and of large transactions",
	"mysql.addr":                "MySQL or MariaDB: host:port, or the path of a Unix socket",
	"mysql.user":                "database user",
	"mysql.table_prefix":        "start of the tables' names in the database, Laravel's DB_PREFIX",
	"mysql.database":            "database that holds the mapped tables (required)",
	"mysql.tls":                 "encryption: disabled, required, verify_ca or verify_identity",
	"mysql.tls_ca":              "PEM file of the authorities to trust; empty: the machine's",
	"mysql.tls_cert":            "PEM file of the client certificate, if the user must show one",
	"mysql.tls_key":             "PEM file of its private key",
	"mysql.tls_server_name":     "name in the server's certificate, if not the host of mysql.addr",
	"mysql.timezone":            "zone of DATETIME columns, Laravel's app.timezone",
	"mysql.start":               "where a first run begins: now, earliest, a time, file:offset or GTIDs",
	"mysql.on_lost_position":    "if the binlog does not go on from the checkpoint: stop, or reload clients and go on",
	"mysql.server_id":           "replica id shown to the server; 0: random, kept in Redis",
	"redis.addr":                "Redis: host:port, or the path of a Unix socket",
	"redis.cluster":             "nodes of a Redis Cluster, in place of redis.addr: host:port,host:port",
	"redis.sentinels":           "Sentinels that know the Redis, in place of redis.addr: host:port,host:port",
	"redis.sentinel_master":     "what the Sentinels call it",
	"redis.sentinel_username":   "ACL user of the Sentinels; empty: the default user",
	"redis.username":            "Redis ACL user; empty: the default user",
	"redis.tls":                 "encryption: disabled, required, verify_ca or verify_identity",
	"redis.tls_ca":              "PEM file of the authorities to trust; empty: the machine's",
	"redis.tls_cert":            "PEM file of the client certificate, if the server demands one",
	"redis.tls_key":             "PEM file of its private key",
	"redis.tls_server_name":     "name in the server's certificate, if not the host of redis.addr",
	"redis.db":                  "Redis database number",
	"redis.prefix":              "name in every Redis key",
	"redis.on_lost_state":       "if Redis has lost what was kept there: stop, or reload clients and go on",
	"pusher.server":             "kind of Pusher-compatible server: auto, reverb, soketi, sockudo or pusher",
	"pusher.host":               "Pusher-compatible server: host:port",
	"pusher.tls":                "speak HTTPS to the Pusher-compatible server",
	"pusher.app_id":             "application id (required)",
	"pusher.key":                "application key (required)",
	"pusher.timeout":            "longest time that one publish request may take",
	"pusher.concurrency":        "publish requests in flight",
	"pusher.max_channels":       "most channels of one event; 0: the server kind's own limit",
	"pusher.max_batch":          "most events of one request; 0: the server kind's own limit",
	"pusher.max_data_bytes":     "largest data of one event; 0: the server kind's own limit",
	"pusher.max_request_bytes":  "largest publish request; 0: the server kind's own limit",
	"channels.user":             "template of a user's channel, without private-",
	"channels.poll_interval":    "how often the occupied channels are asked for",
	"channels.lease":            "how long a channel stays active after it was last seen",
	"channels.window":           "most keys kept for channels that may just have been opened",
	"channels.revocations":      "how clients are told that a scope is lost: rows or message",
	"laravel.authorize_url":     "URL of the app's callback for policies",
	"laravel.allow_http":        "let it be http to another machine",
	"laravel.timeout":           "longest time that one question may take",
	"laravel.cache_ttl":         "how long an answer holds for a version of a row",
	"laravel.concurrency":       "questions in flight",
	"laravel.max_request_bytes": "largest question",
	"webhooks.listen":           "address for the Pusher server's webhooks; empty: off",
	"webhooks.path":             "URL path of the webhooks",
	"admin.listen":              "address of /healthz /readyz /metrics /status; empty: off",
	"admin.pprof":               "serve profiles of the process at /debug/pprof/ there, too",
	"tracing.endpoint":          "URL of an OpenTelemetry receiver, OTLP over HTTP; empty: off",
	"tracing.sample_ratio":      "how many of the transactions are traced, up to 1",
	"log.level":                 "least level logged: debug, info, warn or error",
	"log.format":                "form of the log: text or json",
}

// bindFlags adds a flag for each setting but the secrets. The texts are
// read by loadConfig, so that a bad one is reported along with everything else.
func bindFlags(flags *pflag.FlagSet) {
	for _, key := range configKeys() {
		if key.secret() {
			continue
		}
		value := &textFlag{typ: key.typ, text: strings.Trim(fmt.Sprint(key.def), "[]")}
		flag := flags.VarPF(value, key.name, "", flagUsage[key.name])
		if key.typ.Kind() == reflect.Bool {
			flag.NoOptDefVal = "true"
		}
	}
}

// textFlag is a pflag.Value that keeps its text unread.
type textFlag struct {
	typ  reflect.Type
	text string
}

func (f *textFlag) String() string { return f.text }

func (f *textFlag) Set(text string) error {
	f.text = text
	return nil
}

func (f *textFlag) Type() string {
	switch {
	case f.typ == durationType:
		return "duration"
	case f.typ.Kind() == reflect.Slice:
		return "list"
	}
	return f.typ.Kind().String()
}
