package emit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lectern/lectern/wire"
)

// keyFileWait is how long a key's file is not looked at again.
const keyFileWait = 5 * time.Second

// sealer has what seals an emitter's frames, and takes the key anew from its file
// when that has changed. A nil sealer seals nothing. It is not safe for concurrent
// use.
type sealer struct {
	stream   uint16
	audience string
	file     string
	seen     fs.FileInfo // of the file, when it was read
	looked   time.Time
	failures uint64 // of reading the file, after the first time

	secret *wire.Secret
	frame  *wire.EventsKey
}

// newSealer returns what the options ask for, nil where they ask for none.
func newSealer(o *Options) (*sealer, error) {
	if o.Key == nil && o.KeyFile == "" {
		if o.Audience != "" {
			return nil, errors.New("emit: there is an audience and no key: set Key or KeyFile")
		}
		return nil, nil
	}
	if o.Key != nil && o.KeyFile != "" {
		return nil, errors.New("emit: Key and KeyFile are both set; leave one out")
	}
	if err := wire.CheckAudience(o.Audience); err != nil {
		return nil, fmt.Errorf("emit: the audience %q is not one: %w; it is the collector's listen.audience", o.Audience, err)
	}
	s := &sealer{stream: o.Stream, audience: o.Audience, file: o.KeyFile}
	if s.file != "" {
		return s, s.read()
	}
	return s, s.use(o.Key)
}

// use seals with this secret from now on.
func (s *sealer) use(secret *wire.Secret) error {
	frame, err := secret.FrameKey(s.stream, s.audience)
	if err == nil {
		s.secret, s.frame = secret, frame
	}
	return err
}

// stat finds the key file: KeyFile itself, or the only one in that directory, as
// Kubernetes mounts a Secret. Names with a dot in front are its own.
func (s *sealer) stat() (path string, seen fs.FileInfo, err error) {
	path = s.file
	if seen, err = os.Stat(path); err != nil || !seen.IsDir() {
		return path, seen, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return path, nil, err
	}
	name := ""
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case name != "":
			return path, nil, fmt.Errorf("%s has more than one key: an emitter seals with one", path)
		default:
			name = e.Name()
		}
	}
	if name == "" {
		return path, nil, fmt.Errorf("%s has no key", path)
	}
	path = filepath.Join(path, name)
	seen, err = os.Stat(path)
	return path, seen, err
}

// read takes the key from its file.
func (s *sealer) read() error {
	path, seen, err := s.stat()
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return fmt.Errorf("emit: cannot read the key: %w", err)
	}
	secret, err := wire.ParseSecret(string(text))
	if err != nil {
		return fmt.Errorf("emit: %s is %w", path, err)
	}
	s.seen = seen
	return s.use(secret)
}

// look takes the key anew if its file is another by now. The last good one stays
// where that cannot be read.
func (s *sealer) look(now time.Time) {
	if s == nil || s.file == "" || now.Sub(s.looked) < keyFileWait {
		return
	}
	s.looked = now
	// A key that was replaced as Kubernetes does it is another file by the same name.
	_, seen, err := s.stat()
	if err == nil && os.SameFile(seen, s.seen) && seen.ModTime().Equal(s.seen.ModTime()) && seen.Size() == s.seen.Size() {
		return
	}
	if s.read() != nil {
		s.failures++
	}
}

// tagSize is how many bytes of a frame its tag takes.
func (s *sealer) tagSize() int {
	if s == nil {
		return 0
	}
	return wire.TagSize
}

var errNotSealing = errors.New("emit: this emitter does not seal: open it with a key")

// setKey is SetKey of both emitters.
func (s *sealer) setKey(secret *wire.Secret) error {
	switch {
	case s == nil:
		return errNotSealing
	case s.file != "":
		return fmt.Errorf("emit: the key comes from %s: replace that file", s.file)
	}
	return s.use(secret)
}
