package place

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/lectern/lectern/storage/vfs"
)

// ErrGone says that the directory, or the log in it, was removed or replaced under
// this process. What is written goes nowhere then that a start would look.
var ErrGone = errors.New("the directory of the spool was removed or replaced under this process")

// anchor is the log file that is written, and the path at which a start would find
// it. While it is open no other file can be its like.
type anchor struct {
	path string
	file vfs.File
}

// Anchor says which file is written, and at which path a start would find it.
func (p *Place) Anchor(name string, f vfs.File) { p.anchor.Store(&anchor{p.Path(name), f}) }

// Present says, as an error that is ErrGone, that the directory is no longer the one
// that was opened. Nothing is acknowledged, removed or shipped then, until it is put
// back or another process is started: what the directory's place has now may be
// another's. It costs a system call or two, and waits for nobody.
func (p *Place) Present() error {
	for {
		a := p.anchor.Load()
		if a == nil {
			return nil // a start has only begun
		}
		there, err := a.file.At(a.path)
		if p.anchor.Load() != a {
			continue // another log was begun meanwhile
		}
		switch {
		case err != nil:
			return fmt.Errorf("look whether %s is still there: %w", a.path, err)
		case !there:
			return fmt.Errorf("%w: %s is not the file that is written: put the directory %s back, or start anew, without what was acknowledged and not stored",
				ErrGone, a.path, filepath.Dir(a.path))
		}
		return nil
	}
}
