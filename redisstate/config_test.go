package redisstate

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		config Config
		want   []string
	}{
		{"default", Config{Addr: DefaultAddr, Prefix: DefaultPrefix}, nil},
		{"socket", Config{Addr: "/run/redis/redis.sock", Prefix: "a:"}, nil},
		{"IPv6", Config{Addr: "[::1]:6379", Prefix: "a:"}, nil},
		{"no port", Config{Addr: "localhost", Prefix: "a:"}, []string{
			`redis.addr: "localhost" is neither host:port nor the path of a Unix socket; write for example addr = "127.0.0.1:6379"`,
		}},
		{"bad port", Config{Addr: "localhost:redis", Prefix: "a:"}, []string{
			`redis.addr: "localhost:redis" is neither host:port nor the path of a Unix socket; write for example addr = "127.0.0.1:6379"`,
		}},
		{"all at once", Config{DB: -1}, []string{
			`redis.addr: "" is neither host:port nor the path of a Unix socket; write for example addr = "127.0.0.1:6379"`,
			`redis.db: -1 is negative; Redis numbers its databases from 0, so write db = 0`,
			`redis.prefix: is empty, so chorusd's keys could meet others; write for example prefix = "chorusd"`,
		}},
		{"brace", Config{Addr: DefaultAddr, Prefix: "a{b}:"}, []string{
			`redis.prefix: "a{b}:" contains a space, a control character or a brace; write for example prefix = "chorusd"`,
		}},
		{"cluster", Config{Cluster: []string{"a:1", "b:2"}, Addr: "not looked at", Prefix: "a"}, nil},
		{"sentinels", Config{Sentinels: []string{"a:1"}, Master: "app", DB: 2, Prefix: "a"}, nil},
		{"cluster with a database", Config{Cluster: []string{"a:1"}, DB: 2, Prefix: "a"}, []string{
			`redis.db: is 2, but a Redis Cluster has no database but 0; write db = 0, and give each app a prefix of its own`,
		}},
		{"sentinels without a name", Config{Sentinels: []string{"a", "b:x"}, Prefix: "a"}, []string{
			`redis.sentinels: "a" is not host:port; write for example sentinels = ["127.0.0.1:26379"]`,
			`redis.sentinels: "b:x" is not host:port; write for example sentinels = ["127.0.0.1:26379"]`,
			`redis.sentinel_master: is missing; write the name by which the Sentinels know the primary, for example sentinel_master = "mymaster"`,
		}},
		{"a name without sentinels", Config{Addr: DefaultAddr, Master: "app", Prefix: "a"}, []string{
			`redis.sentinel_master: is set, but redis.sentinels is empty; write their addresses, for example sentinels = ["127.0.0.1:26379"]`,
		}},
		{"both", Config{Cluster: []string{"a:1"}, Sentinels: []string{"/run/redis.sock"}, Master: "app", Prefix: "a"}, []string{
			`redis.sentinels: "/run/redis.sock" is not host:port; write for example sentinels = ["127.0.0.1:26379"]`,
			`redis.sentinels: is set, and redis.cluster too; keep cluster for a Redis Cluster, which has no Sentinels, or sentinels for the others`,
		}},
		{"space", Config{Addr: DefaultAddr, Prefix: "a b"}, []string{
			`redis.prefix: "a b" contains a space, a control character or a brace; write for example prefix = "chorusd"`,
		}},
	} {
		var got []string
		for _, err := range test.config.Validate() {
			got = append(got, err.Error())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

func TestPasswordIsNeverPrinted(t *testing.T) {
	const secret = "hunter2"
	c := Config{Addr: DefaultAddr, Username: "chorusd", Password: always(secret), SentinelPassword: always(secret), Prefix: DefaultPrefix}
	var log lines
	textLogger(&log).Info("config", "redis", c, "whole", struct{ Redis Config }{c})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "redis", c, "whole", struct{ Redis Config }{c})
	asJSON, err := json.Marshal(c)
	must(t, err)
	for _, text := range []string{
		fmt.Sprint(c), fmt.Sprintf("%+v %#v %s %q", c, c, c, c), fmt.Sprintf("%+v", &c),
		fmt.Sprintf("%+v", struct{ Redis Config }{c}), log.String(), string(asJSON),
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the password is in %s", text)
		}
	}
	if text := fmt.Sprint(c); !strings.Contains(text, "***") {
		t.Errorf("no sign of a password in %s", text)
	}
	if text := fmt.Sprint(Config{Addr: DefaultAddr, Prefix: DefaultPrefix}); strings.Contains(text, "***") {
		t.Errorf("a password is suggested in %s", text)
	}
}
