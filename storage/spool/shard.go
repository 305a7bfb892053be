package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

// shardName is a file that says to which shard of a store the blocks of this
// collector go. It is durable before the first of them is sent there, and says so
// for as long as one of them may be there without the spool's knowing. It is
// FORMAT.md's magic, version, length, text, checksum.
const (
	shardName    = "shard"
	shardVersion = 1
	shardMax     = 4 << 10 // bytes of the text
)

var shardMagic = []byte("lecshard")

// errShardNewer says that a newer version wrote it, which alone may go on.
var errShardNewer = errors.New("it is of a newer version of Lectern: run that version, or one that is newer still")

// Shard is what SetShard last kept, also by an earlier process, and empty for
// nothing. Where it cannot be believed the error is storage.ErrShardDamaged; any
// other says that this process cannot go on with the spool now.
func (s *Spool) Shard() (string, error) {
	b, _, err := s.readSmall(shardName)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	text := ""
	if err == nil {
		text, err = decodeShard(b)
	}
	if err != nil {
		return "", fmt.Errorf("spool: %s: %w", s.place.Path(shardName), err)
	}
	return text, nil
}

// SetShard keeps the text, of at most 4 KiB; it is durable when no error is
// returned.
func (s *Spool) SetShard(text string) error {
	if len(text) > shardMax {
		return fmt.Errorf("spool: the name of a shard has %d bytes, more than %d", len(text), shardMax)
	}
	s.place.Lock()
	defer s.place.Unlock()
	if err := s.place.WriteSmall(shardName, func(vfs.File) []byte { return encodeShard(text) }); err != nil {
		return fmt.Errorf("spool: write to which shard the collector belongs: %w", err)
	}
	return nil
}

func encodeShard(text string) []byte {
	b := slices.Clone(shardMagic)
	b = le.AppendUint32(b, shardVersion)
	b = le.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	return le.AppendUint32(b, format.Sum(b))
}

func decodeShard(b []byte) (string, error) {
	const head = 16
	if len(b) < head || !bytes.Equal(b[:8], shardMagic) {
		return "", storage.ErrShardDamaged
	}
	if le.Uint32(b[8:]) > shardVersion {
		return "", errShardNewer
	}
	end := head + int(min(le.Uint32(b[12:]), shardMax+1))
	if le.Uint32(b[8:]) != shardVersion || len(b) != end+4 || le.Uint32(b[end:]) != format.Sum(b[:end]) {
		return "", storage.ErrShardDamaged
	}
	return string(b[head:end]), nil
}

// resendPrefix begins the names of empty files that a person has made: the block
// of that number is to be sent again, though the store may have it.
const resendPrefix = "resend-"

func resendName(number uint64) string { return resendPrefix + strconv.FormatUint(number, 10) }

// Resend says whether a person wants a block to be sent again, whatever is not
// known of it.
func (s *Spool) Resend(number uint64) (bool, error) {
	f, err := s.files.Open(s.place.Path(resendName(number)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("spool: open %s: %w", s.place.Path(resendName(number)), err)
	}
	return true, f.Close()
}

// Resent drops that wish, for good when no error is returned. Without one it
// does nothing.
func (s *Spool) Resent(number uint64) error {
	s.place.Lock()
	defer s.place.Unlock()
	if err := s.place.RemoveSmall(resendName(number)); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// AskResend makes the wish, beside a process that has the place or for the next
// one. The process sees it the next time that it asks for the block.
func AskResend(place string, numbers ...uint64) error {
	for _, number := range numbers {
		f, err := os.OpenFile(filepath.Join(place, resendName(number)), os.O_CREATE|os.O_WRONLY, 0o644) // root may make it for another user's daemon
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	return vfs.OS{}.SyncDir(place)
}
