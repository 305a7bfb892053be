package kube

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
)

// dashboard is what is looked at of one.
type dashboard struct {
	file          string
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Panels        []struct {
		ID          int    `json:"id"`
		Type        string `json:"type"`
		Title       string `json:"title"`
		Description string `json:"description"`
		GridPos     struct{ H, W, X, Y int }
		Targets     []struct {
			RefID      string `json:"refId"`
			Expr       string `json:"expr"`
			RawSQL     string `json:"rawSql"`
			Datasource struct{ Type, UID string }
		} `json:"targets"`
		FieldConfig struct {
			Defaults struct {
				Unit string `json:"unit"`
			} `json:"defaults"`
		} `json:"fieldConfig"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
			Query      any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

func dashboards(t *testing.T) (all []dashboard) {
	t.Helper()
	files, err := filepath.Glob("../components/dashboards/*.json")
	if err != nil || len(files) != 2 {
		t.Fatalf("the dashboards are %v (%v)", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := dashboard{file: filepath.Base(file)}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, d)
	}
	return all
}

// A dashboard that Grafana takes and a person can read: ids once, panels that do
// not lie on each other, a unit and a word of explanation for each, a source that
// can be chosen.
func TestDashboards(t *testing.T) {
	for _, d := range dashboards(t) {
		if d.UID == "" || d.SchemaVersion < 36 {
			t.Errorf("%s: uid %q, schema version %d", d.file, d.UID, d.SchemaVersion)
		}
		var variables []string
		for _, v := range d.Templating.List {
			variables = append(variables, v.Name)
			if query, ok := v.Query.(string); ok && strings.Contains(query, "SELECT") && (query != v.Definition || !strings.Contains(query, "stream != 65535")) {
				t.Errorf("%s: the variable %s counts receipts, or is defined twice: %q, %q", d.file, v.Name, query, v.Definition)
			}
		}
		if len(variables) == 0 || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: the data source cannot be chosen", d.file)
		}
		ids := make(map[int]bool)
		var taken [24][200]string
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: %q has the id %d of another panel", d.file, p.Title, p.ID)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if taken[x][y] != "" {
						t.Errorf("%s: %q lies on %q", d.file, p.Title, taken[x][y])
					}
					taken[x][y] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			if p.Title == "" || len(p.Targets) == 0 || p.Type != "table" && p.FieldConfig.Defaults.Unit == "" {
				t.Errorf("%s: panel %d (%q) has no title, no query or no unit", d.file, p.ID, p.Title)
			}
			for _, target := range p.Targets {
				if target.Datasource.UID != "${datasource}" || (target.Expr == "") == (target.RawSQL == "") {
					t.Errorf("%s: %q asks %+v", d.file, p.Title, target)
				}
				for _, found := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(target.Expr+target.RawSQL, -1) {
					if !strings.HasPrefix(found[1], "__") && !slices.Contains(variables, found[1]) {
						t.Errorf("%s: %q uses $%s, which is no variable", d.file, p.Title, found[1])
					}
				}
				// Rows of the reserved stream are receipts, not readers.
				if target.RawSQL != "" && !strings.Contains(target.RawSQL, "stream != 65535") {
					t.Errorf("%s: %q counts receipts", d.file, p.Title)
				}
			}
		}
	}
}

// Editors read names: of contents in every table of contents, and of streams where they
// choose one. (storage/clickhouse has the answers.)
func TestEditorsReadNames(t *testing.T) {
	for _, d := range dashboards(t) {
		if d.file != "lectern-editors.json" {
			continue
		}
		tables := 0
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				byContent := regexp.MustCompile(`GROUP BY [^()]*\bcontent\b`).MatchString(target.RawSQL)
				if !byContent && p.Type != "table" {
					continue
				}
				tables++
				if !strings.HasPrefix(target.RawSQL, "SELECT if(n.called != '', n.called, t.id) AS content") || !strings.Contains(target.RawSQL, "FROM lectern.names AS c") {
					t.Errorf("%q shows contents without their names: %s", p.Title, target.RawSQL)
				}
			}
		}
		if tables < 3 {
			t.Errorf("only %d panels are of contents", tables)
		}
		for _, v := range d.Templating.List {
			if v.Name == "stream" && !strings.Contains(v.Definition, "lectern.stream_names") {
				t.Errorf("streams are chosen by their numbers: %s", v.Definition)
			}
		}
	}
}

// Grafana's sidecar finds them by a label, whole.
func TestDashboardsConfigMap(t *testing.T) {
	m := one[*core.ConfigMap](t, render(t, "../components/dashboards"), "lectern-dashboards")
	if m.Labels["grafana_dashboard"] != "1" {
		t.Errorf("the labels are %v", m.Labels)
	}
	size := 0
	for name, text := range m.Data {
		file, err := os.ReadFile(filepath.Join("../components/dashboards", name))
		if err != nil || !bytes.Equal(bytes.TrimSpace(file), bytes.TrimSpace([]byte(text))) {
			t.Errorf("%s is not what stands in the ConfigMap: %v", name, err)
		}
		size += len(text)
	}
	// The API server takes no ConfigMap of more than 1 MiB, and kubectl apply keeps it a second time in an annotation of at
	// most 256 KiB.
	if len(m.Data) != 2 || size > 256<<10 {
		t.Errorf("%d dashboards, %d bytes", len(m.Data), size)
	}
}
