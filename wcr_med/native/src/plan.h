// What a run computes, task by task, for images of a given size.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels.h"
#include "layout.h"
#include "packing.h"
#include "program.h"

namespace wcr {

// One step of an operation that runs without a barrier: tasks may run in any order, on any thread.
struct Phased {
  Convolution convolution;  // pointers relative to a null arena
  Winograd winograd;
  SparsePhase sparse;
  std::vector<uint32_t> offsets;
  int64_t out_offset = 0, residual_offset = -1;
  std::vector<Rectangle> rectangles;
  std::vector<std::pair<int64_t, int64_t>> tiles;
};

// All that depends on the size of the image.
struct Plan {
  std::vector<Shape> inputs;  // n = 1
  std::vector<Shape> shapes;  // of all values
  Layout layout;
  std::vector<std::vector<Phased>> convolutions;  // by operation; empty for others
};

// Bias and activation of an operation, which keeps them.
Epilogue epilogue_of(const Op& op);

// Throws Error where the program does not fit the inputs.
std::shared_ptr<const Plan> make_plan(const Program& program, const Kernels& kernels, const std::vector<Packed>& packed,
                                      const std::vector<Shape>& inputs);

}  // namespace wcr
