package main

import (
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/redisstate"
)

func TestPrintChannels(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	var b strings.Builder
	err := printChannels(&b, []redisstate.Lease{
		{Channel: "private-chorus.user.8", Since: ago(time.Hour), Seen: ago(20 * time.Second), Expires: ago(5 * time.Second), Source: redisstate.SourcePoll},
		{Channel: "private-chorus.user.7", Since: ago(90 * time.Second), Seen: ago(1240 * time.Millisecond), Expires: now.Add(12 * time.Second), Source: redisstate.SourceWebhook},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	want := "CHANNEL\tAGE\tLAST SEEN\tSOURCE\tLEASE\n" +
		"private-chorus.user.7\t1m30s\t1.2s ago\twebhook\tends in 12s\n" +
		"private-chorus.user.8\t1h0m0s\t20s ago\tpoll\tended 5s ago\n" +
		"2 active channels\n"
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPrintDeadLetters(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var b strings.Builder
	err := printDeadLetters(&b, []redisstate.DeadLetter{
		{Table: "todos", Key: "[7]", Channels: []string{"private-a", "private-b"}, Reason: "too large", At: at},
		{Table: "todos", Key: `["x"]`, Many: true, Reason: "422", At: at},
		{Table: "todos", Many: true, At: at},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "AT\tTABLE\tKEY\tCHANNELS\tREASON\n" +
		"2026-11-22T12:00:00Z\ttodos\t[7]\tprivate-a private-b\ttoo large\n" +
		"2026-11-22T12:00:00Z\ttodos\t[\"x\"]\t(many)\t422\n" +
		"2026-11-22T12:00:00Z\ttodos\t(others)\t(many)\t-\n" +
		"3 set aside\n"
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
