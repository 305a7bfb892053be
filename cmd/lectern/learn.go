package main

import (
	"context"
	"time"

	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
)

// learnRetry is between two tries to ask the store what contents are called.
const learnRetry = time.Minute

// learnNames has the collector know what the store says that contents are called:
// emitters say it once a day, and may have said it to the process before.
func (d *daemon) learnNames(ctx context.Context) {
	for {
		reader, err := openReader(d.config)
		var books []storage.Book
		if err == nil {
			books, err = reader.Names(ctx, collector.NamesMost(d.config.Limits.NamesMemory))
		}
		if err == nil {
			d.collector.Learn(books)
			return
		}
		d.logger.Debug("the store does not say what contents are called; it is asked again", "error", err)
		if pauseFor(ctx, learnRetry) != nil {
			return
		}
	}
}
