package image

import (
	"testing"
)

// compose brings up what of compose.yml can be had without a registry: Lectern,
// with files for a store, by `make up STORE=parquet`. `make down` leaves its data.
func (d *docker) compose(t *testing.T) {
	t.Setenv("COMPOSE_PROJECT_NAME", "test")
	args := []string{"DOCKER=" + cli, "COMPOSE=/usr/bin/docker-compose", "IMAGE=lectern-amd64", "VERSION=" + version, "COMMIT=" + commit, "STORE=parquet"}
	d.run("make", append([]string{"up"}, args...)...)
	name := d.run(cli, "ps", "--all", "--filter", "label=com.docker.compose.service=lectern", "--format", "{{.Names}}")
	d.untilReady(t, name)
	d.checkProcess(t, name)
	if got := d.run(cli, "inspect", "--format", "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Memory}}", name); got != "true 1342177280" {
		t.Errorf("its root is read-only, its memory: %s", got)
	}
	const datagrams, acknowledged = 20_000, 100_000
	d.emit(t, "--to", "udp://127.0.0.1:8420", "--stream", "1", "--events", "20000", "--rate", "20000")
	d.emit(t, "--to", "tcp://127.0.0.1:8420", "--stream", "2", "--events", "100000")
	d.stop(t, name)
	d.run("make", append([]string{"down"}, args...)...)
	if left := d.run(cli, "ps", "--all", "--quiet"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
	d.checkBooks(t, "test_lectern", "parquet", map[string]int64{"1": datagrams, "2": acknowledged})
}
