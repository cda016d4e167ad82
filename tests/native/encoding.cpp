// A program's text and tensors, the inverse of what parse.cpp and storage.cpp read.
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "programs.h"

namespace wcr::testing {
namespace {

template <typename T>
Owned owned(Type type, const std::vector<T>& values) {
  Owned tensor;
  tensor.type = type;
  tensor.size = values.size();
  tensor.bytes = values.size() * sizeof(T);
  tensor.data.reset(new char[tensor.bytes]);
  if (tensor.bytes) std::memcpy(tensor.data.get(), values.data(), tensor.bytes);
  return tensor;
}

// The number that half-precision bits stand for, by the book.
float half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const double magnitude = exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
  return static_cast<float>(bits & 0x8000 ? -magnitude : magnitude);
}

int64_t channel_of(const Op& op, uint32_t position) {
  const int64_t block = position / (op.kernel_h * op.kernel_w);
  return op.code == Opcode::conv ? block / op.c_in : block % op.c_out;
}

// Tensors of `values` at `positions`, where a position of -1 is a filler of zero. Writes back what they stand for.
void encode_values(Random* random, const Op& op, const std::vector<int64_t>& positions, std::vector<float>* values,
                   std::vector<Owned>* tensors) {
  const int64_t type = random->integer(0, 2);
  if (type == 0) {
    tensors->push_back(owned(Type::float32, *values));
  } else if (type == 1) {
    std::vector<uint16_t> bits(values->size());
    for (size_t j = 0; j < bits.size(); ++j) {
      bits[j] = positions[j] < 0 ? uint16_t{0} : static_cast<uint16_t>(random->integer(1, 0x6fff));
      if (random->chance(0.5)) bits[j] = static_cast<uint16_t>(bits[j] | 0x8000);
      (*values)[j] = half_value(bits[j]);
    }
    tensors->push_back(owned(Type::float16, bits));
  } else {
    std::vector<float> scale(static_cast<size_t>(op.c_out));
    for (float& s : scale) s = random->normal(0.1f);
    std::vector<int8_t> codes(values->size());
    for (size_t j = 0; j < codes.size(); ++j) {
      codes[j] = positions[j] < 0 ? int8_t{0} : static_cast<int8_t>(random->integer(-128, 127));
      const size_t c = positions[j] < 0 ? 0 : static_cast<size_t>(channel_of(op, static_cast<uint32_t>(positions[j])));
      (*values)[j] = static_cast<float>(codes[j]) * scale[c];
    }
    tensors->push_back(owned(Type::int8, codes));
    tensors->push_back(owned(Type::float32, scale));
  }
}

// Appends the kernel's tensors, and replaces its values by those stored.
void encode_kernel(Random* random, Form form, Op* op, std::vector<Owned>* tensors) {
  std::vector<int64_t> positions;
  std::vector<float> values;
  std::vector<uint8_t> gaps;
  Kernel& kernel = op->kernel;
  int64_t previous = -1;
  if (form == Form::dense) {
    const int64_t n = op->c_in * op->c_out * op->kernel_h * op->kernel_w;
    positions.assign(static_cast<size_t>(n), -1), values.assign(static_cast<size_t>(n), 0.0f);
    for (size_t j = 0; j < kernel.values.size(); ++j) {
      positions[kernel.positions[j]] = kernel.positions[j], values[kernel.positions[j]] = kernel.values[j];
    }
  } else {
    for (size_t j = 0; j < kernel.values.size(); ++j) {
      int64_t gap = kernel.positions[j] - previous;
      for (; form == Form::gap8 && gap > 255; gap -= 255) {
        gaps.push_back(255), positions.push_back(-1), values.push_back(0.0f);
      }
      gaps.push_back(static_cast<uint8_t>(gap));
      positions.push_back(kernel.positions[j]), values.push_back(kernel.values[j]);
      previous = kernel.positions[j];
    }
  }
  if (form == Form::gap8) tensors->push_back(owned(Type::uint8, gaps));
  if (form == Form::rice) {
    const int64_t l = random->integer(0, 6);
    std::vector<uint8_t> low((positions.size() * static_cast<size_t>(l) + 7) / 8, 0), high;
    const auto set = [](std::vector<uint8_t>* bytes, size_t bit) {
      if (bytes->size() <= bit / 8) bytes->resize(bit / 8 + 1, 0);
      (*bytes)[bit / 8] = static_cast<uint8_t>((*bytes)[bit / 8] | 1u << bit % 8);
    };
    size_t unset = 0;
    for (size_t j = 0; j < positions.size(); ++j) {
      const int64_t code = positions[j] - (j ? positions[j - 1] + 1 : 0);
      unset += static_cast<size_t>(code >> l);
      set(&high, unset + j);
      for (int64_t b = 0; b < l; ++b) {
        if ((code >> b) & 1) set(&low, j * static_cast<size_t>(l) + static_cast<size_t>(b));
      }
    }
    tensors->push_back(owned(Type::uint8, low));
    tensors->push_back(owned(Type::uint8, high));
    tensors->push_back(owned(Type::int64, std::vector<int64_t>{l}));
  }
  encode_values(random, *op, positions, &values, tensors);
  kernel = Kernel();
  for (size_t j = 0; j < values.size(); ++j) {
    if (values[j] == 0.0f) continue;
    kernel.positions.push_back(static_cast<uint32_t>(positions[j]));
    kernel.values.push_back(values[j]);
  }
}

int64_t put(std::vector<Owned>* tensors, const std::vector<float>& values) {
  if (values.empty()) return -1;
  tensors->push_back(owned(Type::float32, values));
  return static_cast<int64_t>(tensors->size()) - 1;
}

std::vector<int64_t> fields_of(Random* random, Op* op, std::vector<Owned>* tensors) {
  const int64_t activation = static_cast<int64_t>(op->activation);
  const int64_t source = op->sources[0];
  switch (op->code) {
    case Opcode::conv:
    case Opcode::conv_transpose: {
      const auto form = static_cast<Form>(random->integer(0, 2));
      const int64_t weight = static_cast<int64_t>(tensors->size());
      encode_kernel(random, form, op, tensors);
      const int64_t bias = put(tensors, op->bias), slope = put(tensors, op->slope);
      std::vector<int64_t> fields{static_cast<int64_t>(form), static_cast<int64_t>(op->kind), weight, bias, activation,
                                  slope, op->residual, op->c_in, op->c_out, op->kernel_h, op->kernel_w, op->stride_h,
                                  op->stride_w, op->dilation_h, op->dilation_w, op->pad_top, op->pad_left,
                                  op->pad_bottom, op->pad_right, op->output_padding_h, op->output_padding_w,
                                  static_cast<int64_t>(op->sources.size())};
      fields.insert(fields.end(), op->sources.begin(), op->sources.end());
      return fields;
    }
    case Opcode::max_pool:
      return {source, op->kernel_h, op->kernel_w, op->stride_h, op->stride_w, op->pad_top, op->pad_left, op->pad_bottom,
              op->pad_right};
    case Opcode::upsample:
      return {source, op->factor_h, op->factor_w};
    case Opcode::add:
      return {source, op->sources[1], activation, put(tensors, op->slope)};
    case Opcode::activate:
      return {source, activation, put(tensors, op->slope)};
  }
  return {};
}

}  // namespace

Tensors File::views() const {
  std::vector<Tensor> views;
  for (const Owned& tensor : tensors) views.push_back(tensor.view());
  return Tensors(std::move(views), static_cast<size_t>(n_inputs));
}

File encode(Random* random, Program* program) {
  File file;
  file.n_inputs = program->n_inputs;
  for (int i = 0; i < program->n_inputs; ++i) file.tensors.push_back(owned(Type::other, std::vector<char>()));
  file.words = {1, static_cast<int64_t>(program->ops.size())};
  for (Op& op : program->ops) {
    const std::vector<int64_t> fields = fields_of(random, &op, &file.tensors);
    file.words.push_back(static_cast<int64_t>(op.code));
    file.words.push_back(static_cast<int64_t>(fields.size()));
    file.words.insert(file.words.end(), fields.begin(), fields.end());
  }
  file.words.push_back(static_cast<int64_t>(program->outputs.size()));
  for (const std::vector<int>& sources : program->outputs) {
    file.words.push_back(static_cast<int64_t>(sources.size()));
    file.words.insert(file.words.end(), sources.begin(), sources.end());
  }
  return file;
}

}  // namespace wcr::testing
