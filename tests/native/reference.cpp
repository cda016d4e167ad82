#include "reference.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

namespace wcr::reference {
namespace {

Map zeros(const Shape& s) { return Map{s, std::vector<double>(static_cast<size_t>(s.n * s.c * s.h * s.w), 0.0)}; }

Shape checked(const Shape& s) {
  if (s.n < 0 || s.c < 1 || s.h < 1 || s.w < 1) throw Error("an operation leaves nothing of its input");
  return s;
}

bool same(const Shape& a, const Shape& b) { return a.n == b.n && a.c == b.c && a.h == b.h && a.w == b.w; }

double& at(Map& map, int64_t n, int64_t c, int64_t y, int64_t x) {
  const Shape& s = map.shape;
  return map.values[static_cast<size_t>(((n * s.c + c) * s.h + y) * s.w + x)];
}

double at(const Map& map, int64_t n, int64_t c, int64_t y, int64_t x) { return at(const_cast<Map&>(map), n, c, y, x); }

bool inside(const Map& map, int64_t y, int64_t x) { return y >= 0 && y < map.shape.h && x >= 0 && x < map.shape.w; }

template <typename Body>
void for_each(const Shape& shape, Body body) {
  for (int64_t n = 0; n < shape.n; ++n) {
    for (int64_t c = 0; c < shape.c; ++c) {
      for (int64_t y = 0; y < shape.h; ++y) {
        for (int64_t x = 0; x < shape.w; ++x) body(n, c, y, x);
      }
    }
  }
}

Shape joined_shape(const std::vector<Shape>& values, const std::vector<int>& sources) {
  Shape result = values.at(static_cast<size_t>(sources.at(0)));
  for (size_t i = 1; i < sources.size(); ++i) {
    const Shape& other = values.at(static_cast<size_t>(sources[i]));
    if (other.n != result.n || other.h != result.h || other.w != result.w) throw Error("sources differ in size");
    result.c += other.c;
  }
  return result;
}

std::vector<Shape> shapes_of(const std::vector<Map>& maps) {
  std::vector<Shape> shapes;
  for (const Map& map : maps) shapes.push_back(map.shape);
  return shapes;
}

Map joined(const std::vector<Map>& values, const std::vector<int>& sources) {
  Map result = zeros(joined_shape(shapes_of(values), sources));
  int64_t offset = 0;
  for (const int source : sources) {
    const Map& map = values[static_cast<size_t>(source)];
    for_each(map.shape, [&](auto n, auto c, auto y, auto x) { at(result, n, offset + c, y, x) = at(map, n, c, y, x); });
    offset += map.shape.c;
  }
  return result;
}

int64_t convolved(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  const int64_t room = size + pads - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

int64_t grown(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads, int64_t extra) {
  return (size - 1) * stride + dilation * (kernel - 1) + 1 - pads + extra;
}

int term_of(const Op& op) { return op.code == Opcode::add ? op.sources.at(1) : op.residual; }

Map convolution(const Op& op, const Map& input, Map result) {
  const Shape& in = input.shape;
  const bool transposed = op.code == Opcode::conv_transpose;
  for (size_t j = 0; j < op.kernel.positions.size(); ++j) {
    const double weight = op.kernel.values[j];
    int64_t rest = op.kernel.positions[j];
    const int64_t kx = rest % op.kernel_w, ky = (rest /= op.kernel_w) % op.kernel_h;
    rest /= op.kernel_h;
    const int64_t inner = transposed ? op.c_out : op.c_in;
    const int64_t c_out = transposed ? rest % inner : rest / inner, c_in = transposed ? rest / inner : rest % inner;
    const int64_t shift_y = ky * op.dilation_h - op.pad_top, shift_x = kx * op.dilation_w - op.pad_left;
    const Shape& steps = transposed ? in : result.shape;  // what the stride multiplies
    for_each({in.n, 1, steps.h, steps.w}, [&](auto n, auto, auto y, auto x) {
      const int64_t far_y = y * op.stride_h + shift_y, far_x = x * op.stride_w + shift_x;
      if (transposed && inside(result, far_y, far_x)) {
        at(result, n, c_out, far_y, far_x) += weight * at(input, n, c_in, y, x);
      } else if (!transposed && inside(input, far_y, far_x)) {
        at(result, n, c_out, y, x) += weight * at(input, n, c_in, far_y, far_x);
      }
    });
  }
  if (!op.bias.empty()) {
    for_each(result.shape, [&](auto n, auto c, auto y, auto x) {
      at(result, n, c, y, x) += op.bias[static_cast<size_t>(c)];
    });
  }
  return result;
}

Map max_pool(const Op& op, const Map& input, Map result) {
  for_each(result.shape, [&](auto n, auto c, auto y, auto x) {
    double best = -std::numeric_limits<double>::infinity();  // padding counts as zeros, see program.h
    for (int64_t ky = 0; ky < op.kernel_h; ++ky) {
      for (int64_t kx = 0; kx < op.kernel_w; ++kx) {
        const int64_t from_y = y * op.stride_h + ky - op.pad_top, from_x = x * op.stride_w + kx - op.pad_left;
        best = std::max(best, inside(input, from_y, from_x) ? at(input, n, c, from_y, from_x) : 0.0);
      }
    }
    at(result, n, c, y, x) = best;
  });
  return result;
}

Map upsample(const Op& op, const Map& input, Map result) {
  for_each(result.shape, [&](auto n, auto c, auto y, auto x) {
    at(result, n, c, y, x) = at(input, n, c, y / op.factor_h, x / op.factor_w);
  });
  return result;
}

void finish(const Op& op, const std::vector<Map>& values, Map& map) {
  if (term_of(op) >= 0) {
    const Map& other = values[static_cast<size_t>(term_of(op))];
    for (size_t i = 0; i < map.values.size(); ++i) map.values[i] += other.values[i];
  }
  if (op.activation == Activation::none) return;
  for_each(map.shape, [&](auto n, auto c, auto y, auto x) {
    double& value = at(map, n, c, y, x);
    if (value > 0) return;
    value *= op.activation == Activation::relu ? 0.0 : op.slope[op.slope.size() == 1 ? 0 : static_cast<size_t>(c)];
  });
}

Map compute(const Op& op, const std::vector<Map>& values) {
  const Map empty = zeros(shape_of(op, shapes_of(values)));
  switch (op.code) {
    case Opcode::conv:
    case Opcode::conv_transpose:
      return convolution(op, joined(values, op.sources), empty);
    case Opcode::max_pool:
      return max_pool(op, values[static_cast<size_t>(op.sources.at(0))], empty);
    case Opcode::upsample:
      return upsample(op, values[static_cast<size_t>(op.sources.at(0))], empty);
    case Opcode::add:
    case Opcode::activate:
      return values[static_cast<size_t>(op.sources.at(0))];
  }
  throw Error("unknown operation");
}

}  // namespace

Shape shape_of(const Op& op, const std::vector<Shape>& values) {
  const Shape in = op.code == Opcode::add ? values.at(static_cast<size_t>(op.sources.at(0)))
                                          : joined_shape(values, op.sources);
  Shape out = in;
  const int64_t pads_h = op.pad_top + op.pad_bottom, pads_w = op.pad_left + op.pad_right;
  if (op.code == Opcode::conv || op.code == Opcode::conv_transpose) {
    if (in.c != op.c_in) throw Error("sources have other channels than the kernel");
    out.c = op.c_out;
  }
  if (op.code == Opcode::conv || op.code == Opcode::max_pool) {
    out.h = convolved(in.h, op.kernel_h, op.stride_h, op.dilation_h, pads_h);
    out.w = convolved(in.w, op.kernel_w, op.stride_w, op.dilation_w, pads_w);
  } else if (op.code == Opcode::conv_transpose) {
    out.h = grown(in.h, op.kernel_h, op.stride_h, op.dilation_h, pads_h, op.output_padding_h);
    out.w = grown(in.w, op.kernel_w, op.stride_w, op.dilation_w, pads_w, op.output_padding_w);
  } else if (op.code == Opcode::upsample) {
    out.h *= op.factor_h, out.w *= op.factor_w;
  }
  if (term_of(op) >= 0 && !same(values.at(static_cast<size_t>(term_of(op))), out)) throw Error("terms differ in shape");
  const int64_t n_slopes = static_cast<int64_t>(op.slope.size());
  if (op.activation == Activation::slope && n_slopes != 1 && n_slopes != out.c) {
    throw Error("slope does not fit the channels");
  }
  return checked(out);
}

std::vector<Map> run(const Program& program, const std::vector<Input>& inputs) {
  std::vector<Map> values;
  for (const Input& input : inputs) {
    Map map = zeros(checked(input.shape));
    std::copy(input.data, input.data + map.values.size(), map.values.begin());
    values.push_back(std::move(map));
  }
  for (const Op& op : program.ops) {
    Map map = compute(op, values);
    finish(op, values, map);
    values.push_back(std::move(map));
  }
  std::vector<Map> outputs;
  for (const std::vector<int>& sources : program.outputs) outputs.push_back(joined(values, sources));
  return outputs;
}

}  // namespace wcr::reference
