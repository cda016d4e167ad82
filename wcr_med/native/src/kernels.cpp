// Compiled once for each instruction set, with WCR_ISA naming it. Nothing here may have linkage but the table: a
// function shared between the builds could be taken from the wrong one.
#include "kernels.h"

#define WCR_JOIN_(a, b) a##b
#define WCR_JOIN(a, b) WCR_JOIN_(a, b)
#define WCR_TEXT_(a) #a
#define WCR_TEXT(a) WCR_TEXT_(a)
#define WCR_INLINE __attribute__((always_inline))

namespace wcr {
namespace {

#if defined(__AVX512F__)
constexpr int kLaneRows = 4, kLaneCols = 4, kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kLaneRows = 2, kLaneCols = 4, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLaneRows = 2, kLaneCols = 2, kRegisters = 32;
#else
constexpr int kLaneRows = 2, kLaneCols = 2, kRegisters = 16;
#endif
constexpr int kLanes = kLaneRows * kLaneCols;
constexpr int64_t kVector = kLanes * sizeof(float);

// Sized so that accumulators, inputs and a weight fit the registers.
constexpr int kMaxTile = kRegisters == 32 ? 16 : 8;
constexpr int kDenseGroup = kRegisters == 32 ? 6 : 4;
constexpr int kDenseTile = kRegisters == 32 ? 4 : 2;
constexpr int kWinogradGroup = kRegisters == 32 ? 8 : 4;
constexpr int kWinogradTiles = 3;

typedef float Vec __attribute__((vector_size(kVector), may_alias));
typedef int32_t Mask __attribute__((vector_size(kVector)));

template <int kValue>
struct Int {
  constexpr operator int() const { return kValue; }
};

// Calls f(Int<0>()), ..., f(Int<n - 1>()): indices are constants, so arrays stay in registers.
template <int kBegin, int kEnd, class F>
WCR_INLINE inline void unroll_range(F&& f) {
  if constexpr (kEnd - kBegin == 1) {
    f(Int<kBegin>());
  } else if constexpr (kEnd > kBegin) {
    constexpr int kMiddle = (kBegin + kEnd) / 2;
    unroll_range<kBegin, kMiddle>(f);
    unroll_range<kMiddle, kEnd>(f);
  }
}
template <int kCount, class F>
WCR_INLINE inline void unroll(F&& f) {
  unroll_range<0, kCount>(f);
}

WCR_INLINE inline Vec splat(float value) { return value - Vec{}; }  // not a sum: that would turn -0 into 0
WCR_INLINE inline Vec load(const void* p) { return *static_cast<const Vec*>(p); }
WCR_INLINE inline void store(void* p, Vec value) { *static_cast<Vec*>(p) = value; }
// Keeps a NaN of `a`, as a maximum with zero should.
WCR_INLINE inline Vec relu(Vec a) { return a < Vec{} ? Vec{} : a; }
WCR_INLINE inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }

WCR_INLINE inline Vec activate_vector(Vec a, int activation, Vec slope) {
  if (activation == 1) return relu(a);
  if (activation == 2) return a < Vec{} ? a * slope : a;
  return a;
}

// Residual and activation of kCount sums of an output channel; offset(k) is where sum k lies in the residual.
template <int kCount, class Offset>
WCR_INLINE inline void finish_sums(const Epilogue& e, int64_t channel, Vec* sum, Offset&& offset) {
  if (e.residual) {
    const char* const residual = e.residual + channel * e.residual_channel;
    unroll<kCount>([&](auto k) WCR_INLINE { sum[k] += load(residual + offset(k)); });
  }
  if (e.activation == 1) {
    unroll<kCount>([&](auto k) WCR_INLINE { sum[k] = relu(sum[k]); });
  } else if (e.activation == 2) {
    const Vec slope = splat(e.slope[channel * e.slope_step]);
    unroll<kCount>([&](auto k) WCR_INLINE { sum[k] = sum[k] < Vec{} ? sum[k] * slope : sum[k]; });
  }
}

// ---- sparse -------------------------------------------------------------------------------------------------------

// Asks for the inputs that the tile below needs anew, a few with each output channel: walking over many channels in
// short runs is more than the processor foresees.
WCR_INLINE inline void fetch_ahead(const Convolution& c, const char* base, int64_t step, int64_t rows) {
  const int64_t steps = c.n_blocks * c.c_out;
  const int64_t last = (step + 1) * c.n_ahead / steps;
  for (int64_t channel = step * c.n_ahead / steps; channel < last; ++channel) {
    const char* in = base + static_cast<uint64_t>(c.ahead[channel]) * 8 + c.ahead_row * c.in_row;
    for (int64_t y = 0; y < rows; ++y, in += c.in_row)
      for (int64_t x = 0; x < c.ahead_cols; ++x) __builtin_prefetch(in + x * kVector, 0, 2);
  }
}

// One tile of all output channels for one block of input channels. kStep: vectors between columns; 0: at run time.
template <int kRows, int kCols, int kStep>
void sparse_tile(const Convolution& c, int64_t y, int64_t x, int64_t block, int64_t channel0, int64_t channel1) {
  constexpr int kTile = kRows * kCols;
  const char* const base = c.arena + y * c.in_row + x * c.in_col;
  const int64_t in_row = c.in_row;
  const int64_t in_col = kStep ? kStep * kVector : c.in_col;
  const uint32_t* segment = c.segments + block * c.c_out + channel0;
  const NonZero* nz = c.non_zeros + *segment;
  const bool first = block == 0, last = block == c.n_blocks - 1;
  char* out = c.out + channel0 * c.out_channel + y * c.out_row + x * c.out_col;
  for (int64_t channel = channel0; channel < channel1; ++channel, out += c.out_channel) {
    const NonZero* const end = c.non_zeros + *++segment;
    if (c.n_ahead) fetch_ahead(c, base, block * c.c_out + channel, kRows);
    if (!first && !last && nz == end) continue;
    Vec sum[kTile];
    if (first) {
      const Vec bias = c.epilogue.bias ? splat(c.epilogue.bias[channel]) : Vec{};
      unroll<kTile>([&](auto k) WCR_INLINE { sum[k] = bias; });
    } else {
      unroll<kTile>([&](auto k) WCR_INLINE { sum[k] = load(out + k / kCols * c.out_row + k % kCols * c.out_col); });
    }
    for (; nz != end; ++nz) {
      const char* const in = base + static_cast<uint64_t>(nz->offset) * 8;
      const Vec weight = splat(nz->weight);
      unroll<kTile>([&](auto k) WCR_INLINE { sum[k] += weight * load(in + k / kCols * in_row + k % kCols * in_col); });
    }
    if (last) {
      const Epilogue& e = c.epilogue;
      finish_sums<kTile>(e, channel, sum, [&](auto k) WCR_INLINE {
        return (y + k / kCols) * e.residual_row + (x + k % kCols) * e.residual_col;
      });
    }
    unroll<kTile>([&](auto k) WCR_INLINE { store(out + k / kCols * c.out_row + k % kCols * c.out_col, sum[k]); });
  }
}

using SparseTile = void (*)(const Convolution&, int64_t, int64_t, int64_t, int64_t, int64_t);

template <int kRows, int kCols>
SparseTile choose_step(int64_t in_col) {
  if constexpr (kRows * kCols > kMaxTile) {
    return nullptr;
  } else {
    return in_col == kVector       ? sparse_tile<kRows, kCols, 1>
           : in_col == 2 * kVector ? sparse_tile<kRows, kCols, 2>
                                   : sparse_tile<kRows, kCols, 0>;
  }
}

template <int kRows>
SparseTile choose_cols(int64_t cols, int64_t in_col) {
  switch (cols) {
    case 1: return choose_step<kRows, 1>(in_col);
    case 2: return choose_step<kRows, 2>(in_col);
    case 4: return choose_step<kRows, 4>(in_col);
    case 8: return choose_step<kRows, 8>(in_col);
    default: return choose_step<kRows, 16>(in_col);
  }
}

SparseTile choose_tile(int64_t rows, int64_t cols, int64_t in_col) {
  switch (rows) {
    case 1: return choose_cols<1>(cols, in_col);
    case 2: return choose_cols<2>(cols, in_col);
    default: return choose_cols<4>(cols, in_col);
  }
}

int64_t largest_power(int64_t limit, int64_t size) {
  while (size > limit) size /= 2;
  return size;
}

// Columns outermost: going down a strip, the rows above are still in the cache.
void sparse(const Convolution& c, const Rectangle& r) {
  for (int64_t x = r.col0; x < r.col1;) {
    const int64_t cols = largest_power(r.col1 - x, c.tile_cols);
    for (int64_t y = r.row0; y < r.row1;) {
      const int64_t rows = largest_power(r.row1 - y, c.tile_rows);
      const SparseTile tile = choose_tile(rows, cols, c.in_col);
      for (int64_t block = 0; block < c.n_blocks; ++block) tile(c, y, x, block, r.channel0, r.channel1);
      y += rows;
    }
    x += cols;
  }
}

// ---- dense --------------------------------------------------------------------------------------------------------

template <int kCols, int kStep>
WCR_INLINE inline void dense_tile(const Convolution& c, int64_t y, int64_t x, int64_t channel0) {
  const char* const base = c.arena + y * c.in_row + x * c.in_col;
  const int64_t in_col = kStep ? kStep * kVector : c.in_col;
  const float* weight = c.weights + channel0 * c.n_taps;
  Vec sum[kDenseGroup * kCols];
  unroll<kDenseGroup>([&](auto g) WCR_INLINE {
    const Vec bias = c.epilogue.bias && channel0 + g < c.c_out ? splat(c.epilogue.bias[channel0 + g]) : Vec{};
    unroll<kCols>([&](auto j) WCR_INLINE { sum[g * kCols + j] = bias; });
  });
  for (const uint32_t *offset = c.offsets, *end = offset + c.n_taps; offset != end; ++offset, weight += kDenseGroup) {
    const char* const in = base + static_cast<uint64_t>(*offset) * 8;
    Vec value[kCols];
    unroll<kCols>([&](auto j) WCR_INLINE { value[j] = load(in + j * in_col); });
    unroll<kDenseGroup>([&](auto g) WCR_INLINE {
      const Vec w = splat(weight[g]);
      unroll<kCols>([&](auto j) WCR_INLINE { sum[g * kCols + j] += w * value[j]; });
    });
  }
  unroll<kDenseGroup>([&](auto g) WCR_INLINE {
    if (channel0 + g < c.c_out) {
      const Epilogue& e = c.epilogue;
      finish_sums<kCols>(e, channel0 + g, sum + g * kCols,
                         [&](auto j) WCR_INLINE { return y * e.residual_row + (x + j) * e.residual_col; });
      char* const out = c.out + (channel0 + g) * c.out_channel + y * c.out_row + x * c.out_col;
      unroll<kCols>([&](auto j) WCR_INLINE { store(out + j * c.out_col, sum[g * kCols + j]); });
    }
  });
}

template <int kStep>
void dense_step(const Convolution& c, const Rectangle& r) {
  constexpr int64_t kStrip = 16, kBand = 4;  // inputs of a strip and band stay in the second-level cache
  for (int64_t x0 = r.col0; x0 < r.col1; x0 += kStrip) {
    const int64_t x1 = x0 + kStrip < r.col1 ? x0 + kStrip : r.col1;
    for (int64_t y0 = r.row0; y0 < r.row1; y0 += kBand) {
      const int64_t y1 = y0 + kBand < r.row1 ? y0 + kBand : r.row1;
      for (int64_t channel = r.channel0; channel < r.channel1; channel += kDenseGroup)
        for (int64_t y = y0; y < y1; ++y) {
          int64_t x = x0;
          for (; x + kDenseTile <= x1; x += kDenseTile) dense_tile<kDenseTile, kStep>(c, y, x, channel);
          for (; x < x1; ++x) dense_tile<1, kStep>(c, y, x, channel);
        }
    }
  }
}

void dense(const Convolution& c, const Rectangle& r) {
  if (c.in_col == kVector) return dense_step<1>(c, r);
  if (c.in_col == 2 * kVector) return dense_step<2>(c, r);
  dense_step<0>(c, r);
}

// ---- Winograd (Lavin and Gray 2016, arXiv 1509.09308) ---------------------------------------------------------------

template <int kM>
struct Transform;

template <>
struct Transform<2> {
  static WCR_INLINE void input(Vec* d, int step) {
    const Vec a = d[0], b = d[step], c = d[2 * step], e = d[3 * step];
    d[0] = a - c, d[step] = b + c, d[2 * step] = c - b, d[3 * step] = b - e;
  }
  static WCR_INLINE void output(Vec* d, int step) {
    const Vec a = d[0], b = d[step], c = d[2 * step], e = d[3 * step];
    d[0] = a + b + c, d[step] = b - c - e;
  }
};

template <>
struct Transform<4> {
  static WCR_INLINE void input(Vec* d, int step) {
    const Vec a = d[0], b = d[step], c = d[2 * step], e = d[3 * step], f = d[4 * step], g = d[5 * step];
    const Vec fc = f - 4.0f * c, eb = e - 4.0f * b, fmc = f - c, emb = 2.0f * (e - b);
    d[0] = 4.0f * a - 5.0f * c + f;
    d[step] = fc + eb, d[2 * step] = fc - eb;
    d[3 * step] = fmc + emb, d[4 * step] = fmc - emb;
    d[5 * step] = 4.0f * b - 5.0f * e + g;
  }
  static WCR_INLINE void output(Vec* d, int step) {
    const Vec a = d[0], b = d[step], c = d[2 * step], e = d[3 * step], f = d[4 * step], g = d[5 * step];
    const Vec plus = b + c, minus = b - c, plus2 = e + f, minus2 = e - f;
    d[0] = a + plus + plus2;
    d[step] = minus + 2.0f * minus2;
    d[2 * step] = plus + 4.0f * plus2;
    d[3 * step] = minus + 8.0f * minus2 + g;
  }
};

struct TileGrid {
  int64_t across;  // tiles in a row
  int64_t m;
  WCR_INLINE int64_t row(int64_t tile) const { return tile / across * m; }
  WCR_INLINE int64_t col(int64_t tile) const { return tile % across * m; }
};

// Transformed inputs (point, channel, tile) of kTiles tiles.
template <int kM, int kTiles>
void winograd_inputs(const Winograd& w, const TileGrid& grid, int64_t tile0, Vec* transformed) {
  constexpr int kSide = kM + 2;
  const Convolution& c = w.convolution;
  for (int t = 0; t < kTiles; ++t) {
    const int64_t y = grid.row(tile0 + t), x = grid.col(tile0 + t);
    const bool inside = y + kSide <= w.in_rows && x + kSide <= w.in_cols;
    for (int64_t channel = 0; channel < c.n_taps; ++channel) {
      const char* const in = c.arena + static_cast<uint64_t>(c.offsets[channel]) * 8 + y * c.in_row + x * kVector;
      Vec d[kSide * kSide];
      if (inside) {
        unroll<kSide * kSide>(
            [&](auto k) WCR_INLINE { d[k] = load(in + k / kSide * c.in_row + k % kSide * kVector); });
      } else {
        unroll<kSide * kSide>([&](auto k) WCR_INLINE {
          const bool there = y + k / kSide < w.in_rows && x + k % kSide < w.in_cols;
          d[k] = there ? load(in + k / kSide * c.in_row + k % kSide * kVector) : Vec{};
        });
      }
      unroll<kSide>([&](auto i) WCR_INLINE { Transform<kM>::input(d + i * kSide, 1); });
      unroll<kSide>([&](auto i) WCR_INLINE { Transform<kM>::input(d + i, kSide); });
      unroll<kSide * kSide>(
          [&](auto k) WCR_INLINE { transformed[(k * c.n_taps + channel) * kTiles + t] = d[k]; });
    }
  }
}

// Products summed over channels for one group of output channels: (channel of the group, tile, point).
template <int kPoints, int kTiles>
void winograd_sums(const float* weights, const Vec* transformed, int64_t channels, Vec* sums) {
  for (int point = 0; point < kPoints; ++point) {
    Vec sum[kWinogradGroup * kTiles];
    unroll<kWinogradGroup * kTiles>([&](auto k) WCR_INLINE { sum[k] = Vec{}; });
    for (int64_t channel = 0; channel < channels; ++channel, weights += kWinogradGroup, transformed += kTiles) {
      Vec value[kTiles];
      unroll<kTiles>([&](auto t) WCR_INLINE { value[t] = transformed[t]; });
      unroll<kWinogradGroup>([&](auto g) WCR_INLINE {
        const Vec weight = splat(weights[g]);
        unroll<kTiles>([&](auto t) WCR_INLINE { sum[g * kTiles + t] += weight * value[t]; });
      });
    }
    unroll<kWinogradGroup * kTiles>([&](auto k) WCR_INLINE { sums[k * kPoints + point] = sum[k]; });
  }
}

template <int kM>
void winograd_output(const Convolution& c, int64_t channel, int64_t y, int64_t x, const Vec* sums) {
  constexpr int kSide = kM + 2;
  Vec d[kSide * kSide];
  unroll<kSide * kSide>([&](auto k) WCR_INLINE { d[k] = sums[k]; });
  unroll<kSide>([&](auto i) WCR_INLINE { Transform<kM>::output(d + i * kSide, 1); });
  unroll<kM>([&](auto i) WCR_INLINE { Transform<kM>::output(d + i, kSide); });
  const Vec bias = c.epilogue.bias ? splat(c.epilogue.bias[channel]) : Vec{};
  const Epilogue& e = c.epilogue;
  char* const out = c.out + channel * c.out_channel + y * c.out_row + x * c.out_col;
  unroll<kM>([&](auto i) WCR_INLINE {
    if (y + i >= c.rows) return;
    unroll<kM>([&](auto j) WCR_INLINE {
      if (x + j >= c.cols) return;
      Vec sum = d[i * kSide + j] + bias;
      finish_sums<1>(e, channel, &sum, [&](auto) WCR_INLINE { return (y + i) * e.residual_row + (x + j) * e.residual_col; });
      store(out + i * c.out_row + j * c.out_col, sum);
    });
  });
}

template <int kM, int kTiles>
void winograd_tiles(const Winograd& w, const TileGrid& grid, int64_t tile0, float* scratch) {
  constexpr int kPoints = (kM + 2) * (kM + 2);
  const Convolution& c = w.convolution;
  Vec* const transformed = reinterpret_cast<Vec*>(scratch);
  Vec* const sums = transformed + kPoints * kTiles * c.n_taps;
  winograd_inputs<kM, kTiles>(w, grid, tile0, transformed);
  const float* weights = w.weights;
  for (int64_t channel0 = 0; channel0 < c.c_out; channel0 += kWinogradGroup) {
    winograd_sums<kPoints, kTiles>(weights, transformed, c.n_taps, sums);
    weights += kPoints * c.n_taps * kWinogradGroup;
    for (int64_t g = 0; g < kWinogradGroup && channel0 + g < c.c_out; ++g)
      for (int t = 0; t < kTiles; ++t)
        winograd_output<kM>(c, channel0 + g, grid.row(tile0 + t), grid.col(tile0 + t),
                            sums + (g * kTiles + t) * kPoints);
  }
}

template <int kM>
void winograd_range(const Winograd& w, int64_t tile0, int64_t tile1, float* scratch) {
  const TileGrid grid{(w.convolution.cols + kM - 1) / kM, kM};
  while (tile0 < tile1) {
    const int64_t left = tile1 - tile0;
    const int64_t tiles = left < w.tiles ? left : w.tiles;
    if (tiles >= 3) {
      winograd_tiles<kM, 3>(w, grid, tile0, scratch);
      tile0 += 3;
    } else if (tiles == 2) {
      winograd_tiles<kM, 2>(w, grid, tile0, scratch);
      tile0 += 2;
    } else {
      winograd_tiles<kM, 1>(w, grid, tile0, scratch);
      tile0 += 1;
    }
  }
}

void winograd(const Winograd& w, int64_t tile0, int64_t tile1, float* scratch) {
  if (w.m == 4) return winograd_range<4>(w, tile0, tile1, scratch);
  winograd_range<2>(w, tile0, tile1, scratch);
}

size_t winograd_scratch(const Winograd& w) {
  const int64_t points = (w.m + 2) * (w.m + 2);
  return static_cast<size_t>(points * w.tiles * (w.convolution.n_taps + kWinogradGroup) * kLanes);
}

// ---- everything else ----------------------------------------------------------------------------------------------

WCR_INLINE inline float* vector_at(const Map& m, int64_t channel, int64_t y, int64_t x) {
  return m.data + (channel * m.channel_stride + y * m.row_stride + x) * kLanes;
}

void pack(const float* image, const Map& m, int64_t channel) {
  for (int64_t y = 0; y < m.rows; ++y)
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t row = lane / kLaneCols * m.rows + y, col0 = lane % kLaneCols * m.cols;
      float* const out = vector_at(m, channel, y, 0) + lane;
      int64_t there = row < m.height ? m.width - col0 : 0;
      there = there < 0 ? 0 : there > m.cols ? m.cols : there;
      const float* const in = image + row * m.width + col0;
      for (int64_t x = 0; x < there; ++x) out[x * kLanes] = in[x];
      for (int64_t x = there; x < m.cols; ++x) out[x * kLanes] = 0.0f;
    }
}

void unpack(const Map& m, int64_t channel, float* image) {
  for (int64_t y = 0; y < m.rows; ++y)
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t row = lane / kLaneCols * m.rows + y, col0 = lane % kLaneCols * m.cols;
      if (row >= m.height) continue;
      const float* const in = vector_at(m, channel, y, 0) + lane;
      float* const out = image + row * m.width + col0;
      for (int64_t x = 0; x < m.cols && col0 + x < m.width; ++x) out[x] = in[x * kLanes];
    }
}

void zero_beyond(const Map& m, int64_t channel) {
  if (m.height == m.rows * kLaneRows && m.width == m.cols * kLaneCols) return;
  for (int64_t y = 0; y < m.rows; ++y)
    for (int64_t x = 0; x < m.cols; ++x) {
      float* const out = vector_at(m, channel, y, x);
      for (int lane = 0; lane < kLanes; ++lane)
        if (lane / kLaneCols * m.rows + y >= m.height || lane % kLaneCols * m.cols + x >= m.width) out[lane] = 0.0f;
    }
}

// The pixel (y, x) of each lane's block, for y and x beyond the block: any neighbour, zero outside the map.
Vec from_neighbours(const Map& m, int64_t channel, int64_t y, int64_t x) {
  Vec result{};
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t row = lane / kLaneCols * m.rows + y, col = lane % kLaneCols * m.cols + x;
    if (row < 0 || col < 0 || row >= m.rows * kLaneRows || col >= m.cols * kLaneCols) continue;
    const int64_t source = row / m.rows * kLaneCols + col / m.cols;
    result[lane] = vector_at(m, channel, row % m.rows, col % m.cols)[source];
  }
  return result;
}

template <int kBy>
WCR_INLINE inline Vec shift_lanes(Vec v, int run) {
  // Lane i takes lane i - kBy of the same run of lanes; what comes from outside the run is zero.
  Mask index;
  for (int i = 0; i < kLanes; ++i) {
    const int place = i % run - kBy;
    index[i] = place < 0 || place >= run ? kLanes : i - kBy;
  }
  return __builtin_shuffle(v, Vec{}, index);
}

void finish(const Map& m, int64_t channel) {
  zero_beyond(m, channel);
  const int64_t above = m.margin_rows, aside = m.margin_cols;
  if (above == 0 && aside == 0) return;
  if (above > 1 || aside > 1) {
    for (int64_t y = -above; y < m.rows + above; ++y)
      for (int64_t x = -aside; x < m.cols + aside; ++x) {
        if (y >= 0 && y < m.rows && x == 0) x = m.cols;  // the block itself
        if (x >= m.cols + aside) break;
        store(vector_at(m, channel, y, x), from_neighbours(m, channel, y, x));
      }
    return;
  }
  if (above)
    for (int64_t x = 0; x < m.cols; ++x) {
      store(vector_at(m, channel, -1, x), shift_lanes<kLaneCols>(load(vector_at(m, channel, m.rows - 1, x)), kLanes));
      store(vector_at(m, channel, m.rows, x), shift_lanes<-kLaneCols>(load(vector_at(m, channel, 0, x)), kLanes));
    }
  if (aside)
    for (int64_t y = -above; y < m.rows + above; ++y) {  // the rows above and below are there by now
      store(vector_at(m, channel, y, -1), shift_lanes<1>(load(vector_at(m, channel, y, m.cols - 1)), kLaneCols));
      store(vector_at(m, channel, y, m.cols), shift_lanes<-1>(load(vector_at(m, channel, y, 0)), kLaneCols));
    }
}

void max_pool(const Map& in, const Map& out, int64_t channel, const int64_t window[6]) {
  const int64_t kh = window[0], kw = window[1], sh = window[2], sw = window[3], top = window[4], left = window[5];
  for (int64_t y = 0; y < out.rows; ++y)
    for (int64_t x = 0; x < out.cols; ++x) {
      const float* const corner = vector_at(in, channel, y * sh - top, x * sw - left);
      Vec best = load(corner);
      for (int64_t i = 0; i < kh; ++i)
        for (int64_t j = i == 0; j < kw; ++j) best = maximum(load(corner + (i * in.row_stride + j) * kLanes), best);
      store(vector_at(out, channel, y, x), best);
    }
}

void upsample(const Map& in, const Map& out, int64_t channel, int64_t factor_h, int64_t factor_w) {
  for (int64_t y = 0; y < in.rows; ++y)
    for (int64_t x = 0; x < in.cols; ++x) {
      const Vec value = load(vector_at(in, channel, y, x));
      for (int64_t i = 0; i < factor_h; ++i)
        for (int64_t j = 0; j < factor_w; ++j)
          store(vector_at(out, channel, y * factor_h + i, x * factor_w + j), value);
    }
}

void activate(const Map& in, const Map* second, const Map& out, int64_t channel, const Epilogue& e) {
  const Vec slope = e.activation == 2 ? splat(e.slope[channel * e.slope_step]) : Vec{};
  for (int64_t y = 0; y < out.rows; ++y)
    for (int64_t x = 0; x < out.cols; ++x) {
      Vec value = load(vector_at(in, channel, y, x));
      if (second) value += load(vector_at(*second, channel, y, x));
      store(vector_at(out, channel, y, x), activate_vector(value, e.activation, slope));
    }
}

}  // namespace

extern const Kernels WCR_JOIN(kernels_, WCR_ISA);
const Kernels WCR_JOIN(kernels_, WCR_ISA) = {
    WCR_TEXT(WCR_ISA), kLaneRows, kLaneCols, kMaxTile, kDenseGroup, kWinogradGroup, kWinogradTiles,
    sparse,            dense,     winograd,  winograd_scratch,
    pack,              unpack,    finish,    max_pool, upsample,    activate,
};

}  // namespace wcr
