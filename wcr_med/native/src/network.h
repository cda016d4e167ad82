// Runs a program on the CPU. See layout.h for how feature maps lie in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "program.h"

namespace wcr {

// A fault of the model or of an input, in words for its user.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Shape {
  int64_t n = 0, c = 0, h = 0, w = 0;
};

struct Input {
  const float* data = nullptr;  // (n, c, h, w), contiguous
  Shape shape;
};

// Calls body(context, i) for i in [0, n), on any threads, and returns when all are done. Bodies do not throw.
struct Parallel {
  void (*run)(void* self, void (*body)(void* context, size_t i), void* context, size_t n) = nullptr;
  void* self = nullptr;
};

class Network {
 public:
  // Packs the kernels for this processor. `instruction_set`: "" takes the best, or "avx512", "avx2", "sse", "neon".
  // Throws Error if the program asks for what cannot be computed or the instruction set is not there.
  explicit Network(Program program, const std::string& instruction_set = "");
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // Shapes of the outputs for inputs of these shapes. Throws Error if they do not fit the program.
  std::vector<Shape> output_shapes(const std::vector<Shape>& inputs) const;

  // Computes the outputs, each (n, c, h, w) contiguous, sized by output_shapes. May run on several threads at once.
  // `milliseconds`: one a program operation, or null. Throws Error as output_shapes does, std::bad_alloc.
  void run(const std::vector<Input>& inputs, const std::vector<float*>& outputs, const Parallel& parallel,
           float* milliseconds) const;

  // The instruction set in use.
  const char* instruction_set() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace wcr
