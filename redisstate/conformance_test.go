package redisstate

import (
	"context"
	"crypto/rand"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// The tests below are of what a Store does, and run on each set-up of Redis, as
// an ACL user who may do no more than the rule that is documented.
var conformance = []func(*testing.T, setup){
	testLeases,
	testRemovalLooksAgain,
	testManyChannels,
	testDamagedLease,
	testPolls,
	testCheckpointRoundTrip,
	testCheckpointOfEmptyFields,
	testCheckpointLost,
	testCheckpointLostWithEverythingElse,
	testForgetStopsTheOther,
	testOvertakenSave,
	testOneOfManyLeads,
	testDeposedLeaderChangesNothing,
	testLeaderThatIsSilent,
	testLeaderThatHasEnded,
	testLeaderThatResigns,
	testLeadIsTakenOnce,
	testDamagedCheckpoint,
	testSeqCeilingOnlyRises,
	testForgetKeepsTheSeqCeiling,
	testServerID,
	testDeadLetters,
	testReasonIsCutBetweenCharacters,
	testDeadLettersAreBounded,
	testLettersAreRemoved,
	testRetryIsAsked,
	testJobsTakeTheStreamsRecords,
	testJobGoesWithItsLastItem,
	testJobsSurviveACrash,
	testLargeJobs,
	testClock,
	testKeyFingerprint,
	testTrim,
	testTrimAfterACrash,
	testWindowRefusesNUL,
	testPrefixesAreApart,
}

func TestConformance(t *testing.T) {
	for name, start := range setups {
		t.Run(name, func(t *testing.T) {
			on := start(t)
			for _, test := range conformance {
				t.Run(nameOf(test), func(t *testing.T) { test(t, on) })
			}
		})
	}
}

// nameOf is the name of a function without its package.
func nameOf(f any) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}

// setup is Redis as users run it.
type setup struct {
	Config
	// nodes are all servers that may have keys.
	nodes []*services.RedisServer
	// watchers are the addresses of all Sentinels.
	watchers []string
	// owner returns the one that has, or would have, a key.
	owner func(t *testing.T, key string) *services.RedisServer
	// agree waits until whoever decides who has the keys knows who has taken over.
	agree func(t *testing.T)
}

// setups start the ways of running Redis.
var setups = map[string]func(*testing.T) setup{
	"single":    onSingle,
	"cluster":   onCluster,
	"sentinels": onSentinels,
}

func onSingle(t *testing.T) setup {
	t.Helper()
	server := servicestest.StartRedis(t, services.RedisOptions{})
	return setup{
		Config: Config{Addr: server.Addr, Prefix: DefaultPrefix},
		nodes:  []*services.RedisServer{server},
		owner:  func(*testing.T, string) *services.RedisServer { return server },
	}
}

func onCluster(t *testing.T) setup {
	t.Helper()
	cluster := servicestest.StartRedisCluster(t, services.RedisOptions{})
	return setup{
		Config: Config{Cluster: cluster.Addrs()[:2], Prefix: DefaultPrefix},
		nodes:  cluster.Nodes,
		owner: func(t *testing.T, key string) *services.RedisServer {
			t.Helper()
			owner, err := cluster.Owner(t.Context(), key)
			must(t, err)
			return owner
		},
		agree: func(*testing.T) {}, // its nodes number what they decide
	}
}

func onSentinels(t *testing.T) setup {
	t.Helper()
	s := servicestest.StartRedisSentinels(t, services.SentinelOptions{})
	return setup{
		Config: Config{Sentinels: s.Addrs()[:2], Master: s.Master, Prefix: DefaultPrefix},
		nodes:  s.Nodes, watchers: s.Addrs(),
		owner: func(t *testing.T, _ string) *services.RedisServer {
			t.Helper()
			primary, err := s.Primary(t.Context())
			must(t, err)
			return primary
		},
		agree: func(t *testing.T) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			must(t, s.AwaitAgreement(ctx))
		},
	}
}

// config is that of a user of a test's own, with a prefix that no other has.
func (on setup) config(t *testing.T) Config {
	t.Helper()
	c := on.Config
	c.Prefix = t.Name()[strings.LastIndexByte(t.Name(), '/')+1:] + "-" + rand.Text()
	c.Username, c.Password = rand.Text(), always("secret")
	on.allow(t, c.Username, c.rule())
	return c
}

func (on setup) store(t *testing.T) *Store {
	t.Helper()
	return open(t, on.config(t))
}

// allow makes a user with the password "secret" on every node.
func (on setup) allow(t *testing.T, user, rule string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", user, "reset", "on", ">secret"}
	for word := range strings.FieldsSeq(rule) {
		args = append(args, word)
	}
	for _, node := range on.nodes {
		must(t, admin(t, node).Do(t.Context(), args...).Err())
	}
}

// admin is a client of the default user on one server.
func admin(t testing.TB, server *services.RedisServer) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { client.Close() })
	return client
}

// keys returns all keys under a prefix. They are on one node.
func (on setup) keys(t *testing.T, c Config) []string {
	t.Helper()
	var found []string
	keys := admin(t, on.owner(t, keysOf(c.Prefix).token)).Scan(t.Context(), 0, "", 1000).Iterator()
	for keys.Next(t.Context()) {
		if strings.HasPrefix(keys.Val(), "{"+c.Prefix+"}:") {
			found = append(found, keys.Val())
		}
	}
	must(t, keys.Err())
	slices.Sort(found)
	return found
}
