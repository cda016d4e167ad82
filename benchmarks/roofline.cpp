// What this processor can do at most, one thread: the bounds of docs/performance.md.
//   g++ -std=c++17 -O3 -march=native -I wcr_med/native/src benchmarks/roofline.cpp -o roofline && ./roofline
// Prints nanoseconds for one multiply-add of a vector: with all operands in registers, and with one operand read from
// runs of 16 vectors at random places of a buffer (what a sparse convolution does); then streaming bandwidth.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

#include "kernels/vector.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

using wcr::Vec;

constexpr int kSums = 16;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class F>
double best_of(int rounds, F&& work) {
  double best = 1e9;
  for (int i = 0; i < rounds; ++i) {
    const double start = seconds();
    work();
    best = std::min(best, seconds() - start);
  }
  return best;
}

void keep(const Vec* sums) { asm volatile("" ::"m"(*reinterpret_cast<const Vec(*)[kSums]>(sums)) : "memory"); }

double in_registers(int n) {
  Vec sums[kSums] = {};
  Vec value = wcr::splat(0.5f), weight = wcr::splat(1e-9f);
  return best_of(50, [&] {
    Vec s[kSums];
    wcr::unroll<kSums>([&](auto k) WCR_INLINE { s[k] = sums[k]; });
    for (int i = 0; i < n; ++i) {
      asm volatile("" : "+v"(value), "+v"(weight));
      wcr::unroll<kSums>([&](auto k) WCR_INLINE { s[k] += weight * value; });
    }
    wcr::unroll<kSums>([&](auto k) WCR_INLINE { sums[k] = s[k]; });
    keep(sums);
  }) / n / kSums;
}

double from_memory(const char* buffer, size_t bytes, int n) {
  const size_t runs = bytes / (kSums * sizeof(Vec));
  Vec sums[kSums] = {};
  Vec weight = wcr::splat(1e-9f);
  return best_of(50, [&] {
    Vec s[kSums];
    wcr::unroll<kSums>([&](auto k) WCR_INLINE { s[k] = sums[k]; });
    uint64_t random = 1;
    for (int i = 0; i < n; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const char* in = buffer + (random >> 32) * runs / 4294967296u * kSums * sizeof(Vec);
      wcr::unroll<kSums>([&](auto k) WCR_INLINE { s[k] += weight * wcr::load(in + k * sizeof(Vec)); });
    }
    wcr::unroll<kSums>([&](auto k) WCR_INLINE { sums[k] = s[k]; });
    keep(sums);
  }) / n / kSums;
}

double stream(const char* buffer, size_t bytes) {
  Vec sums[kSums] = {};
  const double time = best_of(static_cast<int>(std::max<size_t>(10, (256 << 20) / bytes)), [&] {
    for (size_t i = 0; i + sizeof(Vec) * kSums <= bytes; i += sizeof(Vec) * kSums)
      wcr::unroll<kSums>([&](auto k) WCR_INLINE { sums[k] += wcr::load(buffer + i + k * sizeof(Vec)); });
    keep(sums);
  });
  return static_cast<double>(bytes) / time * 1e-9;
}

}  // namespace

int main() {
  constexpr size_t kLargest = size_t{256} << 20, kHugePage = size_t{2} << 20;
  char* const buffer = static_cast<char*>(std::aligned_alloc(kHugePage, kLargest));
  if (!buffer) return 1;
#if defined(__linux__)
  madvise(buffer, kLargest, MADV_HUGEPAGE);
#endif
  std::fill(buffer, buffer + kLargest, 0);
  std::printf("vector of %zu floats\n", sizeof(Vec) / sizeof(float));
  std::printf("multiply-add, registers         %.3f ns\n", 1e9 * in_registers(50000));
  for (const size_t kb : {16, 64, 256, 700, 2000, 8000, 32000, 128000})
    std::printf("multiply-add, %6zu KB at random  %.3f ns\n", kb, 1e9 * from_memory(buffer, kb << 10, 50000));
  for (const size_t kb : {16, 256, 4000, 18000, 128000})
    std::printf("stream, %6zu KB  %.1f GB/s\n", kb, stream(buffer, kb << 10));
}
