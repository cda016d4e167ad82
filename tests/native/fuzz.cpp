// Reads damaged programs and tensors, and runs those that are accepted: fuzz SEED SECONDS
// Whatever is read must end in an Error or in a result; sanitizers watch the rest.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#include "layout.h"
#include "network.h"
#include "parse.h"
#include "programs.h"

namespace wcr {
#if defined(__x86_64__)
extern const Kernels kernels_sse;
constexpr const Kernels& kAnyKernels = kernels_sse;
#else
extern const Kernels kernels_neon;
constexpr const Kernels& kAnyKernels = kernels_neon;
#endif
}  // namespace wcr

namespace {

using wcr::testing::File;
using wcr::testing::Owned;
using wcr::testing::Random;

constexpr int64_t kMostBytes = int64_t{64} << 20;  // of maps; larger programs are read, not run
constexpr double kMostProducts = 1e8, kMostWeights = 1e7;

int64_t odd_number(Random* random) {
  switch (random->integer(0, 4)) {
    case 0:
      return random->pick<int64_t>({-1, 0, 1, 2, 3, 255, 256, 65535, 65536, INT32_MAX, int64_t{1} << 31, INT64_MAX,
                                    INT64_MIN, int64_t{1} << 62, -(int64_t{1} << 40)});
    case 1:
      return random->integer(-3, 40);
    default:
      return random->integer(0, 6);
  }
}

void damage_tensor(Random* random, Owned* tensor) {
  const int64_t how = random->integer(0, 3);
  if (how == 0) tensor->type = static_cast<wcr::Type>(random->integer(0, 5));
  if (how == 1 && tensor->bytes) {
    for (int64_t i = random->integer(1, 4); i > 0; --i) {
      tensor->data[static_cast<size_t>(random->integer(0, static_cast<int64_t>(tensor->bytes) - 1))] =
          static_cast<char>(random->integer(-128, 127));
    }
  }
  if (how >= 2) {  // another length, in memory of exactly that length
    const size_t size = static_cast<size_t>(random->integer(0, how == 2 ? 3 : 40));
    const size_t width[] = {8, 4, 2, 1, 1, 8};
    tensor->size = size;
    tensor->bytes = size * width[static_cast<size_t>(tensor->type)];
    tensor->data.reset(new char[tensor->bytes]());
    return;
  }
  const size_t width[] = {8, 4, 2, 1, 1, 8};  // the type may have grown
  tensor->size = std::min(tensor->size, tensor->bytes / width[static_cast<size_t>(tensor->type)]);
}

void damage(Random* random, File* file) {
  for (int64_t i = random->integer(0, 3); i > 0; --i) {
    const int64_t n = static_cast<int64_t>(file->words.size());
    if (n == 0) return;
    const int64_t where = random->integer(0, n - 1), how = random->integer(0, 9);
    if (how == 0) file->words.resize(static_cast<size_t>(where));
    if (how == 1) file->words.insert(file->words.begin() + where, odd_number(random));
    if (how == 2) file->words.erase(file->words.begin() + where);
    if (how > 2) file->words[static_cast<size_t>(where)] = odd_number(random);
  }
  for (int64_t i = random->integer(0, 2); i > 0; --i) {
    const int64_t last = static_cast<int64_t>(file->tensors.size()) - 1;
    damage_tensor(random, &file->tensors[static_cast<size_t>(random->integer(0, last))]);
  }
  if (random->chance(0.05)) file->n_inputs = odd_number(random);
  if (random->chance(0.05)) file->tensors.pop_back();
}

// Whether building and running it is a matter of moments.
bool is_small(const wcr::Program& program, const std::vector<wcr::Shape>& shapes) {
  double weights = 0;
  for (const wcr::Op& op : program.ops) {
    if (!wcr::is_convolution(op)) continue;
    weights += static_cast<double>(op.c_in * op.c_out * op.kernel_h * op.kernel_w);
    weights += static_cast<double>(op.stride_h * op.stride_w * op.c_out);
  }
  if (weights > kMostWeights) return false;
  const std::vector<wcr::Shape> values = wcr::value_shapes(program, shapes);
  double products = 0;
  for (const wcr::Op& op : program.ops) {
    const wcr::Shape& out = values[static_cast<size_t>(&op - program.ops.data()) + static_cast<size_t>(program.n_inputs)];
    const double taps = static_cast<double>(op.kernel_h * op.kernel_w * std::max<int64_t>(1, op.c_in));
    products += static_cast<double>(out.c) * static_cast<double>(out.h * out.w) * taps;
  }
  return products < kMostProducts && wcr::lay_out(program, values, wcr::kAnyKernels).arena_bytes < kMostBytes;
}

void run(const wcr::Program& program, const std::vector<wcr::Shape>& shapes) {
  const wcr::Network network(program);
  std::vector<std::vector<float>> data, outputs;
  std::vector<wcr::Input> inputs;
  std::vector<float*> pointers;
  for (const wcr::Shape& s : shapes) {
    data.emplace_back(static_cast<size_t>(s.n * s.c * s.h * s.w), 1.5f);
    inputs.push_back({data.back().data(), s});
  }
  for (const wcr::Shape& s : network.output_shapes(shapes)) outputs.emplace_back(static_cast<size_t>(s.n * s.c * s.h * s.w));
  for (std::vector<float>& output : outputs) pointers.push_back(output.data());
  const auto serial = [](void*, void (*body)(void* context, size_t i), void* context, size_t n) {
    for (size_t i = 0; i < n; ++i) body(context, i);
  };
  network.run(inputs, pointers, {serial, nullptr}, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  Random random(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0);
  const double seconds = argc > 2 ? std::atof(argv[2]) : 5;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  long n_tried = 0, n_read = 0, n_run = 0;
  for (; std::chrono::steady_clock::now() < end; ++n_tried) {
    std::vector<wcr::Shape> shapes = wcr::testing::random_shapes(&random);
    wcr::Program source = wcr::testing::random_program(&random, shapes);
    File file = wcr::testing::encode(&random, &source);
    damage(&random, &file);
    try {
      const wcr::Program program = wcr::parse_program(file.words, file.n_inputs, file.views());
      ++n_read;
      if (random.chance(0.3)) shapes = wcr::testing::random_shapes(&random);
      if (!is_small(program, shapes)) continue;
      run(program, shapes);
      ++n_run;
    } catch (const wcr::Error& error) {
      if (std::getenv("WCR_FUZZ_VERBOSE")) std::printf("%s\n", error.what());
    } catch (const std::bad_alloc&) {
    }
  }
  std::printf("%ld tried, %ld read, %ld run\n", n_tried, n_read, n_run);
  return n_run == 0;
}
