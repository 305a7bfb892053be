package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
)

// The bill of materials is CycloneDX 1.5 in JSON: what the linker wrote into the
// program, which is what is in it, and what draws on the daemon's page, which is a file.

type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Scope      string     `json:"scope,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// bill writes the bill of a program.
func (r *release) bill(program []byte) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(program)
	self := component{
		Type: "application", Name: info.Main.Path, Version: r.version, PURL: purl(info.Main.Path, r.version),
		Hashes: []hash{{"SHA-256", hex.EncodeToString(digest[:])}},
	}
	self.Ref = self.PURL
	self.Licenses = licensed("Apache-2.0")
	for _, s := range info.Settings {
		self.Properties = append(self.Properties, property{"go:build:" + s.Key, s.Value})
	}
	standard := component{Type: "library", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), Scope: "required"}
	standard.PURL = purl("std", standard.Version)
	standard.Ref = standard.PURL
	all, refs := []component{standard}, []string{standard.Ref}
	for _, m := range info.Deps {
		if m.Version == "(devel)" {
			m.Version = r.version // of go.work: they are released together
		}
		c, err := module(m)
		if err != nil {
			return nil, err
		}
		all, refs = append(all, c), append(refs, c.Ref)
	}
	drawing, err := r.drawing()
	if err != nil {
		return nil, err
	}
	all, refs = append(all, drawing), append(refs, drawing.Ref)
	b := bom{
		Format: "CycloneDX", Spec: "1.5", Serial: serial(digest), Version: 1,
		Metadata:   metadata{Timestamp: r.time.Format(time.RFC3339), Component: self},
		Components: all, Dependencies: []dependency{{self.Ref, refs}},
	}
	text, err := json.MarshalIndent(b, "", "  ")
	return append(text, '\n'), err
}

func licensed(id string) []license {
	all := make([]license, 1)
	all[0].License.ID = id
	return all
}

// drawn is the file that draws on the page, and drawnVersion what it says of itself.
const drawn = "cmd/lectern/internal/page/assets/vendor/uPlot.js"

var drawnVersion = regexp.MustCompile(`github\.com/leeoniya/uPlot \(v([0-9.]+)\)`)

// drawing is uPlot, as npm has it.
func (r *release) drawing() (component, error) {
	text, err := os.ReadFile(filepath.Join(r.root, drawn))
	if err != nil {
		return component{}, err
	}
	version := drawnVersion.FindSubmatch(text)
	if version == nil {
		return component{}, fmt.Errorf("%s does not say its version", drawn)
	}
	digest := sha256.Sum256(text)
	c := component{Type: "library", Name: "uplot", Version: string(version[1]), Scope: "required", PURL: "pkg:npm/uplot@" + string(version[1]),
		Hashes: []hash{{"SHA-256", hex.EncodeToString(digest[:])}}, Licenses: licensed("MIT")}
	c.Ref = c.PURL
	return c, nil
}

// module is one that the program has in it; where it is replaced, what stands in
// its place.
func module(m *debug.Module) (component, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	c := component{Type: "library", Name: m.Path, Version: m.Version, Scope: "required", PURL: purl(m.Path, m.Version)}
	c.Ref = c.PURL
	if m.Sum == "" {
		return c, nil
	}
	// go.sum's h1 is the SHA-256 of a list of the files' own: of no file that
	// somebody has, so it is a property and no hash of the component.
	encoded, ok := strings.CutPrefix(m.Sum, "h1:")
	if raw, err := base64.StdEncoding.DecodeString(encoded); !ok || err != nil || len(raw) != sha256.Size {
		return c, fmt.Errorf("the sum of %s is %q", m.Path, m.Sum)
	}
	c.Properties = []property{{"go:sum", m.Sum}}
	return c, nil
}

// purl is a package URL (type golang).
func purl(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// serial is a UUID of the form for content (version 8), so that one program has
// one serial number.
func serial(digest [sha256.Size]byte) string {
	u := digest[:16]
	u = append([]byte(nil), u...)
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
