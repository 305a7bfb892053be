package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage/clickhouse"
	"github.com/lectern/lectern/storage/spool"
)

// placementMax is how long ClickHouse may take to say where its shards are.
const placementMax = 5 * time.Second

// placement says which shard of the cluster the blocks of the spool go to, and
// nothing where there is no cluster.
func placement(ctx context.Context, c *config.Config) string {
	if c.Storage.Driver != "clickhouse" || c.ClickHouse.Cluster == "" {
		return ""
	}
	contents, err := spool.Inspect(c.Spool.Dir)
	if err != nil || contents.Collector == 0 {
		return fmt.Sprintf("\nCluster %s: a shard is chosen when the spool in %s has been made.\n", c.ClickHouse.Cluster, c.Spool.Dir)
	}
	ctx, cancel := context.WithTimeout(ctx, placementMax)
	defer cancel()
	o := clickhouseOptions(c)
	o.Collector = contents.Collector
	p, err := clickhouse.Place(ctx, o)
	if err != nil {
		return fmt.Sprintf("\nCluster %s: which shard is taken cannot be said now: %s\n", c.ClickHouse.Cluster, printable(err.Error()))
	}
	return fmt.Sprintf("\nCluster %s: the blocks of collector %016x go to shard %d of %d (%s), where no earlier one is in doubt on another.\n",
		c.ClickHouse.Cluster, contents.Collector, p.Shard, p.Shards, printable(strings.Join(p.Replicas, ", ")))
}
