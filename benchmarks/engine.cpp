// Milliseconds of each operation of a U-Net with random weights in the accelerator's engine alone, one thread.
//   cmake -S wcr_med/native -B build/native-tests -DWCR_TESTS=ON && cmake --build build/native-tests --target engine
//   build/native-tests/engine [size 256] [density 0.05] [kind 1] [runs 15] [instruction set]
// The same density in every layer but the first and the last. Kinds: 0 automatic, 1 sparse, 2 dense, 3 and 4 Winograd.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "network.h"

namespace {

using namespace wcr;

constexpr int kFeatures = 32, kLevels = 4;

class Unet {
 public:
  Unet(double density, Kind kind) : density_(density), kind_(kind) {
    program.n_inputs = 1;
    std::vector<int> skips;
    int x = 0, channels = 3, width = kFeatures;
    for (int level = 0; level < kLevels; ++level, width *= 2) {
      x = block({x}, channels, width);
      skips.push_back(x);
      x = pool(x);
      channels = width;
    }
    x = block({x}, channels, width);
    for (int level = kLevels - 1; level >= 0; --level) {
      width /= 2;
      x = up(x, 2 * width, width);
      x = block({x, skips[static_cast<size_t>(level)]}, 2 * width, width);
    }
    Op head = kernel(Opcode::conv, {x}, width, 1, 1, 1.0, Kind::automatic);
    program.outputs = {{add(std::move(head))}};
  }

  Program program;

 private:
  int add(Op op) {
    program.ops.push_back(std::move(op));
    return static_cast<int>(program.ops.size());
  }

  Op kernel(Opcode code, std::vector<int> sources, int c_in, int c_out, int side, double density, Kind kind) {
    Op op;
    op.code = code, op.sources = std::move(sources), op.kind = kind;
    op.c_in = c_in, op.c_out = c_out, op.kernel_h = op.kernel_w = side;
    std::uniform_real_distribution<double> uniform;
    std::normal_distribution<float> normal;
    const float scale = static_cast<float>(std::sqrt(2.0 / (c_in * side * side * density)));
    for (uint32_t i = 0; i < static_cast<uint32_t>(c_in * c_out * side * side); ++i) {
      if (uniform(random_) >= density) continue;
      op.kernel.positions.push_back(i);
      op.kernel.values.push_back(scale * normal(random_));
    }
    op.bias.assign(static_cast<size_t>(c_out), 0.01f);
    return op;
  }

  int conv(std::vector<int> sources, int c_in, int c_out) {
    const bool first = c_in == 3;
    Op op = kernel(Opcode::conv, std::move(sources), c_in, c_out, 3, first ? std::max(density_, 0.9) : density_,
                   first ? Kind::automatic : kind_);
    op.pad_top = op.pad_left = op.pad_bottom = op.pad_right = 1;
    op.activation = Activation::relu;
    return add(std::move(op));
  }

  int block(std::vector<int> sources, int c_in, int c_out) {
    return conv({conv(std::move(sources), c_in, c_out)}, c_out, c_out);
  }

  int up(int source, int c_in, int c_out) {
    const bool winograd = kind_ == Kind::winograd2 || kind_ == Kind::winograd4;
    Op op = kernel(Opcode::conv_transpose, {source}, c_in, c_out, 2, density_, winograd ? Kind::dense : kind_);
    op.stride_h = op.stride_w = 2;
    return add(std::move(op));
  }

  int pool(int source) {
    Op op;
    op.code = Opcode::max_pool, op.sources = {source};
    op.kernel_h = op.kernel_w = op.stride_h = op.stride_w = 2;
    return add(std::move(op));
  }

  double density_;
  Kind kind_;
  std::mt19937 random_{1};
};

void in_turn(void*, void (*body)(void*, size_t), void* context, size_t n) {
  for (size_t i = 0; i < n; ++i) body(context, i);
}

}  // namespace

int main(int argc, char** argv) {
  const int size = argc > 1 ? std::atoi(argv[1]) : 256;
  const double density = argc > 2 ? std::atof(argv[2]) : 0.05;
  const Kind kind = static_cast<Kind>(argc > 3 ? std::atoi(argv[3]) : 1);
  const int runs = argc > 4 ? std::atoi(argv[4]) : 15;
  Program program = Unet(density, kind).program;
  const std::vector<Op> ops = program.ops;
  const Network network(std::move(program), argc > 5 ? argv[5] : "");
  const std::vector<float> image(static_cast<size_t>(3 * size * size), 0.5f);
  std::vector<float> logits(static_cast<size_t>(size * size)), times(ops.size()), best(ops.size(), 1e9f);
  std::vector<double> totals;
  for (int run = 0; run < runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    network.run({{image.data(), {1, 3, size, size}}}, {logits.data()}, Parallel{in_turn, nullptr}, times.data());
    totals.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    for (size_t i = 0; i < ops.size(); ++i) best[i] = std::min(best[i], times[i]);
  }
  std::sort(totals.begin(), totals.end());
  std::printf("%s: least %.2f ms, median %.2f ms\n", network.instruction_set(), totals.front(), totals[totals.size() / 2]);
  for (size_t i = 0; i < ops.size(); ++i)
    std::printf("%3zu  opcode %d  %4lld -> %4lld  %8zu non-zeros  %.3f ms\n", i, static_cast<int>(ops[i].code),
                static_cast<long long>(ops[i].c_in), static_cast<long long>(ops[i].c_out), ops[i].kernel.positions.size(),
                static_cast<double>(best[i]));
}
