// Command cmd installs and runs the servers of package services.
//
//	go run ./tools/services/cmd install [kind…]   installs kinds, all of them by default
//	go run ./tools/services/cmd list              says what is installed
//	go run ./tools/services/cmd up kind…          runs servers until interrupted or until stdin ends
//
// up prints a line of JSON for each server when it is ready.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/chorusd/chorusd/tools/services"
)

const usage = "usage: services install [kind…] | list | up kind…"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	kinds := make([]services.Kind, 0, len(args))
	for _, name := range args[1:] {
		k, err := services.ParseKind(name)
		if err != nil {
			return err
		}
		kinds = append(kinds, k)
	}
	switch args[0] {
	case "install":
		if len(kinds) == 0 {
			kinds = services.Kinds()
		}
		return services.Install(ctx, os.Stdout, kinds...)
	case "list":
		return list()
	case "up":
		if len(kinds) == 0 {
			return errors.New(usage)
		}
		return up(ctx, kinds)
	}
	return errors.New(usage)
}

func list() error {
	for _, k := range services.Kinds() {
		state := "not installed"
		if services.Installed(k) {
			state = "installed"
		}
		if _, err := fmt.Printf("%s\t%v\t%s\n", string(k), k, state); err != nil {
			return err
		}
	}
	return nil
}

// server is the line that up prints.
type server struct {
	Kind   services.Kind `json:"kind"`
	Addr   string        `json:"addr"`
	Log    string        `json:"log"`
	DSN    string        `json:"dsn,omitempty"`
	Socket string        `json:"socket,omitempty"`
	AppID  string        `json:"app_id,omitempty"`
	Key    string        `json:"key,omitempty"`
	Secret string        `json:"secret,omitempty"`
}

// up runs servers until ctx or stdin ends.
func up(ctx context.Context, kinds []services.Kind) (err error) {
	if err := services.Install(ctx, os.Stderr, kinds...); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, k := range kinds {
		line, stop, startErr := start(ctx, k)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, stop()) }()
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	stdin := make(chan struct{})
	go func() {
		defer close(stdin)
		_, _ = io.Copy(io.Discard, os.Stdin) // an error is an end, too
	}()
	select {
	case <-ctx.Done():
	case <-stdin:
	}
	return nil
}

func start(ctx context.Context, k services.Kind) (line server, stop func() error, err error) {
	switch k {
	case services.Redis:
		s, err := services.StartRedis(ctx, services.RedisOptions{})
		if err != nil {
			return server{}, nil, err
		}
		return server{Kind: k, Addr: s.Addr, Log: s.Log()}, s.Stop, nil
	case services.Soketi:
		s, err := services.StartSoketi(ctx, services.SoketiOptions{})
		if err != nil {
			return server{}, nil, err
		}
		return server{Kind: k, Addr: s.Addr, Log: s.Log(), AppID: s.AppID, Key: s.Key, Secret: s.Secret}, s.Stop, nil
	default:
		s, err := services.StartSQL(ctx, k, services.SQLOptions{})
		if err != nil {
			return server{}, nil, err
		}
		return server{Kind: k, Addr: s.Addr, Log: s.Log(), DSN: s.DSN(""), Socket: s.Socket()}, s.Stop, nil
	}
}
