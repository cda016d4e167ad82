// 3x3 convolution by Winograd's minimal filtering (Lavin and Gray 2016, arXiv 1509.09308).
#pragma once

#include "vector.h"

namespace wcr {
namespace {

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

// Vectors from one point's transformed inputs to the next one's: odd, or all points would compete for the same few
// places of the first-level cache.
WCR_INLINE inline int64_t point_stride(int64_t channels, int64_t tiles) { return (channels * tiles) | 1; }

// Transformed inputs (point, channel, tile) of kTiles tiles.
template <int kM, int kTiles>
void winograd_inputs(const Winograd& w, const TileGrid& grid, int64_t tile0, Vec* transformed) {
  constexpr int kSide = kM + 2;
  const Convolution& c = w.convolution;
  const int64_t stride = point_stride(c.n_taps, kTiles);
  for (int t = 0; t < kTiles; ++t) {
    const int64_t y = grid.row(tile0 + t), x = grid.col(tile0 + t);
    const int64_t ny = grid.row(tile0 + kTiles + t), nx = grid.col(tile0 + kTiles + t);
    const bool fetch = c.n_ahead > 0 && ny < c.rows;
    const bool inside = y + kSide <= w.in_rows && x + kSide <= w.in_cols;
    for (int64_t channel = 0; channel < c.n_taps; ++channel) {
      const char* const in = c.arena + static_cast<uint64_t>(c.offsets[channel]) * 8 + y * c.in_row + x * kVector;
      if (fetch) {  // the same channel of the tiles after these
        const char* const next = in + (ny - y) * c.in_row + (nx - x) * kVector;
        for (int64_t i = 0; i < kSide; ++i)
          for (int64_t j = 0; j < kSide; ++j) __builtin_prefetch(next + i * c.in_row + j * kVector, 0, 2);
      }
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
          [&](auto k) WCR_INLINE { transformed[k * stride + channel * kTiles + t] = d[k]; });
    }
  }
}

// Products summed over channels for one group of output channels: (point, channel of the group, tile).
template <int kPoints, int kTiles>
void winograd_sums(const float* weights, const Vec* transformed, int64_t channels, Vec* sums) {
  for (int point = 0; point < kPoints; ++point) {
    const Vec* in = transformed + point * point_stride(channels, kTiles);
    Vec sum[kWinogradGroup * kTiles];
    unroll<kWinogradGroup * kTiles>([&](auto k) WCR_INLINE { sum[k] = Vec{}; });
    for (int64_t channel = 0; channel < channels; ++channel, weights += kWinogradGroup, in += kTiles) {
      Vec value[kTiles];
      unroll<kTiles>([&](auto t) WCR_INLINE { value[t] = in[t]; });
      unroll<kWinogradGroup>([&](auto g) WCR_INLINE {
        const Vec weight = splat(weights[g]);
        unroll<kTiles>([&](auto t) WCR_INLINE { sum[g * kTiles + t] += weight * value[t]; });
      });
    }
    unroll<kWinogradGroup * kTiles>([&](auto k) WCR_INLINE { *sums++ = sum[k]; });
  }
}

template <int kM, int kStep>
void winograd_output(const Convolution& c, int64_t channel, int64_t y, int64_t x, const Vec* sums) {
  constexpr int kSide = kM + 2;
  Vec d[kSide * kSide];
  unroll<kSide * kSide>([&](auto k) WCR_INLINE { d[k] = sums[k * kStep]; });
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
  Vec* const sums = transformed + kPoints * point_stride(c.n_taps, kTiles);
  winograd_inputs<kM, kTiles>(w, grid, tile0, transformed);
  const float* weights = w.weights;
  for (int64_t channel0 = 0; channel0 < c.c_out; channel0 += kWinogradGroup) {
    winograd_sums<kPoints, kTiles>(weights, transformed, c.n_taps, sums);
    weights += kPoints * c.n_taps * kWinogradGroup;
    for (int64_t g = 0; g < kWinogradGroup && channel0 + g < c.c_out; ++g)
      for (int t = 0; t < kTiles; ++t)
        winograd_output<kM, kWinogradGroup * kTiles>(c, channel0 + g, grid.row(tile0 + t), grid.col(tile0 + t),
                                                     sums + g * kTiles + t);
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
  return static_cast<size_t>(points * (point_stride(w.convolution.n_taps, w.tiles) + w.tiles * kWinogradGroup) * kLanes);
}

}  // namespace
}  // namespace wcr
