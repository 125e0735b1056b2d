// convolve.cu - a square convolution with requantisation and ReLU, as an implicit matrix product in tiles of 16 pixels x 8 channels.
//
//   y[p][o] = clamp(rne(f32(bias[o] + sum_k x[p][k] * w[o][k]) * scale[o]), 0, 255)
//
// x, y: u8 NHWC, zero point 0, channels rounded up to 32; K runs over (row, column, channel). The stem's x is the ring,
// planar, its zero point folded into the bias and used as padding; K runs over (crop, row, 8 columns).
// w: s8 [n_tile][chunk of 32][8][32]; a chunk of a layer is 32 channels of one tap, of the stem four 8-byte pieces of rows.
// Accumulator: s32, exact in any order, and so the division of K among warps changes nothing.
//
// narrow: a block of 8 warps per tile, each warp an eighth of K, joined in 4096 bytes of shared memory. Least latency.
// wide: a warp per 16 pixels x 32 channels, no shared memory. Most throughput, for batches.
// Grid: any; tiles are taken in strides of the grid. Loads: 8 bytes a lane, a 32-byte sector a row.

// Where a lane's two rows of a tile lie: the input place of their first tap.
struct Rows {
  int y[2], x[2];
  bool live[2];

  __device__ __forceinline__ Rows(const Layer &layer, int m_tile) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int pixel = m_tile * 16 + ((threadIdx.x & 31) >> 2) + 8 * i;
      int row = divide(pixel, layer.out_px, layer.by_out_px), pad = layer.kernel / 2;
      live[i] = row < layer.out_px;
      y[i] = row * layer.stride - pad;
      x[i] = (pixel - row * layer.out_px) * layer.stride - pad;
    }
  }
};

// A lane's pieces of the NHWC input, chunk after chunk.
struct Pixels {
  const unsigned char *in;
  Rows rows;
  const Layer &layer;
  int px, bytes, kernel, ky, kx, channel;

  __device__ __forceinline__ Pixels(const unsigned char *, const unsigned char *arena, const unsigned char *,
                                    const Layer &layer, int stream, int m_tile)
      : in(arena + layer.in + stream * layer.in_stride), rows(layer, m_tile), layer(layer), px(layer.in_px),
        bytes(layer.in_bytes), kernel(layer.kernel) {}

  __device__ __forceinline__ void seek(int chunk) {
    int per_tap = bytes >> 5, tap = divide(chunk, per_tap, layer.by_per_tap);
    channel = (chunk - tap * per_tap) * 32 + 8 * (threadIdx.x & 3);
    ky = divide(tap, kernel, layer.by_kernel);
    kx = tap - ky * kernel;
  }

  __device__ __forceinline__ void advance() {
    channel += 32;
    if (channel < bytes) return;
    channel -= bytes;
    if (++kx == kernel) {
      kx = 0;
      ky++;
    }
  }

  __device__ __forceinline__ uint2 piece(int i) const {
    int y = rows.y[i] + ky, x = rows.x[i] + kx;
    bool inside = rows.live[i] && (unsigned)y < (unsigned)px && (unsigned)x < (unsigned)px;
    return inside ? *(const uint2 *)(in + (y * px + x) * bytes + channel) : make_uint2(0, 0);
  }
};

// Eight bytes from any address; reads the three aligned words that hold them, at most 11 bytes from `at` on.
__device__ __forceinline__ uint2 load_unaligned(const unsigned char *at) {
  const unsigned *words = (const unsigned *)((u64)at & ~3ull);
  unsigned shift = 8 * (unsigned)((u64)at & 3), middle = words[1];
  return make_uint2(__funnelshift_r(words[0], middle, shift), __funnelshift_r(middle, words[2], shift));
}

// A lane's pieces of the ring, chunk after chunk: eight columns of a row of a crop.
struct Crops {
  Rows rows;
  const unsigned char *ring, *given;  // the slot's planes; the newest crop, if it came with this step
  u64 plane_bytes;
  int planes, oldest, px, kernel, per_row, crop, ky, part;
  unsigned zero;

  __device__ __forceinline__ Crops(const unsigned char *model, const unsigned char *arena, const unsigned char *io,
                                   const Layer &layer, int stream, int m_tile)
      : rows(layer, m_tile), px(layer.in_px), kernel(layer.kernel), per_row((layer.kernel + 7) >> 3) {
    const Model &m = model_of(model);
    const Stream &s = stream_of(model, io, stream);
    planes = m.ring;
    plane_bytes = m.plane_bytes;
    zero = (unsigned)m.zero_point * 0x01010101u;
    oldest = s.oldest;
    ring = arena + m.rings + (u64)s.slot * planes * plane_bytes;
    given = s.source == CROP_GIVEN ? io + s.crop : (const unsigned char *)0;
  }

  __device__ __forceinline__ void seek(int chunk) {
    int segment = 4 * chunk + (threadIdx.x & 3), line = per_row == 1 ? segment : segment / per_row;
    part = segment - line * per_row;
    crop = line / kernel;
    ky = line - crop * kernel;
  }

  __device__ __forceinline__ void advance() {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (++part < per_row) continue;
      part = 0;
      if (++ky < kernel) continue;
      ky = 0;
      crop++;
    }
  }

  __device__ __forceinline__ const unsigned char *plane() const {
    int place = oldest + crop;
    place -= place >= planes ? planes : 0;
    return given && crop == planes - 1 ? given : ring + place * plane_bytes;
  }

  __device__ __forceinline__ uint2 piece(int i) const {
    int y = rows.y[i] + ky, x = rows.x[i] + 8 * part;
    if (!rows.live[i] || crop >= planes || (unsigned)y >= (unsigned)px) return make_uint2(zero, zero);
    const unsigned char *row = plane() + y * px;
    if (x >= 0 && x + 8 <= px) return load_unaligned(row + x);
    unsigned word[2] = {0, 0};
#pragma unroll
    for (int b = 0; b < 8; b++) {
      unsigned v = (unsigned)(x + b) < (unsigned)px ? row[x + b] : zero & 255;
      word[b >> 2] |= v << (8 * (b & 3));
    }
    return make_uint2(word[0], word[1]);
  }
};

// acc[n] += the products of chunks `from` to `to` for `N` neighbouring channel tiles; loads run four chunks ahead.
template <class M, int N, class Source>
__device__ __forceinline__ void multiply_chunks(int (&acc)[N][4], Source &source, const unsigned char *weights, u64 tile_bytes,
                                                int tiles, int from, int to) {
  enum { AHEAD = N == 1 ? 4 : 2 };
  source.seek(from);
  for (int chunk = from; chunk < to; chunk += AHEAD) {
    uint2 top[AHEAD], bottom[AHEAD];
    typename M::B b[AHEAD][N];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (chunk + u >= to) break;
      top[u] = source.piece(0);
      bottom[u] = source.piece(1);
      source.advance();
#pragma unroll
      for (int n = 0; n < N; n++)
        if (n < tiles) b[u][n] = M::weights(weights + n * tile_bytes + (u64)(chunk + u) * 256);
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (chunk + u >= to) break;
      typename M::A a = M::gather(top[u], bottom[u]);
#pragma unroll
      for (int n = 0; n < N; n++)
        if (n < tiles) M::add(acc[n], a, b[u][n]);
    }
  }
}

// Requantises two neighbouring channels of one pixel and stores them.
__device__ __forceinline__ void store_pair(const unsigned char *model, unsigned char *out, const Layer &layer, int pixel,
                                           int channel, int acc0, int acc1) {
  if (pixel >= layer.out_px * layer.out_px) return;
  int2 bias = __ldg((const int2 *)(model + layer.bias) + channel / 2);
  float2 scale = __ldg((const float2 *)(model + layer.scale) + channel / 2);
  unsigned low = requantize(wrapping_add(acc0, bias.x), scale.x);
  unsigned high = requantize(wrapping_add(acc1, bias.y), scale.y);
  *(unsigned short *)(out + pixel * layer.out_bytes + channel) = (unsigned short)(low | high << 8);
}

template <class M, class Source>
__device__ __forceinline__ void convolve_narrow(const unsigned char *model, unsigned char *arena, const unsigned char *io,
                                                const Layer &layer, int streams) {
  int *joined = (int *)shared_memory();
  int warp = threadIdx.x >> 5, per_stream = layer.m_tiles * layer.n_tiles;
  int from = warp * layer.chunks / WARPS, to = (warp + 1) * layer.chunks / WARPS;
  u64 tile_bytes = (u64)layer.chunks * 256;
  for (int tile = blockIdx.x; tile < per_stream * streams; tile += gridDim.x) {
    int stream = streams == 1 ? 0 : tile / per_stream, rest = tile - stream * per_stream;
    int n_tile = divide(rest, layer.m_tiles, layer.by_m_tiles), m_tile = rest - n_tile * layer.m_tiles;
    int acc[1][4] = {};
    Source source(model, arena, io, layer, stream, m_tile);
    multiply_chunks<M, 1>(acc, source, model + layer.weights + n_tile * tile_bytes, tile_bytes, 1, from, to);
    ((int4 *)joined)[threadIdx.x] = make_int4(acc[0][0], acc[0][1], acc[0][2], acc[0][3]);
    __syncthreads();
    if (threadIdx.x < 64) {
      int2 sum = make_int2(0, 0);
#pragma unroll
      for (int w = 0; w < WARPS; w++) {
        int2 part = ((const int2 *)joined)[w * 64 + threadIdx.x];
        sum = make_int2(wrapping_add(sum.x, part.x), wrapping_add(sum.y, part.y));
      }
      int owner = threadIdx.x >> 1, pixel = m_tile * 16 + (owner >> 2) + 8 * (threadIdx.x & 1);
      store_pair(model, arena + layer.out + stream * layer.out_stride, layer, pixel, n_tile * 8 + 2 * (owner & 3), sum.x, sum.y);
    }
    __syncthreads();
  }
}

template <class M, class Source>
__device__ __forceinline__ void convolve_wide(const unsigned char *model, unsigned char *arena, const unsigned char *io,
                                              const Layer &layer, int streams) {
  enum { N = 4 };
  int lane = threadIdx.x & 31, n_groups = (layer.n_tiles + N - 1) / N, per_stream = layer.m_tiles * n_groups;
  u64 tile_bytes = (u64)layer.chunks * 256;
  for (int tile = blockIdx.x * WARPS + (threadIdx.x >> 5); tile < per_stream * streams; tile += gridDim.x * WARPS) {
    int stream = streams == 1 ? 0 : tile / per_stream, rest = tile - stream * per_stream;
    int group = divide(rest, layer.m_tiles, layer.by_m_tiles), m_tile = rest - group * layer.m_tiles, tiles = layer.n_tiles - group * N;
    int acc[N][4] = {};
    Source source(model, arena, io, layer, stream, m_tile);
    multiply_chunks<M, N>(acc, source, model + layer.weights + group * N * tile_bytes, tile_bytes, tiles, 0, layer.chunks);
    unsigned char *out = arena + layer.out + stream * layer.out_stride;
    int pixel = m_tile * 16 + (lane >> 2), channel = group * N * 8 + 2 * (lane & 3);
#pragma unroll
    for (int n = 0; n < N; n++) {
      if (n >= tiles) break;
      store_pair(model, out, layer, pixel, channel + 8 * n, acc[n][0], acc[n][1]);
      store_pair(model, out, layer, pixel + 8, channel + 8 * n, acc[n][2], acc[n][3]);
    }
  }
}

// Puts crops that came with this step into their rings; nothing reads those planes before the next step.
__device__ __forceinline__ void keep_given_crops(const unsigned char *model, unsigned char *arena, const unsigned char *io, int streams) {
  const Model &m = model_of(model);
  int words = (int)(m.plane_bytes / 16);
  for (int i = blockIdx.x * THREADS + threadIdx.x; i < words * streams; i += gridDim.x * THREADS) {
    const Stream &s = stream_of(model, io, i / words);
    if (s.source != CROP_GIVEN) continue;
    int word = i % words;
    ((uint4 *)(arena + plane_at(m, s, m.ring - 1)))[word] = ((const uint4 *)(io + s.crop))[word];
  }
}
