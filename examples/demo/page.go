package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// page is the web server of the demo.
type page struct {
	listener net.Listener
	server   *http.Server
	failed   chan error // gets the reason when serving ends by itself
}

// checkPage reports that the page in folder is not built, and how to build it.
func checkPage(folder string) error {
	if _, err := os.Stat(filepath.Join(folder, "index.html")); err != nil {
		return fmt.Errorf("the page is not built, run `npm ci` and `npm run build` in examples/demo: %w", err)
	}
	return nil
}

// startPage serves the built page in folder, and the app behind it, on a free
// loopback port.
func startPage(folder string, a *app) (*page, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the page: %w", err)
	}
	p := &page{
		listener: listener,
		server: &http.Server{
			Handler:           handler(folder, a, listener.Addr().(*net.TCPAddr).Port),
			ReadHeaderTimeout: 10 * time.Second,
		},
		failed: make(chan error, 1),
	}
	go func() {
		if err := p.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.failed <- err
		}
	}()
	return p, nil
}

// handler is everything that is served on a loopback port.
func handler(folder string, a *app, port int) http.Handler {
	mux := http.NewServeMux()
	a.register(mux)
	mux.Handle("GET /", http.FileServer(http.Dir(folder)))
	mux.HandleFunc("GET /u/{id}/{$}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(folder, "pane.html"))
	})
	// Other sites' pages may neither post here nor, by a name of theirs that
	// resolves to this machine, read.
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return onlyHosts(withPolicy(guarded, a.soketi), port)
}

// onlyHosts refuses requests for any name but this machine's own.
func onlyHosts(next http.Handler, port int) http.Handler {
	suffix := ":" + strconv.Itoa(port)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "127.0.0.1"+suffix && r.Host != "localhost"+suffix {
			http.Error(w, "no such host", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// withPolicy tells browsers that the pages load nothing from elsewhere, and
// talk to nobody but us and Soketi.
func withPolicy(next http.Handler, soketi string) http.Handler {
	policy := "default-src 'self'; connect-src 'self' ws://" + soketi + "; frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// url is the address to open.
func (p *page) url() string { return "http://" + p.listener.Addr().String() + "/" }

// stop ends the server and every request.
func (p *page) stop() error { return p.server.Close() }
