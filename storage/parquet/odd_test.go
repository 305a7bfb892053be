package parquet

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var oddFlag = flag.Int("odd", 1000, "how many footers of each table TestOddFooters tries")

// Older files, with other numbers in their footers, in the form of one all the
// same: what the library does with these is an error, or rows, and no crash.
func TestOddFooters(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	path := filepath.Join(t.TempDir(), "20241004T03-000000000003.parquet")
	for of, file := range filesOf(t) {
		old := without(t, of, file)
		end := len(old) - endSize
		start := end - int(old[len(old)-8]) - int(old[len(old)-7])<<8
		read, failed := 0, 0
		for read+failed < *oddFlag {
			odd := slices.Clone(old)
			for range 1 + rng.IntN(3) {
				odd[start+rng.IntN(end-start)] = byte(rng.Uint32())
			}
			if checkThrift(odd[start:end]) != nil {
				continue
			}
			if err := os.WriteFile(path, odd, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(of, path); err != nil {
				failed++
			} else {
				read++
			}
		}
		t.Logf("%s: %d were read, %d not", of, read, failed)
	}
}
