// Constant tensors of the operator, and the kernels that they hold.
//
// A kernel of n weights, in ONNX order (conv: c_out, c_in, kernel_h, kernel_w; conv_transpose: c_in, c_out, ...), lies in
// consecutive tensors:
//   dense:       values (n, any shape)
//   gap8:        gaps uint8 (k), values (k). Value j stands at position gaps[0] + ... + gaps[j] - 1; no gap is 0.
//   rice:        low uint8, high uint8, n_low_bits l int64 (one element), values (k): a Rice code of the distances.
//                Position j is (high_j << l) + low_0 + ... + low_j + j. Bits count from the least significant of the
//                first byte: low_j takes bits [j * l, (j + 1) * l) of `low`, and `high` has a one at bit high_j + j, and
//                nowhere else.
// Values are float32, float16 or int8. int8 values are followed by one more tensor, scale float32 (c_out), the weight
// being value * scale of its output channel. Values of zero (fillers of gap8) are dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "program.h"

namespace wcr {

enum class Type { other, float32, float16, int8, uint8, int64 };

// A tensor of the file, which stays theirs who made it. Data need not be aligned.
struct Tensor {
  Type type = Type::other;
  const void* data = nullptr;
  size_t size = 0;  // elements
};

// Where a convolution's weights belong.
struct KernelShape {
  int64_t c_in = 0, c_out = 0, taps = 0;
  bool transposed = false;

  int64_t size() const { return c_in * c_out * taps; }
};

constexpr int64_t kMaxWeights = int64_t{1} << 28;  // of one network, zeros included; 1 GiB as dense float32

// What decoded weights may still cost. A small file can ask for much: tensors may be shared, and zeros are free there.
class Budget {
 public:
  // Throws Error if less than this is left. `elements` is not negative.
  void spend(int64_t elements);

 private:
  int64_t left_ = kMaxWeights;
};

// The constant tensors by input of the operator; those before `first` are data inputs and no constants.
class Tensors {
 public:
  Tensors(std::vector<Tensor> tensors, size_t first) : tensors_(std::move(tensors)), first_(first) {}
  // Throws Error, with `role` in it, if `index` is none of a constant.
  const Tensor& at(int64_t index, const char* role) const;

 private:
  std::vector<Tensor> tensors_;
  size_t first_;
};

// The kernel whose first tensor is input `index`. Throws Error for tensors that do not hold one; positions of the
// result are ascending and below shape.size(), which must be at most kMaxWeights.
Kernel read_kernel(Form form, const Tensors& tensors, int64_t index, const KernelShape& shape);

// All numbers of a float32 or float16 tensor. Throws Error, with `role` in it, for any other, or one beyond the budget.
std::vector<float> read_floats(const Tensors& tensors, int64_t index, const char* role, Budget* budget);

}  // namespace wcr
