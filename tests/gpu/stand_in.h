// stand_in.h - NVIDIA's driver as far as src/engine/cuda/driver calls it, on the CPU. Stands after the kernels and their shim.
//
// The queue is lazy: nothing queued is done before the host asks for the second time whether it is done. So memory that the host
// overwrites or frees too early gives wrong values or a complaint. A complaint ends the process: it is a mistake of the caller.
// The environment sets the machine: STAND_IN_VERSION, _INIT (status of cuInit), _COUNT, _SM, _INTEGRATED.

#include <cstdio>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace stand_in {

typedef std::vector<std::function<void()>> Work;
struct Function { std::string name; unsigned shared; };
struct Context { Work queue; std::map<void *, size_t> memory; std::set<void *> host, others; std::map<std::string, Function> functions; bool recording = false; Work recorded; };

static thread_local Context *current = nullptr;
static std::set<Context *> contexts;
static long calls = 0, fail_at = -1, asked = 0;
static int fail_with = 0, hanging = 0, lasting = 0;
static std::vector<std::string> names;

static int setting(const char *name, int usual) {
  const char *text = getenv(name);
  return text ? atoi(text) : usual;
}

[[noreturn]] static void complain(const char *what) {
  fprintf(stderr, "stand-in driver: %s\n", what);
  fflush(stderr);
  _Exit(86);
}

// Counts a call that may be made to fail. A status of the second kind stays, as a fault of a kernel does.
static int strike(const char *name) {
  names.push_back(name);
  if (lasting) return lasting;
  if (calls++ != fail_at) return 0;
  if (fail_with >= 700) lasting = fail_with;
  return fail_with;
}

#define STRIKE if (int status = strike(__func__)) return status
#define ENTERED if (!current || !contexts.count(current)) complain("a call without a context")
#define IDLE if (!current->queue.empty() && !lasting) complain("memory or a graph was freed while work is queued")

static void run_all(Context *c) {
  Work work;
  work.swap(c->queue);
  for (auto &w : work) w();
}

static void queue(std::function<void()> w) { (current->recording ? current->recorded : current->queue).push_back(std::move(w)); }

// Whether a range lies in one allocation.
static bool holds(unsigned long long at, size_t n) {
  for (auto &m : current->memory)
    if (at >= (unsigned long long)m.first && at + n <= (unsigned long long)m.first + m.second) return true;
  return false;
}

} // namespace stand_in

using namespace stand_in;

extern "C" {

// For tests: fails call `at` from now with `status`; makes the queue hang; counts calls; counts what is not freed.
void stand_in_fail(long at, int status) { calls = 0, fail_at = at, fail_with = status, lasting = 0; }
void stand_in_hang(int on) { hanging = on; }
long stand_in_calls() { return calls; }
const char *stand_in_last() { return names.empty() ? "" : names.back().c_str(); }
long stand_in_alive() {
  long n = (long)contexts.size();
  for (Context *c : contexts) n += (long)(c->memory.size() + c->host.size() + c->others.size());
  return n;
}

int cuDriverGetVersion(int *v) { *v = setting("STAND_IN_VERSION", 12040); return 0; }
int cuInit(unsigned) { return setting("STAND_IN_INIT", 0); }
int cuGetErrorName(int status, const char **text) {
  *text = status == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : status == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : status == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_OF_THE_STAND_IN";
  return 0;
}
int cuDeviceGetCount(int *n) { *n = setting("STAND_IN_COUNT", 1); return 0; }
int cuDeviceGet(int *device, int i) { *device = i; return 0; }
int cuDeviceGetName(char *name, int n, int) { snprintf(name, (size_t)n, "Stand-in"); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int) {
  int sm = setting("STAND_IN_SM", 87);
  switch (attribute) {
    case 75: *value = sm / 10; break;
    case 76: *value = sm % 10; break;
    case 18: *value = setting("STAND_IN_INTEGRATED", 0); break;
    case 95: *value = 1; break;
    case 16: *value = 3; break;
    default: complain("an attribute that it does not know");
  }
  return 0;
}

int cuCtxCreate_v2(Context **out, unsigned, int) {
  STRIKE;
  contexts.insert(current = *out = new Context);
  return 0;
}
int cuCtxDestroy_v2(Context *c) {
  if (!contexts.count(c)) complain("a context destroyed twice");
  while (hanging) ; // As the real one waits for the stream.
  for (auto &m : c->memory) free(m.first);
  contexts.erase(c);
  delete c;
  current = nullptr;
  return 0;
}
int cuCtxSetCurrent(Context *c) { current = c; return 0; }
int cuStreamCreate(void **out, unsigned) { ENTERED; STRIKE; *out = new char; current->others.insert(*out); return 0; }
int cuEventCreate(void **out, unsigned) { return cuStreamCreate(out, 0); }
int cuStreamDestroy_v2(void *s) { ENTERED; if (!current->others.erase(s)) complain("a stream or event destroyed twice"); delete (char *)s; return 0; }
int cuEventDestroy_v2(void *e) { return cuStreamDestroy_v2(e); }

int cuMemHostAlloc(void **out, size_t n, unsigned flags) {
  ENTERED; STRIKE;
  if (current->recording) complain("memory allocated while recording");
  *out = aligned_alloc(512, (n + 1023) / 512 * 512);
  memset(*out, 0xcd, n);
  current->memory[*out] = n;
  if (!(flags & 2)) current->host.insert(*out); // Not mapped: the kernels must not see it.
  return 0;
}
int cuMemHostGetDevicePointer_v2(unsigned long long *out, void *host, unsigned) {
  ENTERED; STRIKE;
  if (current->host.count(host)) complain("memory that is not mapped");
  *out = (unsigned long long)host;
  return 0;
}
int cuMemFreeHost(void *p) { ENTERED; IDLE; if (!current->memory.erase(p)) complain("memory freed twice"); current->host.erase(p); free(p); return 0; }
int cuMemAlloc_v2(unsigned long long *out, size_t n) {
  void *p = nullptr;
  int status = cuMemHostAlloc(&p, n, 2);
  *out = (unsigned long long)p;
  return status;
}
int cuMemFree_v2(unsigned long long p) { return cuMemFreeHost((void *)p); }
int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t n, void *) {
  ENTERED; STRIKE;
  if (!holds(to, n)) complain("a range outside its memory");
  queue([=] { memset((void *)to, value, n); });
  return 0;
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t n, void *) {
  ENTERED; STRIKE;
  if (!holds(to, n) || !holds((unsigned long long)from, n)) complain("a range outside its memory, or memory that is not page-locked");
  queue([=] { memcpy((void *)to, from, n); });
  return 0;
}
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t n, void *) { return cuMemcpyHtoDAsync_v2((unsigned long long)to, (const void *)from, n, nullptr); }

int cuModuleLoadDataEx(void **out, const void *image, unsigned, int *, void **values) {
  ENTERED; STRIKE;
  if (memcmp(image, "stand-in", 8)) { snprintf((char *)values[0], 64, "line 1: no such instruction"); return 218; }
  *out = current;
  return 0;
}
int cuModuleGetFunction(Function **out, void *, const char *name) {
  ENTERED; STRIKE;
  if (current->recording) complain("a function loaded while recording");
  if (!vaerr_knows(name, strlen(name)) && strcmp(name, "copy_io")) return 500;
  *out = &(current->functions[name] = Function{name, 48 << 10});
  return 0;
}
int cuFuncSetAttribute(Function *f, int, int value) { ENTERED; STRIKE; f->shared = (unsigned)value; return 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, Function *, int, size_t) { ENTERED; STRIKE; *n = 2; return 0; }

static int launch(Function *f, unsigned grid, unsigned block, unsigned shared, void **arguments, int cooperative) {
  if (shared > f->shared) return 1;
  if (cooperative && grid > 6) return 720;
  auto *model = *(unsigned char **)arguments[0], *arena = *(unsigned char **)arguments[1], *io = *(unsigned char **)arguments[2];
  for (unsigned char *p : {model, arena, io})
    if (!holds((unsigned long long)p, 1) || current->host.count(p)) complain("a kernel was given an address that it cannot see");
  int layer = *(int *)arguments[3], streams = *(int *)arguments[4];
  std::string name = f->name;
  if (name == "copy_io") { // A kernel of the stand-in's own: `streams` bytes of io to piece `layer` of the arena.
    queue([=] { memcpy(arena + layer * streams, io, (size_t)streams); });
    return 0;
  }
  queue([=] {
    if (const char *what = vaerr_launch(name.c_str(), name.size(), grid, block, shared, cooperative, 0, model, arena, io, layer, streams)) complain(what);
  });
  return 0;
}
int cuLaunchKernel(Function *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *, void **arguments, void **) {
  ENTERED; STRIKE;
  if (y * z * by * bz != 1) complain("a grid of more than one dimension");
  return launch(f, x, bx, shared, arguments, 0);
}
int cuLaunchCooperativeKernel(Function *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *, void **arguments) {
  ENTERED; STRIKE;
  if (y * z * by * bz != 1) complain("a grid of more than one dimension");
  return launch(f, x, bx, shared, arguments, 1);
}

int cuStreamBeginCapture_v2(void *, int) { ENTERED; STRIKE; current->recording = true; current->recorded.clear(); return 0; }
int cuStreamEndCapture(void *, Work **out) {
  ENTERED;
  if (!current->recording) complain("a recording ended that was not begun");
  current->recording = false;
  STRIKE;
  current->others.insert(*out = new Work(current->recorded));
  return 0;
}
int cuGraphDestroy(Work *g) { if (!g) return 1; if (!current->others.erase(g)) complain("a graph destroyed twice"); delete g; return 0; }
int cuGraphInstantiateWithFlags(Work **out, Work *g, unsigned long long) { ENTERED; STRIKE; current->others.insert(*out = new Work(*g)); return 0; }
int cuGraphExecDestroy(Work *g) { ENTERED; IDLE; return cuGraphDestroy(g); }
int cuGraphLaunch(Work *g, void *) { ENTERED; STRIKE; for (auto &w : *g) queue(w); return 0; }

int cuEventRecord(void *, void *) { ENTERED; STRIKE; asked = 0; return 0; }
int cuEventQuery(void *) {
  ENTERED;
  if (current->recording) complain("a wait while recording");
  if (hanging || ++asked % 2) return 600;
  STRIKE;
  run_all(current);
  return 0;
}

} // extern "C"
