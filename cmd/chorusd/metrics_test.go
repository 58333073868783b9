package main

import (
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/policy"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/relay"
)

// served are our metrics as they are served from the start on, by name, with
// their type and labels: "counter table,operation".
func served(t *testing.T) map[string]string {
	t.Helper()
	cfg, err := loadConfig(exampleFile, append(home, "CHORUSD_PUSHER_SECRET=s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	registry, log := newAdmin(t.Context(), adminConfig{}).process, slog.New(slog.DiscardHandler)
	cfg.Pusher.Server = "soketi"
	publisher, err := pusher.New(cfg.Pusher, log, pusher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policies, err := policy.New(policy.Config{
		URL: "https://app.example.com", Secret: func() string { return strings.Repeat("s", 32) }, Timeout: time.Second,
		Concurrency: 1, MaxRequestBytes: policy.DefaultMaxRequestBytes,
	}, log, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	relay.New(relay.Config{}, relay.Parts{
		Publisher: publisher, Lead: new(redisstate.Leadership), Logger: log, Registerer: registry, NewReader: func() relay.Reader { return nil },
		NewMapper: func() *mapping.Mapper {
			m, _ := mapping.New(cfg.mapping(), "app", time.UTC)
			return m
		},
	})
	registerPublisher(registry, publisher)
	registerPolicies(registry, policies)

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, family := range families {
		if name := family.GetName(); strings.HasPrefix(name, "chorusd_") {
			var labels []string
			for _, label := range family.GetMetric()[0].GetLabel() {
				labels = append(labels, label.GetName())
			}
			slices.Sort(labels)
			all[name] = strings.ToLower(family.GetType().String()) + " " + strings.Join(labels, ",")
		}
	}
	return all
}

// TestMetricsOfTheDocumentation: the table has every metric, with its type and
// labels, and no other.
func TestMetricsOfTheDocumentation(t *testing.T) {
	doc, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(chorusd_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*)\\|").FindAllStringSubmatch(string(doc), -1) {
		labels := strings.FieldsFunc(row[3], func(r rune) bool { return strings.ContainsRune(" `,", r) })
		slices.Sort(labels)
		documented[row[1]] = row[2] + " " + strings.Join(labels, ",")
	}
	all := served(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if documented[name] != all[name] {
			t.Errorf("%s is a %q, and in docs/OPERATIONS.md %q", name, all[name], documented[name])
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/OPERATIONS.md has %s, which is not served", name)
	}
	for _, name := range regexp.MustCompile("chorusd_[a-z_]+").FindAllString(string(doc), -1) {
		if all[name] == "" {
			t.Errorf("docs/OPERATIONS.md tells of %s, which is not served", name)
		}
	}
}
