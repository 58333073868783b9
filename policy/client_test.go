package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chorusd/chorusd/policy/policytest"
)

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newApp()
		app.Policy = func(_ *policytest.Request, row *policytest.Row, user string) string {
			return map[string]string{`[1]7`: "y", `[1]"01J"`: "n", `[2]7`: "?", `["a",2]8`: "y"}[string(row.Key)+user]
		}
		c := start(t, app)
		subject := Subject{Table: "messages", Tenant: "acme", Model: `App\Models\Message`, Ability: "view"}
		rows := []Row{
			rowOf("1", "a", "7", `"01J"`),
			rowOf("2", "b", "7"),
			{Key: `["a",2]`, Data: []byte(`{"x":null,"y":{"base64":"AAE="}}`), Users: []User{{ID: "8"}}},
			rowOf("4", "nobody"),
		}
		verdicts := c.Ask(t.Context(), subject, rows)
		want := [][]Answer{{Yes, No}, {Unknown}, {Yes}, {}}
		for i, v := range verdicts {
			if !slices.Equal(v.Answers, want[i]) {
				t.Errorf("row %d: %v, want %v", i, v.Answers, want[i])
			}
			if unknown := slices.Contains(v.Answers, Unknown); (v.Err != nil) != unknown {
				t.Errorf("row %d: %v with the error %v", i, v.Answers, v.Err)
			}
		}
		if e := verdicts[1].Err; e.Class != Undecided {
			t.Errorf("the app's own unknown is %s", e.Class)
		}
		requests := app.Requests()
		if len(requests) != 1 {
			t.Fatalf("%d requests", len(requests))
		}
		got, err := json.Marshal(requests[0])
		if err != nil {
			t.Fatal(err)
		}
		version := func(i int) string { return versionOf(rows[i].Data) }
		if want := `{"version":1,"table":"messages","tenant":"acme","model":"App\\Models\\Message","ability":"view","users":[7,"01J",8],"rows":[` +
			`{"key":[1],"version":"` + version(0) + `","data":{"body":"a","id":1},"users":[0,1]},` +
			`{"key":[2],"version":"` + version(1) + `","data":{"body":"b","id":2},"users":[0]},` +
			`{"key":["a",2],"version":"` + version(2) + `","data":{"x":null,"y":{"base64":"AAE="}},"users":[2]}]}`; string(got) != want {
			t.Errorf("the request is\n%s, want\n%s", got, want)
		}
	})
}

// Each fault happens to all requests of an app that says yes to everything.
func TestFaultsAreUnknown(t *testing.T) {
	passing := []policytest.Fault{
		policytest.Hang, policytest.CloseConnection, policytest.CutAnswer,
		policytest.InternalError, policytest.Down, policytest.BusyForAnHour,
	}
	for _, fault := range policytest.Faults() {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := newApp()
				broken := false
				app.Fault = func(int) policytest.Fault {
					if broken {
						return fault
					}
					return policytest.None
				}
				c := start(t, app, func(c *Config) { c.CacheTTL = 0 })
				if answer, _ := mayView(t, c); answer != Yes {
					t.Fatalf("a good app says %s", answer)
				}
				broken = true
				begun := time.Now()
				answer, err := mayView(t, c)
				if answer != Unknown || err == nil {
					t.Errorf("the answer is %s, with the error %v", answer, err)
				}
				if err != nil && (err.Class == Unavailable) != slices.Contains(passing, fault) {
					t.Errorf("it is %s: %v", err.Class, err)
				}
				if took := since(begun); took > DefaultTimeout {
					t.Errorf("it took %s", took)
				}
				if c.Up() {
					t.Error("the app counts as up")
				}
				broken = false
				<-time.After(maxOpen)
				if answer, err := mayView(t, c); answer != Yes || !c.Up() {
					t.Errorf("afterwards the app says %s, with the error %v", answer, err)
				}
			})
		})
	}
}

// Whatever goes wrong with whatever request, an answer is what the policy says
// or it is unknown.
func TestUnknownNeverBecomesYes(t *testing.T) {
	for _, rate := range []float64{0, 0.1, 0.5, 0.9} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				truth := func(key, body, user string) string {
					return string("yn?"[versionOf([]byte(key + body + user))[0]%3])
				}
				app := newApp()
				app.Policy = func(_ *policytest.Request, row *policytest.Row, user string) string {
					var body string
					if err := json.Unmarshal(row.Data["body"], &body); err != nil {
						t.Error(err)
					}
					return truth(string(row.Key), body, user)
				}
				faults := policytest.Faults()
				app.Fault = func(int) policytest.Fault {
					if rand.Float64() >= rate {
						return policytest.None
					}
					return faults[rand.N(len(faults))]
				}
				c := start(t, app)
				known := 0
				var mu sync.Mutex
				var asking sync.WaitGroup
				for range 8 {
					asking.Go(func() {
						for range 50 {
							<-time.After(rand.N(time.Second << rand.N(7)))
							var rows []Row
							for range 1 + rand.N(4) {
								r := rowOf(strconv.Itoa(rand.N(20)), strconv.Itoa(rand.N(3)))
								for u := range 1 + rand.N(6) {
									r.Users = append(r.Users, User{ID: strconv.Itoa(u)})
								}
								rows = append(rows, r)
							}
							for i, v := range c.Ask(t.Context(), messages, rows) {
								var data struct{ Body string }
								if err := json.Unmarshal(rows[i].Data, &data); err != nil {
									t.Error(err)
								}
								for j, answer := range v.Answers {
									want := map[string]Answer{"y": Yes, "n": No, "?": Unknown}[truth(rows[i].Key, data.Body, rows[i].Users[j].ID)]
									if answer != want && (answer != Unknown || rate == 0) {
										t.Errorf("row %s %s, user %s: %s, want %s", rows[i].Key, rows[i].Data, rows[i].Users[j].ID, answer, want)
									}
									if answer != Unknown {
										mu.Lock()
										known++
										mu.Unlock()
									}
								}
							}
						}
					})
				}
				asking.Wait()
				if known == 0 {
					t.Error("nothing was ever answered")
				}
			})
		})
	}
}

func TestRequestIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newApp()
		app.Fault = func(n int) policytest.Fault {
			return []policytest.Fault{policytest.Down, policytest.CloseConnection, policytest.CutAnswer, policytest.None}[n]
		}
		c := start(t, app)
		if answer, err := mayView(t, c); answer != Yes || app.Count() != 4 {
			t.Errorf("%s after %d requests: %v", answer, app.Count(), err)
		}
		if got, want := c.Stats(), (Stats{Requests: 4, Failed: 3, Pairs: 1}); got != want {
			t.Errorf("Stats() = %+v, want %+v", got, want)
		}
	})
}

// What an operator has to mend is not tried again within a question.
func TestMisconfiguredIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newApp()
		app.Fault = func(int) policytest.Fault { return policytest.WrongSignature }
		if _, err := mayView(t, start(t, app)); app.Count() != 1 || !strings.Contains(err.Error(), "laravel.secret") {
			t.Errorf("%d requests: %v", app.Count(), err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newApp()
		app.Fault = func(int) policytest.Fault { return policytest.BusyForAnHour }
		c := start(t, app)
		for range 10 {
			_, err := mayView(t, c)
			if err.RetryAfter < time.Second {
				t.Errorf("RetryAfter is %s: %v", err.RetryAfter, err)
			}
		}
		if app.Count() != 1 {
			t.Errorf("%d requests to an app that asked to wait", app.Count())
		}
	})
}

func TestAppThatIsDownIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newApp()
		app.Fault = func(int) policytest.Fault { return policytest.Down }
		c := start(t, app)
		begun := time.Now()
		for since(begun) < time.Hour {
			if answer, _ := mayView(t, c); answer != Unknown {
				t.Fatal(answer)
			}
			<-time.After(100 * time.Millisecond)
		}
		// Five that fail, then after 1, 2, 4, … 60 s, and after 30 s at least.
		if n := app.Count(); n < 60 || n > 140 {
			t.Errorf("%d requests in an hour", n)
		}
		app.Fault = nil
		begun = time.Now()
		for {
			if answer, _ := mayView(t, c); answer == Yes {
				break
			}
			<-time.After(100 * time.Millisecond)
		}
		if took := since(begun); took > maxOpen {
			t.Errorf("it took %s to see that the app is back", took)
		}
	})
}

// gate is an app behind a door.
type gate struct {
	app  *policytest.App
	open chan struct{}

	mu      sync.Mutex
	current int
	most    int
}

func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	g.mu.Lock()
	g.current++
	g.most = max(g.most, g.current)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.current--
		g.mu.Unlock()
	}()
	select {
	case <-g.open:
		return g.app.RoundTrip(req)
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// Who asks while nobody else does is not kept waiting; those who ask while all
// requests are under way share the next.
func TestQuestionsShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{app: newApp(), open: make(chan struct{})}
		cfg := configOf("https://app.example/authorize")
		cfg.Concurrency = 2
		c, err := New(cfg, silent, Options{Transport: g})
		if err != nil {
			t.Fatal(err)
		}
		run(t, c)
		var asking sync.WaitGroup
		question := func(key string, subject Subject) {
			asking.Go(func() {
				if v := c.Ask(t.Context(), subject, []Row{rowOf(key, "x", "7", "8")}); v[0].Answers[0] != Yes {
					t.Errorf("row %s: %v", key, v[0])
				}
			})
			synctest.Wait()
		}
		question("1", messages)
		question("2", messages)
		g.mu.Lock()
		if g.current != 2 {
			t.Errorf("%d requests are under way", g.current)
		}
		g.mu.Unlock()
		other := messages
		other.Table = "posts"
		for i := range 50 {
			question(strconv.Itoa(10+i), messages)
			question(strconv.Itoa(10+i), other)
		}
		close(g.open)
		asking.Wait()
		if n := g.app.Count(); n != 4 || g.most != 2 {
			t.Errorf("%d requests, %d at a time, want 4 and 2", n, g.most)
		}
		for _, r := range g.app.Requests() {
			if len(r.Users) != 2 {
				t.Errorf("a request lists %d users", len(r.Users))
			}
		}
	})
}

func TestRequestsStayWithinTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newApp()
		c := start(t, app, func(c *Config) { c.MaxRequestBytes = minRequestBytes })
		var rows []Row
		for i := range 300 {
			r := rowOf(strconv.Itoa(i), strings.Repeat("x", rand.N(3000)))
			for range rand.N(10) * rand.N(200) {
				r.Users = append(r.Users, User{ID: `"` + strconv.Itoa(len(r.Users)) + `"`})
			}
			rows = append(rows, r)
		}
		for _, v := range c.Ask(t.Context(), messages, rows) {
			if i := slices.IndexFunc(v.Answers, func(a Answer) bool { return a != Yes }); i >= 0 {
				t.Fatalf("%s: %v", v.Answers[i], v.Err)
			}
		}
		for _, r := range app.Requests() {
			pairs := 0
			for _, row := range r.Rows {
				pairs += len(row.Users)
			}
			if len(r.Rows) > MaxRows || len(r.Users) > MaxUsers || pairs > MaxPairs {
				t.Errorf("a request has %d rows, %d users and %d pairs", len(r.Rows), len(r.Users), pairs)
			}
		}
	})
}

// sizes notes the largest body.
type sizes struct {
	app *policytest.App
	mu  sync.Mutex
	max int64
}

func (s *sizes) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.max = max(s.max, req.ContentLength)
	s.mu.Unlock()
	return s.app.RoundTrip(req)
}

func TestLargeRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sizes{app: newApp()}
		cfg := configOf("https://app.example/authorize")
		cfg.MaxRequestBytes = minRequestBytes
		c, err := New(cfg, silent, Options{Transport: s})
		if err != nil {
			t.Fatal(err)
		}
		run(t, c)
		var rows []Row
		for n := minRequestBytes - 600; n <= minRequestBytes; n += 10 {
			rows = append(rows, rowOf("1", strings.Repeat("x", n), "7", `"01J00000000000000000000000"`))
		}
		verdicts := c.Ask(t.Context(), messages, rows)
		if v := verdicts[0]; v.Err != nil || v.Answers[0] != Yes {
			t.Errorf("the smallest is %v", v)
		}
		last := verdicts[len(verdicts)-1]
		if last.Err == nil || last.Err.Class != TooLarge || last.Answers[0] != Unknown {
			t.Errorf("the largest is %v", last)
		}
		if s.max > minRequestBytes {
			t.Errorf("a request has %d bytes", s.max)
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{app: newApp(), open: make(chan struct{})}
		cfg := configOf("https://app.example/authorize")
		cfg.Concurrency = 1
		c, err := New(cfg, silent, Options{Transport: g})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { c.Run(ctx) })
		for i := range 3 { // one under way, two that wait
			all.Go(func() {
				v := c.Ask(t.Context(), messages, []Row{rowOf(strconv.Itoa(i), "x", "7")})
				if v[0].Answers[0] != Unknown || v[0].Err == nil {
					t.Errorf("%v", v)
				}
			})
		}
		synctest.Wait()
		begun := time.Now()
		stop()
		all.Wait()
		if answer, err := mayView(t, c); answer != Unknown || err == nil {
			t.Errorf("a stopped client says %s", answer)
		}
		if since(begun) > 0 {
			t.Errorf("it took %s", since(begun))
		}
	})
}

// One who asks can give up before the others of the same request.
func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{app: newApp(), open: make(chan struct{})}
		cfg := configOf("https://app.example/authorize")
		cfg.Concurrency = 1
		c, err := New(cfg, silent, Options{Transport: g})
		if err != nil {
			t.Fatal(err)
		}
		run(t, c)
		var all sync.WaitGroup
		for i, patience := range []time.Duration{time.Second, 4 * time.Second, time.Second, 4 * time.Second} {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				v := c.Ask(ctx, messages, []Row{rowOf(strconv.Itoa(i), "x", "7")})
				want := Yes
				if patience == time.Second {
					want = Unknown
				}
				if v[0].Answers[0] != want || want == Unknown && !errors.Is(v[0].Err, context.DeadlineExceeded) {
					t.Errorf("row %d: %v", i, v[0])
				}
			})
			synctest.Wait()
		}
		<-time.After(2 * time.Second)
		close(g.open)
		all.Wait()
		asked := 0
		for _, r := range g.app.Requests() {
			asked += len(r.Rows)
		}
		if asked != 3 {
			t.Errorf("%d rows were asked about, want 3: the one that was given up while it waited is not", asked)
		}
	})
}
