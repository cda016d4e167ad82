// Where every value of a program lies for inputs of a given size.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "network.h"
#include "program.h"

namespace wcr {

struct Tap {
  int64_t row, col;  // of the kernel
  int64_t dy, dx;    // of the input pixel, from the output's place times the step
};

// The taps that one residue class of output pixels reads. A convolution has one phase; a transposed one has one for
// each place within a stride.
struct Phase {
  int64_t row = 0, col = 0;  // of the output pixel within the step
  std::vector<Tap> taps;
};

struct Steps {
  int64_t in_h = 1, in_w = 1;    // input pixels for one step
  int64_t out_h = 1, out_w = 1;  // output pixels for one step
};

bool is_convolution(const Op& op);
Steps steps_of(const Op& op);
std::vector<Phase> phases_of(const Op& op);

// Shapes (n = 1) of all values for inputs of these shapes. Throws Error where they do not fit.
std::vector<Shape> value_shapes(const Program& program, const std::vector<Shape>& inputs);

struct Layout {
  std::vector<Map> maps;         // of all values; data is relative to a null arena
  std::vector<int64_t> offsets;  // bytes from the arena's start to vector (0, 0, 0) of each value
  int64_t arena_bytes = 0;
};

// Throws Error if the program's strides leave no common grid, or the arena would be too large.
Layout lay_out(const Program& program, const std::vector<Shape>& shapes, const Kernels& kernels);

}  // namespace wcr
