package format

import (
	"errors"
	"fmt"
	"io"
)

// The errors of what is read: damage is of what a file holds, and stays; the other
// is of the disk at this moment, and says nothing of the contents.
var (
	ErrDamaged = errors.New("damaged")
	ErrRead    = errors.New("cannot be read now")
)

// Damage is an error that is ErrDamaged, of what the text says.
func Damage(text string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(text, args...))
}

// DamagedBy is the error of what is not as it was written.
func DamagedBy(what string, why error) error {
	return fmt.Errorf("%w: %s: %w", ErrDamaged, what, why)
}

// ReadError is the error of a read. Where a file ends too early it is damaged;
// whatever else the kernel says is about the disk.
func ReadError(what string, err error) error {
	if errors.Is(err, io.EOF) {
		return Damage("%s: the file ends too early", what)
	}
	return fmt.Errorf("%s %w: %w", what, ErrRead, err)
}
