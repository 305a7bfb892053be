package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

// reloader brings a changed configuration, and the files that it names, into force
// while the daemon runs: on SIGHUP, and when it sees a change by itself.
type reloader struct {
	d     *daemon
	read  func() (config.Config, []config.Problem)
	level *slog.LevelVar

	reloads, failures *metrics.Counter

	named atomic.Value // streamNames, of the streams of the configuration that is in force

	mu      sync.Mutex // protects what follows
	inForce config.Config
	restart []string          // keys whose new values wait for a restart
	bad     bool              // the file as it was last read is of no use
	seen    [sha256.Size]byte // of all files, when they were last read
}

// reloadLook is how often files are looked at for changes. A directory that
// Kubernetes mounts changes up to a minute after its object anyway.
const reloadLook = 5 * time.Second

// newReloader returns a reloader for a daemon that runs by c.
func newReloader(d *daemon, c *config.Config, read func() (config.Config, []config.Problem), level *slog.LevelVar) *reloader {
	r := &reloader{
		d: d, read: read, level: level, inForce: *c,
		reloads: d.set.NewCounter("lectern_config_reloads_total"), failures: d.set.NewCounter("lectern_config_reload_failures_total"),
	}
	r.named.Store(namesOf(c))
	r.seen = r.files()
	d.set.RegisterMetricsWriter(r.writeMetrics)
	return r
}

// streams are the names of streams that are in force now. Nobody waits for it.
func (r *reloader) streams() streamNames { return r.named.Load().(streamNames) }

// watch reloads until ctx ends.
func (r *reloader) watch(ctx context.Context, hangups <-chan os.Signal) {
	tick := time.NewTicker(reloadLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			r.reload("SIGHUP")
		case <-tick.C:
			if r.changed() {
				r.reload("a file has changed")
			}
			r.followKeys()
		}
	}
}

// followKeys has the collector follow the directories of keys.
func (r *reloader) followKeys() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.d.keys.look(&r.inForce) {
		r.d.collector.SetStreams(streamsOf(&r.inForce, &r.d.keys))
	}
}

// files is what the configuration and the files that it names hold, as a hash. The
// time of a file says less: Kubernetes replaces whole directories.
func (r *reloader) files() (sum [sha256.Size]byte) {
	c := &r.inForce
	hash := sha256.New()
	for _, path := range []string{c.File, c.TLS.Certificate, c.TLS.Key, c.TLS.ClientCA, c.Streams.SaltFile} {
		text, err := []byte(nil), error(nil)
		if path != "" {
			text, err = os.ReadFile(path)
		}
		fmt.Fprintf(hash, "%d %t ", len(text), err == nil)
		hash.Write(text)
	}
	hash.Sum(sum[:0])
	return sum
}

func (r *reloader) changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files() != r.seen
}

// reload takes what can be taken while the daemon runs, and names the rest.
func (r *reloader) reload(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = r.files()
	next, problems := r.read()
	if r.bad = len(problems) > 0; r.bad {
		r.failures.Inc()
		for _, p := range problems[:min(len(problems), problemsMax)] {
			r.d.logger.Error("the configuration is not taken, and the one from before goes on: "+p.String(), "why", why, "problems", len(problems))
		}
		return
	}
	taken, restart := r.inForce.Reload(&next)
	r.restart = restart
	if err := r.apply(&taken); err != nil {
		r.failures.Inc()
		r.d.logger.Error("a part of the configuration is not taken, and what was there before goes on", "why", why, "error", err)
	}
	changed := taken.Differs(&r.inForce)
	r.inForce = taken
	r.d.collector.SetConfig(taken.Hash())
	r.named.Store(namesOf(&taken))
	r.seen = r.files() // of the files that it names now
	r.reloads.Inc()
	if len(restart) > 0 {
		r.d.logger.Warn("some of the changed configuration takes a restart", "keys", strings.Join(restart, " "))
	}
	r.d.logger.Info("the configuration was read again", "why", why, "changed", strings.Join(changed, " "), "hash", fmt.Sprintf("%016x", taken.Hash()))
}

// problemsMax bounds how many problems of one file the log has.
const problemsMax = 20

// apply brings into force what can be. The error says what could not: c has then
// what was there before.
func (r *reloader) apply(c *config.Config) error {
	var errs []string
	if r.d.certs != nil {
		changed, err := r.d.certs.Load(certFiles(c))
		if err != nil {
			c.TLS = r.inForce.TLS
			errs = append(errs, err.Error())
		} else if changed {
			r.d.logger.Info("the certificates of the TLS port were read again", "not_after", r.d.certs.NotAfter())
		}
	}
	if err := r.d.keys.add(c); err != nil {
		c.Streams, c.Named = r.inForce.Streams, r.inForce.Named
		errs = append(errs, err.Error())
	}
	if err := r.d.salts.load(c.Streams.SaltFile); err != nil {
		c.Streams.SaltFile = r.inForce.Streams.SaltFile
		errs = append(errs, err.Error())
	}
	r.level.Set(c.Log.Level)
	r.d.collector.SetStreams(streamsOf(c, &r.d.keys))
	if len(errs) > 0 {
		return fmt.Errorf("%s", strings.Join(errs, "; "))
	}
	return nil
}

// writeMetrics writes which configuration is in force, and what is wrong with the
// one that is there.
func (r *reloader) writeMetrics(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	metrics.WriteMetadataIfNeeded(w, "lectern_config_info", "gauge")
	fmt.Fprintf(w, "lectern_config_info{hash=\"%016x\"} 1\n", r.inForce.Hash())
	metrics.WriteGaugeUint64(w, "lectern_config_bad", oneIf(r.bad))
	metrics.WriteGaugeUint64(w, "lectern_config_keys_awaiting_restart", uint64(len(r.restart)))
	var bad bool
	var until int64
	if r.d.certs != nil {
		bad, until = r.d.certs.Bad(), r.d.certs.NotAfter().Unix()
	}
	metrics.WriteGaugeUint64(w, "lectern_tls_files_bad", oneIf(bad))
	metrics.WriteGaugeUint64(w, "lectern_tls_certificate_expiry_timestamp_seconds", uint64(until))
}

// oneIf is a gauge of something that is so, or is not.
func oneIf(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}
