package main

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/chorusd/chorusd/redisstate"
)

// TestAwaits: to start over is refused if a person wants it; where a run ended
// so, it is for the one that leads by now.
func TestAwaits(t *testing.T) {
	p := process{admin: newAdmin(t.Context(), adminConfig{})}
	leader, me := redisstate.Leader{Name: "host:1", App: "shop"}, redisstate.Candidate{App: "shop"}
	awaits := func(b *before) error { return p.awaits(defaultConfig(), leader, me, b, slog.New(slog.DiscardHandler)) }

	asked := before{startOver: true, asked: true}
	if exit, ok := errors.AsType[*exitError](awaits(&asked)); !ok || exit.code != exitConfig || !asked.startOver {
		t.Error("it waits with --start-over")
	}
	lost := before{startOver: true, ran: true, issued: 7}
	if err := awaits(&lost); err != nil || lost.startOver || lost.ran {
		t.Errorf("error %v, and then it begins with %+v", err, lost)
	}
	if h := p.admin.health(); h.StandingBy != leader.Name || !h.Ready {
		t.Errorf("its health is %+v", h)
	}
}
