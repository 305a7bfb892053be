package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"

	"github.com/lectern/lectern/cmd/lectern/internal/ops"
)

const unitFile = "../../packaging/systemd/lectern.service"

// unit reads a setting of the unit.
func unit(t *testing.T, key string) string {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("the unit has no %s", key)
	}
	return string(found[1])
}

// systemd takes the unit, and says of its hardening what it says of few.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("NOT RUN: %v", err)
		}
		t.Skipf("NOT RUN: %v", err)
	}
	lectern, err := built()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// A program that is not there is an error to systemd.
	path := filepath.Join(t.TempDir(), "lectern.service")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/bin/lectern", lectern)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// In tenths, 0 is best: most daemons have 90 and more.
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=15", path).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// The unit gives the daemon what its defaults want.
func TestUnitFitsTheDefaults(t *testing.T) {
	c := config.Defaults()
	seconds := func(key string) time.Duration {
		t.Helper()
		d, err := time.ParseDuration(strings.ReplaceAll(unit(t, key), "min", "m"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if stop := seconds("TimeoutStopSec"); stop < c.Stop.Grace+5*time.Second {
		t.Errorf("it is killed after %v, and may take %v to end", stop, c.Stop.Grace)
	}
	if watchdog := seconds("WatchdogSec"); watchdog < 2*ops.HealthSilence {
		t.Errorf("it is killed after %v of silence, and a loop hangs after %v", watchdog, ops.HealthSilence)
	}
	if n, err := strconv.Atoi(unit(t, "LimitNOFILE")); err != nil || n < 2*c.Limits.ConnectionsMax {
		t.Errorf("it may have %d files open (%v), and %d connections", n, err, c.Limits.ConnectionsMax)
	}
	if unit(t, "Type") != "notify" || unit(t, "ExecStart") != "/usr/bin/lectern serve --config /etc/lectern/config.toml" {
		t.Errorf("it is of type %s and starts %s", unit(t, "Type"), unit(t, "ExecStart"))
	}
	// A process that the watchdog ends leaves with Go's status 2.
	if text, err := os.ReadFile(unitFile); err != nil || unit(t, "Restart") != "on-failure" || strings.Contains(string(text), "RestartPreventExitStatus") {
		t.Errorf("it is not started again after every failure (%v)", err)
	}
	sysctl, err := os.ReadFile("../../packaging/systemd/lectern.sysctl")
	if err != nil || !strings.Contains(string(sysctl), "net.core.rmem_max = "+strconv.Itoa(c.Listen.ReceiveBuffer)+"\n") {
		t.Errorf("the receive buffer is %d, the machine's setting (%v):\n%s", c.Listen.ReceiveBuffer, err, sysctl)
	}
}
