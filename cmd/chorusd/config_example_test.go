package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/mapping"
)

const exampleFile = "../../config.toml.example"

// requiredKeys have no default that works, and so stand in the example as
// lines to be filled in. The secret is required too, but does not belong there.
var requiredKeys = []string{"mysql.database", "pusher.app_id", "pusher.key"}

func TestExampleLoads(t *testing.T) {
	cfg, err := loadConfig(exampleFile, append(home, "CHORUSD_PUSHER_SECRET=s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Tables) < 2 {
		t.Errorf("got %d tables, want an example of each preset", len(cfg.Tables))
	}
	// Apart from what is required it is the defaults, so that it can be copied.
	want := defaultConfig()
	want.StateDir, want.rules, want.origins = cfg.StateDir, cfg.rules, cfg.origins
	want.MySQL.Database, want.Pusher.AppID, want.Pusher.Key, want.Pusher.Secret = cfg.MySQL.Database, cfg.Pusher.AppID, cfg.Pusher.Key, "s"
	wanted := walkConfig(want)
	for i, got := range walkConfig(cfg) {
		if !reflect.DeepEqual(got.def, wanted[i].def) {
			t.Errorf("%s: got %v, want %v", got.name, got.def, wanted[i].def)
		}
	}
}

// TestExampleShowsEveryDefault reads the lines of the example, commented or
// not, and holds them against Config.
func TestExampleShowsEveryDefault(t *testing.T) {
	content, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	sectionLine := regexp.MustCompile(`^\[([a-z_.]+)\]$`)
	keyLine := regexp.MustCompile(`^(# )?([a-z_]+) = (.+)$`)
	shown := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if m := sectionLine.FindStringSubmatch(line); m != nil {
			section = m[1] + "."
		} else if m := keyLine.FindStringSubmatch(line); m != nil {
			shown[section+m[2]] = append(shown[section+m[2]], m[1]+m[3])
		}
	}

	for _, key := range configKeys() {
		lines := shown[key.name]
		switch {
		case len(lines) != 1:
			t.Errorf("%s: stands there %d times, want once", key.name, len(lines))
		case slices.Contains(requiredKeys, key.name):
			if strings.HasPrefix(lines[0], "#") {
				t.Errorf("%s: is required, but a comment", key.name)
			}
		default:
			if got, want := lines[0], "# "+tomlValue(key.def); got != want {
				t.Errorf("%s: got %q, want %q", key.name, got, want)
			}
		}
	}
	for field := range tagged(reflect.TypeFor[mapping.Table]()) {
		if field != "casts" && field != "columns" && shown["tables.todos."+field] == nil && shown["tables.posts."+field] == nil {
			t.Errorf("no table shows %s", field)
		}
	}
}
