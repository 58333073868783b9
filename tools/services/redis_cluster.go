package services

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Of a started cluster.
const (
	clusterSlots   = 16384
	clusterMasters = 3
	// clusterTimeout is after how many milliseconds of silence the others hold
	// a node for dead.
	clusterTimeout = 1000
)

// RedisCluster is a Redis Cluster of one's own: three masters, and a replica of
// each. Which is which changes when one fails.
type RedisCluster struct {
	Nodes []*RedisServer

	buses []*Server // nothing but ports, at which the nodes talk to each other
	opts  RedisOptions
}

// StartRedisCluster starts a cluster, as [StartRedis] does each of its servers,
// and returns when all of it works. ctx bounds the start only.
func StartRedisCluster(ctx context.Context, opts RedisOptions) (*RedisCluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := &RedisCluster{opts: opts}
	err := c.startNodes(ctx)
	if err == nil {
		err = c.join(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a Redis Cluster: %w", err), c.Stop())
	}
	return c, nil
}

// Addrs are the addresses of all nodes.
func (c *RedisCluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		addrs[i] = node.Addr
	}
	return addrs
}

// Owner returns the master that has a key, as the other nodes see it.
func (c *RedisCluster) Owner(ctx context.Context, key string) (*RedisServer, error) {
	var errs []error
	for _, node := range c.Nodes {
		owner, err := c.ownerBy(ctx, node, key)
		if err == nil && owner != nil {
			return owner, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("find the owner of %q: %w", key, errors.Join(errs...))
}

// ownerBy asks one node; nil if it knows none.
func (c *RedisCluster) ownerBy(ctx context.Context, node *RedisServer, key string) (*RedisServer, error) {
	client := c.opts.client(node.Addr)
	defer client.Close()
	slot, err := client.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	ranges, err := client.ClusterSlots(ctx).Result() //nolint:staticcheck // deprecated for what Redis 6 lacks; clients ask so
	if err != nil {
		return nil, err
	}
	for _, r := range ranges {
		if int64(r.Start) <= slot && slot <= int64(r.End) {
			return c.node(r.Nodes[0].Addr), nil
		}
	}
	return nil, nil
}

func (c *RedisCluster) node(addr string) *RedisServer {
	for _, node := range c.Nodes {
		if node.Addr == addr {
			return node
		}
	}
	return nil
}

// Stop ends all nodes at once and removes their folders.
func (c *RedisCluster) Stop() error {
	var errs []error
	for _, node := range c.Nodes {
		errs = append(errs, node.Stop())
	}
	for _, bus := range c.buses {
		errs = append(errs, bus.Stop())
	}
	return errors.Join(errs...)
}

// startNodes starts servers that do not know each other yet.
func (c *RedisCluster) startNodes(ctx context.Context) error {
	for range 2 * clusterMasters {
		bus, err := newServer(ctx, Redis)
		if err != nil {
			return err
		}
		c.buses = append(c.buses, bus)
		args := []string{
			"--cluster-enabled", "yes", "--cluster-node-timeout", strconv.Itoa(clusterTimeout), "--cluster-port", strconv.Itoa(bus.Port()),
			"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
		}
		if c.opts.TLS != nil {
			args = append(args, "--tls-cluster", "yes", "--tls-replication", "yes")
		}
		node, err := newRedis(ctx, c.opts, args...)
		if err != nil {
			return err
		}
		if err := node.start(ctx); err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
	}
	return nil
}

// join makes a cluster of the nodes.
func (c *RedisCluster) join(ctx context.Context) error {
	clients := make([]*redis.Client, len(c.Nodes))
	for i, node := range c.Nodes {
		clients[i] = c.opts.client(node.Addr)
		defer clients[i].Close()
	}
	for i, client := range clients {
		// An epoch of its own for each saves them the negotiation.
		if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		if i < clusterMasters {
			first, end := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters
			if err := client.ClusterAddSlotsRange(ctx, first, end-1).Err(); err != nil {
				return err
			}
		}
		if err := client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", c.Nodes[0].Port(), c.buses[0].Port()).Err(); err != nil {
			return err
		}
	}
	err := c.await(ctx, clients, func(v clusterView) bool {
		return strings.Contains(v.text, fmt.Sprintf("cluster_known_nodes:%d\r", len(clients)))
	})
	if err != nil {
		return err
	}
	for i, client := range clients[clusterMasters:] {
		master, err := clients[i].Do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			return err
		}
		if err := client.ClusterReplicate(ctx, master).Err(); err != nil {
			return err
		}
	}
	return c.await(ctx, clients, func(v clusterView) bool {
		return strings.Contains(v.text, "cluster_state:ok") && strings.Count(v.text, "slave ") == clusterMasters &&
			v.serving == len(clients) && (v.node < clusterMasters || strings.Contains(v.text, "master_link_status:up"))
	})
}

// clusterView is what one node tells.
type clusterView struct {
	node    int
	text    string // of the cluster and of its own replication
	serving int    // nodes that it would send clients to
}

// await waits until what each node tells is as it should be.
func (c *RedisCluster) await(ctx context.Context, clients []*redis.Client, ready func(clusterView) bool) error {
	for i, client := range clients {
		err := poll(ctx, func(ctx context.Context) error {
			v := clusterView{node: i}
			for _, ask := range []*redis.StringCmd{client.ClusterInfo(ctx), client.ClusterNodes(ctx), client.Info(ctx, "replication")} {
				if ask.Err() != nil {
					return ask.Err()
				}
				v.text += ask.Val()
			}
			ranges, err := client.ClusterSlots(ctx).Result() //nolint:staticcheck // deprecated for what Redis 6 lacks; clients ask so
			if err != nil {
				return err
			}
			for _, r := range ranges {
				v.serving += len(r.Nodes)
			}
			if !ready(v) {
				return fmt.Errorf("the cluster is\n%s", v.text)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
