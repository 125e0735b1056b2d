// instructions.cu - the instructions that CUDA C has no portable name for. The CPU shim has its own of the same names.
//
// All accumulate u8 x s8 products in s32. Source: PTX ISA.

// d = c + sum of four products of bytes; sm_61 and up. Inline, for the intrinsic has no mixed-sign form.
__device__ __forceinline__ int dp4a_u8s8(unsigned a, unsigned b, int c) {
  int d;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

#if __CUDA_ARCH__ >= 750
__device__ __forceinline__ void mma_m8n8k16_u8s8(int &d0, int &d1, unsigned a, unsigned b) {
  asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+r"(d0), "+r"(d1) : "r"(a), "r"(b));
}
#define VAERR_HAS_MMA75 1
#endif

#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void mma_m16n8k32_u8s8(int (&d)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                                  unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#define VAERR_HAS_MMA80 1
#endif

// The block's dynamic shared memory, aligned to 16 bytes.
__device__ __forceinline__ unsigned char *shared_memory() {
  extern __shared__ uint4 vaerr_shared[];
  return (unsigned char *)vaerr_shared;
}

// A word that another block may be writing: a relaxed access in the PTX memory model, ordered against other words by
// fences alone.
__device__ __forceinline__ unsigned watch(const unsigned *word) { return *(const volatile unsigned *)word; }

// Between two looks at a watched word: nothing, for the wait is short and the watchers few.
__device__ __forceinline__ void spin() {}

// Ends the launch with an error of the device.
__device__ __forceinline__ void give_up() { __trap(); }
