// cpu_shim.h - runs the CUDA sources of src/engine/cuda/kernels as C++ on the CPU, with exact barriers and warp collectives.
//
// Every CUDA thread is a fibre that yields at barriers, at warp collectives and in spin(). Blocks run one after another,
// or, for a cooperative launch, all together. Fibres are resumed in ascending or descending order, with half of them left
// out at random, or with one block's falling behind all others: a kernel that depends on the order gives different results. A fault (deadlock, divergent collective, a guard band overwritten) is
// returned as text. Stands before the concatenated sources, in place of instructions.cu; cpu_launch.h stands after them.
// Not modelled: the memory order of a real GPU. The fragment layouts are our reading of the PTX ISA.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <ucontext.h>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define CUCPU_ASAN 1
#endif

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define VAERR_HAS_MMA75 1
#define VAERR_HAS_MMA80 1
#define VAERR_EVERY_FORM 1

struct dim3 { unsigned x, y, z; };
struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

namespace cucpu {

enum Wait { RUNNING, AT_BARRIER, IN_COLLECTIVE, SPINNING, DONE };

struct Block;

struct Fibre {
  void *sp;
  ucontext_t context;
  char *stack;
  void *fake_stack;
  Wait wait;
  dim3 thread, block;
  unsigned lane, warp;
  Block *home;
};

// A warp's meeting place: what each lane brought, what each takes away.
struct Warp {
  unsigned arrived, lanes, operation;
  uint32_t in[32][12], out[32][4];
};

struct Block {
  std::vector<Fibre> fibres;
  std::vector<Warp> warps;
  std::vector<uint4> shared;
  unsigned at_barrier, done;
};

enum { STACK_BYTES = 64 << 10 };

// Static, not inline: several builds of the shim may be loaded into one process.
static Fibre *current;
[[maybe_unused]] static void *scheduler_sp, *scheduler_fake_stack;
[[maybe_unused]] static ucontext_t scheduler_context;
[[maybe_unused]] static const void *scheduler_stack;
[[maybe_unused]] static size_t scheduler_stack_bytes;
static dim3 grid_dim, block_dim;
static std::string fault;
static void (*kernel)(const unsigned char *, unsigned char *, unsigned char *, int, int);
static struct { const unsigned char *model; unsigned char *arena, *io; int layer, streams; } arguments;

extern "C" void cucpu_swap(void **save, void *to);
#if defined(__x86_64__)
asm(R"(.text
.globl cucpu_swap
.hidden cucpu_swap
cucpu_swap:
 push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
 mov %rsp,(%rdi); mov %rsi,%rsp
 pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
 ret
)");
#define CUCPU_SAVED_WORDS 6
#elif defined(__aarch64__)
asm(R"(.text
.globl cucpu_swap
.hidden cucpu_swap
cucpu_swap:
 sub sp,sp,#160
 stp x19,x20,[sp]; stp x21,x22,[sp,#16]; stp x23,x24,[sp,#32]; stp x25,x26,[sp,#48]; stp x27,x28,[sp,#64]; stp x29,x30,[sp,#80]
 stp d8,d9,[sp,#96]; stp d10,d11,[sp,#112]; stp d12,d13,[sp,#128]; stp d14,d15,[sp,#144]
 mov x9,sp; str x9,[x0]; mov sp,x1
 ldp x19,x20,[sp]; ldp x21,x22,[sp,#16]; ldp x23,x24,[sp,#32]; ldp x25,x26,[sp,#48]; ldp x27,x28,[sp,#64]; ldp x29,x30,[sp,#80]
 ldp d8,d9,[sp,#96]; ldp d10,d11,[sp,#112]; ldp d12,d13,[sp,#128]; ldp d14,d15,[sp,#144]
 add sp,sp,#160
 ret
)");
#define CUCPU_SAVED_WORDS 20
#endif

inline void swap_to_scheduler() {
#ifdef CUCPU_ASAN
  __sanitizer_start_switch_fiber(current->wait == DONE ? nullptr : &current->fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
#ifdef CUCPU_SAVED_WORDS
  cucpu_swap(&current->sp, scheduler_sp);
#else
  swapcontext(&current->context, &scheduler_context);
#endif
#ifdef CUCPU_ASAN
  __sanitizer_finish_switch_fiber(current->fake_stack, nullptr, nullptr);
#endif
}

inline void resume(Fibre &f) {
  current = &f;
#ifdef CUCPU_ASAN
  __sanitizer_start_switch_fiber(&scheduler_fake_stack, f.stack, STACK_BYTES);
#endif
#ifdef CUCPU_SAVED_WORDS
  cucpu_swap(&scheduler_sp, f.sp);
#else
  swapcontext(&scheduler_context, &f.context);
#endif
#ifdef CUCPU_ASAN
  __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
}

inline void entry() {
#ifdef CUCPU_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
  kernel(arguments.model, arguments.arena, arguments.io, arguments.layer, arguments.streams);
  current->wait = DONE;
  current->home->done++;
  swap_to_scheduler();
  abort();
}

inline void block_barrier() {
  current->wait = AT_BARRIER;
  current->home->at_barrier++;
  swap_to_scheduler();
}

// Stops this thread for good, and with it the launch.
inline void stop(const char *why) {
  if (fault.empty()) fault = why;
  current->wait = DONE;
  current->home->done++;
  swap_to_scheduler();
}

enum Operation : unsigned { SYNC = 1, SHUFFLE_XOR, SHUFFLE_WITHIN, MMA_M16N8K32, MMA_M8N8K16 };

inline int product_of_bytes(uint32_t a, uint32_t b) {
  int sum = 0;
  for (int i = 0; i < 4; i++) sum += (int)(uint8_t)(a >> (8 * i)) * (int)(int8_t)(b >> (8 * i));
  return sum;
}

// PTX ISA: a0 (row g, k 4t..), a1 (row g + 8, k 4t..), a2 (row g, k 16 + 4t..), a3 (row g + 8, k 16 + 4t..);
// b0 (k 4t.., column g), b1 (k 16 + 4t.., column g); c0, c1 (row g, columns 2t, 2t + 1), c2, c3 (row g + 8, the same).
inline void mma_m16n8k32(Warp &w) {
  for (int lane = 0; lane < 32; lane++)
    for (int r = 0; r < 4; r++) {
      int g = lane >> 2, column = (lane & 3) * 2 + (r & 1);
      uint32_t sum = w.in[lane][6 + r];
      for (int t = 0; t < 4; t++) {
        const uint32_t *a = w.in[g * 4 + t], *b = w.in[column * 4 + t] + 4;
        sum += (uint32_t)product_of_bytes(a[r >> 1], b[0]) + (uint32_t)product_of_bytes(a[2 + (r >> 1)], b[1]);
      }
      w.out[lane][r] = sum;
    }
}

// PTX ISA: a (row g, k 4t..), b (k 4t.., column g), c0, c1 (row g, columns 2t, 2t + 1).
inline void mma_m8n8k16(Warp &w) {
  for (int lane = 0; lane < 32; lane++)
    for (int r = 0; r < 2; r++) {
      int g = lane >> 2, column = (lane & 3) * 2 + r;
      uint32_t sum = w.in[lane][2 + r];
      for (int t = 0; t < 4; t++) sum += (uint32_t)product_of_bytes(w.in[g * 4 + t][0], w.in[column * 4 + t][1]);
      w.out[lane][r] = sum;
    }
}

inline void evaluate(Warp &w) {
  switch (w.operation) {
  case SHUFFLE_XOR:
    for (unsigned l = 0; l < 32; l++) w.out[l][0] = w.in[l ^ w.in[l][1]][0];
    break;
  case SHUFFLE_WITHIN:
    for (unsigned l = 0; l < 32; l++) w.out[l][0] = w.in[(l & ~(w.in[l][2] - 1)) | (w.in[l][1] & (w.in[l][2] - 1))][0];
    break;
  case MMA_M16N8K32: mma_m16n8k32(w); break;
  case MMA_M8N8K16: mma_m8n8k16(w); break;
  }
}

// Brings `n` words, waits for the warp's other lanes, of which the last evaluates, and returns what this lane takes away.
inline const uint32_t *collective(Operation operation, const uint32_t *in, int n) {
  Warp &w = current->home->warps[current->warp];
  if (w.lanes != 32) stop("a collective in part of a warp");
  if (w.arrived == 0) w.operation = operation;
  else if (w.operation != operation) stop("lanes of a warp are in different collectives");
  memcpy(w.in[current->lane], in, 4 * n);
  if (++w.arrived < w.lanes) {
    current->wait = IN_COLLECTIVE;
    swap_to_scheduler();
    return w.out[current->lane];
  }
  evaluate(w);
  w.arrived = 0;
  for (unsigned l = 0; l < w.lanes; l++) current->home->fibres[current->warp * 32 + l].wait = RUNNING;
  return w.out[current->lane];
}

} // namespace cucpu

#define threadIdx (cucpu::current->thread)
#define blockIdx (cucpu::current->block)
#define blockDim (cucpu::block_dim)
#define gridDim (cucpu::grid_dim)
#define __syncthreads() cucpu::block_barrier()
#define __threadfence() ((void)0)

template <class T> static inline uint32_t bits_of(T v) { uint32_t u; static_assert(sizeof v == 4); memcpy(&u, &v, 4); return u; }
template <class T> static inline T of_bits(uint32_t u) { T v; memcpy(&v, &u, 4); return v; }
template <class T> static inline T __shfl_xor_sync(unsigned, T v, unsigned mask) {
  uint32_t in[2] = {bits_of(v), mask};
  return of_bits<T>(cucpu::collective(cucpu::SHUFFLE_XOR, in, 2)[0]);
}
template <class T> static inline T __shfl_sync(unsigned, T v, unsigned from, unsigned width) {
  uint32_t in[3] = {bits_of(v), from, width};
  return of_bits<T>(cucpu::collective(cucpu::SHUFFLE_WITHIN, in, 3)[0]);
}
static inline int __float_as_int(float v) { return of_bits<int>(bits_of(v)); }
static inline float __int_as_float(int v) { return of_bits<float>(bits_of(v)); }
static inline float __int2float_rn(int v) { return (float)v; }
static inline int __float2int_rn(float v) {
  return v != v ? 0 : v >= 2147483648.f ? INT32_MAX : v <= -2147483648.f ? INT32_MIN : (int)nearbyintf(v);
}
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline int min(int a, int b) { return a < b ? a : b; }
template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T atomicAdd(T *p, T v) { T old = *p; *p = (T)((uint32_t)old + (uint32_t)v); return old; }

// What instructions.cu has for a GPU.
static inline int dp4a_u8s8(unsigned a, unsigned b, int c) { return (int)((uint32_t)c + (uint32_t)cucpu::product_of_bytes(a, b)); }
static inline void mma_m8n8k16_u8s8(int &d0, int &d1, unsigned a, unsigned b) {
  uint32_t in[4] = {a, b, (uint32_t)d0, (uint32_t)d1};
  const uint32_t *out = cucpu::collective(cucpu::MMA_M8N8K16, in, 4);
  d0 = (int)out[0], d1 = (int)out[1];
}
static inline void mma_m16n8k32_u8s8(int (&d)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  uint32_t in[10] = {a0, a1, a2, a3, b0, b1, (uint32_t)d[0], (uint32_t)d[1], (uint32_t)d[2], (uint32_t)d[3]};
  const uint32_t *out = cucpu::collective(cucpu::MMA_M16N8K32, in, 10);
  for (int i = 0; i < 4; i++) d[i] = (int)out[i];
}
static inline unsigned char *shared_memory() { return (unsigned char *)cucpu::current->home->shared.data(); }
static inline unsigned watch(const unsigned *word) { return *(const volatile unsigned *)word; }
static inline void give_up() { cucpu::stop("the barrier over the grid was given up"); }
static inline void spin() { cucpu::current->wait = cucpu::SPINNING; cucpu::swap_to_scheduler(); }
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)(((uint64_t)high << 32 | low) >> (shift & 31));
}
