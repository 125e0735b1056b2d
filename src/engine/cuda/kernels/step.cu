// step.cu - the kernels: one a layer and kind of multiplication, and one that does the whole step.
//
// Block: 256 threads. Shared: see each stage; the whole step needs the most that any stage does.
// step_*: cooperative, all blocks resident; stages are separated by a barrier over the grid.

// All blocks wait for each other, and see what the others wrote before. Two words 128 bytes apart at the start of the
// arena: arrivals, which return to 0, and an epoch, which goes up by one each time. The epoch is read before arriving,
// and cannot go up until all have arrived.
__device__ __forceinline__ void grid_barrier(unsigned char *arena) {
  unsigned *arrivals = (unsigned *)arena, *epoch = (unsigned *)(arena + 128);
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    unsigned before = watch(epoch);
    if (atomicAdd(arrivals, 1u) == gridDim.x - 1) {
      *(volatile unsigned *)arrivals = 0;
      __threadfence();
      atomicAdd(epoch, 1u);
    } else {
      while (watch(epoch) == before) spin();
    }
    __threadfence();
  }
  __syncthreads();
}

template <class M, class Source>
__device__ __forceinline__ void convolve(const unsigned char *model, unsigned char *arena, unsigned char *io, const Layer &l, int streams) {
  // Enough tiles to fill the grid several times: then a warp a tile, without joining.
  bool wide = l.m_tiles * l.n_tiles * streams > 16 * (int)gridDim.x;
  if (wide) convolve_wide<M, Source>(model, arena, io, l, streams);
  else convolve_narrow<M, Source>(model, arena, io, l, streams);
}

template <class M>
__device__ __forceinline__ void whole_step(const unsigned char *model, unsigned char *arena, unsigned char *io, int streams) {
  if (step_of(model, io).cut) {
    cut_tiles(model, arena, io, streams);
    grid_barrier(arena);
  }
  keep_given_crops(model, arena, io, streams);
  convolve<M, Crops>(model, arena, io, layer_of(model, 0), streams);
  for (int layer = 1; layer < model_of(model).layer_count; layer++) {
    // Fetched before the barrier, so that the fetch and the wait overlap.
    Layer next = layer_of(model, layer);
    grid_barrier(arena);
    convolve<M, Pixels>(model, arena, io, next, streams);
  }
  grid_barrier(arena);
  recur_tiles(model, arena, io, streams);
  grid_barrier(arena);
  read_out_tiles(model, arena, io, streams);
}

#define KERNEL(name) \
  extern "C" __global__ void __launch_bounds__(THREADS) \
      name(const unsigned char *__restrict__ model, unsigned char *arena, unsigned char *io, int layer, int streams)

// A layer's kernels take its table by value, so that it stays in registers.
#define KERNELS_OF(suffix, M) \
  KERNEL(stem_##suffix) { \
    const Layer l = layer_of(model, layer); \
    keep_given_crops(model, arena, io, streams); \
    convolve_narrow<M, Crops>(model, arena, io, l, streams); \
  } \
  KERNEL(stem_wide_##suffix) { \
    const Layer l = layer_of(model, layer); \
    keep_given_crops(model, arena, io, streams); \
    convolve_wide<M, Crops>(model, arena, io, l, streams); \
  } \
  KERNEL(conv_##suffix) { \
    const Layer l = layer_of(model, layer); \
    convolve_narrow<M, Pixels>(model, arena, io, l, streams); \
  } \
  KERNEL(conv_wide_##suffix) { \
    const Layer l = layer_of(model, layer); \
    convolve_wide<M, Pixels>(model, arena, io, l, streams); \
  } \
  KERNEL(step_##suffix) { whole_step<M>(model, arena, io, streams); (void)layer; }

// A device gets its best form alone, for compiling all of them takes three times as long; every form under VAERR_EVERY_FORM.
#if !defined(VAERR_HAS_MMA75) || defined(VAERR_EVERY_FORM)
KERNELS_OF(dp4a, Dp4a)
#endif
#if defined(VAERR_HAS_MMA75) && (!defined(VAERR_HAS_MMA80) || defined(VAERR_EVERY_FORM))
KERNELS_OF(mma75, Mma8816)
#endif
#ifdef VAERR_HAS_MMA80
KERNELS_OF(mma80, Mma16832)
#endif

KERNEL(cut) { cut_tiles(model, arena, io, streams); (void)layer; }
KERNEL(recur) { recur_tiles(model, arena, io, streams); (void)layer; }
KERNEL(read_out) { read_out_tiles(model, arena, io, streams); (void)layer; }
