// layout.cu - what the host writes and every kernel reads: the tables of the model, of the step and of its streams.
//
// Every kernel is  extern "C" void name(const unsigned char *model, unsigned char *arena, unsigned char *io, int layer, int streams).
//   model   Model at byte 0, then the table of layers, weights, biases, factors. Constant.
//   arena   grid barrier at byte 0; a ring of crops and a GRU state for each slot; each layer's activations for each
//           stream of the step, in buffers of their own, so that no address is written twice in a launch.
//   io      results at byte 0, then crops cut on the device, then Step, one Stream for each stream, crops given by the
//           host, resampling taps, rows of the picture.
// Offsets are in bytes from the start of the buffer named. The structs are those of wire.rs, field by field; the host is
// little-endian, as every host of a GPU of ours is. A test compares the sizes.

typedef unsigned long long u64;

struct Model {
  u64 gru_w, gru_r;    // model: f32 [3 * hidden][features] and [3 * hidden][hidden], gates z, r, n
  u64 gru_wb, gru_rb;  // model: f32 [3 * hidden]
  u64 head_w, head_b;  // model: f32 [outputs][hidden] and [outputs]
  u64 rings;           // arena: u8 [slot][ring][plane_bytes], a ring's planes in circular order
  u64 states;          // arena: f32 [slot][state_bytes / 4]
  u64 next;            // arena: f32 [stream][state_bytes / 4], the state under way
  u64 plane_bytes;     // one crop, rounded up so that a word may be read beyond its end
  u64 state_bytes;
  u64 step;            // io: Step
  u64 result_bytes;    // io, from byte 0 on: f32 [stream]{outputs, hidden, filling}
  int layer_count, ring, size_px, zero_point, features, hidden, outputs;
  float mean_scale;    // real value of one unit of the last layer over its area
};

struct Layer {
  u64 weights;  // model: s8 [n_tiles][chunks][8 channels][32 of K], zero where there is no weight
  u64 bias;     // model: s32 [8 * n_tiles], the input's zero point folded in
  u64 scale;    // model: f32 [8 * n_tiles]
  u64 in, in_stride;    // arena: u8 [stream][in_px][in_px][in_bytes]; not used by the stem
  u64 out, out_stride;  // arena: u8 [stream][out_px][out_px][out_bytes]
  int in_px, in_bytes, out_px, out_bytes;  // bytes a pixel: channels rounded up to 32
  int kernel, stride;
  int chunks;            // K / 32
  int segments;          // stem: 8-byte pieces of K, ring * kernel * ceil(kernel / 8)
  int m_tiles, n_tiles;  // of 16 pixels, of 8 channels
  // ceil(2^32 / divisor) where that divides exactly all that occurs, else 0.
  unsigned by_m_tiles, by_out_px, by_per_tap, by_kernel;
};

struct Step {
  u64 picture;  // io: u8 [rows][width], the picture's rows from `top` on
  int width, height, top;
  int cut;      // whether any stream's crop is cut out of the picture
};

enum { CROP_HELD = 0, CROP_GIVEN = 1, CROP_CUT = 2 };

struct Stream {
  u64 crop;    // io: u8 [size_px][size_px], the newest crop, given by the host or to be handed to it
  u64 taps;    // io: s32 first_x[size_px], first_y[size_px], weight_x[tap_count][size_px], weight_y[size_px][tap_count]
  int slot;    // of the ring and the state
  int oldest;  // plane of the oldest crop, the newest one counted
  int source;  // CROP_HELD: all crops are in the ring already
  int fill;    // the newest crop fills the whole ring
  int tap_count;
  int unused;
};

static_assert(sizeof(Model) == 136, "wire.rs: Model");
static_assert(sizeof(Layer) == 112, "wire.rs: Layer");
static_assert(sizeof(Step) == 24, "wire.rs: Step");
static_assert(sizeof(Stream) == 40, "wire.rs: Stream");

// Threads of every block, and the warps among which a tile's K is divided.
enum { THREADS = 256, WARPS = 8 };

__device__ __forceinline__ const Model &model_of(const unsigned char *model) { return *(const Model *)model; }

__device__ __forceinline__ const Layer &layer_of(const unsigned char *model, int layer) {
  return ((const Layer *)(model + sizeof(Model)))[layer];
}

__device__ __forceinline__ const Step &step_of(const unsigned char *model, const unsigned char *io) {
  return *(const Step *)(io + model_of(model).step);
}

__device__ __forceinline__ const Stream &stream_of(const unsigned char *model, const unsigned char *io, int stream) {
  return ((const Stream *)(io + model_of(model).step + sizeof(Step)))[stream];
}

// n / d, by multiplication where `by` is given: a division takes a hundred cycles, and several stand before each load.
__device__ __forceinline__ int divide(int n, int d, unsigned by) {
  return by ? (int)__umulhi((unsigned)n, by) : d == 1 ? n : n / d;
}

// Plane `channel` of a stream's ring, 0 the oldest.
__device__ __forceinline__ u64 plane_at(const Model &m, const Stream &s, int channel) {
  int plane = s.oldest + channel;
  plane -= plane >= m.ring ? m.ring : 0;
  return m.rings + ((u64)s.slot * m.ring + plane) * m.plane_bytes;
}
