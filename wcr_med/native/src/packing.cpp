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

// The non-zeros of each phase. A phase's taps read one residue class of the kernel's rows and columns, so each non-zero
// belongs to one phase, and one walk finds them all.
std::vector<Kernel> split(const Op& op, const std::vector<Phase>& phases) {
  std::vector<uint32_t> phase_of(op.kernel_h * op.kernel_w, 0);
  for (size_t p = 0; p < phases.size(); ++p)
    for (const Tap& tap : phases[p].taps) phase_of[tap.row * op.kernel_w + tap.col] = static_cast<uint32_t>(p);
  std::vector<Kernel> kernels(phases.size());
  for (size_t i = 0; i < op.kernel.positions.size(); ++i) {
    Kernel& kernel = kernels[phase_of[op.kernel.positions[i] % phase_of.size()]];
    kernel.positions.push_back(op.kernel.positions[i]);
    kernel.values.push_back(op.kernel.values[i]);
  }
  return kernels;
}

// Looks up a phase's taps by row and column of the kernel. Rows and columns of a phase are those of a residue class, so
// the tables stay as small as the kernel is high and wide.
class TapIndex {
 public:
  TapIndex(const Op& op, const Phase& phase) : rows_(op.kernel_h, 0), cols_(op.kernel_w, 0) {
    for (const Tap& tap : phase.taps) rows_[tap.row] = 1, cols_[tap.col] = 1;
    number(&rows_);
    width_ = number(&cols_);
  }
  size_t operator()(const Place& p) const { return static_cast<size_t>(rows_[p.row]) * width_ + cols_[p.col]; }

 private:
  static uint32_t number(std::vector<uint32_t>* marks) {
    uint32_t next = 0;
    for (uint32_t& mark : *marks) mark = mark ? next++ : 0;
    return next;
  }

  std::vector<uint32_t> rows_, cols_;
  uint32_t width_ = 0;
};

std::vector<float> pack_dense(const Op& op, const Phase& phase, const Kernel& kernel, int64_t group) {
  const int64_t n_taps = static_cast<int64_t>(phase.taps.size());
  const TapIndex tap(op, phase);
  std::vector<float> weights((op.c_out + group - 1) / group * group * op.c_in * n_taps, 0.0f);
  for (size_t i = 0; i < kernel.positions.size(); ++i) {
    const Place p = place_of(op, kernel.positions[i]);
    const int64_t row = (p.c_out / group * op.c_in + p.c_in) * n_taps + static_cast<int64_t>(tap(p));
    weights[row * group + p.c_out % group] = kernel.values[i];
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
  if (winograd) {
    packed.winograd = pack_winograd(op, packed.kind == Kind::winograd2 ? 2 : 4, kernels.winograd_group);
    return packed;
  }
  packed.n_non_zeros = op.kernel.positions.size();
  packed.sparse = split(op, packed.phases);
  if (packed.kind == Kind::dense) {
    for (size_t p = 0; p < packed.phases.size(); ++p)
      packed.dense.push_back(pack_dense(op, packed.phases[p], packed.sparse[p], kernels.dense_group));
    packed.sparse.clear();
  }
  return packed;
}

SparsePhase pack_sparse(const Op& op, const Phase& phase, const Kernel& kernel, const Inputs& inputs,
                        int64_t channels_per_block) {
  const TapIndex tap_of(op, phase);
  const uint32_t block = static_cast<uint32_t>(std::min(channels_per_block, op.c_in));
  const size_t c_out = static_cast<size_t>(op.c_out);
  SparsePhase packed;
  packed.n_blocks = (op.c_in + block - 1) / block;
  packed.segments.assign(packed.n_blocks * op.c_out + 1, 0);
  const auto slot = [&](const Place& p) { return p.c_in / block * c_out + p.c_out; };
  for (const uint32_t position : kernel.positions) ++packed.segments[slot(place_of(op, position)) + 1];
  for (size_t i = 1; i < packed.segments.size(); ++i) packed.segments[i] += packed.segments[i - 1];
  packed.non_zeros.resize(packed.segments.back());
  std::vector<uint32_t> next(packed.segments.begin(), packed.segments.end() - 1);
  for (size_t i = 0; i < kernel.positions.size(); ++i) {
    const Place p = place_of(op, kernel.positions[i]);
    packed.non_zeros[next[slot(p)]++] = {inputs.offset(p.c_in, phase.taps[tap_of(p)]), kernel.values[i]};
  }
  return packed;
}

std::vector<uint32_t> tap_offsets(const Inputs& inputs, const std::vector<Tap>& taps) {
  std::vector<uint32_t> offsets;
  offsets.reserve(inputs.channels.size() * taps.size());
  for (size_t channel = 0; channel < inputs.channels.size(); ++channel)
    for (const Tap& tap : taps) offsets.push_back(inputs.offset(static_cast<int64_t>(channel), tap));
  return offsets;
}

}  // namespace wcr
