// The plain reading of a program: nested loops in double precision over (N, C, H, W).
#pragma once

#include <vector>

#include "network.h"
#include "program.h"

namespace wcr::reference {

struct Map {
  Shape shape;
  std::vector<double> values;  // (n, c, h, w)
};

// The shape of an operation's result, given those of all values before it. Throws Error where they do not fit it.
Shape shape_of(const Op& op, const std::vector<Shape>& values);

// All outputs of the program. Throws Error where shapes do not fit it.
std::vector<Map> run(const Program& program, const std::vector<Input>& inputs);

}  // namespace wcr::reference
