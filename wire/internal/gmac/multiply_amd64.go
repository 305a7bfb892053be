//go:build !purego

package gmac

// fast says whether multiply is there.
var fast = func() bool {
	const (
		osxsave    = 1 << 27       // of leaf 1, ECX
		avx512     = 1<<16 | 1<<30 // of leaf 7, EBX: F and BW
		vpclmulqdq = 1 << 10       // of leaf 7, ECX
		registers  = 0xE6          // of XCR0: the system keeps those of AVX-512, and all below
	)
	leaves, _, _ := cpuid(0)
	if leaves < 7 {
		return false
	}
	if _, _, c := cpuid(1); c&osxsave == 0 || xgetbv()&registers != registers {
		return false
	}
	_, b, c := cpuid(7)
	return b&avx512 == avx512 && c&vpclmulqdq != 0
}()

// cpuid is the instruction, for subleaf 0.
func cpuid(leaf uint32) (a, b, c uint32)

// xgetbv is the lower half of XCR0.
func xgetbv() uint32

// multiply adds the products of fours times four blocks, fours being at least 1, and of
// as many powers to a sum.
//
//go:noescape
func multiply(sum *product, powers *element, blocks *byte, fours int)
