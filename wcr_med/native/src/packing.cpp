#include "packing.h"

#include <algorithm>
#include <string>

#include "network.h"

namespace wcr {
namespace {

// Below these densities the sparse kernel wins; measured for 3x3 kernels, see docs/performance.md.
constexpr double kSparseBelowWinograd = 0.25, kSparseBelowDense = 0.5;
constexpr int64_t kFewestWinogradChannels = 8;

struct Place {
  uint32_t c_out, c_in, row, col;
};

// Positions are below 2^31, and 32-bit divisions are several times as fast as 64-bit ones.
Place place_of(const Op& op, uint32_t position) {
  const uint32_t width = static_cast<uint32_t>(op.kernel_w), area = static_cast<uint32_t>(op.kernel_h) * width;
  const uint32_t inner = static_cast<uint32_t>(op.code == Opcode::conv ? op.c_in : op.c_out);
  const uint32_t tap = position % area, pair = position / area;
  const uint32_t a = pair / inner, b = pair % inner;
  return op.code == Opcode::conv ? Place{a, b, tap / width, tap % width} : Place{b, a, tap / width, tap % width};
}

bool fits_winograd(const Op& op) {
  return op.code == Opcode::conv && op.kernel_h == 3 && op.kernel_w == 3 && op.stride_h == 1 && op.stride_w == 1 &&
         op.dilation_h == 1 && op.dilation_w == 1;
}

Kind kind_of(const Op& op) {
  if (op.kind != Kind::automatic) return op.kind;
  const double n = static_cast<double>(op.c_in) * op.c_out * op.kernel_h * op.kernel_w;
  const double density = static_cast<double>(op.kernel.positions.size()) / n;
  if (op.c_out == 1) return Kind::sparse;  // dense kernels share loads among output channels
  if (fits_winograd(op) && std::min(op.c_in, op.c_out) >= kFewestWinogradChannels)
    return density < kSparseBelowWinograd ? Kind::sparse : Kind::winograd4;
  return density < kSparseBelowDense ? Kind::sparse : Kind::dense;
}

// Index of each tap of a kernel among those of a phase, or -1.
std::vector<int64_t> tap_numbers(const Op& op, const Phase& phase) {
  std::vector<int64_t> numbers(op.kernel_h * op.kernel_w, -1);
  for (size_t i = 0; i < phase.taps.size(); ++i)
    numbers[phase.taps[i].row * op.kernel_w + phase.taps[i].col] = static_cast<int64_t>(i);
  return numbers;
}

std::vector<float> pack_dense(const Op& op, const Phase& phase, int64_t group) {
  const int64_t n_taps = static_cast<int64_t>(phase.taps.size());
  const std::vector<int64_t> numbers = tap_numbers(op, phase);
  std::vector<float> weights((op.c_out + group - 1) / group * group * op.c_in * n_taps, 0.0f);
  for (size_t i = 0; i < op.kernel.positions.size(); ++i) {
    const Place p = place_of(op, op.kernel.positions[i]);
    const int64_t tap = numbers[p.row * op.kernel_w + p.col];
    if (tap < 0) continue;
    weights[(p.c_out / group * op.c_in * n_taps + p.c_in * n_taps + tap) * group + p.c_out % group] = op.kernel.values[i];
  }
  return weights;
}

// G g G^T of Lavin and Gray 2016, computed in double precision.
std::vector<float> pack_winograd(const Op& op, int m, int64_t group) {
  static const double kG2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  static const double kG4[6][3] = {{1.0 / 4, 0, 0},
                                   {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                   {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                   {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                   {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                   {0, 0, 1}};
  const double(*g)[3] = m == 2 ? kG2 : kG4;
  const int side = m + 2, points = side * side;
  std::vector<double> sums(points);
  std::vector<float> weights((op.c_out + group - 1) / group * group * points * op.c_in, 0.0f);
  const auto& positions = op.kernel.positions;
  for (size_t i = 0; i < positions.size();) {
    const uint32_t pair = positions[i] / 9;
    std::fill(sums.begin(), sums.end(), 0.0);
    for (; i < positions.size() && positions[i] / 9 == pair; ++i) {
      const int row = static_cast<int>(positions[i] % 9 / 3), col = static_cast<int>(positions[i] % 3);
      for (int p = 0; p < points; ++p) sums[p] += g[p / side][row] * g[p % side][col] * op.kernel.values[i];
    }
    const int64_t out = pair / op.c_in, in = pair % op.c_in;
    for (int p = 0; p < points; ++p)
      weights[((out / group * points + p) * op.c_in + in) * group + out % group] = static_cast<float>(sums[p]);
  }
  return weights;
}

}  // namespace

int64_t packed_size(const Op& op, const Kernels& kernels) {
  const auto size = [&op](int64_t points, int64_t group) {
    return (op.c_out + group - 1) / group * group * op.c_in * points;
  };
  switch (kind_of(op)) {
    case Kind::winograd2:
      return size(16, kernels.winograd_group);
    case Kind::winograd4:
      return size(36, kernels.winograd_group);
    case Kind::dense:
      return size(op.kernel_h * op.kernel_w, kernels.dense_group);
    default:
      return 0;
  }
}

Packed pack_kernel(const Op& op, size_t index, const Kernels& kernels) {
  Packed packed;
  packed.kind = kind_of(op);
  packed.phases = phases_of(op);
  const bool winograd = packed.kind == Kind::winograd2 || packed.kind == Kind::winograd4;
  if (winograd && !fits_winograd(op))
    throw Error("operation " + std::to_string(index) +
                ": Winograd needs a 3x3 convolution with stride 1 and dilation 1");
  if (winograd) packed.winograd = pack_winograd(op, packed.kind == Kind::winograd2 ? 2 : 4, kernels.winograd_group);
  if (packed.kind == Kind::dense)
    for (const Phase& phase : packed.phases) packed.dense.push_back(pack_dense(op, phase, kernels.dense_group));
  return packed;
}

SparsePhase pack_sparse(const Op& op, const Phase& phase, const std::vector<int64_t>& channel_offsets,
                        const std::vector<int64_t>& row_bytes, int64_t vector_bytes, int64_t channels_per_block) {
  const std::vector<int64_t> numbers = tap_numbers(op, phase);
  SparsePhase packed;
  packed.n_blocks = (op.c_in + channels_per_block - 1) / channels_per_block;
  packed.segments.assign(packed.n_blocks * op.c_out + 1, 0);
  const auto& positions = op.kernel.positions;
  const uint32_t block = static_cast<uint32_t>(std::min(channels_per_block, op.c_in)), c_out = static_cast<uint32_t>(op.c_out);
  const auto slot = [&](const Place& p) { return size_t{p.c_in / block} * c_out + p.c_out; };
  const auto here = [&](const Place& p) { return numbers[p.row * op.kernel_w + p.col] >= 0; };
  for (const uint32_t position : positions) {
    const Place p = place_of(op, position);
    if (here(p)) ++packed.segments[slot(p) + 1];
  }
  for (size_t i = 1; i < packed.segments.size(); ++i) packed.segments[i] += packed.segments[i - 1];
  packed.non_zeros.resize(packed.segments.back());
  std::vector<uint32_t> next(packed.segments.begin(), packed.segments.end() - 1);
  for (size_t i = 0; i < positions.size(); ++i) {
    const Place p = place_of(op, positions[i]);
    if (!here(p)) continue;
    const Tap& tap = phase.taps[numbers[p.row * op.kernel_w + p.col]];
    const int64_t offset = channel_offsets[p.c_in] + tap.dy * row_bytes[p.c_in] + tap.dx * vector_bytes;
    packed.non_zeros[next[slot(p)]++] = {static_cast<uint32_t>(offset / 8), op.kernel.values[i]};
  }
  return packed;
}

std::vector<uint32_t> tap_offsets(const Op& op, const Phase& phase, const std::vector<int64_t>& channel_offsets,
                                  const std::vector<int64_t>& row_bytes, int64_t vector_bytes) {
  std::vector<uint32_t> offsets;
  offsets.reserve(op.c_in * phase.taps.size());
  for (int64_t channel = 0; channel < op.c_in; ++channel)
    for (const Tap& tap : phase.taps)
      offsets.push_back(static_cast<uint32_t>(
          (channel_offsets[channel] + tap.dy * row_bytes[channel] + tap.dx * vector_bytes) / 8));
  return offsets;
}

}  // namespace wcr
