// Kernels in the order in which they are read, for a given instruction set.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "layout.h"
#include "program.h"

namespace wcr {

// What of a convolution does not depend on the size of the image.
struct Packed {
  Kind kind = Kind::sparse;  // never automatic
  std::vector<Phase> phases;
  std::vector<Kernel> sparse;             // a phase: its non-zeros, positions as in the operation's kernel
  size_t n_non_zeros = 0;                 // of all phases
  std::vector<std::vector<float>> dense;  // a phase: weights (group, tap, dense_group)
  std::vector<float> winograd;            // (group, point, channel, winograd_group)
};

constexpr int64_t kMaxPacked = int64_t{1} << 30;  // floats of one network's dense and Winograd kernels; 4 GiB

// Floats that pack_kernel makes of an operation's kernel, up to 32 times its weights: groups are filled up with zeros,
// and Winograd's transform adds points.
int64_t packed_size(const Op& op, const Kernels& kernels);

// Throws Error if `kind` cannot compute the operation.
Packed pack_kernel(const Op& op, size_t index, const Kernels& kernels);

// The non-zeros of one phase, by block of input channels, then output channel, then input channel.
struct SparsePhase {
  std::vector<NonZero> non_zeros;
  std::vector<uint32_t> segments;  // n_blocks * c_out + 1
  int64_t n_blocks = 1;
};

// Where a convolution's input channels lie in the arena, all sources side by side. In bytes.
struct Inputs {
  std::vector<int64_t> channels;  // from the arena's start to vector (0, 0)
  int64_t row = 0, col = 0;       // from one vector to the next; sources of one convolution share the length of rows

  // What output (0, 0) reads through a tap, in units of 8 bytes.
  uint32_t offset(int64_t channel, const Tap& tap) const {
    return static_cast<uint32_t>((channels[channel] + tap.dy * row + tap.dx * col) / 8);
  }
};

SparsePhase pack_sparse(const Op& op, const Phase& phase, const Kernel& kernel, const Inputs& inputs,
                        int64_t channels_per_block);

// Input vectors of some taps in units of 8 bytes, in order (channel, tap).
std::vector<uint32_t> tap_offsets(const Inputs& inputs, const std::vector<Tap>& taps);

}  // namespace wcr
