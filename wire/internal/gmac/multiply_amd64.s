//go:build !purego

#include "textflag.h"

DATA reversed<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reversed<>+8(SB)/8, $0x0001020304050607
GLOBL reversed<>(SB), RODATA|NOPTR, $16

// func multiply(sum *product, powers *element, blocks *byte, fours int)
//
// Four blocks at a time, each in a quarter of a register. Z4, Z5 and Z6 are the low,
// the middle and the high parts of the sum.
TEXT ·multiply(SB), NOSPLIT, $0-32
	MOVQ            sum+0(FP), DI
	MOVQ            powers+8(FP), DX
	MOVQ            blocks+16(FP), SI
	MOVQ            fours+24(FP), CX
	VBROADCASTI32X4 reversed<>(SB), Z7
	VMOVDQU         (DI), X4
	VMOVDQU         16(DI), X5
	VMOVDQU         32(DI), X6

next:
	VMOVDQU64  (SI), Z0
	VPSHUFB    Z7, Z0, Z0
	VMOVDQU64  (DX), Z1
	VPCLMULQDQ $0x00, Z1, Z0, Z2
	VPXORQ     Z2, Z4, Z4
	VPCLMULQDQ $0x11, Z1, Z0, Z3
	VPXORQ     Z3, Z6, Z6
	VPCLMULQDQ $0x01, Z1, Z0, Z2
	VPXORQ     Z2, Z5, Z5
	VPCLMULQDQ $0x10, Z1, Z0, Z3
	VPXORQ     Z3, Z5, Z5
	ADDQ       $64, SI
	ADDQ       $64, DX
	DECQ       CX
	JNZ        next

	VEXTRACTI64X4 $1, Z4, Y0
	VEXTRACTI64X4 $1, Z5, Y1
	VEXTRACTI64X4 $1, Z6, Y2
	VPXOR         Y0, Y4, Y4
	VPXOR         Y1, Y5, Y5
	VPXOR         Y2, Y6, Y6
	VEXTRACTI128  $1, Y4, X0
	VEXTRACTI128  $1, Y5, X1
	VEXTRACTI128  $1, Y6, X2
	VPXOR         X0, X4, X4
	VPXOR         X1, X5, X5
	VPXOR         X2, X6, X6
	VMOVDQU       X4, (DI)
	VMOVDQU       X5, 16(DI)
	VMOVDQU       X6, 32(DI)
	VZEROUPPER
	RET

// func cpuid(leaf uint32) (a, b, c uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-20
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	MOVL CX, c+16(FP)
	RET

// func xgetbv() uint32
TEXT ·xgetbv(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, ret+0(FP)
	RET
