package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// entry is one file of an archive.
type entry struct {
	name    string
	mode    int64
	content []byte
}

// archive packs files below a directory of that name. Owner, order and times are
// always the same.
func (r *release) archive(dir string, files []entry) ([]byte, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	var out bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&out, gzip.BestCompression) // its header names no file and no time
	if err != nil {
		return nil, err
	}
	packed := tar.NewWriter(compressed)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: dir + "/" + f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: r.time, Format: tar.FormatUSTAR}
		if err := packed.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := packed.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := packed.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// sum is a file's checksum.
type sum struct {
	name  string
	value [sha256.Size]byte
}

func sumOf(name string, content []byte) sum { return sum{name, sha256.Sum256(content)} }

// checksums is what `sha256sum --check` reads.
func checksums(all []sum) []byte {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%x  %s\n", s.value, s.name)
	}
	return []byte(b.String())
}
