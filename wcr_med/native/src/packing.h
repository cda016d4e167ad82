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

// `channel_offsets`: bytes from the arena's start to vector (0, 0) of each input channel.
SparsePhase pack_sparse(const Op& op, const Phase& phase, const Kernel& kernel,
                        const std::vector<int64_t>& channel_offsets, const std::vector<int64_t>& row_bytes,
                        int64_t vector_bytes, int64_t channels_per_block);

// Input vectors of a phase's taps in units of 8 bytes, in order (channel, row, column).
std::vector<uint32_t> tap_offsets(const Op& op, const Phase& phase, const std::vector<int64_t>& channel_offsets,
                                  const std::vector<int64_t>& row_bytes, int64_t vector_bytes);

}  // namespace wcr
