package main

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/now"
	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// What an emitter says of a content is beside its readers at once, and in the store.
// The last title counts.
func TestDescribedContent(t *testing.T) {
	const path = "/2026/01/étoile"
	dir := filepath.Join(t.TempDir(), "parquet")
	d := serveOn(t, configure(t, dir, ""))
	out, err := emit.DialTCP(t.Context(), d.address, emit.Options{Stream: 7})
	if err != nil {
		t.Fatal(err)
	}
	id := emit.ID(path)
	err = errors.Join(out.Add(emit.Event{Content: id, User: 1}), out.Name(path))
	for _, said := range []struct {
		what wire.Attribute
		text string
	}{{emit.Title, "Draft"}, {emit.Section, "Sciences"}, {emit.Author, "محمد"}, {emit.Published, "1767225600000"}, {emit.Words, "1200"}, {emit.Title, "L’étoile & <b>"}} {
		err = errors.Join(err, out.Describe(id, said.what, said.text))
	}
	if err = errors.Join(err, out.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := []string{"13353046256577510050", path, "L’étoile & <b>", "Sciences", "محمد"}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var page now.Page
		_, body := d.get("/now.json?stream=7")
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range page.Streams {
			for _, c := range s.Contents {
				got = append(got, c.Content, c.Name, c.Title, c.Section, c.Author)
			}
		}
		if slices.Equal(got, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("/now.json has %q, want %q", got, want)
		}
	}
	d.stop()
	stored := make(map[saying]bool)
	for attribute, text := range map[string]string{
		"name": path, "title": "L’étoile & <b>", "section": "Sciences", "author": "محمد", "published": "1767225600000", "words": "1200",
	} {
		stored[saying{id, attribute, text}] = true
	}
	if got := storedNames(t, dir, 7); !maps.Equal(got, stored) {
		t.Errorf("the store has %v, want %v", got, stored)
	}
}
