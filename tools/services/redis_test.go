package services

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestRedisCluster: every slot is served, and when a master dies its replica
// takes over.
func TestRedisCluster(t *testing.T) {
	c, err := StartRedisCluster(t.Context(), RedisOptions{Password: "it's secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()[:1], Password: "it's secret"})
	defer client.Close()
	owners := map[*RedisServer]bool{}
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		if err := client.Set(t.Context(), key, key, 0).Err(); err != nil {
			t.Fatal(err)
		}
		owner, err := c.Owner(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		owners[owner] = true
	}
	if len(owners) != clusterMasters {
		t.Errorf("the keys are on %d nodes, want %d", len(owners), clusterMasters)
	}
	owner, err := c.Owner(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	owner.Kill()
	eventually(t, "another node owns the slot and has the key", func() bool {
		next, err := c.Owner(t.Context(), "a")
		if err != nil || next == owner {
			return false
		}
		client.ReloadState(t.Context())
		got, err := client.Get(t.Context(), "a").Result()
		return err == nil && got == "a"
	})
	if err := owner.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRedisSentinels: when the primary dies a replica takes its place, with
// what was in it.
func TestRedisSentinels(t *testing.T) {
	s, err := StartRedisSentinels(t.Context(), SentinelOptions{RedisOptions: RedisOptions{Password: "one"}, SentinelPassword: "two"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	client := redis.NewFailoverClient(&redis.FailoverOptions{SentinelAddrs: s.Addrs(), SentinelPassword: "two", MasterName: s.Master, Password: "one"})
	defer client.Close()
	if err := client.Set(t.Context(), "a", "a", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Wait(t.Context(), sentinelReplicas, 0).Result(); err != nil || n != sentinelReplicas {
		t.Fatalf("%d replicas have it: %v", n, err)
	}
	primary, err := s.Primary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	primary.Kill()
	eventually(t, "another one is the primary and takes writes", func() bool {
		next, err := s.Primary(t.Context())
		return err == nil && next != primary && client.Append(t.Context(), "a", "b").Err() == nil
	})
	if got, err := client.Get(t.Context(), "a").Result(); err != nil || got[:2] != "ab" {
		t.Errorf("got %q, %v", got, err)
	}
}
