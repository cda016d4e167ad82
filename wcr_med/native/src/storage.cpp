#include "storage.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "network.h"

namespace wcr {
namespace {

template <typename T>
T element(const Tensor& tensor, size_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(tensor.data) + i * sizeof(T), sizeof(T));
  return value;
}

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu, fraction = half & 0x3ffu;
  if (exponent == 0) {  // zero and denormal numbers, units of 2^-24
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -magnitude : magnitude;
  }
  const uint32_t widened = exponent == 0x1fu ? 0xffu : exponent + 112;
  const uint32_t bits = sign | (widened << 23) | (fraction << 13);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

void require(bool holds, const std::string& message) {
  if (!holds) throw Error(message);
}

void require_type(const Tensor& tensor, Type type, const char* role, const char* expected) {
  require(tensor.type == type, std::string(role) + " must be a tensor of " + expected);
}

void require_size(const Tensor& tensor, size_t size, const char* role) {
  require(tensor.size == size, std::string(role) + " has " + std::to_string(tensor.size) + " elements, expected " +
                                   std::to_string(size));
}

// Calls keep(j, position) for each stored value, positions ascending; throws where they are not, or reach n.
template <typename Keep>
void for_each_gap8(const Tensor& gaps, int64_t n, Keep keep) {
  require_type(gaps, Type::uint8, "gaps", "uint8");
  int64_t position = -1;
  for (size_t j = 0; j < gaps.size; ++j) {
    const uint8_t gap = element<uint8_t>(gaps, j);
    require(gap != 0, "gap " + std::to_string(j) + " is 0");
    position += gap;
    require(position < n, "gap " + std::to_string(j) + " leads to position " + std::to_string(position) + " of " +
                              std::to_string(n));
    keep(j, position);
  }
}

uint32_t read_bits(const Tensor& bytes, uint64_t first, unsigned count) {
  uint32_t bits = 0;
  for (unsigned i = 0; i < count; ++i) {
    const uint64_t bit = first + i;
    bits |= static_cast<uint32_t>((element<uint8_t>(bytes, bit / 8) >> (bit % 8)) & 1u) << i;
  }
  return bits;
}

template <typename Keep>
void for_each_rice(const Tensor& low, const Tensor& high, const Tensor& n_low_bits, size_t k, int64_t n, Keep keep) {
  require_type(low, Type::uint8, "low bits", "uint8");
  require_type(high, Type::uint8, "high bits", "uint8");
  require_type(n_low_bits, Type::int64, "number of low bits", "int64");
  require_size(n_low_bits, 1, "number of low bits");
  const int64_t l = element<int64_t>(n_low_bits, 0);
  require(l >= 0 && l <= 31, "number of low bits is " + std::to_string(l) + ", not in [0, 31]");
  const unsigned width = static_cast<unsigned>(l);
  require_size(low, (static_cast<uint64_t>(k) * width + 7) / 8, "low bits");
  size_t j = 0;
  uint64_t lows = 0;  // stays below n + 2^31: each position is checked
  for (size_t i = 0; i < high.size; ++i) {
    const unsigned byte = element<uint8_t>(high, i);
    for (unsigned bit = 0; bit < 8 && byte >> bit; ++bit) {
      if (!((byte >> bit) & 1u)) continue;
      require(j < k, "high bits hold more than " + std::to_string(k) + " ones");
      const uint64_t upper = static_cast<uint64_t>(i) * 8 + bit - j;
      require(upper <= static_cast<uint64_t>(n) >> width, "high bits lead beyond the kernel");
      lows += read_bits(low, j * width, width);
      const uint64_t position = (upper << width) + lows + j;
      require(position < static_cast<uint64_t>(n),
              "position " + std::to_string(position) + " is beyond a kernel of " + std::to_string(n));
      keep(j++, static_cast<int64_t>(position));
    }
  }
  require(j == k, "high bits hold " + std::to_string(j) + " ones, expected " + std::to_string(k));
}

// Turns stored values into weights.
class Values {
 public:
  Values(const Tensors& tensors, int64_t index, const KernelShape& shape)
      : values_(tensors.at(index, "values")), shape_(shape) {
    require(values_.type == Type::float32 || values_.type == Type::float16 || values_.type == Type::int8,
            "values must be a tensor of float32, float16 or int8");
    if (values_.type != Type::int8) return;
    const Tensor& scale = tensors.at(index + 1, "scale");
    require_type(scale, Type::float32, "scale", "float32");
    require_size(scale, static_cast<size_t>(shape.c_out), "scale");
    scale_ = &scale;
  }

  size_t size() const { return values_.size; }

  float weight(size_t j, int64_t position) const {
    if (values_.type == Type::float32) return element<float>(values_, j);
    if (values_.type == Type::float16) return half_to_float(element<uint16_t>(values_, j));
    const int64_t block = position / shape_.taps;
    const int64_t c_out = shape_.transposed ? block % shape_.c_out : block / shape_.c_in;
    return static_cast<float>(element<int8_t>(values_, j)) * element<float>(*scale_, static_cast<size_t>(c_out));
  }

 private:
  const Tensor& values_;
  const Tensor* scale_ = nullptr;
  KernelShape shape_;
};

}  // namespace

void Budget::spend(int64_t elements) {
  require(elements <= left_, "the program has more weights than the " + std::to_string(kMaxWeights) +
                                 " that one network may have");
  left_ -= elements;
}

const Tensor& Tensors::at(int64_t index, const char* role) const {
  require(index >= static_cast<int64_t>(first_) && index < static_cast<int64_t>(tensors_.size()),
          std::string(role) + " is input " + std::to_string(index) + ", but constants are inputs " +
              std::to_string(first_) + " to " + std::to_string(static_cast<int64_t>(tensors_.size()) - 1));
  return tensors_[static_cast<size_t>(index)];
}

Kernel read_kernel(Form form, const Tensors& tensors, int64_t index, const KernelShape& shape) {
  const int64_t n = shape.size();
  Kernel kernel;
  const auto fill = [&](const Values& values, auto for_each) {
    for_each([&](size_t j, int64_t position) {
      const float weight = values.weight(j, position);
      if (weight == 0.0f) return;
      kernel.positions.push_back(static_cast<uint32_t>(position));
      kernel.values.push_back(weight);
    });
  };
  switch (form) {
    case Form::dense: {
      const Values values(tensors, index, shape);
      require(values.size() == static_cast<size_t>(n), "values has " + std::to_string(values.size()) +
                                                           " elements, expected " + std::to_string(n));
      fill(values, [&](auto keep) {
        for (int64_t i = 0; i < n; ++i) keep(static_cast<size_t>(i), i);
      });
      break;
    }
    case Form::gap8: {
      const Tensor& gaps = tensors.at(index, "gaps");
      const Values values(tensors, index + 1, shape);
      require_size(gaps, values.size(), "gaps");
      fill(values, [&](auto keep) { for_each_gap8(gaps, n, keep); });
      break;
    }
    case Form::rice: {
      const Tensor& low = tensors.at(index, "low bits");
      const Tensor& high = tensors.at(index + 1, "high bits");
      const Tensor& n_low_bits = tensors.at(index + 2, "number of low bits");
      const Values values(tensors, index + 3, shape);
      fill(values, [&](auto keep) { for_each_rice(low, high, n_low_bits, values.size(), n, keep); });
      break;
    }
  }
  return kernel;
}

std::vector<float> read_floats(const Tensors& tensors, int64_t index, const char* role, Budget* budget) {
  const Tensor& tensor = tensors.at(index, role);
  require(tensor.type == Type::float32 || tensor.type == Type::float16,
          std::string(role) + " must be a tensor of float32 or float16");
  budget->spend(static_cast<int64_t>(tensor.size));
  std::vector<float> values(tensor.size);
  for (size_t i = 0; i < tensor.size; ++i) {
    values[i] = tensor.type == Type::float32 ? element<float>(tensor, i) : half_to_float(element<uint16_t>(tensor, i));
  }
  return values;
}

}  // namespace wcr
