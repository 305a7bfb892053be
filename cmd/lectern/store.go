package main

import (
	"context"
	"errors"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse"
	"github.com/lectern/lectern/storage/parquet"
	"github.com/lectern/lectern/storage/spool"
)

// openStore opens the store that storage.driver names.
func (d *daemon) openStore() (err error) {
	c := d.config
	if c.Storage.Driver == "clickhouse" {
		d.store, err = d.openClickHouse(d.spool)
		return err
	}
	d.files, err = parquet.Open(parquet.Options{
		Dir: c.Parquet.Dir, Collector: d.spool.Collector(), Shared: c.Spool.Share, Logger: d.logger, Now: time.Now,
	})
	d.store = d.files
	return err
}

// openReader opens it for questions.
func openReader(c *config.Config) (storage.Reader, error) {
	if c.Storage.Driver == "clickhouse" {
		return clickhouse.OpenReader(clickhouseOptions(c))
	}
	return parquet.OpenReader(c.Parquet.Dir)
}

// openForgetter opens it to look for readers, and to forget them.
func openForgetter(c *config.Config) (storage.Forgetter, error) {
	if c.Storage.Driver == "clickhouse" {
		return clickhouse.OpenForgetter(clickhouseOptions(c))
	}
	return parquet.OpenForgetter(c.Parquet.Dir)
}

// openStoreBeside opens the store for the blocks of a spool whose process runs no
// more.
func (d *daemon) openStoreBeside(s *spool.Spool) (storage.Store, error) {
	if d.files != nil {
		return d.files.Beside(s.Collector())
	}
	return d.openClickHouse(s)
}

// openClickHouse opens it for the blocks of a spool, with a connection of its own.
func (d *daemon) openClickHouse(s *spool.Spool) (storage.Store, error) {
	o := clickhouseOptions(d.config)
	o.Collector, o.Tried, o.LateMax, o.Journal = s.Collector(), s.Opened(), d.config.Window.LateMax, s
	o.Logger, o.Metrics, o.Clock = d.logger, d.set, time.Now
	return clickhouse.Open(o)
}

// storeStartMax is how long a start waits for the store: one that hangs is away,
// since events come meanwhile.
const storeStartMax = 5 * time.Second

// checkStore refuses a spool that is an older copy, which never comes right by
// itself. Where the store is away, or takes nothing before somebody fixes a password,
// a grant or a table, the daemon counts and spools; whether the spool is a copy is
// found out at the first contact then, before anything is stored.
func (d *daemon) checkStore(ctx context.Context, s *spool.Spool, store storage.Store) error {
	ctx, cancel := context.WithTimeout(ctx, storeStartMax)
	defer cancel()
	last, err := store.LastNumber(ctx)
	switch {
	case errors.Is(err, storage.ErrBarred):
		d.logger.Error("the store takes nothing; what is counted stays in the spool until this is fixed, and goes on by itself then", "error", err)
		return nil
	case errors.Is(err, storage.ErrAway):
		d.logger.Warn("the store does not answer; what is counted stays in the spool until it does", "error", err)
		return nil
	case err != nil:
		return err
	}
	return s.CheckStore(last)
}

// clickhouseOptions are those of the section [clickhouse].
func clickhouseOptions(c *config.Config) clickhouse.Options {
	k := &c.ClickHouse
	return clickhouse.Options{
		Addresses: k.Addresses(), Cluster: k.Cluster, Database: k.Database, User: k.User, Password: k.Password, PasswordFile: k.PasswordFile,
		Compression: k.Compression, TLS: k.TLS == "on", TLSCA: k.TLSCA, AnswerMax: k.AnswerMax,
	}
}

// storeName says where the store is.
func storeName(c *config.Config) string {
	if c.Storage.Driver == "clickhouse" {
		return "clickhouse://" + c.ClickHouse.Address + "/" + c.ClickHouse.Database
	}
	return c.Parquet.Dir
}
