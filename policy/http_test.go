package policy

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/policy/policytest"
)

// Over real connections.
func TestFaultsOverHTTP(t *testing.T) {
	elsewhere := 0
	for _, fault := range append(policytest.Faults(), policytest.None) {
		t.Run(fault.String(), func(t *testing.T) {
			app := newApp()
			app.Fault = func(int) policytest.Fault { return fault }
			mux := http.NewServeMux()
			mux.Handle("/chorusd/authorize", app)
			mux.HandleFunc("/login", func(http.ResponseWriter, *http.Request) { elsewhere++ })
			server := httptest.NewServer(mux)
			defer server.Close()
			cfg := configOf(server.URL + "/chorusd/authorize")
			cfg.Timeout = 200 * time.Millisecond
			c, err := New(cfg, silent, Options{})
			if err != nil {
				t.Fatal(err)
			}
			run(t, c)
			want := Unknown
			if fault == policytest.None {
				want = Yes
			}
			if answer, err := mayView(t, c); answer != want {
				t.Errorf("%s: %v", answer, err)
			}
			if err := c.Check(t.Context()); (err == nil) != (want == Yes) && !onlyWithRows[fault] {
				t.Errorf("Check() = %v", err)
			}
		})
	}
	if elsewhere > 0 {
		t.Error("a redirect was followed")
	}
}

// onlyWithRows are faults that an empty question does not show.
var onlyWithRows = map[policytest.Fault]bool{
	policytest.FewRows: true, policytest.FewLetters: true, policytest.ManyLetters: true, policytest.OddLetters: true,
}

func TestNobodyThere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	cfg := configOf(server.URL)
	cfg.Timeout = 200 * time.Millisecond
	c, err := New(cfg, silent, Options{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	if answer, err := mayView(t, c); answer != Unknown || err.Class != Unavailable {
		t.Errorf("%s: %v", answer, err)
	}
	if err := c.Check(t.Context()); err == nil || strings.Contains(err.Error(), server.URL) {
		t.Errorf("Check() = %v", err)
	}
}

func TestCertificateThatIsNotTrusted(t *testing.T) {
	server := httptest.NewUnstartedServer(newApp())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	c, err := New(configOf(server.URL), silent, Options{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	if answer, err := mayView(t, c); answer != Unknown || err.Class != Misconfigured || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%s: %v", answer, err)
	}
}
