//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package progress

import "io"

// columns is how wide the terminal is.
func columns(io.Writer) int { return columnsDefault }
