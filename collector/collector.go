package collector

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// Collector receives and counts. Make one with New; Start and Stop are called
// once each, the other methods at any time from any goroutine.
type Collector struct {
	options Options
	address string
	shards  []*shard
	sources *sources
	cuts    *cutter
	rules   *rules
	granted atomic.Int64  // bytes of receive buffer that each UDP socket got
	drops   atomic.Uint64 // KernelDrops, once the sockets are closed
	clocks  *clocks
	beat    atomic.Int64 // running time: see SinceHeartbeat
	notes   *notes       // what gnet says

	saturatedTold            bool  // tellSaturated has spoken
	unknownTold, badSealTold int64 // running time from which tellUnknown and tellBadSeal may speak again

	listener       *net.TCPListener
	secure         *secure       // nil without TLS
	reserve        int           // descriptors that stay free of connections
	acceptFailures atomic.Uint64 // accepts that failed, and connections that no loop could take

	failed  chan error
	stop    chan struct{}
	working sync.WaitGroup
}

// New returns a collector that does nothing yet.
func New(o Options) *Collector {
	c := &Collector{
		options: o,
		sources: newSources(&o),
		clocks:  newClocks(&o, runningTime(o.Sources)),
		notes:   newNotes(o.Logger),
		failed:  make(chan error, 1),
		stop:    make(chan struct{}),
	}
	c.sources.restore(o.Sources)
	c.rules = newRules(&o)
	c.cuts = newCutter(&o, c.sources, c.clocks)
	for range o.Loops {
		c.shards = append(c.shards, newShard(&c.options, c.rules, c.sources, c.cuts, c.clocks))
	}
	c.cuts.shards = c.shards
	o.Metrics.RegisterMetricsWriter(c.writeMetrics)
	return c
}

// Start binds the sockets and begins to receive. After an error nothing runs.
func (c *Collector) Start() error {
	c.fitDescriptors()
	listener, err := c.listen()
	if err != nil {
		return err
	}
	c.listener = listener
	if c.secure, err = c.listenTLS(); err != nil {
		_ = listener.Close()
		return err
	}
	wall, steady := c.clocks.now()
	c.cuts.start = wall
	c.cuts.last.Store(steady)
	c.beat.Store(steady)
	for i, s := range c.shards {
		if err := c.boot(s); err != nil {
			_ = listener.Close()
			if c.secure != nil {
				_ = c.secure.listener.Close()
			}
			for _, running := range c.shards[:i] {
				c.halt(context.Background(), running)
			}
			hint := ""
			if c.options.SharePort && errors.Is(err, syscall.EADDRINUSE) {
				hint = ": another process has the port and does not share it, or is another user's"
			}
			return fmt.Errorf("listen on %s (loop %d of %d)%s: %w", c.address, i+1, len(c.shards), hint, err)
		}
	}
	c.working.Go(func() { c.cuts.run(c.options.CutInterval, c.stop) })
	c.working.Go(c.sweep)
	c.working.Go(func() { c.accept(listener) })
	if c.secure != nil {
		c.working.Go(func() { c.serveTLS(c.secure) })
	}
	return nil
}

// Address is the host:port that Start bound.
func (c *Collector) Address() string { return c.address }

// KernelDrops is how many buffers of datagrams the kernel dropped since Start,
// because a socket's receive buffer was full. It stays after Stop.
func (c *Collector) KernelDrops() uint64 {
	n := c.drops.Load()
	for _, s := range c.shards {
		s.Lock()
		n += s.udp.dropped()
		s.Unlock()
	}
	return n
}

// Failed gives the error of a loop that ended by itself. Nothing can fix that:
// stop and start the process again.
func (c *Collector) Failed() <-chan error { return c.failed }

// SinceCut is how long ago a cut was last made or tried.
func (c *Collector) SinceCut() time.Duration { return c.clocks.since(c.cuts.last.Load()) }

// Full says that the last cut that was due could not be made, or not in time, or is not
// durable: until one is, sessions have no credit, of their frames none is taken for which
// the tables have no room, and of datagrams what has none is counted coarsely or shed.
func (c *Collector) Full() bool { return c.cuts.full.Load() }

// SinceHeartbeat is how long ago each loop last released its shard when it was
// asked to: about a second, unless one hangs. No disk and no sink has a part in
// it, nor has a step of the wall clock.
func (c *Collector) SinceHeartbeat() time.Duration { return c.clocks.since(c.beat.Load()) }

// readBuffer is how much is read from a connection at once: several frames, so that
// few stand across two reads and have to be copied together.
const readBuffer = 256 << 10

// boot starts one loop and waits until it runs, or cannot.
func (c *Collector) boot(s *shard) error {
	ran := false // OnBoot is called inside Rotate
	s.onBoot = func(e gnet.Engine) error {
		err := c.prepare(s, e)
		ran = true
		return err
	}
	go func() {
		err := gnet.Rotate(s, []string{"udp://" + c.address},
			gnet.WithNumEventLoop(1), gnet.WithReusePort(true), gnet.WithReuseAddr(true),
			// For accept: OnTick, and the way that Register may be called from outside.
			gnet.WithTicker(true), gnet.WithLoadBalancing(gnet.LeastConnections),
			gnet.WithReadBufferCap(readBuffer), gnet.WithLogger(c.notes))
		close(s.stopped)
		if err == nil {
			err = errors.New("the event loop ended")
		}
		if !ran {
			s.booted <- err
			return
		}
		select {
		case <-s.halting:
		case c.failed <- fmt.Errorf("receive on %s: %w", c.address, err):
		default: // another loop was first
		}
	}()
	return <-s.booted
}

// prepare sets up the UDP socket of a loop before its first datagram.
func (c *Collector) prepare(s *shard, e gnet.Engine) error {
	s.engine = e
	socket, err := e.DupListener("udp", c.address)
	if err != nil {
		return fmt.Errorf("get at the UDP socket: %w", err)
	}
	granted, err := s.udp.open(socket, c.options.ReceiveBuffer)
	if err != nil {
		s.udp.close()
		return fmt.Errorf("set the UDP socket's receive buffer to %d bytes: %w", c.options.ReceiveBuffer, err)
	}
	s.rest.most = restFor(granted)
	if c.granted.Swap(int64(granted)) == 0 && granted < c.options.ReceiveBuffer {
		c.options.Logger.Warn("the kernel gave the UDP sockets a smaller receive buffer than asked for: bursts may be lost (they are counted). "+
			"Raise it with `sysctl -w net.core.rmem_max=N`, give the process CAP_NET_ADMIN, or lower listen.receive_buffer",
			"asked_bytes", c.options.ReceiveBuffer, "got_bytes", granted, "need_rmem_max", c.options.ReceiveBuffer)
	}
	return nil
}

// sweepInterval is how often silent connections are looked for, and silent
// sources in sweepStripes of all stripes: in all of them every 16 intervals.
const (
	sweepInterval = time.Second
	sweepStripes  = stripes / 16
)

// sweep closes silent connections and forgets silent sources.
func (c *Collector) sweep() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for n := 0; ; n += sweepStripes {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		for _, s := range c.shards {
			s.sweep()
		}
		c.beat.Store(c.clocks.steady())
		for _, k := range c.cuts.sessions.takeReplaced() {
			k.shard.hangUpOn(k)
		}
		now := c.clocks.steady()
		c.tellUnknown(now)
		c.tellBadSeal(now)
		c.tellSaturated()
		for i := range sweepStripes {
			c.sources.sweep(n+i, before(now, spanQuiet), before(now, c.options.SourceIdleMax), before(now, c.options.SessionIdleMax))
		}
	}
}

// before is the moment this long before now, in milliseconds; the beginning of
// time for 0.
func before(now int64, idle time.Duration) int64 {
	if idle == 0 {
		return math.MinInt64
	}
	return now - idle.Milliseconds()
}

// descriptorsKept is how many file descriptors stay free of connections at the
// most: for files, listeners and the operations server. A quarter of them may be
// taken by connections above ConnectionsMax for the moment in which their clients
// learn the reason, an eighth by connections on their way to a loop.
const descriptorsKept = 512

// fitDescriptors lowers ConnectionsMax to what the process may open.
func (c *Collector) fitDescriptors() {
	limit := descriptorLimit()
	c.reserve = max(8, min(descriptorsKept, limit/2))
	if most := max(1, limit-c.reserve); c.options.ConnectionsMax > most {
		c.options.Logger.Warn("fewer connections than limits.connections_max: the process may open too few files. "+
			"Raise the limit (`ulimit -n`, LimitNOFILE=) or lower the key",
			"asked", c.options.ConnectionsMax, "got", most, "open_files_max", limit)
		c.options.ConnectionsMax = most
	}
}
