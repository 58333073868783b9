package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/tools/services"
)

// The loads: changes that concern so many users each, in transactions of so many
// changes, written as fast as the database takes them. All users are connected.
const (
	deliveryUsers = 1000
	deliveryTurns = 5
)

type load struct{ recipients, changes, each int }

var loads = []load{{1, 20_000, 100}, {10, 4000, 100}, {deliveryUsers, 60, 10}}

func (l load) table() string { return fmt.Sprintf("notes%d", l.recipients) }

// team is whose members a change concerns, and users they are.
func (l load) team(id int) int { return id % (deliveryUsers / l.recipients) }

func (l load) users(id int) []int {
	users := make([]int, l.recipients)
	for i := range users {
		users[i] = l.team(id)*l.recipients + i
	}
	return users
}

// least is how many requests n changes take at the least, with 10 items in a
// batch, or 100 channels of an event.
func (l load) least(changes int) int {
	if l.recipients < itemsOfBatch {
		return (changes*l.recipients + itemsOfBatch - 1) / itemsOfBatch
	}
	return changes * ((l.recipients + channelsOfEvent - 1) / channelsOfEvent)
}

const itemsOfBatch = 10

// body is what a change says.
func body(id int) string {
	return fmt.Sprintf(`Réviser le "contrat" %d, puis appeler le client. `, id) + strings.Repeat("Voir le dossier partagé; ", 10)
}

// delivery compares how fast changes come to a client, by way of the database
// and chorusd, with how fast they do by way of requests that were made
// beforehand, as few as possible, with the same bodies, and are posted to the
// same server with as many connections. Both take turns; a rate is of messages
// to a channel, from the first one that comes to the last.
//
// The backlog is of changes that were written while chorusd was stopped.
func delivery(ctx context.Context, progress io.Writer) (_ []figure, err error) {
	b, err := newDeliveryBench(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var figures []figure
	for _, l := range loads {
		var ratios, requests, ours, theirs []float64
		for turn := range deliveryTurns + 1 {
			through, made, err := b.live(ctx, l)
			if err != nil {
				return nil, fmt.Errorf("changes through chorusd: %w", err)
			}
			bare, err := b.bare(ctx, l)
			if err != nil {
				return nil, fmt.Errorf("requests without chorusd: %w", err)
			}
			over := made / float64(l.least(l.changes))
			fmt.Fprintf(progress, "%d recipients, turn %d: %.0f messages/s through chorusd, %.0f without, %.2f x; %.0f requests, %.2f x the least\n",
				l.recipients, turn, through, bare, through/bare, made, over)
			if turn == 0 {
				continue // the programs warm up
			}
			ratios, requests = append(ratios, through/bare), append(requests, over)
			ours, theirs = append(ours, through), append(theirs, bare)
		}
		figures = append(figures, figure{
			fmt.Sprintf("publish.ceiling.%d", l.recipients), median(ratios), "x",
			fmt.Sprintf("ready-made requests to the same Soketi: %.0f channel-messages/s through chorusd, %.0f without; %d recipients of a change",
				median(ours), median(theirs), l.recipients),
		}, figure{
			fmt.Sprintf("publish.requests.%d", l.recipients), median(requests), "x",
			fmt.Sprintf("the least possible number of requests, %d for %d changes", l.least(l.changes), l.changes),
		})
	}
	l := loads[0]
	var ratios, ours, theirs []float64
	for turn := range deliveryTurns + 1 {
		drain, err := b.backlog(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("a backlog: %w", err)
		}
		live, _, err := b.live(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("changes through chorusd: %w", err)
		}
		fmt.Fprintf(progress, "backlog, turn %d: %.0f messages/s, %.0f live, %.2f x\n", turn, drain, live, drain/live)
		if turn > 0 {
			ratios, ours, theirs = append(ratios, drain/live), append(ours, drain), append(theirs, live)
		}
	}
	return append(figures, figure{
		"publish.drain", median(ratios), "x",
		fmt.Sprintf("what is written while chorusd runs: %.0f channel-messages/s of %d changes that were written before it, %.0f live", median(ours), l.changes, median(theirs)),
	}), nil
}

// deliveryBench is everything that runs.
type deliveryBench struct {
	db        *sql.DB
	to        app
	counter   *counter
	daemon    *daemon
	transport *http.Transport
	nextID    int
	closers   []func() error // in the order of creation
}

func (b *deliveryBench) close() error { return closeAll(b.closers) }

func newDeliveryBench(ctx context.Context) (_ *deliveryBench, err error) {
	b := &deliveryBench{nextID: 1, transport: &http.Transport{MaxIdleConnsPerHost: pusher.DefaultConcurrency, DisableCompression: true}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	server, db, _, err := startReading(ctx)
	if err != nil {
		return nil, err
	}
	b.db = db
	b.closers = append(b.closers, server.Stop, db.Close)
	if err := b.createTables(ctx); err != nil {
		return nil, err
	}
	redis, err := services.StartRedis(ctx, services.RedisOptions{})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, redis.Stop)
	soketi, err := services.StartSoketi(ctx, services.SoketiOptions{})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, soketi.Stop)
	b.to = soketiApp(soketi)
	var channels []string
	for user := range deliveryUsers {
		channels = append(channels, channelOf(user))
	}
	if b.counter, err = newCounter(ctx, b.to, channels); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	b.closers = append(b.closers, b.counter.close)
	if b.daemon, err = startDaemon(ctx, daemonConfig(server, redis, b.to, deliveryMapping())); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, b.daemon.stop)
	return b, b.known(ctx)
}

// known waits until chorusd knows who is there.
func (b *deliveryBench) known(ctx context.Context) error {
	return b.daemon.awaits(ctx, "chorusd_active_channels", func(n float64) bool { return n == deliveryUsers })
}

// deliveryMapping has a team's members see its notes, or one user his own.
func deliveryMapping() string {
	var b strings.Builder
	for _, l := range loads {
		if l.recipients == 1 {
			fmt.Fprintf(&b, `
[tables.%s]
fields = ["id", "team_id", "body"]
visible_to = ["user:{team_id}"]
`, l.table())
			continue
		}
		fmt.Fprintf(&b, `
[[scopes.team%[1]d.members]]
source = "members%[1]d"
scope = "team_id"
user = "user_id"
[tables.notes%[1]d]
fields = ["id", "team_id", "body"]
visible_to = ["team%[1]d:{team_id}"]
`, l.recipients)
	}
	return b.String()
}

func (b *deliveryBench) createTables(ctx context.Context) error {
	for _, l := range loads {
		members := []byte(fmt.Sprintf("INSERT INTO members%d VALUES ", l.recipients))
		for user := range deliveryUsers {
			if user > 0 {
				members = append(members, ',')
			}
			members = fmt.Appendf(members, "(%d,%d)", user/l.recipients, user)
		}
		for _, statement := range []string{
			"CREATE TABLE " + l.table() + " (id INT PRIMARY KEY, team_id INT NOT NULL, body VARCHAR(400) NOT NULL, INDEX (team_id))",
			fmt.Sprintf("CREATE TABLE members%d (team_id INT NOT NULL, user_id INT NOT NULL, PRIMARY KEY (team_id, user_id), INDEX (user_id))", l.recipients),
			string(members),
		} {
			if _, err := b.db.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("make the tables: %w", err)
			}
		}
	}
	return nil
}

// write makes the changes from a record on.
func (b *deliveryBench) write(ctx context.Context, l load, first int) error {
	for id := first; id < first+l.changes; {
		statement := []byte("INSERT INTO " + l.table() + " VALUES ")
		for i := range min(l.each, first+l.changes-id) {
			if i > 0 {
				statement = append(statement, ',')
			}
			statement = fmt.Appendf(statement, "(%d,%d,'%s')", id, l.team(id), body(id))
			id++
		}
		if _, err := b.db.ExecContext(ctx, string(statement)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// next takes the numbers of a load's records.
func (b *deliveryBench) next(l load) (first int) {
	first = b.nextID
	b.nextID += l.changes
	return first
}

// live has a load published as it is written. It returns channel-messages/s and
// how many requests they took.
func (b *deliveryBench) live(ctx context.Context, l load) (rate, requests float64, err error) {
	before, err := b.daemon.metric(ctx, acceptedRequests)
	if err != nil {
		return 0, 0, err
	}
	first := b.next(l)
	counting := b.counter.expect(first, l.changes, l.recipients)
	if err := b.write(ctx, l, first); err != nil {
		return 0, 0, err
	}
	if rate, err = counting.rate(ctx); err != nil {
		return 0, 0, err
	}
	if err := b.idle(ctx); err != nil {
		return 0, 0, err
	}
	after, err := b.daemon.metric(ctx, acceptedRequests)
	return rate, after - before, err
}

const acceptedRequests = `chorusd_requests_total{outcome="accepted"}`

// idle waits until chorusd has nothing to do.
func (b *deliveryBench) idle(ctx context.Context) error {
	none := func(n float64) bool { return n == 0 }
	return errors.Join(b.daemon.awaits(ctx, "chorusd_queued_harmonics", none), b.daemon.awaits(ctx, "chorusd_refills", none))
}

// backlog has a load published that is written while chorusd is stopped.
func (b *deliveryBench) backlog(ctx context.Context, l load) (rate float64, err error) {
	b.daemon.halt()
	first := b.next(l)
	if err := b.write(ctx, l, first); err != nil {
		return 0, err
	}
	counting := b.counter.expect(first, l.changes, l.recipients)
	if err := b.daemon.run(ctx); err != nil {
		return 0, err
	}
	if rate, err = counting.rate(ctx); err != nil {
		return 0, err
	}
	return rate, errors.Join(b.known(ctx), b.idle(ctx))
}

// bare has as many messages published by requests that were made beforehand.
func (b *deliveryBench) bare(ctx context.Context, l load) (rate float64, err error) {
	first := b.next(l)
	requests, err := b.readyMade(ctx, l, first)
	if err != nil {
		return 0, err
	}
	counting := b.counter.expect(first, l.changes, l.recipients)
	var taken atomic.Int64
	group, posting := errgroup.WithContext(ctx)
	for range pusher.DefaultConcurrency {
		group.Go(func() error {
			for {
				i := int(taken.Add(1)) - 1
				if i >= len(requests) {
					return nil
				}
				if err := b.post(posting, requests[i]); err != nil {
					return err
				}
			}
		})
	}
	rate, err = counting.rate(ctx)
	return rate, errors.Join(group.Wait(), err)
}

// request is one that is ready to be posted.
type request struct {
	url  string
	body []byte
}

func (b *deliveryBench) post(ctx context.Context, r request) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(answer, []byte("error")) {
		return fmt.Errorf("the server answers %s %s: %w", resp.Status, answer, err)
	}
	return nil
}

// readyMade are the requests for the changes of a load, as few as possible.
func (b *deliveryBench) readyMade(ctx context.Context, l load, first int) ([]request, error) {
	var recorder recorder
	client, err := newPublisher(b.to, &recorder)
	if err != nil {
		return nil, err
	}
	var events []pusher.Event
	for id := first; id < first+l.changes; id++ {
		h := harmonic.Harmonic{
			ID: harmonic.NewID(harmonic.Seq(time.Now().UnixMicro()), harmonic.NewGeneration()), Table: l.table(), RecordID: fmt.Append(nil, id),
			Operation: harmonic.Create, Data: fmt.Appendf(nil, `{"id":%d,"team_id":%d,"body":%q}`, id, l.team(id), body(id)), CreatedAt: time.Now(),
		}
		e := pusher.Event{Name: harmonic.EventCreated, Data: harmonic.AppendJSON(nil, &h)}
		for _, user := range l.users(id) {
			e.Channels = append(e.Channels, channelOf(user))
		}
		var requests [][]pusher.Event
		if l.recipients < itemsOfBatch {
			if events = append(events, e); (len(events)+1)*l.recipients <= itemsOfBatch && id < first+l.changes-1 {
				continue
			}
			requests, events = append(requests, events), nil
		} else {
			pieces, err := client.Cut(e)
			if err != nil {
				return nil, err
			}
			for _, piece := range pieces {
				requests = append(requests, []pusher.Event{piece})
			}
		}
		for _, some := range requests {
			if err := client.Publish(ctx, some); err != nil {
				return nil, err
			}
		}
	}
	return recorder.requests, nil
}

// recorder keeps requests and sends none.
type recorder struct{ requests []request }

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.requests = append(r.requests, request{req.URL.String(), body})
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: req}, nil
}
