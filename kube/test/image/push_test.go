package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// push pushes to a registry inside as `make push` does: one image for two
// architectures, under its version and no tag that moves.
func (d *docker) push(t *testing.T) {
	const registry = "127.0.0.1:5000"
	config := filepath.Join(d.dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %s/registry\nhttp:\n  addr: %s\n", d.dir, registry)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	name, args := d.inside("/usr/bin/docker-registry", "serve", config)
	server := d.command(name, args...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	until(t, "the registry answers", 20*time.Second, func() error {
		_, err := d.get("http://" + registry + "/v2/")
		return err
	})

	// The client itself speaks to the registry for a manifest, so it has to be inside, too.
	d.run("make", "push", "DOCKER=nsenter -t "+d.pid+" -n "+cli, "IMAGE="+registry+"/lectern", "VERSION="+version, "COMMIT="+commit, "MANIFEST_FLAGS=--insecure")
	if got := d.platforms(t, "http://"+registry+"/v2/lectern/manifests/"+version); !slices.Equal(got, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("%s is for %v", version, got)
	}
	tags, err := d.get("http://" + registry + "/v2/lectern/tags/list")
	if err != nil {
		t.Fatal(err)
	}
	for _, moving := range []string{"latest", "dev"} {
		if strings.Contains(string(tags), `"`+moving+`"`) {
			t.Errorf("%s was pushed: %s", moving, tags)
		}
	}
}

// platforms is what a tag is for.
func (d *docker) platforms(t *testing.T, url string) (all []string) {
	t.Helper()
	ask, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	ask.Header.Set("Accept", "application/vnd.docker.distribution.manifest.list.v2+json")
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.dial}}
	answer, err := client.Do(ask)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Manifests []struct {
			Platform struct{ Architecture, OS string }
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, m := range list.Manifests {
		all = append(all, m.Platform.OS+"/"+m.Platform.Architecture)
	}
	slices.Sort(all)
	return all
}
