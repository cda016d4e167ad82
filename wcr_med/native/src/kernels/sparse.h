// Convolution by its non-zeros.
#pragma once

#include "vector.h"

namespace wcr {
namespace {

// Asks for the inputs that the tile below needs anew, a few with each output channel: walking over many channels in
// short runs is more than the processor foresees. Its outputs are asked for in the same way.
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
    if (c.fetch_outputs && first)
      unroll<kTile>([&](auto k) WCR_INLINE {
        __builtin_prefetch(out + (kRows + k / kCols) * c.out_row + k % kCols * c.out_col, 1, 2);
      });
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
void sparse(const Convolution* phases, size_t n_phases, const Rectangle& r) {
  const Convolution& c = phases[0];
  for (int64_t x = r.col0; x < r.col1;) {
    const int64_t cols = largest_power(r.col1 - x, c.tile_cols);
    for (int64_t y = r.row0; y < r.row1;) {
      const int64_t rows = largest_power(r.row1 - y, c.tile_rows);
      const SparseTile tile = choose_tile(rows, cols, c.in_col);
      for (int64_t block = 0; block < c.n_blocks; ++block)
        for (size_t phase = 0; phase < n_phases; ++phase) tile(phases[phase], y, x, block, r.channel0, r.channel1);
      y += rows;
    }
    x += cols;
  }
}

}  // namespace
}  // namespace wcr
