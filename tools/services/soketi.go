package services

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// What npm is to install. Soketi is under the AGPL: it is a tool for
// development, runs in its own process, and is never shipped.
var (
	//go:embed soketi/package.json
	soketiPackage []byte
	//go:embed soketi/package-lock.json
	soketiLock []byte
	//go:embed soketi/.npmrc
	soketiNpmrc []byte
)

// soketiVersion is the version that package.json asks for.
const soketiVersion = "1.6.1"

// soketiFolder is Soketi's folder in the cache: another lock file, another
// folder.
func soketiFolder() string {
	h := sha256.New()
	for _, file := range [][]byte{soketiPackage, soketiLock, soketiNpmrc} {
		h.Write(file)
	}
	return fmt.Sprintf("soketi-%s-%x", soketiVersion, h.Sum(nil)[:4])
}

// installSoketi fills dir.
func installSoketi(ctx context.Context, dir string) error {
	for name, text := range map[string][]byte{
		"package.json":      soketiPackage,
		"package-lock.json": soketiLock,
		".npmrc":            soketiNpmrc,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return fmt.Errorf("write Soketi's package: %w", err)
		}
	}
	if err := run(ctx, "npm", "ci", "--prefix", dir, "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		return fmt.Errorf("install Soketi's packages: %w", err)
	}
	return nil
}

func locateSoketi() (program, error) {
	cache, err := cacheDir()
	if err != nil {
		return program{}, err
	}
	main := filepath.Join(cache, soketiFolder(), "node_modules/@soketi/soketi/bin/server.js")
	if _, err := os.Stat(main); err != nil {
		return program{}, notInstalled(Soketi)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return program{}, fmt.Errorf("find Node: %w", err)
	}
	return program{argv: []string{node, main}}, nil
}

// The app that a Soketi has when its options name none.
const (
	DefaultAppID  = "chorusd"
	DefaultKey    = "chorusd-key"
	DefaultSecret = "chorusd-secret"
)

// SoketiOptions are how a Soketi server starts.
type SoketiOptions struct {
	// AppID, Key and Secret of its one app; DefaultAppID, DefaultKey and
	// DefaultSecret where empty.
	AppID, Key, Secret string
	// Webhooks that it is to call.
	Webhooks []Webhook
	// ClientMessages allows clients to send events.
	ClientMessages bool
	// Settings are further settings by their dotted names, like
	// "eventLimits.maxPayloadInKb": 1000; they win.
	Settings map[string]any
}

// Webhook is a URL that Soketi posts events to.
type Webhook struct {
	URL string `json:"url"`
	// EventTypes are the events wanted, channel_occupied and channel_vacated
	// where empty.
	EventTypes []string `json:"event_types"`
}

// SoketiServer is a Soketi server of one's own.
type SoketiServer struct {
	*Server
	AppID, Key, Secret string
}

// StartSoketi starts a Soketi server. ctx bounds the start only.
func StartSoketi(ctx context.Context, opts SoketiOptions) (*SoketiServer, error) {
	prog, err := locateSoketi()
	if err != nil {
		return nil, err
	}
	if node := nodeVersion(ctx); node != nodeMajor {
		return nil, fmt.Errorf("start %v: it needs Node %d, and the PATH has %s", Soketi, nodeMajor, nodeName(node))
	}
	s, err := newServer(ctx, Soketi)
	if err != nil {
		return nil, err
	}
	soketi := &SoketiServer{
		Server: s,
		AppID:  orDefault(opts.AppID, DefaultAppID),
		Key:    orDefault(opts.Key, DefaultKey),
		Secret: orDefault(opts.Secret, DefaultSecret),
	}
	config := filepath.Join(s.Dir(), "config.json")
	if err := writeJSON(config, soketi.settings(opts)); err != nil {
		return nil, stopAfter(fmt.Errorf("write Soketi's configuration: %w", err), s)
	}
	s.argv = append(prog.argv, "start", "--config="+config)
	s.probe = soketi.get
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return soketi, nil
}

// settings returns Soketi's configuration. Names are dotted because a nested
// object would replace all defaults beside it.
func (s *SoketiServer) settings(opts SoketiOptions) map[string]any {
	webhooks := make([]Webhook, 0, len(opts.Webhooks))
	for _, w := range opts.Webhooks {
		if len(w.EventTypes) == 0 {
			w.EventTypes = []string{"channel_occupied", "channel_vacated"}
		}
		webhooks = append(webhooks, w)
	}
	settings := map[string]any{
		"host":                "127.0.0.1",
		"port":                s.Port(),
		"shutdownGracePeriod": 0, // milliseconds, spent even with nobody connected
		"metrics.host":        "127.0.0.1",
		"metrics.port":        0, // it listens even when metrics are off
		// It looks for other nodes, by broadcast, whatever its adapter.
		"cluster.hostname":  "127.0.0.1",
		"cluster.port":      s.Port(),
		"cluster.broadcast": nil,
		"cluster.unicast":   "127.0.0.1",
		"appManager.array.apps": []map[string]any{{
			"id":                        s.AppID,
			"key":                       s.Key,
			"secret":                    s.Secret,
			"enabled":                   true,
			"enableClientMessages":      opts.ClientMessages,
			"maxConnections":            -1,
			"maxBackendEventsPerSecond": -1,
			"maxClientEventsPerSecond":  -1,
			"maxReadRequestsPerSecond":  -1,
			"webhooks":                  webhooks,
		}},
	}
	maps.Copy(settings, opts.Settings)
	return settings
}

// get asks the server's front page for its OK.
func (s *SoketiServer) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/", nil)
	if err != nil {
		return err
	}
	req.Close = true
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("soketi answered %s", resp.Status)
	}
	return nil
}

func orDefault(value, def string) string {
	if value == "" {
		return def
	}
	return value
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
