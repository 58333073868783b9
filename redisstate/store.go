package redisstate

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// batch is how many elements one command or script call carries: enough to
// make the round trip cheap, few enough not to hold up Redis's other clients.
const batch = 1000

//go:embed *.lua
var luaFiles embed.FS

// script is the file of that name, guarded by guard.lua.
func script(name string) *redis.Script {
	return redis.NewScript("local function run(KEYS, ARGV)\n" + lua(name) + "end\n" + lua("guard"))
}

// plainScript is the file of that name as it is.
func plainScript(name string) *redis.Script { return redis.NewScript(lua(name)) }

func lua(name string) string {
	src, err := luaFiles.ReadFile(name + ".lua")
	if err != nil {
		panic(err) // the file is compiled in
	}
	return string(src)
}

// Store is the daemon's state in one Redis under one prefix.
type Store struct {
	client redis.UniversalClient
	cfg    Config
	keys   keys

	// writer names this Store in the checkpoint, and as the leader.
	writer string
	leads  atomic.Bool // it has become that
	token  token
	// changing holds a value while a change that must not be lost is under way.
	changing chan struct{}

	letters sync.Mutex // is held while dead letters are changed

	mu   sync.Mutex // guards what follows and keeps saves in order
	last int64      // highest version that this Store tried to write, or has found
	kept bool       // whether a checkpoint was loaded or saved, so that none means loss
}

// Open connects to Redis. The error tells what to mend; all problems of c are
// in it. Close ends the connections. As long as the Store is open, its logger
// is told once when Redis goes away and once when it is back.
func Open(ctx context.Context, c Config, logger *slog.Logger) (*Store, error) {
	if problems := c.Validate(); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	// go-redis would write to stderr on its own; the outage hook says it better.
	logging.Disable()
	s := &Store{client: c.client(), cfg: c, keys: keysOf(c.Prefix), writer: rand.Text(), changing: make(chan struct{}, 1)}
	hook := &outage{logger: logger, addr: c.Where()}
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		hook.lost = cluster.ReloadState // else it goes on asking a node that is dead
	}
	s.client.AddHook(hook)
	if err := s.client.Ping(ctx).Err(); err != nil {
		s.client.Close()
		return nil, s.explain(err)
	}
	return s, nil
}

// Close ends the connections. Calls under way fail.
func (s *Store) Close() error {
	if err := s.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("close connections to redis: %w", err)
	}
	return nil
}

// keys are the names of all that a Store keeps; DESIGN.md describes them. The
// prefix is their cluster hash tag, so that all are on one node: then a script
// may touch any of them, and what a failover loses of them are the last writes,
// whichever those were of.
type keys struct {
	token, leader, checkpoint, seq, serverID, deadLetters, retry, probe string
	owed, fingerprint, versions, shapes, clock                          string
	leases, poll                                                        string
	epochs, epoch                                                       string // epoch is a prefix
	starts, jobs, job                                                   string // job is one, too
}

func keysOf(prefix string) keys {
	tag := "{" + prefix + "}:"
	return keys{
		token:       tag + "token",
		leader:      tag + "leader",
		checkpoint:  tag + "checkpoint",
		seq:         tag + "seq",
		serverID:    tag + "server-id",
		deadLetters: tag + "dead-letters",
		retry:       tag + "retry",
		probe:       tag + "probe",
		owed:        tag + "owed-reload",
		fingerprint: tag + "encryption-key",
		versions:    tag + "schema-versions",
		shapes:      tag + "shapes",
		clock:       tag + "clock",
		leases:      tag + "leases",
		poll:        tag + "poll",
		epochs:      tag + "epochs",
		epoch:       tag + "epoch:",
		starts:      tag + "starts",
		jobs:        tag + "jobs",
		job:         tag + "job:",
	}
}

// pattern is what all keys are like, in ACL rules.
func (c Config) pattern() string { return "{" + c.Prefix + "}:*" }

func (k keys) epochKey(epoch uint64) string { return k.epoch + strconv.FormatUint(epoch, 10) }

// channelsOf and itemsOf are what a job consists of.
func (k keys) channelsOf(job string) string { return k.job + job + ":channels" }
func (k keys) itemsOf(job string) string    { return k.job + job + ":items" }
