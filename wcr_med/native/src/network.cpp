#include "network.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <mutex>
#include <type_traits>
#include <utility>

#include "arena.h"
#include "kernels.h"
#include "layout.h"
#include "packing.h"
#include "plan.h"

namespace wcr {

#if defined(__x86_64__)
extern const Kernels kernels_avx512, kernels_avx2, kernels_sse;
#else
extern const Kernels kernels_neon;
#endif

namespace {

constexpr size_t kMostPlans = 4;

const Kernels* find_kernels(const std::string& name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  const std::pair<const Kernels*, bool> tables[] = {
      {&kernels_avx512, avx512}, {&kernels_avx2, avx2}, {&kernels_sse, true}};
#else
  const std::pair<const Kernels*, bool> tables[] = {{&kernels_neon, true}};
#endif
  std::string there;
  for (const auto& [table, supported] : tables) {
    if (supported && (name.empty() || name == table->name)) return table;
    if (supported) there += std::string(there.empty() ? "" : ", ") + table->name;
  }
  throw Error("instruction set '" + name + "' is not there; this processor has: " + there);
}

}  // namespace

struct Network::State {
  Program program;
  const Kernels* kernels;
  std::vector<Packed> packed;
  mutable std::mutex mutex;
  mutable std::vector<std::shared_ptr<const Plan>> plans;  // the latest first
  mutable ArenaPool arenas;

  std::shared_ptr<const Plan> plan_for(const std::vector<Shape>& inputs) const;
};

std::shared_ptr<const Plan> Network::State::plan_for(const std::vector<Shape>& inputs) const {
  const auto same = [&](const std::shared_ptr<const Plan>& plan) {
    return std::equal(inputs.begin(), inputs.end(), plan->inputs.begin(), plan->inputs.end(),
                      [](const Shape& a, const Shape& b) { return a.c == b.c && a.h == b.h && a.w == b.w; });
  };
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = std::find_if(plans.begin(), plans.end(), same);
  if (found != plans.end()) {
    std::rotate(plans.begin(), found, found + 1);
    return plans.front();
  }
  plans.insert(plans.begin(), make_plan(program, *kernels, packed, inputs));
  if (plans.size() > kMostPlans) plans.pop_back();
  return plans.front();
}

namespace {

// Runs a plan for one image.
class Runner {
 public:
  Runner(const Program& program, const Kernels& kernels, const std::vector<Packed>& packed, const Plan& plan,
         ArenaPool* arenas, const Parallel& parallel)
      : program_(program), kernels_(kernels), packed_(packed), plan_(plan), arenas_(arenas), parallel_(parallel),
        arena_(arenas->take(plan.layout.arena_bytes)), maps_(plan.layout.maps) {
    for (size_t v = 0; v < maps_.size(); ++v)
      maps_[v].data = reinterpret_cast<float*>(arena_.data() + plan.layout.offsets[v]);
  }
  ~Runner() { arenas_->give(std::move(arena_)); }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void pack(const std::vector<Input>& inputs, int64_t image) {
    for (size_t v = 0; v < inputs.size(); ++v) {
      const Shape& s = inputs[v].shape;
      const float* data = inputs[v].data + image * s.c * s.h * s.w;
      each(s.c, [&](size_t channel) {
        kernels_.pack(data + channel * s.h * s.w, maps_[v], channel);
        kernels_.finish(maps_[v], channel);
      });
    }
  }

  void unpack(const std::vector<float*>& outputs, int64_t image) {
    for (size_t o = 0; o < outputs.size(); ++o) {
      int64_t channels = 0;
      for (const int v : program_.outputs[o]) channels += maps_[v].channels;
      const Map& first = maps_[program_.outputs[o][0]];
      const int64_t area = first.height * first.width;
      float* out = outputs[o] + image * channels * area;
      for (const int v : program_.outputs[o]) {
        each(maps_[v].channels, [&](size_t channel) { kernels_.unpack(maps_[v], channel, out + channel * area); });
        out += maps_[v].channels * area;
      }
    }
  }

  void compute(size_t index) {
    const Op& op = program_.ops[index];
    const Map& out = maps_[program_.n_inputs + index];
    if (is_convolution(op)) {
      convolve(packed_[index].kind, plan_.convolutions[index]);
      each(out.channels, [&](size_t channel) { kernels_.finish(out, channel); });
      return;
    }
    const Map& in = maps_[op.sources[0]];
    const Epilogue epilogue = epilogue_of(op);
    const int64_t window[6] = {op.kernel_h, op.kernel_w, op.stride_h, op.stride_w, op.pad_top, op.pad_left};
    each(out.channels, [&](size_t channel) {
      if (op.code == Opcode::max_pool) kernels_.max_pool(in, out, channel, window);
      if (op.code == Opcode::upsample) kernels_.upsample(in, out, channel, op.factor_h, op.factor_w);
      if (op.code == Opcode::add) kernels_.activate(in, &maps_[op.sources[1]], out, channel, epilogue);
      if (op.code == Opcode::activate) kernels_.activate(in, nullptr, out, channel, epilogue);
      kernels_.finish(out, channel);
    });
  }

 private:
  template <class F>
  void each(size_t n, F&& body) {
    if (n == 0) return;
    if (n == 1) return body(0);
    struct Call {
      std::remove_reference_t<F>& body;
      std::mutex mutex;
      std::exception_ptr fault;
    } call{body, {}, nullptr};
    // Whoever runs the tasks may not be able to pass on an exception.
    const auto guarded = [](void* context, size_t i) noexcept {
      Call& task = *static_cast<Call*>(context);
      try {
        task.body(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(task.mutex);
        task.fault = std::current_exception();
      }
    };
    parallel_.run(parallel_.self, guarded, &call, n);
    if (call.fault) std::rethrow_exception(call.fault);
  }

  Convolution bind(const Phased& phased) const {
    Convolution c = phased.convolution;
    c.arena = arena_.data();
    c.out = arena_.data() + phased.out_offset;
    if (phased.residual_offset >= 0) c.epilogue.residual = arena_.data() + phased.residual_offset;
    c.non_zeros = phased.sparse.non_zeros.data();
    c.segments = phased.sparse.segments.data();
    c.offsets = c.ahead = phased.offsets.data();
    return c;
  }

  void convolve(Kind kind, const std::vector<Phased>& phases) {
    std::vector<Convolution> bound;
    for (const Phased& phased : phases) bound.push_back(bind(phased));
    if (kind == Kind::sparse) {
      const std::vector<Rectangle>& rectangles = phases[0].rectangles;
      each(rectangles.size(), [&](size_t i) { kernels_.sparse(bound.data(), bound.size(), rectangles[i]); });
      return;
    }
    for (size_t p = 0; p < phases.size(); ++p) {
      const std::vector<Rectangle>& rectangles = phases[p].rectangles;
      if (kind == Kind::dense)
        each(rectangles.size(), [&](size_t i) { kernels_.dense(bound[p], rectangles[i]); });
      else
        filter(bound[p], phases[p]);
    }
  }

  void filter(const Convolution& c, const Phased& phased) {
    Winograd w = phased.winograd;
    w.convolution = c;
    const size_t bytes = kernels_.winograd_scratch(w) * sizeof(float);
    each(phased.tiles.size(), [&](size_t i) {
      Arena scratch = arenas_->take(bytes);
      kernels_.winograd(w, phased.tiles[i].first, phased.tiles[i].second, reinterpret_cast<float*>(scratch.data()));
      arenas_->give(std::move(scratch));
    });
  }

  const Program& program_;
  const Kernels& kernels_;
  const std::vector<Packed>& packed_;
  const Plan& plan_;
  ArenaPool* arenas_;
  const Parallel& parallel_;
  Arena arena_;
  std::vector<Map> maps_;
};

std::vector<Shape> one_image(const std::vector<Shape>& inputs) {
  std::vector<Shape> shapes;
  for (const Shape& s : inputs) {
    if (s.n != inputs[0].n) throw Error("the inputs differ in the number of images");
    if (s.n < 0 || s.c < 1 || s.h < 1 || s.w < 1 || s.h > (1 << 20) || s.w > (1 << 20) || s.c > (1 << 20))
      throw Error("an input is empty, or larger than 2^20 along an axis");
    shapes.push_back({1, s.c, s.h, s.w});
  }
  return shapes;
}

}  // namespace

Network::Network(Program program, const std::string& instruction_set) : state_(std::make_unique<State>()) {
  state_->program = std::move(program);
  state_->kernels = find_kernels(instruction_set);
  auto& ops = state_->program.ops;
  state_->packed.resize(ops.size());
  int64_t packed_floats = 0;
  for (const Op& op : ops)
    if (is_convolution(op)) packed_floats += packed_size(op, *state_->kernels);
  if (packed_floats > kMaxPacked) throw Error("the program's dense and Winograd kernels would take more than 4 GiB");
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!is_convolution(ops[i])) continue;
    state_->packed[i] = pack_kernel(ops[i], i, *state_->kernels);
    ops[i].kernel = Kernel();  // packed
  }
}

Network::~Network() = default;

const char* Network::instruction_set() const { return state_->kernels->name; }

std::vector<Shape> Network::output_shapes(const std::vector<Shape>& inputs) const {
  const std::vector<Shape> shapes = value_shapes(state_->program, one_image(inputs));
  std::vector<Shape> result;
  for (const auto& output : state_->program.outputs) {
    Shape shape = shapes[output[0]];
    shape.n = inputs[0].n;
    for (size_t i = 1; i < output.size(); ++i) {
      const Shape& other = shapes[output[i]];
      if (other.h != shape.h || other.w != shape.w) throw Error("parts of an output differ in height or width");
      shape.c += other.c;
    }
    result.push_back(shape);
  }
  return result;
}

void Network::run(const std::vector<Input>& inputs, const std::vector<float*>& outputs, const Parallel& parallel,
                  float* milliseconds) const {
  std::vector<Shape> shapes;
  for (const Input& input : inputs) shapes.push_back(input.shape);
  const size_t n_ops = state_->program.ops.size();
  if (milliseconds) std::fill(milliseconds, milliseconds + n_ops, 0.0f);
  const std::shared_ptr<const Plan> plan = state_->plan_for(one_image(shapes));
  Runner runner(state_->program, *state_->kernels, state_->packed, *plan, &state_->arenas, parallel);
  for (int64_t image = 0; image < inputs[0].shape.n; ++image) {
    runner.pack(inputs, image);
    for (size_t i = 0; i < n_ops; ++i) {
      const auto start = std::chrono::steady_clock::now();
      runner.compute(i);
      if (milliseconds)
        milliseconds[i] += std::chrono::duration<float, std::milli>(std::chrono::steady_clock::now() - start).count();
    }
    runner.unpack(outputs, image);
  }
}

}  // namespace wcr
