// Reads and checks the attribute `program` of a model file, which nothing vouches for. See program.h for its text.
#pragma once

#include <cstdint>
#include <vector>

#include "program.h"
#include "storage.h"

namespace wcr {

// The largest values that a program may hold, so that sizes computed from them neither overflow nor exhaust memory.
constexpr int64_t kMaxWords = int64_t{1} << 22;  // of the attribute
constexpr int64_t kMaxOps = 1 << 12;
constexpr int64_t kMaxSources = 1 << 10;  // of one operation or output
constexpr int64_t kMaxChannels = 1 << 16;
constexpr int64_t kMaxKernel = 255;  // height or width; also of strides, dilations and output padding
constexpr int64_t kMaxTransposedStride = 32;
constexpr int64_t kMaxPad = 1 << 12;
constexpr int64_t kMaxFactor = 64;

// The program with its kernels decoded. Throws Error naming operation and field if anything in it is out of range,
// contradictory, or refers to what is not there. What depends on the inputs' shapes is left to Network.
Program parse_program(const std::vector<int64_t>& words, int64_t n_inputs, const Tensors& tensors);

}  // namespace wcr
