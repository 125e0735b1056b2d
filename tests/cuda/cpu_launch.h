// cpu_launch.h - the C interface of the shim: memory with guard bands, and launches by name. Stands after the kernels.

namespace cucpu {

enum { GUARD_BYTES = 4096, GUARD = 0xa5 };
struct Allocation { unsigned char *base; size_t bytes; };
static std::vector<Allocation> allocations;

inline bool guards_hold(const Allocation &a) {
#ifdef CUCPU_ASAN
  (void)a; // The sanitizer guards them, byte for byte.
#else
  size_t end = GUARD_BYTES + a.bytes;
  for (size_t i = 0; i < GUARD_BYTES; i++)
    if (a.base[i] != GUARD || a.base[end + i] != GUARD) return false;
#endif
  return true;
}

inline void prepare(Fibre &f) {
  if (!f.stack) f.stack = (char *)aligned_alloc(64, STACK_BYTES);
#ifdef CUCPU_ASAN
  __asan_unpoison_memory_region(f.stack, STACK_BYTES);
#endif
#if defined(CUCPU_SAVED_WORDS)
  void **sp = (void **)(f.stack + STACK_BYTES);
#if defined(__x86_64__)
  *--sp = nullptr;
  *--sp = (void *)entry;
  sp -= CUCPU_SAVED_WORDS;
#else
  sp -= CUCPU_SAVED_WORDS;
  sp[11] = (void *)entry;
#endif
  f.sp = sp;
#else
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack;
  f.context.uc_stack.ss_size = STACK_BYTES;
  f.context.uc_link = nullptr;
  makecontext(&f.context, entry, 0);
#endif
}

// Shared memory starts as garbage, and of exactly the size asked for, so that the sanitizer sees a step beyond.
inline void prepare(Block &b, unsigned index, unsigned threads, size_t shared_bytes) {
  b.fibres.resize(threads);
  b.warps.assign((threads + 31) / 32, Warp{});
  b.shared.assign((shared_bytes + 15) / 16, uint4{0xcdcdcdcdu, 0xcdcdcdcdu, 0xcdcdcdcdu, 0xcdcdcdcdu});
  b.shared.shrink_to_fit();
  b.at_barrier = b.done = 0;
  for (unsigned i = 0; i < threads; i++) {
    Fibre &f = b.fibres[i];
    f.wait = RUNNING;
    f.thread = {i, 0, 0};
    f.block = {index, 0, 0};
    f.lane = i & 31;
    f.warp = i >> 5;
    f.home = &b;
    b.warps[f.warp].lanes++;
    prepare(f);
  }
}

// Orders in which fibres and blocks are resumed; LAZY leaves out half of them each time, so that some fall far behind;
// STRAGGLING resumes all but the first thread of the first block only when nothing else can go on.
enum Order { ASCENDING, DESCENDING, LAZY, STRAGGLING };

inline bool left_out(Order order) {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return order == LAZY && state >> 31;
}

// Resumes every fibre that can go on once; whether any of them did more than look at a watched word.
inline bool sweep(Block &b, Order order, bool stragglers) {
  unsigned n = (unsigned)b.fibres.size();
  bool moved = false;
  for (unsigned i = 0; i < n && fault.empty(); i++) {
    Fibre &f = b.fibres[order == DESCENDING ? n - 1 - i : i];
    if (f.wait != RUNNING && f.wait != SPINNING) continue;
    if (!stragglers && i > 0) continue;
    if (left_out(order)) {
      moved |= f.wait == RUNNING;
      continue;
    }
    bool spun = f.wait == SPINNING;
    f.wait = RUNNING;
    resume(f);
    moved |= !(spun && f.wait == SPINNING);
  }
  if (b.at_barrier > 0 && b.at_barrier == n - b.done) {
    for (Fibre &f : b.fibres)
      if (f.wait == AT_BARRIER) f.wait = RUNNING;
    b.at_barrier = 0;
    moved = true;
  }
  return moved;
}

inline void run(Block *blocks, unsigned count, Order order) {
  unsigned idle = 0;
  bool stuck = false;
  for (bool left = true; left && fault.empty();) {
    bool moved = left = false;
    for (unsigned i = 0; i < count; i++) {
      Block &b = blocks[i];
      if (b.done < b.fibres.size() && !left_out(order)) moved |= sweep(b, order, i > 0 || order != STRAGGLING || stuck);
      left |= b.done < b.fibres.size();
    }
    idle = moved ? 0 : idle + 1;
    stuck = !moved;
    if (left && idle > (order == LAZY ? 1000 : order == STRAGGLING ? 1 : 0) && fault.empty()) fault = "deadlock: threads wait at different barriers or collectives";
  }
}

struct Named { const char *name; decltype(kernel) function; };
#define NAMED(name) {#name, name}
#define NAMED_OF(suffix) NAMED(stem_##suffix), NAMED(stem_wide_##suffix), NAMED(conv_##suffix), NAMED(conv_wide_##suffix), NAMED(step_##suffix)
static const Named KERNELS[] = {NAMED_OF(dp4a), NAMED_OF(mma75), NAMED_OF(mma80), NAMED(cut), NAMED(recur), NAMED(read_out)};

} // namespace cucpu

extern "C" unsigned char *vaerr_alloc(size_t bytes) {
  using namespace cucpu;
  size_t all = (bytes + 2 * GUARD_BYTES + 4095) / 4096 * 4096;
  unsigned char *base = (unsigned char *)aligned_alloc(4096, all);
  if (!base) return nullptr;
  memset(base, GUARD, all);
  memset(base + GUARD_BYTES, 0, bytes);
#ifdef CUCPU_ASAN
  __asan_poison_memory_region(base, GUARD_BYTES);
  __asan_poison_memory_region(base + GUARD_BYTES + bytes, all - GUARD_BYTES - bytes);
#endif
  allocations.push_back({base, bytes});
  return base + GUARD_BYTES;
}

extern "C" void vaerr_free(unsigned char *at) {
  using namespace cucpu;
  for (size_t i = 0; i < allocations.size(); i++) {
    if (allocations[i].base != at - GUARD_BYTES) continue;
#ifdef CUCPU_ASAN
    __asan_unpoison_memory_region(allocations[i].base, allocations[i].bytes + 2 * GUARD_BYTES);
#endif
    free(allocations[i].base);
    allocations.erase(allocations.begin() + (long)i);
    return;
  }
}

// Sizes of Model, Layer, Step and Stream.
extern "C" void vaerr_sizes(unsigned *out) {
  out[0] = sizeof(Model), out[1] = sizeof(Layer), out[2] = sizeof(Step), out[3] = sizeof(Stream);
}

static decltype(cucpu::kernel) find_kernel(const char *name, size_t length) {
  for (const cucpu::Named &k : cucpu::KERNELS)
    if (strlen(k.name) == length && !memcmp(k.name, name, length)) return k.function;
  return nullptr;
}

extern "C" int vaerr_knows(const char *name, size_t length) { return find_kernel(name, length) != nullptr; }

// Null, or what went wrong.
extern "C" const char *vaerr_launch(const char *name, size_t length, unsigned grid, unsigned threads, size_t shared_bytes,
                                    int cooperative, int order, const unsigned char *model, unsigned char *arena, unsigned char *io,
                                    int layer, int streams) {
  using namespace cucpu;
  static std::vector<Block> blocks;
  fault.clear();
  kernel = find_kernel(name, length);
  if (!kernel) return "no such kernel";
  if (grid == 0 || threads == 0 || threads > 1024 || shared_bytes > 48 << 10) return "invalid launch configuration";
  arguments = {model, arena, io, layer, streams};
  grid_dim = {grid, 1, 1};
  block_dim = {threads, 1, 1};
  unsigned together = cooperative ? grid : 1;
  if (blocks.size() < together) blocks.resize(together);
  for (unsigned first = 0; first < grid && fault.empty(); first += together) {
    for (unsigned i = 0; i < together; i++) prepare(blocks[i], order == DESCENDING ? grid - 1 - (first + i) : first + i, threads, shared_bytes);
    run(blocks.data(), together, (Order)order);
  }
  for (const Allocation &a : allocations)
    if (!guards_hold(a) && fault.empty()) fault = "a kernel wrote outside its buffer";
  return fault.empty() ? nullptr : fault.c_str();
}
