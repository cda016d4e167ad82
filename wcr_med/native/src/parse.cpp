#include "parse.h"

#include <algorithm>
#include <string>
#include <utility>

#include "network.h"

namespace wcr {
namespace {

constexpr int64_t kVersion = 1;

const char* name_of(Opcode code) {
  switch (code) {
    case Opcode::conv:
      return "conv";
    case Opcode::conv_transpose:
      return "conv_transpose";
    case Opcode::max_pool:
      return "max_pool";
    case Opcode::upsample:
      return "upsample";
    case Opcode::add:
      return "add";
    case Opcode::activate:
      return "activate";
  }
  return "unknown";
}

// Consecutive words, each read with the range that it must lie in.
class Reader {
 public:
  Reader(const int64_t* begin, const int64_t* end) : next_(begin), end_(end) {}

  int64_t read(const char* field, int64_t lowest, int64_t highest) {
    if (next_ == end_) throw Error(std::string("field ") + field + ": the program ends before it");
    const int64_t value = *next_++;
    if (value < lowest || value > highest) {
      throw Error(std::string("field ") + field + ": " + std::to_string(value) + " is not in [" +
                  std::to_string(lowest) + ", " + std::to_string(highest) + "]");
    }
    return value;
  }

  // A count and as many ids of values below n_values.
  std::vector<int> read_sources(int64_t n_values) {
    const int64_t n = read("number of sources", 1, kMaxSources);
    std::vector<int> sources;
    for (int64_t i = 0; i < n; ++i) sources.push_back(static_cast<int>(read("source", 0, n_values - 1)));
    return sources;
  }

  // The next words, to be read on their own.
  Reader take(int64_t n) {
    if (n > end_ - next_) throw Error("the program ends within its fields");
    Reader part(next_, next_ + n);
    next_ += n;
    return part;
  }

  void require_end() const {
    if (next_ != end_) throw Error(std::to_string(end_ - next_) + " words too many");
  }

 private:
  const int64_t* next_;
  const int64_t* end_;
};

struct Context {
  const Tensors& tensors;
  int64_t n_values;  // that an operation may refer to
  Budget* budget;
};

// Runs `body`, with the field in front of its complaints.
template <typename Body>
auto in_field(const char* field, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw Error(std::string("field ") + field + ": " + error.what());
  }
}

// `channels`: how many the slope must serve; 0 where only the inputs tell.
void read_activation(Reader* reader, const Context& context, int64_t channels, Op* op) {
  op->activation = static_cast<Activation>(reader->read("activation", 0, 2));
  const int64_t slope = reader->read("slope", -1, kMaxWords);
  if ((op->activation == Activation::slope) != (slope >= 0)) {
    throw Error(slope >= 0 ? "field slope: given, but activation is not 2" : "field slope: activation 2 needs it");
  }
  if (slope < 0) return;
  in_field("slope", [&] {
    op->slope = read_floats(context.tensors, slope, "slope", context.budget);
    const int64_t size = static_cast<int64_t>(op->slope.size());
    if (size < 1 || size > kMaxChannels || (channels > 0 && size != 1 && size != channels)) {
      throw Error("has " + std::to_string(size) + " elements, expected 1 or " +
                  (channels > 0 ? std::to_string(channels) : "one a channel"));
    }
  });
}

void read_geometry(Reader* reader, Op* op) {
  op->c_in = reader->read("c_in", 1, kMaxChannels);
  op->c_out = reader->read("c_out", 1, kMaxChannels);
  op->kernel_h = reader->read("kernel_h", 1, kMaxKernel);
  op->kernel_w = reader->read("kernel_w", 1, kMaxKernel);
  const bool transposed = op->code == Opcode::conv_transpose;
  op->stride_h = reader->read("stride_h", 1, transposed ? kMaxTransposedStride : kMaxKernel);
  op->stride_w = reader->read("stride_w", 1, transposed ? kMaxTransposedStride : kMaxKernel);
  op->dilation_h = reader->read("dilation_h", 1, kMaxKernel);
  op->dilation_w = reader->read("dilation_w", 1, kMaxKernel);
  op->pad_top = reader->read("pad_top", 0, kMaxPad);
  op->pad_left = reader->read("pad_left", 0, kMaxPad);
  op->pad_bottom = reader->read("pad_bottom", 0, kMaxPad);
  op->pad_right = reader->read("pad_right", 0, kMaxPad);
  // ONNX: less than the stride or the dilation.
  const int64_t highest_h = transposed ? std::max(op->stride_h, op->dilation_h) - 1 : 0;
  const int64_t highest_w = transposed ? std::max(op->stride_w, op->dilation_w) - 1 : 0;
  op->output_padding_h = reader->read("output_padding_h", 0, highest_h);
  op->output_padding_w = reader->read("output_padding_w", 0, highest_w);
}

void read_convolution(Reader* reader, const Context& context, Op* op) {
  const auto form = static_cast<Form>(reader->read("form", 0, 2));
  op->kind = static_cast<Kind>(reader->read("kind", 0, 4));
  const int64_t weight = reader->read("weight", 0, kMaxWords);
  const int64_t bias = reader->read("bias", -1, kMaxWords);
  // Activation and slope stand before the channels that they are checked against.
  Reader activation = reader->take(2);
  op->residual = static_cast<int>(reader->read("residual", -1, context.n_values - 1));
  read_geometry(reader, op);
  op->sources = reader->read_sources(context.n_values);
  read_activation(&activation, context, op->c_out, op);
  const KernelShape shape{op->c_in, op->c_out, op->kernel_h * op->kernel_w, op->code == Opcode::conv_transpose};
  in_field("weight", [&] {
    // Taps take room too, and a transposed kernel is packed once for each place within a stride.
    const int64_t places = shape.transposed ? op->stride_h * op->stride_w : 1;
    context.budget->spend(shape.size() + 8 * shape.taps + places * (op->c_out + 256));
    op->kernel = read_kernel(form, context.tensors, weight, shape);
  });
  if (bias < 0) return;
  in_field("bias", [&] {
    op->bias = read_floats(context.tensors, bias, "bias", context.budget);
    if (static_cast<int64_t>(op->bias.size()) != op->c_out) {
      throw Error("has " + std::to_string(op->bias.size()) + " elements, expected " + std::to_string(op->c_out));
    }
  });
}

void read_max_pool(Reader* reader, const Context& context, Op* op) {
  op->sources = {static_cast<int>(reader->read("source", 0, context.n_values - 1))};
  op->kernel_h = reader->read("kernel_h", 1, kMaxKernel);
  op->kernel_w = reader->read("kernel_w", 1, kMaxKernel);
  op->stride_h = reader->read("stride_h", 1, kMaxKernel);
  op->stride_w = reader->read("stride_w", 1, kMaxKernel);
  // Smaller than the kernel, so that no window lies in the padding alone.
  op->pad_top = reader->read("pad_top", 0, op->kernel_h - 1);
  op->pad_left = reader->read("pad_left", 0, op->kernel_w - 1);
  op->pad_bottom = reader->read("pad_bottom", 0, op->kernel_h - 1);
  op->pad_right = reader->read("pad_right", 0, op->kernel_w - 1);
}

void read_fields(Reader* reader, const Context& context, Op* op) {
  switch (op->code) {
    case Opcode::conv:
    case Opcode::conv_transpose:
      read_convolution(reader, context, op);
      break;
    case Opcode::max_pool:
      read_max_pool(reader, context, op);
      break;
    case Opcode::upsample:
      op->sources = {static_cast<int>(reader->read("source", 0, context.n_values - 1))};
      op->factor_h = reader->read("factor_h", 1, kMaxFactor);
      op->factor_w = reader->read("factor_w", 1, kMaxFactor);
      break;
    case Opcode::add:
      op->sources = {static_cast<int>(reader->read("first", 0, context.n_values - 1))};
      op->sources.push_back(static_cast<int>(reader->read("second", 0, context.n_values - 1)));
      read_activation(reader, context, 0, op);
      break;
    case Opcode::activate:
      op->sources = {static_cast<int>(reader->read("source", 0, context.n_values - 1))};
      read_activation(reader, context, 0, op);
      break;
  }
  reader->require_end();
}

Op read_op(Reader* reader, const Context& context, int64_t number) {
  std::string where = "operation " + std::to_string(number);
  try {
    Op op;
    op.code = static_cast<Opcode>(reader->read("opcode", 1, 6));
    where += std::string(" (") + name_of(op.code) + ")";
    Reader fields = reader->take(reader->read("number of fields", 0, kMaxWords));
    read_fields(&fields, context, &op);
    return op;
  } catch (const Error& error) {
    throw Error(where + ", " + error.what());
  }
}

std::vector<std::vector<int>> read_outputs(Reader* reader, int64_t n_values) {
  std::vector<std::vector<int>> outputs;
  const int64_t n = reader->read("number of outputs", 1, n_values);
  for (int64_t i = 0; i < n; ++i) {
    try {
      outputs.push_back(reader->read_sources(n_values));
    } catch (const Error& error) {
      throw Error("output " + std::to_string(i) + ", " + error.what());
    }
  }
  reader->require_end();
  return outputs;
}

}  // namespace

Program parse_program(const std::vector<int64_t>& words, int64_t n_inputs, const Tensors& tensors) {
  if (n_inputs < 1 || n_inputs > kMaxSources) {
    throw Error("field inputs: " + std::to_string(n_inputs) + " is not in [1, " + std::to_string(kMaxSources) + "]");
  }
  if (static_cast<int64_t>(words.size()) > kMaxWords) throw Error("the program is too long");
  Reader reader(words.data(), words.data() + words.size());
  reader.read("version", kVersion, kVersion);
  Program program;
  program.n_inputs = static_cast<int>(n_inputs);
  Budget budget;
  const int64_t n_ops = reader.read("number of operations", 1, kMaxOps);
  for (int64_t i = 0; i < n_ops; ++i) {
    program.ops.push_back(read_op(&reader, Context{tensors, n_inputs + i, &budget}, i));
  }
  program.outputs = read_outputs(&reader, n_inputs + n_ops);
  return program;
}

}  // namespace wcr
