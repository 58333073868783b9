package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// asked is how an admin address answers a request.
func asked(a *admin, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// TestAdminBeforeTheRun: a process whose servers are looked at is alive.
func TestAdminBeforeTheRun(t *testing.T) {
	a := newAdmin(t.Context(), adminConfig{})
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/healthz": {http.StatusOK, "ok\n"},
		"/readyz":  {http.StatusServiceUnavailable, `"starting: `},
		"/status":  {http.StatusOK, `"ready": false`},
		"/metrics": {http.StatusOK, "\nchorusd_build_info{"},
		"/explain": {http.StatusServiceUnavailable, "starting"},
		"/":        {http.StatusNotFound, ""},

		"/debug/pprof/": {http.StatusNotFound, ""},
	} {
		if w := asked(a, path); w.Code != want.code || !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%s answers %d %q, want %d and %q in it", path, w.Code, w.Body, want.code, want.text)
		}
	}
}

func TestProfiles(t *testing.T) {
	a := newAdmin(t.Context(), adminConfig{Pprof: true})
	for _, path := range []string{"", "heap?debug=1", "goroutine?debug=1", "trace?seconds=0.01"} {
		if w := asked(a, profilesPath+path); w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s answers %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
	// It tells nothing of how the process was started.
	if w := asked(a, profilesPath+"cmdline"); w.Code != http.StatusNotFound {
		t.Errorf("cmdline answers %d %q", w.Code, w.Body)
	}
}

// TestHealthWithoutStatus: the JSON of a run that is not there.
func TestHealthWithoutStatus(t *testing.T) {
	text, err := json.Marshal(newAdmin(t.Context(), adminConfig{}).health())
	if want := `{"ready":false,"problems":["starting: the servers are looked at; the log says if one cannot be reached"]}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v; want %s", text, err, want)
	}
}

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pulse
		if !p.feel(t.Context(), func() {}) {
			t.Error("what answers is taken for stuck")
		}
		answer, questions := make(chan struct{}), 0
		ask := func() {
			questions++
			<-answer
		}
		for range 3 {
			begun := time.Now()
			if p.feel(t.Context(), ask) {
				t.Error("what does not answer is not noticed")
			}
			if took := time.Since(begun); took != pulsePatience {
				t.Errorf("it took %s to notice, want %s", took, pulsePatience)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if p.feel(gone, ask) {
			t.Error("who is gone is told that all is well")
		}
		close(answer)
		synctest.Wait()
		if questions != 1 {
			t.Errorf("%d questions under way, want 1", questions)
		}
		if !p.feel(t.Context(), func() {}) {
			t.Error("stuck for ever after one question")
		}
	})
}
