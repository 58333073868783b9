package main

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"text/template"
)

// webhooksPath is where chorusd listens for Soketi's webhooks.
const webhooksPath = "/webhooks"

//go:embed config.toml.tmpl
var configText string

var configTemplate = template.Must(template.New("config.toml").
	Funcs(template.FuncMap{"quote": strconv.Quote}).
	Parse(configText))

// settings is what the configuration of the demo's chorusd depends on.
type settings struct {
	MySQL        string // host:port
	MySQLAccount account
	Redis        string // host:port
	Soketi       string // host:port
	AppID        string
	Key, Secret  string
	Webhooks     string // host:port
	Admin        string // host:port
	StateDir     string
}

// Database is the name of the app's database.
func (settings) Database() string { return databaseName }

// WebhooksPath is the path of the webhooks' URL.
func (settings) WebhooksPath() string { return webhooksPath }

// writeConfig writes chorusd's configuration, which holds passwords, for the
// user's eyes only.
func writeConfig(path string, set settings) error {
	var text bytes.Buffer
	if err := configTemplate.Execute(&text, set); err != nil {
		return fmt.Errorf("write chorusd's configuration: %w", err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write chorusd's configuration: %w", err)
	}
	return nil
}

// newSecret returns 128 random bits as hex.
func newSecret() string {
	secret := make([]byte, 16)
	_, _ = rand.Read(secret) // never fails
	return hex.EncodeToString(secret)
}
