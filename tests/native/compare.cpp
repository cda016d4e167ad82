// Compares Network with the plain reference on random programs: compare SEED PROGRAMS [INSTRUCTION_SET ...]
// One network object meets several image sizes, batches, threads, and two callers at once. Prints a line for each
// instruction set of this processor; the exit status tells whether all agreed.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "network.h"
#include "parse.h"
#include "programs.h"
#include "reference.h"

namespace {

using wcr::testing::Random;
using Outputs = std::vector<wcr::reference::Map>;

// Threads that share tasks, as ONNX Runtime's do.
struct Threads {
  int n = 1;

  static void run(void* self, void (*body)(void* context, size_t i), void* context, size_t n_tasks) {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < n_tasks; i = next++) body(context, i);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < static_cast<Threads*>(self)->n; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
  }
};

struct Case {
  std::vector<wcr::Shape> shapes;
  std::vector<std::vector<float>> data;

  Case(Random* random, std::vector<wcr::Shape> shapes_) : shapes(std::move(shapes_)) {
    const float scale = random->pick<float>({1.0f, 1.0f, 1e4f, 1e-38f});
    for (const wcr::Shape& s : shapes) {
      data.emplace_back(static_cast<size_t>(s.n * s.c * s.h * s.w));
      for (float& value : data.back()) value = random->chance(0.1) ? 0.0f : random->normal(scale);
    }
  }

  std::vector<wcr::Input> inputs() const {
    std::vector<wcr::Input> inputs;
    for (size_t i = 0; i < shapes.size(); ++i) inputs.push_back({data[i].data(), shapes[i]});
    return inputs;
  }
};

// The sums of magnitudes that rounding errors are measured by: the same program without any sign.
wcr::Program magnitudes(wcr::Program program) {
  for (wcr::Op& op : program.ops) {
    for (float& value : op.kernel.values) value = std::fabs(value);
    op.bias.resize(static_cast<size_t>(op.c_out), 0.0f);
    for (float& value : op.bias) value = std::fabs(value) + 1e-32f;  // what underflow may lose, and more
    op.activation = wcr::Activation::none;
    op.slope.clear();
  }
  return program;
}

// By how much slopes may magnify errors.
double magnification(const wcr::Program& program) {
  double product = 1;
  for (const wcr::Op& op : program.ops) {
    float steepest = 1.0f;
    for (const float value : op.slope) steepest = std::max(steepest, std::fabs(value));
    product *= steepest;
  }
  return product;
}

// Largest error against what it may be; infinite where shapes differ or a number is no number.
double error_of(const std::vector<float>& found, const wcr::reference::Map& expected,
                const wcr::reference::Map& magnitude, double magnified, bool winograd) {
  if (found.size() != expected.values.size()) return INFINITY;
  double largest = 0;
  for (const double value : magnitude.values) largest = std::max(largest, value);
  double worst = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    // Winograd's sums are larger than its results: their errors go with the largest of a neighbourhood.
    const double allowed = magnified * (winograd ? 1e-4 * largest : 2e-5 * magnitude.values[i]);
    const double error = std::fabs(found[i] - expected.values[i]) / (allowed + 1e-36);
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  return worst;
}

// Runs the network; nothing where it refuses the shapes.
std::optional<std::vector<std::vector<float>>> computed(const wcr::Network& network, const Case& input, int n_threads) {
  try {
    std::vector<std::vector<float>> outputs;
    for (const wcr::Shape& s : network.output_shapes(input.shapes)) {
      outputs.emplace_back(static_cast<size_t>(s.n * s.c * s.h * s.w), NAN);
    }
    std::vector<float*> pointers;
    for (std::vector<float>& output : outputs) pointers.push_back(output.data());
    Threads threads{n_threads};
    network.run(input.inputs(), pointers, {&Threads::run, &threads}, nullptr);
    return outputs;
  } catch (const wcr::Error&) {
    return std::nullopt;
  }
}

std::optional<Outputs> expected(const wcr::Program& program, const Case& input) {
  try {
    return wcr::reference::run(program, input.inputs());
  } catch (const wcr::Error&) {
    return std::nullopt;
  }
}

class Comparison {
 public:
  Comparison(const wcr::Program& program, const std::string& set)
      : program_(program), network_(program, set), magnified_(magnification(program)) {
    for (const wcr::Op& op : program.ops) winograd_ = winograd_ || is_winograd(op);
  }

  // Error against what is allowed; infinite where only one side refuses.
  double run(const Case& input, int n_threads) const {
    const auto outputs = computed(network_, input, n_threads);
    const auto wanted = expected(program_, input);
    if (!outputs || !wanted) return outputs.has_value() == wanted.has_value() ? 0 : INFINITY;
    Case sizes = input;
    for (std::vector<float>& data : sizes.data) {
      for (float& value : data) value = std::fabs(value);
    }
    const Outputs allowed = wcr::reference::run(magnitudes(program_), sizes.inputs());
    double worst = outputs->size() == wanted->size() ? 0 : INFINITY;
    for (size_t i = 0; i < wanted->size() && worst < INFINITY; ++i) {
      worst = std::max(worst, error_of((*outputs)[i], (*wanted)[i], allowed[i], magnified_, winograd_));
    }
    return worst;
  }

 private:
  static bool is_winograd(const wcr::Op& op) {  // automatic may choose it
    return op.kind == wcr::Kind::winograd2 || op.kind == wcr::Kind::winograd4 || op.kind == wcr::Kind::automatic;
  }

  wcr::Program program_;
  wcr::Network network_;
  double magnified_;
  bool winograd_ = false;
};

std::vector<wcr::Shape> resized(Random* random, std::vector<wcr::Shape> shapes) {
  const int64_t n = random->integer(0, 3), h = random->integer(1, 40), w = random->integer(1, 40);
  for (wcr::Shape& shape : shapes) shape.n = n, shape.h = h, shape.w = w;
  return shapes;
}

bool same_kernels(const wcr::Program& a, const wcr::Program& b) {
  bool same = a.ops.size() == b.ops.size() && a.outputs == b.outputs;
  for (size_t i = 0; same && i < a.ops.size(); ++i) {
    const wcr::Op &x = a.ops[i], &y = b.ops[i];
    same = x.kernel.positions == y.kernel.positions && x.kernel.values == y.kernel.values && x.bias == y.bias &&
           x.slope == y.slope && x.sources == y.sources && x.residual == y.residual;
  }
  return same;
}

int compare(uint64_t seed, const std::string& set) {
  Random random(seed);
  const std::vector<wcr::Shape> shapes = wcr::testing::random_shapes(&random);
  wcr::Program program = wcr::testing::random_program(&random, shapes);
  const wcr::testing::File file = wcr::testing::encode(&random, &program);
  if (!same_kernels(wcr::parse_program(file.words, file.n_inputs, file.views()), program)) {
    std::printf("seed %llu: what was read is not what was written\n", static_cast<unsigned long long>(seed));
    return 1;
  }
  const Comparison comparison(program, set);
  std::vector<Case> cases{Case(&random, shapes), Case(&random, resized(&random, shapes)),
                          Case(&random, resized(&random, shapes)), Case(&random, shapes)};
  std::vector<double> errors(cases.size() + 2);
  for (size_t i = 0; i < cases.size(); ++i) errors[i] = comparison.run(cases[i], static_cast<int>(random.integer(1, 3)));
  std::thread other([&] { errors[cases.size()] = comparison.run(cases[0], 2); });
  errors[cases.size() + 1] = comparison.run(cases[1], 1);
  other.join();
  for (size_t i = 0; i < errors.size(); ++i) {
    if (errors[i] <= 1) continue;
    std::printf("%s, seed %llu, run %zu: error %g times what is allowed\n%s", set.c_str(),
                static_cast<unsigned long long>(seed), i, errors[i],
                wcr::testing::describe(program, cases[i < cases.size() ? i : i - cases.size()].shapes).c_str());
    return 1;
  }
  return 0;
}

bool is_there(const std::string& set) {
  wcr::Program program;
  program.n_inputs = 1;
  program.outputs = {{0}};
  try {
    const wcr::Network network(program, set);
    return network.instruction_set() == set;
  } catch (const wcr::Error&) {
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  const uint64_t n = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 20;
  std::vector<std::string> sets(argv + std::min(argc, 3), argv + argc);
  if (sets.empty()) sets = {"avx512", "avx2", "sse", "neon"};
  int failures = 0, compared = 0;
  for (const std::string& set : sets) {
    if (!is_there(set)) continue;
    ++compared;
    int failed = 0;
    for (uint64_t i = 0; i < n && failed < 3; ++i) failed += compare(seed + i, set);
    std::printf("%s: %llu programs, %d failed\n", set.c_str(), static_cast<unsigned long long>(n), failed);
    failures += failed;
  }
  return failures || !compared;
}
