package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// asChorusd makes the test binary stand in for chorusd: "ready" or "broken".
const asChorusd = "DEMO_TEST_AS_CHORUSD"

func TestMain(m *testing.M) {
	switch os.Getenv(asChorusd) {
	case "ready":
		beChorusd()
		return
	case "broken":
		fmt.Println("level=ERROR msg=\"the binlog is off\"")
		os.Exit(3)
	}
	servicestest.Main(m)
}

// beChorusd says that it is ready until it is asked to end.
func beChorusd() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if os.Getenv("CHORUSD_PUSHER_SERVER") != "" {
		panic("a setting of the machine's own has come through")
	}
	config, err := os.ReadFile("config.toml")
	if err != nil {
		panic(err)
	}
	admin := regexp.MustCompile(`(?s)\[admin\].*?listen = "([^"]+)"`).FindSubmatch(config)[1]
	ready := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	go func() { _ = http.ListenAndServe(string(admin), ready) }()
	<-ctx.Done()
}

// testOptions are options of a demo whose chorusd is the test binary.
func testOptions(t *testing.T, behaviour string) options {
	t.Helper()
	for _, k := range []services.Kind{services.MariaDB, services.Redis, services.Soketi} {
		if !services.Installed(k) {
			t.Fatalf("%v is not installed", k)
		}
	}
	t.Setenv(asChorusd, behaviour)
	t.Setenv("TMPDIR", t.TempDir())
	page := t.TempDir()
	for _, name := range []string{"index.html", "pane.html"} {
		if err := os.WriteFile(filepath.Join(page, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return options{database: "mariadb", chorusd: program, page: page}
}

// assertNoFolders fails if the demo has left its temporary folder.
func assertNoFolders(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "chorusd-demo-*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRunServesThePageUntilInterrupted(t *testing.T) {
	opts := testOptions(t, "ready")
	t.Setenv("CHORUSD_PUSHER_SERVER", "reverb")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, opts, write)
		write.Close()
		ended <- err
	}()

	said, url := readUntil(t, read, regexp.MustCompile(`http://127\.0\.0\.1:\d+/`))
	resp, err := http.Get(url)
	if err != nil {
		t.Fatalf("%v, after\n%s", err, said)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "index.html" {
		t.Errorf("got %q, %v; want the page", body, err)
	}
	http.DefaultClient.CloseIdleConnections()

	cancel()
	if _, err := io.Copy(io.Discard, read); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	assertNoFolders(t)
	if _, err := http.Get(url); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the page is still served: %v", err)
	}
}

// readUntil reads lines until one matches, and returns them and the match.
func readUntil(t *testing.T, r io.Reader, pattern *regexp.Regexp) (said, match string) {
	t.Helper()
	var text strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := r.Read(buf)
		text.Write(buf[:n])
		if match := pattern.FindString(text.String()); match != "" {
			return text.String(), match
		}
		if err != nil {
			t.Fatalf("%v, after\n%s", err, text.String())
		}
	}
}

func TestRunSaysWhyChorusdDidNotStart(t *testing.T) {
	opts := testOptions(t, "broken")
	err := run(t.Context(), opts, io.Discard)
	if err == nil {
		t.Fatal("run succeeded")
	}
	for _, want := range []string{"chorusd did not start", "exit status 3", "the binlog is off"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	assertNoFolders(t)
}

func TestRunSaysThatThePageIsNotBuilt(t *testing.T) {
	opts := testOptions(t, "ready")
	opts.page = t.TempDir()
	err := run(t.Context(), opts, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "npm run build") {
		t.Errorf("got %v, want how to build the page", err)
	}
	assertNoFolders(t)
}

func TestRunRefusesAnUnknownDatabase(t *testing.T) {
	for _, database := range []string{"oracle", "redis"} {
		opts := testOptions(t, "ready")
		opts.database = database
		err := run(t.Context(), opts, io.Discard)
		if err == nil || !strings.Contains(err.Error(), database) {
			t.Errorf("got %v, want it to name %s", err, database)
		}
		assertNoFolders(t)
	}
}
