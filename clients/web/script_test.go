package web

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
)

func TestScriptIsSmall(t *testing.T) {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if _, err := w.Write([]byte(Script())); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d gzipped", len(Script()), b.Len())
	if b.Len() > 2048 {
		t.Errorf("lectern.js is %d bytes gzipped, more than 2,048", b.Len())
	}
}

func TestScriptHasNoCommentsOrExports(t *testing.T) {
	for line := range strings.Lines(Script()) {
		if strings.HasPrefix(line, "//") || strings.HasPrefix(line, "export") || strings.HasPrefix(line, " ") {
			t.Errorf("it has the line %q", line)
		}
	}
}
