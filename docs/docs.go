// Package docs holds the pages that the daemon quotes.
package docs

import _ "embed"

// Metrics is METRICS.md: what a metric means stands there, and nowhere else.
//
//go:embed METRICS.md
var Metrics string

// Operations is OPERATIONS.md: what to do about each alert stands there, and nowhere
// else.
//
//go:embed OPERATIONS.md
var Operations string
