// Vectors of the instruction set that this is compiled for, and what all kernels do with them.
// For kernels.cpp alone: everything has internal linkage.
#pragma once

#include <cstdint>

#include "../kernels.h"

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

}  // namespace
}  // namespace wcr
