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

// All outputs of the program. Throws Error where shapes do not fit it.
std::vector<Map> run(const Program& program, const std::vector<Input>& inputs);

}  // namespace wcr::reference
