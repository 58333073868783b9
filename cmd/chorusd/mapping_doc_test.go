package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// Each TOML block of docs/MAPPING.md is a configuration that loads, that fits
// the tables of testdata/mapping.sql, and of which nothing leaks.
func TestMappingsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/MAPPING.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^#+ ([^\n]+)$|^```toml\n(.*?)^```$").FindAllStringSubmatch(string(doc), -1)
	sql, err := os.ReadFile("testdata/mapping.sql")
	if err != nil {
		t.Fatal(err)
	}
	db := servicestest.NewDatabase(t, services.MySQL)
	names := strings.NewReplacer("app_archive", db.Name+"_archive", "tenant_a.", db.Name+"_tenant_a.", "tenant_%", db.Name+"_tenant_%")
	for _, other := range []string{"_archive", "_tenant_a"} {
		db.MustExec(t, "CREATE DATABASE "+db.Name+other)
		t.Cleanup(func() { _, _ = db.Exec("DROP DATABASE IF EXISTS " + db.Name + other) })
	}
	for statement := range strings.SplitSeq(names.Replace(string(sql)), ";\n") {
		if strings.TrimSpace(statement) != "" {
			db.MustExec(t, statement)
		}
	}

	heading, count := "", 0
	for _, block := range blocks {
		if block[1] != "" {
			heading = block[1]
			continue
		}
		count++
		t.Run(heading, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.toml")
			content := names.Replace(block[2])
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := loadConfig(file, append(home, "CHORUSD_MYSQL_DATABASE="+db.Name, "CHORUSD_PUSHER_APP_ID=a",
				"CHORUSD_PUSHER_KEY=k", "CHORUSD_PUSHER_SECRET=s"), nil)
			if err != nil {
				t.Fatal(err)
			}
			m, wrong := mapping.New(cfg.mapping(), db.Name, time.UTC)
			report := binlog.Check(t.Context(), binlog.Config{Addr: db.Server.Addr, User: "root", Password: func() string { return "" }, Location: time.UTC, Logger: slog.New(slog.DiscardHandler)}, m.Sources(), m.Patterns()...)
			for _, p := range report.Problems {
				t.Error(p)
			}
			certain, warnings := m.Leaks(report.Tables, report.Indexes)
			for _, p := range slices.Concat(wrong, m.Check(report.Tables), certain, warnings) {
				t.Errorf("%s.%s: %s", p.Table, p.Option, p.Text)
			}
		})
	}
	if count < 20 {
		t.Errorf("%d blocks of TOML", count)
	}
}
