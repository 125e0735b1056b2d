// arithmetic.cu - the functions of src/quant, operation by operation.
//
// Rounding: each operation to nearest even on its own; the intrinsics with a rounding mode are never fused into a
// multiply-add. Accumulators: s32, exact for convolutions; f32 in eight interleaved partial sums for dot products.
// Source: src/quant/mod.rs of this crate.

// clamp(rne(f32(acc) * scale), 0, 255)
__device__ __forceinline__ unsigned requantize(int acc, float scale) {
  int q = __float2int_rn(__fmul_rn(__int2float_rn(acc), scale));
  return (unsigned)(q < 0 ? 0 : q > 255 ? 255 : q);
}

// a + b modulo 2^32: exact whenever the whole sum is.
__device__ __forceinline__ int wrapping_add(int a, int b) { return (int)((unsigned)a + (unsigned)b); }

// e^x, x limited to [-87, 87].
__device__ __forceinline__ float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
  int whole = __float2int_rn(__fmul_rn(x, 1.44269504f));
  float n = __int2float_rn(whole);
  float r = __fadd_rn(__fsub_rn(x, __fmul_rn(n, 0.6933594f)), __fmul_rn(n, 2.1219444e-4f));
  float p = 1.0f / 720.0f;
  p = __fadd_rn(__fmul_rn(p, r), 1.0f / 120.0f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f / 24.0f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f / 6.0f);
  p = __fadd_rn(__fmul_rn(p, r), 0.5f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f);
  return __fmul_rn(p, __int_as_float((int)((unsigned)(whole + 127) << 23)));
}

__device__ __forceinline__ float sigmoid_of(float x) { return __fdiv_rn(1.0f, __fadd_rn(1.0f, exp_of(-x))); }

__device__ __forceinline__ float tanh_of(float x) {
  return __fsub_rn(__fmul_rn(2.0f, sigmoid_of(__fmul_rn(2.0f, x))), 1.0f);
}

// sum a[i] * b[i] by eight neighbouring lanes, each one partial sum, joined as ((0+4)+(2+6)) + ((1+5)+(3+7)); all
// eight get the sum. Every lane of the warp must call it.
__device__ __forceinline__ float dot_by_eight(const float *a, const float *b, int n) {
  float s = 0.0f;
#pragma unroll 8
  for (int i = threadIdx.x & 7; i < n; i += 8) s = __fadd_rn(s, __fmul_rn(a[i], b[i]));
  s = __fadd_rn(s, __shfl_xor_sync(~0u, s, 4));
  s = __fadd_rn(s, __shfl_xor_sync(~0u, s, 2));
  return __fadd_rn(s, __shfl_xor_sync(~0u, s, 1));
}
