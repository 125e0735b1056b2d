// crop.cu - cuts crops out of the picture and puts them into the rings: preprocess::Cropper to the bit, all in integers.
//
//   line[r][i] = (sum_k picture[r][first_x[i] + k] * weight_x[k][i] + 128) >> 8
//   crop[j][i] = (sum_k line[first_y[j] + k][i] * weight_y[j][k] + 2^19) >> 20
//
// Places beyond the picture repeat its edge. The host computes the taps, in 14 bits, and sends the rows that are needed.
// Grid: any; a block takes one row of one crop, its threads divide (source row, column) pairs among themselves and
// add in size_px * 4 bytes of shared memory. Accumulators: s32, exact, at most 255 * 2^20. Source: src/preprocess/mod.rs.
// A crop of another geometry is another `Stream::source` with its own row function beside `cut_row`.

__device__ __forceinline__ int clamped(int v, int last) { return v < 0 ? 0 : v > last ? last : v; }

// One value of the horizontal pass.
__device__ __forceinline__ int resample_line(const unsigned char *row, int first, const int *weights, int count, int size, int last) {
  int acc = 0;
  for (int k = 0; k < count; k++) acc += (int)row[clamped(first + k, last)] * weights[k * size];
  return (acc + 128) >> 8;
}

__device__ __forceinline__ void cut_row(const Model &m, const Step &step, const Stream &s, const unsigned char *io, int j, int *shared) {
  int size = m.size_px, count = s.tap_count;
  const int *first_x = (const int *)(io + s.taps), *first_y = first_x + size;
  const int *weight_x = first_y + size, *weight_y = weight_x + count * size + j * count;
  for (int i = threadIdx.x; i < size; i += THREADS) shared[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < count * size; i += THREADS) {
    int k = i / size, column = i - k * size;
    if (weight_y[k] == 0) continue;
    int y = clamped(first_y[j] + k, step.height - 1) - step.top;
    const unsigned char *row = io + step.picture + (u64)y * step.width;
    int value = resample_line(row, first_x[column], weight_x + column, count, size, step.width - 1);
    atomicAdd(shared + column, value * weight_y[k]);
  }
  __syncthreads();
}

__device__ __forceinline__ void cut_tiles(const unsigned char *model, unsigned char *arena, unsigned char *io, int streams) {
  const Model &m = model_of(model);
  const Step &step = step_of(model, io);
  int *shared = (int *)shared_memory();
  for (int tile = blockIdx.x; tile < m.size_px * streams; tile += gridDim.x) {
    int stream = tile / m.size_px, j = tile - stream * m.size_px;
    const Stream &s = stream_of(model, io, stream);
    if (s.source != CROP_CUT) continue;
    cut_row(m, step, s, io, j, shared);
    for (int i = threadIdx.x; i < m.size_px; i += THREADS) {
      unsigned char v = (unsigned char)((shared[i] + (1 << 19)) >> 20);
      io[s.crop + j * m.size_px + i] = v;
      for (int c = s.fill ? 0 : m.ring - 1; c < m.ring; c++) arena[plane_at(m, s, c) + j * m.size_px + i] = v;
    }
    // The next row begins with each thread clearing what it alone has read.
  }
}
