// step.cu - the kernels: one a layer and kind of multiplication, and one that does the whole step.
//
// Block: 256 threads. Shared: see each stage; the whole step needs the most that any stage does.
// step_*: cooperative, all blocks resident; stages are separated by a barrier over the grid.

// How often a block looks whether all others have arrived before it ends the launch: a look is a round trip to the second
// cache, 0.2 to 1 us, so some seconds. A step takes less than a millisecond.
#ifndef VAERR_MOST_LOOKS
#define VAERR_MOST_LOOKS (1u << 22)
#endif

// All blocks wait for each other, and see what the others wrote before. Two words 128 bytes apart at the start of the
// arena: arrivals, which return to 0, and an epoch, which goes up by one each time.
//
// Why it holds, by the rules of the PTX ISA, "Memory Consistency Model" (every strong access here has the scope of the GPU
// or wider, so each pair is morally strong; a fence is `membar.gl`, which is `fence.sc.gpu` from sm_70 on):
//   1. What the block wrote comes before thread 0's fence: bar.sync synchronises its threads, and causality order is transitive.
//   2. Fence, then arrival: a release pattern on `arrivals`. Arrival of the last block, then its fence: an acquire pattern. The
//      arrivals between them are read-modify-writes, which carry observation order on, so every block's pattern meets the last's.
//   3. Fence, then the epoch's increment: a release pattern on `epoch`. The look that sees it, then the last fence: an acquire
//      pattern. With 2 and 1, what any block wrote comes before what any block does next. The last block has its own fence of 2.
//   4. The epoch is read before it can go up, for the read is followed by a fence and then by the arrival that the last block
//      has observed: had the read seen the new epoch, read and fence would be an acquire pattern, the increment would come before
//      the arrival, and the arrival, by 2, before the increment. Without that fence nothing orders the two words, the read may be
//      done after the increment, and the block waits for ever.
//   5. `arrivals` is 0 before anyone arrives again: the store comes before the fence of 3.
__device__ __forceinline__ void grid_barrier(unsigned char *arena) {
  unsigned *arrivals = (unsigned *)arena, *epoch = (unsigned *)(arena + 128);
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned before = watch(epoch);
    __threadfence();
    if (atomicAdd(arrivals, 1u) == gridDim.x - 1) {
      *(volatile unsigned *)arrivals = 0;
      __threadfence();
      atomicAdd(epoch, 1u);
    } else {
      for (unsigned looks = 0; watch(epoch) == before; looks++) {
        if (looks >= VAERR_MOST_LOOKS) give_up();
        spin();
      }
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
