// What is done to maps one channel at a time: packing, margins, pooling, element-wise operations.
#pragma once

#include "vector.h"

namespace wcr {
namespace {

WCR_INLINE inline float* vector_at(const Map& m, int64_t channel, int64_t y, int64_t x) {
  return m.data + (channel * m.channel_stride + y * m.row_stride + x) * kLanes;
}

// Pixels of the image under lane `lane` of row `y`: where they begin, and how many of the block's columns are there.
struct Run {
  int64_t first, count;
};

WCR_INLINE inline Run run_of(const Map& m, int64_t y, int lane) {
  const int64_t row = lane / kLaneCols * m.rows + y, col = lane % kLaneCols * m.cols;
  const int64_t count = row < m.height ? m.width - col : 0;
  return {row * m.width + col, count < 0 ? 0 : count > m.cols ? m.cols : count};
}

// Vector by vector and not lane by lane: compilers make slow scatters of the latter.
void pack(const float* image, const Map& m, int64_t channel) {
  for (int64_t y = 0; y < m.rows; ++y) {
    Run runs[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) runs[lane] = run_of(m, y, lane);
    float* out = vector_at(m, channel, y, 0);
    for (int64_t x = 0; x < m.cols; ++x, out += kLanes)
      unroll<kLanes>([&](auto lane) WCR_INLINE { out[lane] = x < runs[lane].count ? image[runs[lane].first + x] : 0.0f; });
  }
}

void unpack(const Map& m, int64_t channel, float* image) {
  for (int64_t y = 0; y < m.rows; ++y) {
    Run runs[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) runs[lane] = run_of(m, y, lane);
    const float* in = vector_at(m, channel, y, 0);
    for (int64_t x = 0; x < m.cols; ++x, in += kLanes)
      unroll<kLanes>([&](auto lane) WCR_INLINE {
        if (x < runs[lane].count) image[runs[lane].first + x] = in[lane];
      });
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

// Lane i takes lane i - kBy of the same run of kRun lanes; what comes from outside the run is zero.
template <int kBy, int kRun>
WCR_INLINE inline Vec shift_lanes(Vec v) {
#if defined(__clang__)  // has no __builtin_shuffle, and makes one of this
  Vec result{};
  unroll<kLanes>([&](auto i) WCR_INLINE {
    constexpr int kLane = i, kPlace = kLane % kRun - kBy;
    if constexpr (kPlace >= 0 && kPlace < kRun) result[kLane] = v[kLane - kBy];
  });
  return result;
#else
  Mask index;
  for (int i = 0; i < kLanes; ++i) {
    const int place = i % kRun - kBy;
    index[i] = place < 0 || place >= kRun ? kLanes : i - kBy;
  }
  return __builtin_shuffle(v, Vec{}, index);
#endif
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
      store(vector_at(m, channel, -1, x), shift_lanes<kLaneCols, kLanes>(load(vector_at(m, channel, m.rows - 1, x))));
      store(vector_at(m, channel, m.rows, x), shift_lanes<-kLaneCols, kLanes>(load(vector_at(m, channel, 0, x))));
    }
  if (aside)
    for (int64_t y = -above; y < m.rows + above; ++y) {  // the rows above and below are there by now
      store(vector_at(m, channel, y, -1), shift_lanes<1, kLaneCols>(load(vector_at(m, channel, y, m.cols - 1))));
      store(vector_at(m, channel, y, m.cols), shift_lanes<-1, kLaneCols>(load(vector_at(m, channel, y, 0))));
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
}  // namespace wcr
