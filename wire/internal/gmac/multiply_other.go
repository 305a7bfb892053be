//go:build !amd64 || purego

package gmac

// fast says whether multiply is there.
var fast = false

func multiply(*product, *element, *byte, int) { panic("gmac: not on this processor") }
