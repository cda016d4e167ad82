// What a fused network computes: a list of operations over feature maps, as read and checked from a model file.
//
// Text of the attribute `program` (int64 list):
//   version (1), number of operations, then for each operation: opcode, number of fields, fields;
//   then number of outputs and, for each, number of sources and the sources (their channels side by side).
// Values are numbered: 0 .. n_inputs-1 are the data inputs, operation i computes value n_inputs + i.
// Tensor indices count all inputs of the operator, data inputs included; -1 stands for "none".
//
// Fields by opcode:
//   1 conv, 2 conv_transpose: form, kind, weight, bias, activation, slope, residual, c_in, c_out, kernel_h, kernel_w,
//     stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, pad_bottom, pad_right, output_padding_h,
//     output_padding_w, number of sources, sources
//   3 max_pool: source, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right
//     (padding counts as zeros, so padded pooling is right for maps without negative values only)
//   4 upsample (nearest): source, factor_h, factor_w
//   5 add: first, second, activation, slope
//   6 activate: source, activation, slope
#pragma once

#include <cstdint>
#include <vector>

namespace wcr {

enum class Opcode { conv = 1, conv_transpose = 2, max_pool = 3, upsample = 4, add = 5, activate = 6 };

// none: x; relu: max(x, 0); slope: x if x > 0 else slope * x, one slope a channel.
enum class Activation { none = 0, relu = 1, slope = 2 };

// How a convolution is computed. Results agree to rounding. winograd2 and winograd4 compute 2x2 and 4x4 outputs at a
// time and need a 3x3 kernel with stride 1 and dilation 1.
enum class Kind { automatic = 0, sparse = 1, dense = 2, winograd2 = 3, winograd4 = 4 };

// How a kernel lies in the file; see storage.h.
enum class Form { dense = 0, gap8 = 1, rice = 2 };

// A kernel's non-zeros in ONNX's own order: (c_out, c_in, kernel_h, kernel_w), for conv_transpose (c_in, c_out, ...).
struct Kernel {
  std::vector<uint32_t> positions;  // strictly ascending
  std::vector<float> values;        // as many
};

struct Op {
  Opcode code = Opcode::conv;
  std::vector<int> sources;  // value ids; several: concatenated along channels (conv, conv_transpose only)
  int residual = -1;         // value id added before the activation (conv, conv_transpose)
  Activation activation = Activation::none;
  Kind kind = Kind::automatic;
  int64_t c_in = 0, c_out = 0;  // conv, conv_transpose; checked against the sources' channels when run
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int64_t output_padding_h = 0, output_padding_w = 0;
  int64_t factor_h = 1, factor_w = 1;  // upsample
  Kernel kernel;
  std::vector<float> bias;   // c_out, or empty
  std::vector<float> slope;  // one a channel, or a single one for all
};

struct Program {
  int n_inputs = 0;
  std::vector<Op> ops;
  std::vector<std::vector<int>> outputs;  // value ids whose channels lie side by side
};

}  // namespace wcr
