package main

import (
	"context"
	"time"

	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse"
	"github.com/lectern/lectern/storage/parquet"
)

// learnRetry is between two tries to ask the store what contents are called.
const learnRetry = time.Minute

// learnNames has the collector know what the store says that contents are called:
// emitters say it once a day, and may have said it to the process before.
func (d *daemon) learnNames(ctx context.Context) {
	for {
		books, err := d.storedNames(ctx)
		if err == nil {
			d.collector.Learn(books)
			return
		}
		d.logger.Debug("the store does not say what contents are called; it is asked again", "error", err)
		select {
		case <-time.After(learnRetry):
		case <-ctx.Done():
			return
		}
	}
}

func (d *daemon) storedNames(ctx context.Context) ([]storage.Book, error) {
	var reader storage.Reader
	var err error
	if d.config.Storage.Driver == "clickhouse" {
		reader, err = clickhouse.OpenReader(clickhouseOptions(d.config))
	} else {
		reader, err = parquet.OpenReader(d.config.Parquet.Dir)
	}
	if err != nil {
		return nil, err
	}
	return reader.Names(ctx, collector.NamesMost(d.config.Limits.NamesMemory))
}
