#include "textflag.h"

// func vfork(flags uintptr, calls *call, n int) uintptr
//
// The child has the parent's stack, as with vfork(2), and must not touch it: all it needs is in registers.
TEXT ·vfork(SB), NOSPLIT, $0-32
	MOVQ flags+0(FP), DI
	MOVQ calls+8(FP), R12
	MOVQ n+16(FP), R13
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $56, AX // clone
	SYSCALL
	TESTQ AX, AX
	JEQ  next
	MOVQ AX, ret+24(FP)
	RET

next:
	TESTQ R13, R13
	JEQ  done
	MOVQ 0(R12), AX
	MOVQ 8(R12), DI
	MOVQ 16(R12), SI
	MOVQ 24(R12), DX
	MOVQ 32(R12), R10
	MOVQ 40(R12), R8
	MOVQ 48(R12), R9
	MOVQ 56(R12), R14
	TESTQ R14, R14
	JEQ  make
	MOVQ 0(R14), DI

make:
	SYSCALL
	MOVQ AX, 64(R12)
	CMPQ AX, $-4095
	JCC  done // an error
	ADDQ $72, R12
	DECQ R13
	JMP  next

done:
	XORL DI, DI
	MOVL $60, AX // exit
	SYSCALL
	INT  $3
