package policy

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chorusd/chorusd/policy/policytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silent is a logger for tests that do not look at the log.
var silent = slog.New(slog.DiscardHandler)

const secret = "0123456789abcdef0123456789abcdef-of-the-app"

func configOf(url string) Config {
	return Config{
		URL: url, Secret: func() string { return secret }, Timeout: DefaultTimeout, CacheTTL: DefaultCacheTTL,
		Concurrency: DefaultConcurrency, MaxRequestBytes: DefaultMaxRequestBytes,
	}
}

// yes is a policy that allows everything, the worst to be asked wrongly.
func yes(*policytest.Request, *policytest.Row, string) string { return "y" }

// newApp is an app that says yes to everybody.
func newApp() *policytest.App { return &policytest.App{Secrets: []string{secret}, Policy: yes} }

// start runs a client of an app without a network, until the test ends.
func start(t *testing.T, app *policytest.App, set ...func(*Config)) *Client {
	t.Helper()
	cfg := configOf("https://app.example/chorusd/authorize?app=1")
	for _, f := range set {
		f(&cfg)
	}
	c, err := New(cfg, silent, Options{Transport: app})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	return c
}

func run(t *testing.T, c *Client) {
	t.Helper()
	done := make(chan struct{})
	ctx := t.Context() // ends before what is cleaned up
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	t.Cleanup(func() { <-done })
}

var messages = Subject{Table: "messages", Model: `App\Models\Message`, Ability: "view"}

// rowOf is a row with a key and a text, and with users.
func rowOf(key, body string, users ...string) Row {
	r := Row{Key: "[" + key + "]", Data: []byte(`{"id":` + key + `,"body":"` + body + `"}`)}
	for _, u := range users {
		r.Users = append(r.Users, User{ID: u})
	}
	return r
}

// mayView asks about one row and one user.
func mayView(t *testing.T, c *Client) (Answer, *Error) {
	t.Helper()
	v := c.Ask(t.Context(), messages, []Row{rowOf("42", "hello", "7")})
	return v[0].Answers[0], v[0].Err
}

// since says how long ago a time was, of synctest's clock.
func since(begun time.Time) time.Duration { return time.Since(begun) }
