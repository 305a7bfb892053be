package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// serviceManager is whoever started the daemon and wants to hear of it by the
// protocol of sd_notify(3): systemd with Type=notify. Without one, all of it does
// nothing. Its methods may be called from several goroutines.
type serviceManager struct {
	socket   string        // empty: there is none
	watchdog time.Duration // the longest silence that it takes; 0: any
	logger   *slog.Logger
}

// newServiceManager reads what the service manager left in the environment.
func newServiceManager(getenv func(string) string, logger *slog.Logger) *serviceManager {
	m := &serviceManager{socket: getenv("NOTIFY_SOCKET"), logger: logger}
	microseconds, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	// WATCHDOG_PID is there so that a child of the daemon does not answer for it.
	if pid := getenv("WATCHDOG_PID"); err == nil && microseconds > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		m.watchdog = time.Duration(microseconds) * time.Microsecond
	}
	return m
}

// ready says that the sockets are bound.
func (m *serviceManager) ready() { m.tell("READY=1\nSTATUS=Counting") }

// stopping says that the end has begun, and how long it may take: that counts
// from now, whatever TimeoutStopSec says.
func (m *serviceManager) stopping(grace time.Duration) {
	m.tell(fmt.Sprintf("STOPPING=1\nSTATUS=Reading dry, then storing\nEXTEND_TIMEOUT_USEC=%d", grace.Microseconds()))
}

// watch shows signs of life until ctx ends, for as long as alive says so. A daemon
// that shows none is killed and started again.
func (m *serviceManager) watch(ctx context.Context, alive func() bool) {
	if m.socket == "" || m.watchdog == 0 {
		return
	}
	// Half of what is allowed, as sd_watchdog_enabled(3) advises.
	tick := time.NewTicker(max(m.watchdog/2, time.Millisecond))
	defer tick.Stop()
	for {
		if alive() {
			m.tell("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tellMax is how long the daemon waits for a service manager that does not read.
const tellMax = time.Second

// tell sends a datagram to the service manager. One that does not listen is
// logged: it will end the daemon when it has heard nothing for too long.
func (m *serviceManager) tell(state string) {
	if m.socket == "" {
		return
	}
	// A name that begins with @ is in the abstract namespace, to package net too.
	conn, err := net.Dial("unixgram", m.socket)
	if err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(tellMax))
		_, err = conn.Write([]byte(state))
		_ = conn.Close()
	}
	if err != nil {
		m.logger.Warn("the service manager does not hear of this daemon; is NOTIFY_SOCKET right?", "error", err)
	}
}

// watched has the service manager hear of the daemon until the function that it
// returns is called.
func (d *daemon) watched() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { d.manager.watch(ctx, d.alive) })
	return func() { cancel(); watching.Wait() }
}

// alive says that no event loop hangs, as /healthz does.
func (d *daemon) alive() bool {
	return d.ops.Alive() == nil
}
