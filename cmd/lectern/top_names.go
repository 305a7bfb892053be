package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/storage"
)

// nameMax is the longest name, in bytes.
const nameMax = 1 << 20

// names finds names by their hash in a file with one a line. Only those that
// are wanted are kept, so the file may be of any size.
type names struct {
	path   string
	file   *os.File // nil without a file
	byHash map[uint64]string
	wanted map[uint64]bool
}

// openNames opens the file; an empty path stands for one without names.
func openNames(path string) (*names, error) {
	n := &names{path: path, byHash: make(map[uint64]string), wanted: make(map[uint64]bool)}
	if path == "" {
		return n, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the names: %w", err)
	}
	n.file = f
	return n, nil
}

func (n *names) want(rows []storage.TopRow) {
	for i := range rows {
		n.wanted[rows[i].ID] = true
	}
}

// read looks through the file for what is wanted.
func (n *names) read() error {
	if n.file == nil {
		return nil
	}
	lines := bufio.NewScanner(n.file)
	lines.Buffer(nil, nameMax)
	for lines.Scan() {
		if hash := xxhash.Sum64(lines.Bytes()); n.wanted[hash] {
			n.byHash[hash] = lines.Text()
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the names in %s: %w", n.path, err)
	}
	return nil
}

// of is the name with this hash.
func (n *names) of(hash uint64) (name string, ok bool) {
	name, ok = n.byHash[hash]
	return name, ok
}

func (n *names) close() {
	if n.file != nil {
		_ = n.file.Close() // only read
	}
}
