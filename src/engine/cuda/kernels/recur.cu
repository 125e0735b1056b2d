// recur.cu - global mean, GRU and heads, in f32 to the bit as engine/reference.rs.
//
//   x[c] = f32(sum of the last layer's channel c) * mean_scale
//   z = s(Wz x + bz + (Rz h + cz)), r = s(Wr x + br + (Rr h + cr)), n = tanh(Wn x + bn + r (Rn h + cn)), h' = n + z (h - n)
//   logits = H h' + d
//
// recur: a block per 5 units of a stream. It takes the mean by itself (exact in s32, any order), then each group of eight
// lanes takes one of the 30 dot products. Shared: 4 bytes a feature (rounded up to 32), then 32 f32.
// read_out: a block per 32 outputs of a stream, eight lanes each; the first block also hands the new state over.
// Grid: any; work is taken in strides of the grid. Rounding: see arithmetic.cu. Source: src/engine/reference.rs.

enum { UNITS = 5, GROUPS = THREADS / 8 };

__device__ __forceinline__ int feature_words(const Model &m) { return (m.features + 31) & ~31; }

// Leaves the features in shared memory.
__device__ __forceinline__ void take_mean(const Model &m, const Layer &last, const unsigned char *in, int *shared) {
  for (int c = threadIdx.x; c < feature_words(m); c += THREADS) shared[c] = 0;
  __syncthreads();
  int words = last.out_bytes / 4, all = last.out_px * last.out_px * words;
  int word = threadIdx.x % words, skip = THREADS % words;
  for (int i = threadIdx.x; i < all; i += THREADS) {
    unsigned v = ((const unsigned *)in)[i];
    int c = word * 4;
    word += skip;
    word -= word >= words ? words : 0;
#pragma unroll
    for (int b = 0; b < 4; b++)
      if (c + b < m.features) atomicAdd(shared + c + b, (int)(v >> (8 * b) & 255));
  }
  __syncthreads();
  for (int c = threadIdx.x; c < m.features; c += THREADS)
    shared[c] = __float_as_int(__fmul_rn(__int2float_rn(shared[c]), m.mean_scale));
  __syncthreads();
}

// Dot product `part` of unit `unit` with its bias: 0 to 2 of the features, 3 to 5 of the state, gates z, r, n.
__device__ __forceinline__ float gate_part(const unsigned char *model, const float *features, const float *state, int part, int unit) {
  const Model &m = model_of(model);
  int row = part % 3 * m.hidden + unit;
  bool of_state = part >= 3;
  int n = of_state ? m.hidden : m.features;
  const float *weights = (const float *)(model + (of_state ? m.gru_r : m.gru_w)) + (u64)row * n;
  float bias = ((const float *)(model + (of_state ? m.gru_rb : m.gru_wb)))[row];
  return __fadd_rn(dot_by_eight(weights, of_state ? state : features, n), bias);
}

__device__ __forceinline__ float gated(const float *part, float h) {
  float z = sigmoid_of(__fadd_rn(part[0], part[3]));
  float r = sigmoid_of(__fadd_rn(part[1], part[4]));
  float n = tanh_of(__fadd_rn(part[2], __fmul_rn(r, part[5])));
  return __fadd_rn(n, __fmul_rn(z, __fsub_rn(h, n)));
}

__device__ __forceinline__ void recur_tiles(const unsigned char *model, unsigned char *arena, const unsigned char *io, int streams) {
  const Model &m = model_of(model);
  const Layer &last = layer_of(model, m.layer_count - 1);
  int *shared = (int *)shared_memory();
  float *parts = (float *)(shared + feature_words(m));
  int tiles = (m.hidden + UNITS - 1) / UNITS, group = threadIdx.x >> 3;
  for (int tile = blockIdx.x; tile < tiles * streams; tile += gridDim.x) {
    int stream = tile / tiles, first = (tile - stream * tiles) * UNITS;
    const float *state = (const float *)(arena + m.states + stream_of(model, io, stream).slot * m.state_bytes);
    take_mean(m, last, arena + last.out + stream * last.out_stride, shared);
    // Groups beyond the last unit repeat it: every lane must take part in the shuffles.
    int unit = min(first + group / 6, m.hidden - 1);
    float part = gate_part(model, (const float *)shared, state, group % 6, unit);
    if ((threadIdx.x & 7) == 0) parts[group] = part;
    __syncthreads();
    unit = first + threadIdx.x;
    if (threadIdx.x < UNITS && unit < m.hidden)
      ((float *)(arena + m.next + stream * m.state_bytes))[unit] = gated(parts + 6 * threadIdx.x, state[unit]);
    // The next tile writes `parts` only after barriers of its own.
  }
}

__device__ __forceinline__ void read_out_tiles(const unsigned char *model, unsigned char *arena, unsigned char *io, int streams) {
  const Model &m = model_of(model);
  int tiles = (m.outputs + GROUPS - 1) / GROUPS;
  for (int tile = blockIdx.x; tile < tiles * streams; tile += gridDim.x) {
    int stream = tile / tiles, first = (tile - stream * tiles) * GROUPS;
    const float *next = (const float *)(arena + m.next + stream * m.state_bytes);
    float *result = (float *)(io + stream * m.result_bytes);
    // Groups beyond the last output repeat it, for the shuffles, and store nothing: two stores to one word would be a race.
    int group = first + (int)(threadIdx.x >> 3), output = min(group, m.outputs - 1);
    float sum = dot_by_eight((const float *)(model + m.head_w) + (u64)output * m.hidden, next, m.hidden);
    if ((threadIdx.x & 7) == 0 && group == output) result[output] = __fadd_rn(sum, ((const float *)(model + m.head_b))[output]);
    if (first > 0) continue;
    float *state = (float *)(arena + m.states + stream_of(model, io, stream).slot * m.state_bytes);
    for (int i = threadIdx.x; i < m.hidden; i += THREADS) state[i] = result[m.outputs + i] = next[i];
  }
}
