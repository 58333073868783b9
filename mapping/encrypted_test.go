package mapping_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// TestEncryptedChannels: all channels are encrypted ones, users' and shared
// ones, those of tenants too, and no others are known.
func TestEncryptedChannels(t *testing.T) {
	cfg := mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{
		"todos": with(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf("user:{user_id}", "channel:team.{title}") }),
		"tasks": perTenant(),
	}}
	names := func(m *mapping.Mapper) (list []string, unroutable int) {
		todos := tableOf("todos", "id", "user_id", "title")
		for _, row := range []*binlog.Row{row(todos, "1", "7", "tea"), row(todos, "2", "7", "a.b"), row(tenantTable("tenant_a"), "1", "7", "3", "x")} {
			lost, err := routeToNobody(m, &binlog.Change{Kind: binlog.Insert, After: row}, func(h *mapping.Harmonic) error {
				list = append(append(list, h.Absent...), h.Shared...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			unroutable += lost
		}
		slices.Sort(list)
		return slices.Compact(list), unroutable
	}
	plain := mapperOf(t, cfg)
	want, wantLost := names(plain)
	if wantLost != 1 || !slices.Contains(want, "private-team.tea") || !slices.Contains(want, "private-chorus.a.user.7") {
		t.Fatal(want, wantLost)
	}
	heads := slices.Clone(plain.ChannelPrefixes())
	for _, list := range [][]string{want, heads} {
		for i, name := range list {
			list[i] = strings.Replace(name, "private-", "private-encrypted-", 1)
		}
	}

	cfg.Encrypted = true
	m := mapperOf(t, cfg)
	if got, lost := names(m); !slices.Equal(got, want) || lost != wantLost {
		t.Errorf("the channels are %q, %d unroutable; want %q, %d", got, lost, want, wantLost)
	}
	if got := m.ChannelPrefixes(); !slices.Equal(got, heads) {
		t.Errorf("channels start with %q, want %q", got, heads)
	}
	u, err := m.NewUser("7", nil)
	if err != nil {
		t.Fatal(err)
	}
	const channel = "private-encrypted-chorus.user.7"
	if _, _, ok := m.UserOf("private-chorus.user.7"); ok {
		t.Error("a channel that is not encrypted is a user's")
	}
	template, key, ok := m.UserOf(channel)
	if name, named := m.Channel(template, u); !ok || key != "7" || !named || name != channel {
		t.Errorf("%s is %q's, who has %q", channel, key, name)
	}
	for _, name := range want {
		if !m.Reaches("", name) || m.Reaches("", strings.Replace(name, "private-encrypted-", "private-", 1)) {
			t.Errorf("%s is not reached, or what is like it and not encrypted", name)
		}
	}
	if !m.Reaches("todos", channel) || m.Reaches("tasks@tenant_a", channel) {
		t.Error("a table reaches other channels than its own")
	}
}

// TestNoEncryptedChannelsWithoutAKey: no rule and no value makes one.
func TestNoEncryptedChannelsWithoutAKey(t *testing.T) {
	leaveOut := `leave "encrypted-" out: with pusher.encryption_key it is put before every channel, and without it before none`
	for _, encrypted := range []bool{false, true} {
		got := problems(mapping.Config{Encrypted: encrypted, UserChannel: "encrypted-chorus.user.{id}", Tables: map[string]mapping.Table{
			"todos": with(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf("channel:encrypted-team.{title}") }),
		}})
		want := []string{
			`channels.user: user channel "encrypted-chorus.user.{id}": ` + leaveOut,
			`todos.visible_to: "channel:encrypted-team.{title}": ` + leaveOut,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	m := newMapper(t, "todos", mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("channel:{title}")})
	if m.Reaches("", "private-encrypted-tea") || !m.Reaches("", "private-tea") {
		t.Error("a message for everybody reaches encrypted channels, or does not reach others")
	}
}
