package redisstate

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// An outage must be noticed within seconds, and a healthy Redis answers the
// largest request made here within a fraction of one.
const (
	dialTimeout = 2 * time.Second
	ioTimeout   = 3 * time.Second
	// One retry bridges a connection that died while idle; every request here
	// may be executed twice.
	maxRetries = 1
	poolSize   = 8
)

// batch is how many elements one command or script call carries: enough to
// make the round trip cheap, few enough not to hold up Redis's other clients.
const batch = 1000

//go:embed *.lua
var luaFiles embed.FS

func script(name string) *redis.Script {
	src, err := luaFiles.ReadFile(name + ".lua")
	if err != nil {
		panic(err) // the file is compiled in
	}
	return redis.NewScript(string(src))
}

// Store is the daemon's state in one Redis under one prefix.
type Store struct {
	client *redis.Client
	keys   keys
	addr   string

	// writer names this Store in the checkpoint, so that a save whose answer
	// was lost is not taken for another daemon's.
	writer string

	mu         sync.Mutex // guards what follows and keeps saves in order
	base       int64      // version of the checkpoint that was loaded, 0 for none
	baseWriter string     // who had written that
	last       int64      // highest version that this Store tried to write
	kept       bool       // whether a checkpoint was loaded or saved, so that none means loss
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
	network := "tcp"
	if strings.HasPrefix(c.Addr, "/") {
		network = "unix"
	}
	client := redis.NewClient(&redis.Options{
		Network: network,
		Addr:    c.Addr,
		Dialer:  c.dial,
		DB:      c.DB,

		CredentialsProvider: c.credentials,
		Protocol:            2,

		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		ReadTimeout:           ioTimeout,
		WriteTimeout:          ioTimeout,
		MaxRetries:            maxRetries,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize,
		PipelinePoolSize:      2, // their buffers are large

		// Courtesies that older servers and strict ACLs answer with errors.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	client.AddHook(&outage{logger: logger, addr: c.Addr})
	s := &Store{client: client, keys: keysOf(c.Prefix), addr: c.Addr, writer: rand.Text()}
	if err := client.Ping(ctx).Err(); err != nil {
		client.Close()
		return nil, s.explain(err)
	}
	return s, nil
}

// dial opens a connection, encrypted if that is wanted.
func (c Config) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var encryption *tls.Config
	if c.TLS != nil {
		var err error
		if encryption, err = c.TLS(); err != nil {
			return nil, err
		}
	}
	if encryption == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return (&tls.Dialer{Config: encryption}).DialContext(ctx, network, addr)
}

func (c Config) credentials() (username, password string) {
	if c.Password == nil {
		return c.Username, ""
	}
	return c.Username, c.Password()
}

// Close ends the connections. Calls under way fail.
func (s *Store) Close() error {
	if err := s.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("close connections to redis: %w", err)
	}
	return nil
}

// keys are the names of all that a Store keeps; DESIGN.md describes them. Keys
// that one script or transaction touches share a hash tag, so that they are on
// one node of a cluster.
type keys struct {
	checkpoint, marker, seq, serverID, deadLetters, probe string
	owed, versions, shapes                                string
	leases, poll                                          string
	epochs, epoch, starts                                 string // epoch is a prefix
	jobs, job, clock                                      string // job is one, too
}

func keysOf(prefix string) keys {
	state, channels, window := prefix+"{state}:", prefix+"{channels}:", prefix+"{window}:"
	return keys{
		checkpoint:  state + "checkpoint",
		marker:      state + "checkpointed",
		seq:         state + "seq",
		serverID:    state + "server-id",
		deadLetters: state + "dead-letters",
		probe:       state + "probe",
		owed:        state + "owed-reload",
		versions:    state + "schema-versions",
		shapes:      state + "shapes",
		leases:      channels + "leases",
		poll:        channels + "poll",
		epochs:      window + "epochs",
		epoch:       window + "epoch:",
		starts:      window + "starts",
		jobs:        window + "jobs",
		job:         window + "job:",
		clock:       state + "clock",
	}
}

func (k keys) epochKey(epoch uint64) string { return k.epoch + strconv.FormatUint(epoch, 10) }

// channelsOf and itemsOf are what a job consists of.
func (k keys) channelsOf(job string) string { return k.job + job + ":channels" }
func (k keys) itemsOf(job string) string    { return k.job + job + ":items" }
