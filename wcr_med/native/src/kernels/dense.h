// Convolution by all its weights, several output channels at a time.
#pragma once

#include "vector.h"

namespace wcr {
namespace {

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

}  // namespace
}  // namespace wcr
