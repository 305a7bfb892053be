//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package progress

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// columns is how wide the terminal is, 80 where nobody knows.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return columnsDefault
}
