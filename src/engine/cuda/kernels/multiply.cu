// multiply.cu - one step of the matrix product: acc[16 pixels][8 channels] += a[16][32] u8 * b[8][32]^T s8, by one warp.
//
// Lane l = 4 g + t. It brings bytes 8 t .. 8 t + 7 of rows g and g + 8 of a, and holds acc of
// (row g, channels 2 t, 2 t + 1) and (row g + 8, channels 2 t, 2 t + 1), in this order.
// b is [8 channels][32], 256 bytes, aligned to 16. Both matrices order K alike, so the order in which an instruction takes
// it does not matter: word x of each lane's piece is the instruction's first half, word y its second.
// Accumulator: s32, exact. Source: PTX ISA, "Warp Level Matrix Multiply-Accumulate" and "dp4a".

// For sm_61 and up: every lane fetches its rows' other pieces from its three neighbours.
struct Dp4a {
  // Chunks whose loads are under way at once, with one and with four channel tiles: what the registers hold.
  enum { AHEAD = 2, AHEAD_WIDE = 1 };
  struct A { unsigned word[2][8]; };
  struct B { uint4 word[2][2]; };

  static __device__ __forceinline__ A gather(uint2 top, uint2 bottom) {
    A a;
#pragma unroll
    for (int piece = 0; piece < 4; piece++) {
      a.word[0][2 * piece] = __shfl_sync(~0u, top.x, piece, 4);
      a.word[0][2 * piece + 1] = __shfl_sync(~0u, top.y, piece, 4);
      a.word[1][2 * piece] = __shfl_sync(~0u, bottom.x, piece, 4);
      a.word[1][2 * piece + 1] = __shfl_sync(~0u, bottom.y, piece, 4);
    }
    return a;
  }

  static __device__ __forceinline__ B weights(const unsigned char *tile) {
    const uint4 *p = (const uint4 *)(tile + 64 * (threadIdx.x & 3));
    B b = {{{__ldg(p), __ldg(p + 1)}, {__ldg(p + 2), __ldg(p + 3)}}};
    return b;
  }

  static __device__ __forceinline__ void add(int (&acc)[4], const A &a, const B &b) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const unsigned *row = a.word[i >> 1];
      const uint4 &low = b.word[i & 1][0], &high = b.word[i & 1][1];
      acc[i] = dp4a_u8s8(row[0], low.x, acc[i]);
      acc[i] = dp4a_u8s8(row[1], low.y, acc[i]);
      acc[i] = dp4a_u8s8(row[2], low.z, acc[i]);
      acc[i] = dp4a_u8s8(row[3], low.w, acc[i]);
      acc[i] = dp4a_u8s8(row[4], high.x, acc[i]);
      acc[i] = dp4a_u8s8(row[5], high.y, acc[i]);
      acc[i] = dp4a_u8s8(row[6], high.z, acc[i]);
      acc[i] = dp4a_u8s8(row[7], high.w, acc[i]);
    }
  }
};

// What the two tensor-core forms have in common: the fragments as the lanes bring them.
struct Fragments {
  enum { AHEAD = 4, AHEAD_WIDE = 2 };
  struct A { uint2 top, bottom; };
  typedef uint2 B;

  static __device__ __forceinline__ A gather(uint2 top, uint2 bottom) {
    A a = {top, bottom};
    return a;
  }

  static __device__ __forceinline__ B weights(const unsigned char *tile) {
    return __ldg((const uint2 *)tile + (threadIdx.x & 31));
  }
};

// For sm_75 and up.
#ifdef VAERR_HAS_MMA75
struct Mma8816 : Fragments {
  static __device__ __forceinline__ void add(int (&acc)[4], const A &a, const B &b) {
    mma_m8n8k16_u8s8(acc[0], acc[1], a.top.x, b.x);
    mma_m8n8k16_u8s8(acc[0], acc[1], a.top.y, b.y);
    mma_m8n8k16_u8s8(acc[2], acc[3], a.bottom.x, b.x);
    mma_m8n8k16_u8s8(acc[2], acc[3], a.bottom.y, b.y);
  }
};
#endif

// For sm_80 and up.
#ifdef VAERR_HAS_MMA80
struct Mma16832 : Fragments {
  static __device__ __forceinline__ void add(int (&acc)[4], const A &a, const B &b) {
    mma_m16n8k32_u8s8(acc, a.top.x, a.bottom.x, a.top.y, a.bottom.y, b.x, b.y);
  }
};
#endif
