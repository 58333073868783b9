package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// serve has a server answer until ctx ends.
func serve(ctx context.Context, l net.Listener, server *http.Server) error {
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// serveWebhooks takes the Pusher server's webhooks at one path until ctx ends.
func serveWebhooks(ctx context.Context, l net.Listener, path string, hooks http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle(path, hooks)
	return serve(ctx, l, &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute})
}
