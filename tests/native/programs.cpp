#include "programs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "reference.h"

namespace wcr::testing {
namespace {

// A value's shape, and its pixels for one of the input: only maps of the same scale may be joined.
struct Value {
  Shape shape;
  double scale_h = 1, scale_w = 1;

  bool joins(const Value& other) const {
    return shape.h == other.shape.h && shape.w == other.shape.w && scale_h == other.scale_h && scale_w == other.scale_w;
  }
};

Kernel random_kernel(Random* random, const Op& op) {
  const int64_t taps = op.kernel_h * op.kernel_w, n = op.c_in * op.c_out * taps;
  const double density = random->pick<double>({0.0, 0.02, 0.1, 0.3, 1.0});
  const float scale = random->pick<float>({1.0f, 1.0f, 1.0f, 1e-3f, 1e6f, 1e-39f});  // the last: denormal numbers
  const int64_t dropped = random->chance(0.3) ? random->integer(0, op.c_out - 1) : -1;  // an output channel
  const int64_t only = random->chance(0.1) ? random->integer(0, n - 1) : -1;
  Kernel kernel;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t block = i / taps;
    const int64_t c_out = op.code == Opcode::conv ? block / op.c_in : block % op.c_out;
    if (only >= 0 ? i != only : c_out == dropped || !random->chance(density)) continue;
    kernel.positions.push_back(static_cast<uint32_t>(i));
    kernel.values.push_back(random->normal(scale));
  }
  return kernel;
}

std::vector<float> random_floats(Random* random, int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = random->normal();
  return values;
}

void random_activation(Random* random, int64_t channels, Op* op) {
  op->activation = static_cast<Activation>(random->integer(0, 2));
  op->slope.clear();
  if (op->activation == Activation::slope) op->slope = random_floats(random, random->chance(0.5) ? 1 : channels);
}

int random_source(Random* random, const std::vector<Value>& values) {
  const int last = static_cast<int>(values.size()) - 1;
  return random->chance(0.6) ? last : static_cast<int>(random->integer(0, last));
}

void random_window(Random* random, Op* op) {
  const bool transposed = op->code == Opcode::conv_transpose;
  op->kernel_h = random->pick<int64_t>({1, 2, 3, 3, 3, 5});
  op->kernel_w = random->chance(0.8) ? op->kernel_h : random->integer(1, 4);
  op->stride_h = random->chance(transposed ? 0.2 : 0.7) ? 1 : random->integer(1, 3);
  op->stride_w = random->chance(0.9) ? op->stride_h : random->integer(1, 2);
  op->dilation_h = random->chance(0.85) ? 1 : random->integer(1, 3);
  op->dilation_w = random->chance(0.9) ? op->dilation_h : random->integer(1, 2);
  op->pad_top = random->integer(0, op->kernel_h / 2 + 1);
  op->pad_left = random->chance(0.8) ? op->pad_top : random->integer(0, 2);
  op->pad_bottom = random->chance(0.8) ? op->pad_top : random->integer(0, 2);
  op->pad_right = random->chance(0.8) ? op->pad_left : random->integer(0, 2);
  if (random->chance(0.5)) {  // what networks are mostly made of
    op->kernel_h = op->kernel_w = 3;
    op->stride_h = op->stride_w = op->dilation_h = op->dilation_w = 1;
    op->pad_top = op->pad_left = op->pad_bottom = op->pad_right = 1;
  }
  if (!transposed) return;
  op->output_padding_h = random->integer(0, std::max(op->stride_h, op->dilation_h) - 1);
  op->output_padding_w = random->integer(0, std::max(op->stride_w, op->dilation_w) - 1);
}

void random_convolution(Random* random, const std::vector<Value>& values, Op* op) {
  const Value& first = values[static_cast<size_t>(op->sources[0])];
  op->c_in = first.shape.c;
  for (int extra = 0; extra < 2; ++extra) {
    const int other = static_cast<int>(random->integer(0, static_cast<int64_t>(values.size()) - 1));
    if (!random->chance(0.5) || !values[static_cast<size_t>(other)].joins(first)) continue;
    op->sources.push_back(other);
    op->c_in += values[static_cast<size_t>(other)].shape.c;
  }
  op->c_out = random->pick<int64_t>({1, 2, 5, 8, 12, 17});
  random_window(random, op);
  const bool winograd = op->code == Opcode::conv && op->kernel_h == 3 && op->kernel_w == 3 && op->stride_h == 1 &&
                        op->stride_w == 1 && op->dilation_h == 1 && op->dilation_w == 1;
  op->kind = static_cast<Kind>(random->integer(0, winograd ? 4 : 2));
  op->kernel = random_kernel(random, *op);
  if (random->chance(0.7)) op->bias = random_floats(random, op->c_out);
  random_activation(random, op->c_out, op);
}

Op random_op(Random* random, const std::vector<Value>& values) {
  Op op;
  op.code = random->pick<Opcode>({Opcode::conv, Opcode::conv, Opcode::conv, Opcode::conv_transpose, Opcode::max_pool,
                                  Opcode::upsample, Opcode::add, Opcode::activate});
  op.sources = {random_source(random, values)};
  const Value& first = values[static_cast<size_t>(op.sources[0])];
  if (op.code == Opcode::conv || op.code == Opcode::conv_transpose) {
    random_convolution(random, values, &op);
  } else if (op.code == Opcode::max_pool) {
    op.kernel_h = random->integer(1, 3), op.kernel_w = random->integer(1, 3);
    op.stride_h = random->integer(1, 3), op.stride_w = random->integer(1, 3);
    op.pad_top = random->integer(0, op.kernel_h - 1), op.pad_bottom = random->integer(0, op.kernel_h - 1);
    op.pad_left = random->integer(0, op.kernel_w - 1), op.pad_right = random->integer(0, op.kernel_w - 1);
    if (random->chance(0.5)) op.pad_top = op.pad_bottom = op.pad_left = op.pad_right = 0;
  } else if (op.code == Opcode::upsample) {
    op.factor_h = random->integer(1, 3), op.factor_w = random->integer(1, 3);
  } else {
    if (op.code == Opcode::add) op.sources.push_back(random_source(random, values));
    random_activation(random, first.shape.c, &op);
  }
  return op;
}

Value value_of(const Op& op, const std::vector<Value>& values) {
  std::vector<Shape> shapes;
  for (const Value& value : values) shapes.push_back(value.shape);
  Value result = values[static_cast<size_t>(op.sources[0])];
  result.shape = reference::shape_of(op, shapes);
  if (op.code == Opcode::conv || op.code == Opcode::max_pool) {
    result.scale_h /= static_cast<double>(op.stride_h), result.scale_w /= static_cast<double>(op.stride_w);
  } else if (op.code == Opcode::conv_transpose) {
    result.scale_h *= static_cast<double>(op.stride_h), result.scale_w *= static_cast<double>(op.stride_w);
  } else if (op.code == Opcode::upsample) {
    result.scale_h *= static_cast<double>(op.factor_h), result.scale_w *= static_cast<double>(op.factor_w);
  }
  return result;
}

// Whether the operation can follow; gives it a residual now and then.
bool admit(Random* random, Op* op, std::vector<Value>* values) {
  Value value;
  try {
    value = value_of(*op, *values);
  } catch (const Error&) {
    return false;
  }
  if (value.shape.h > 60 || value.shape.w > 60) return false;
  if (op->code == Opcode::add && !values->at(static_cast<size_t>(op->sources[1])).joins(value)) return false;
  if (op->code == Opcode::conv || op->code == Opcode::conv_transpose) {
    for (size_t v = 0; v < values->size(); ++v) {
      if ((*values)[v].joins(value) && (*values)[v].shape.c == value.shape.c && random->chance(0.5)) {
        op->residual = static_cast<int>(v);
      }
    }
  }
  values->push_back(value);
  return true;
}

}  // namespace

std::vector<Shape> random_shapes(Random* random) {
  const int64_t h = random->chance(0.1) ? 1 : random->integer(1, 40), w = random->chance(0.1) ? 1 : random->integer(1, 40);
  std::vector<Shape> shapes(static_cast<size_t>(random->integer(1, 2)));
  for (Shape& shape : shapes) shape = {random->integer(1, 3), random->pick<int64_t>({1, 3, 4, 7}), h, w};
  for (Shape& shape : shapes) shape.n = shapes[0].n;
  return shapes;
}

Program random_program(Random* random, const std::vector<Shape>& shapes) {
  Program program;
  program.n_inputs = static_cast<int>(shapes.size());
  std::vector<Value> values;
  for (const Shape& shape : shapes) values.push_back(Value{shape});
  const size_t n_ops = static_cast<size_t>(random->integer(1, 6));
  while (program.ops.size() < n_ops) {
    Op op = random_op(random, values);
    if (admit(random, &op, &values)) program.ops.push_back(std::move(op));
  }
  const int last = static_cast<int>(values.size()) - 1;
  program.outputs = {{last}};
  if (random->chance(0.4)) program.outputs.push_back({static_cast<int>(random->integer(0, last))});
  for (int v = 0; v < last; ++v) {
    if (values[static_cast<size_t>(v)].joins(values.back()) && random->chance(0.3)) program.outputs[0].push_back(v);
  }
  return program;
}

std::string describe(const Program& program, const std::vector<Shape>& shapes) {
  std::string text;
  for (const Shape& s : shapes) {
    text += "input (" + std::to_string(s.n) + ", " + std::to_string(s.c) + ", " + std::to_string(s.h) + ", " +
            std::to_string(s.w) + ")\n";
  }
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    text += "value " + std::to_string(program.n_inputs + static_cast<int>(i)) + ": opcode " +
            std::to_string(static_cast<int>(op.code)) + " kind " + std::to_string(static_cast<int>(op.kind)) + " of";
    for (const int source : op.sources) text += " " + std::to_string(source);
    for (const int64_t n : {int64_t{op.residual}, static_cast<int64_t>(op.activation), op.c_in, op.c_out, op.kernel_h,
                            op.kernel_w, op.stride_h, op.stride_w, op.dilation_h, op.dilation_w, op.pad_top, op.pad_left,
                            op.pad_bottom, op.pad_right, op.output_padding_h, op.output_padding_w, op.factor_h,
                            op.factor_w, static_cast<int64_t>(op.kernel.positions.size())}) {
      text += " | " + std::to_string(n);
    }
    text += "\n";
  }
  for (const std::vector<int>& sources : program.outputs) {
    text += "output of";
    for (const int source : sources) text += " " + std::to_string(source);
    text += "\n";
  }
  return text;
}

}  // namespace wcr::testing
