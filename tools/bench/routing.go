package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// What is routed: changes of many tables, each row to be seen by a user, the
// members of a team and those of a tenant, of whom some are connected.
const (
	routedTables  = 20
	routedInserts = 240 // of bulkRows, in turns to the tables
	routedUpdates = 60  // of bulkRows
	routedTurns   = 15

	teams, tenants = 100, 100
	membersOfEach  = 2 // who are connected
)

// Generated columns cannot refer to one that counts itself.
const alterRouted = `ALTER TABLE %s MODIFY id BIGINT UNSIGNED NOT NULL,
	ADD team_id BIGINT UNSIGNED AS (id %% 100) STORED NOT NULL,
	ADD tenant_id BIGINT UNSIGNED AS (id DIV 7 %% 100) STORED NOT NULL`

// mappingCost compares how long it takes to read a binary log and write every
// row's JSON text with how long it takes to route every change beside that, in
// time of the processor: what it waits for the server is no part of either.
func mappingCost(ctx context.Context, progress io.Writer) (_ []figure, err error) {
	server, db, cfg, err := startReading(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close(), server.Stop()) }()
	tables := map[string]mapping.Table{}
	f := &filler{db: db}
	for i := range routedTables {
		name := "todos" + strconv.Itoa(i)
		table := todos
		table.VisibleTo = mapping.AnyOf("user:{user_id}", "team:{team_id}", "tenant:{tenant_id}")
		tables[name] = table
		f.tables = append(f.tables, name)
		for _, statement := range []string{"CREATE TABLE " + name + " LIKE todos", fmt.Sprintf(alterRouted, name)} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return nil, fmt.Errorf("create a table: %w", err)
			}
		}
	}
	member := func(scope string) mapping.Scope {
		return mapping.Scope{Members: []mapping.Members{{Source: "memberships", Scope: scope, User: "user_id"}}}
	}
	mapper, problems := mapping.New(mapping.Config{
		Tables: tables, UserChannel: userChannel,
		Scopes: map[string]mapping.Scope{"team": member("team_id"), "tenant": member("tenant_id")},
	}, database, time.UTC)
	if len(problems) > 0 {
		return nil, fmt.Errorf("the benchmark's mapping is wrong: %v", problems)
	}
	fmt.Fprintln(progress, "writing rows")
	s, err := f.fill(ctx, cfg, routedInserts, routedUpdates, bulkRows)
	if err != nil {
		return nil, err
	}
	view, err := newAudience(mapper)
	if err != nil {
		return nil, err
	}
	var added []float64
	for turn := range routedTurns + 1 {
		plain, err := worked(func() error {
			_, err := readWith(ctx, cfg, mapper.Sources(), s, &texts{})
			return err
		})
		if err != nil {
			return nil, err
		}
		with, err := worked(func() error {
			_, err := readWith(ctx, cfg, mapper.Sources(), s, &routed{mapper: mapper, view: view})
			return err
		})
		if err != nil {
			return nil, err
		}
		more := 100 * (with.Seconds()/plain.Seconds() - 1)
		fmt.Fprintf(progress, "mapping.cost, turn %d: %v to JSON, %v routed as well, %.1f %% more\n", turn, plain, with, more)
		if turn > 0 { // the caches are cold
			added = append(added, more)
		}
	}
	return []figure{{
		"mapping.cost", median(added), "%",
		fmt.Sprintf("processor time to read the same rows to JSON, which routing adds: %d tables, three scopes each", routedTables),
	}}, nil
}

// worked is the processor time that this process spends on f.
func worked(f func() error) (time.Duration, error) {
	before, err := processorTime()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := processorTime()
	return after - before, err
}

// processorTime is what this process has spent so far.
func processorTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("ask for the processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// routed writes every row as JSON and finds who gets each change.
type routed struct {
	texts
	mapper    *mapping.Mapper
	view      *audience
	receivers int
}

func (h *routed) Change(ctx context.Context, c *binlog.Change) error {
	if err := h.texts.Change(ctx, c); err != nil {
		return err
	}
	_, err := h.mapper.Route(c, h.view, h.view, func(m *mapping.Harmonic) error {
		h.receivers += len(m.Users)
		return nil
	})
	return err
}

// audience is a view of who is connected that nothing changes. It finds users
// and members as chorusd's own does.
type audience struct {
	users    mapping.Index[mapping.UserKey, mapping.User]
	everyone []*mapping.User
	members  mapping.Index[mapping.ScopeKey, []*mapping.User]
}

// newAudience has so many connected members of each team and tenant.
func newAudience(m *mapping.Mapper) (*audience, error) {
	a := &audience{users: mapping.NewIndex[mapping.UserKey, mapping.User](), members: mapping.NewIndex[mapping.ScopeKey, []*mapping.User]()}
	for i := range captureUsers {
		u, err := m.NewUser(mapping.UserKey(strconv.Itoa(i)), nil)
		if err != nil {
			return nil, err
		}
		u.Slot, u.Channels = i, []string{"private-chorus.user." + u.ID}
		a.users.Put(u.Key, u)
		a.everyone = append(a.everyone, u)
	}
	for _, scope := range []struct {
		name  string
		count int
	}{{"team", teams}, {"tenant", tenants}} {
		for i := range scope.count {
			var members []*mapping.User
			for j := range membersOfEach {
				members = append(members, a.everyone[(i*membersOfEach+j)%captureUsers])
			}
			a.members.Put(mapping.ScopeKey(fmt.Sprintf("%s:%d", scope.name, i)), &members)
		}
	}
	return a, nil
}

func (a *audience) User(key mapping.UserKey) *mapping.User { return a.users.Get(key, nil) }

func (a *audience) UserAt(key mapping.UserKey, at *mapping.Spot) *mapping.User {
	return a.users.Get(key, at)
}

func (a *audience) Members(key mapping.ScopeKey, at *mapping.Spot) []*mapping.User {
	if members := a.members.Get(key, at); members != nil {
		return *members
	}
	return nil
}

func (a *audience) Everyone(string) []*mapping.User { return a.everyone }

func (a *audience) IsMember(u *mapping.User, key mapping.ScopeKey) bool {
	return slices.Contains(a.Members(key, nil), u)
}

func (a *audience) Parent(mapping.ParentRef) (mapping.Parent, bool) { return mapping.Parent{}, false }

func (a *audience) Now() time.Time { return time.Time{} }
