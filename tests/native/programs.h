// Random programs, and their text and tensors as they lie in a model file.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "network.h"
#include "program.h"
#include "storage.h"

namespace wcr::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t integer(int64_t lowest, int64_t highest) {
    return std::uniform_int_distribution<int64_t>(lowest, highest)(engine_);
  }
  bool chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  float normal(float scale = 1.0f) { return scale * std::normal_distribution<float>()(engine_); }
  template <typename T>
  T pick(const std::vector<T>& from) {
    return from[static_cast<size_t>(integer(0, static_cast<int64_t>(from.size()) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

// A tensor with memory of its own, of exactly its size.
struct Owned {
  Type type = Type::float32;
  size_t size = 0, bytes = 0;
  std::unique_ptr<char[]> data;

  Tensor view() const { return Tensor{type, data.get(), size}; }
};

// What the file of a program holds. `tensors` begins with an empty one for each data input.
struct File {
  std::vector<int64_t> words;
  std::vector<Owned> tensors;
  int64_t n_inputs = 1;

  Tensors views() const;
};

// A program that takes inputs of the channels in `shapes`, all of one size, and is valid at least for `shapes`.
Program random_program(Random* random, const std::vector<Shape>& shapes);

// Inputs' shapes: small, often odd, sometimes a single row or column.
std::vector<Shape> random_shapes(Random* random);

// Text and tensors of a program in random forms; kernels of `program` become what the file holds, rounded to float16
// or int8 where it does.
File encode(Random* random, Program* program);

// For messages.
std::string describe(const Program& program, const std::vector<Shape>& shapes);

}  // namespace wcr::testing
