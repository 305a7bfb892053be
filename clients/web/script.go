// Package web holds lectern.js, the script that tells an edge what is read on a
// page, in the form in which an edge serves it.
package web

import (
	_ "embed" // the script's source
	"strings"
)

//go:embed lectern.mjs
var source string

// Script is lectern.js: a classic script, without the comments and the
// indentation of its source. It counts the page that loads it, by the data-
// attributes of its element, and leaves its calls in window.lectern.
func Script() string {
	var b strings.Builder
	b.WriteString("(()=>{")
	for line := range strings.Lines(source) {
		if line = strings.TrimLeft(line, " "); !strings.HasPrefix(line, "//") {
			b.WriteString(strings.TrimPrefix(line, "export "))
		}
	}
	b.WriteString(`const s=document.currentScript;window.lectern=start({endpoint:new URL("v1/read",s.src).href,...s.dataset})})()`)
	return b.String()
}
