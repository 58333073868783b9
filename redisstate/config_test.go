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
			`redis.prefix: is empty, so chorusd's keys could meet others; write for example prefix = "chorusd:"`,
		}},
		{"brace", Config{Addr: DefaultAddr, Prefix: "a{b}:"}, []string{
			`redis.prefix: "a{b}:" contains a space, a control character or a brace; write for example prefix = "chorusd:"`,
		}},
		{"space", Config{Addr: DefaultAddr, Prefix: "a b"}, []string{
			`redis.prefix: "a b" contains a space, a control character or a brace; write for example prefix = "chorusd:"`,
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
	c := Config{Addr: DefaultAddr, Username: "chorusd", Password: always(secret), Prefix: DefaultPrefix}
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
