package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

// announceDisk says, before a new spool takes its room on the disk, how much that
// is. A spool that is there has it already.
func announceDisk(c *config.Config, logger *slog.Logger) {
	// The reserve file is what fills a spool up to its size.
	if _, err := os.Lstat(filepath.Join(c.Spool.Dir, "reserve")); err == nil {
		return
	}
	logger.Info("the spool takes its room on the disk now, all of it, so that a full disk shows at the start; spool.size_max says how much",
		"spool", c.Spool.Dir, "size", config.FormatSize(int64(c.Spool.SizeMax)))
}

// diskTable is the part of `lectern check` about disks.
func diskTable(c *config.Config) string {
	said := fmt.Sprintf("  %s in %s, taken at the first start: spool.size_max", config.FormatSize(int64(c.Spool.SizeMax)), c.Spool.Dir)
	if c.Spool.Share {
		said += ",\n  as much again for each daemon that is there at the same time"
	}
	said += "\n"
	if c.Storage.Driver == "parquet" {
		said += fmt.Sprintf("  what was counted in %s, without a limit: parquet.dir\n", c.Parquet.Dir)
	}
	return said
}
