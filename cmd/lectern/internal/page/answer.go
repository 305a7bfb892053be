package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var assets embed.FS

// policy lets the page load what is here and nothing else, and nobody frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types are those of the page's files, by the end of their names.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".json": "application/json", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}

// files are the page's files, by pattern: index.html is at /, the others at /page/.
func files() map[string]http.Handler {
	all := make(map[string]http.Handler)
	err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := assets.ReadFile(name)
		pattern := "GET /page/" + name[len("assets/"):]
		if name == "assets/index.html" {
			pattern = "GET /{$}"
		}
		all[pattern] = constant(types[path.Ext(name)], body)
		return err
	})
	if err != nil {
		panic(err) // they are in the program
	}
	return all
}

// constant always answers the same.
func constant(kind string, body []byte) http.Handler {
	tag := tagOf(body)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { send(w, r, kind, tag, body) })
}

// of answers what is told of the last look.
func (p *Page) of(tell func(*look) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l := p.latest(r.Context(), lookAge)
		if l == nil {
			http.Error(w, "the daemon does not answer: an event loop hangs, see /healthz", http.StatusServiceUnavailable)
			return
		}
		body, err := json.Marshal(tell(l))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		send(w, r, types[".json"], tagOf(body), body)
	})
}

func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// send answers, or says that nothing has changed.
func send(w http.ResponseWriter, r *http.Request, kind, tag string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache") // ask again each time whether it has changed
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
