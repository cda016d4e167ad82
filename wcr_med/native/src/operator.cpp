// The operator `wcr_med::Network` of ONNX Runtime: one node, one fused network.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "network.h"
#include "ort_abi.h"
#include "ort_calls.h"
#include "parse.h"

#if defined(_WIN32)
#define WCR_EXPORT __declspec(dllexport)
#else
#define WCR_EXPORT __attribute__((visibility("default")))
#endif

namespace wcr {
namespace {

constexpr const char* kDomain = "wcr_med";
constexpr const char* kName = "Network";

Type type_of(int element_type) {
  switch (element_type) {
    case ort::kFloat:
      return Type::float32;
    case ort::kFloat16:
      return Type::float16;
    case ort::kInt8:
      return Type::int8;
    case ort::kUint8:
      return Type::uint8;
    case ort::kInt64:
      return Type::int64;
    default:
      return Type::other;
  }
}

Tensor constant(const OrtApi* api, const OrtKernelInfo* info, size_t index) {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  call<ort::KernelInfoGetConstantInputTensor>(api, info, index, &is_constant, &value);
  if (!is_constant || value == nullptr) throw Error("is not a constant");
  const TensorInfo found = info_of(api, value);
  size_t size = 1;  // ONNX Runtime holds the data, so their number does not overflow
  for (const int64_t extent : found.shape) size *= static_cast<size_t>(extent);
  return Tensor{type_of(found.type), data_of(api, value), size};
}

// Calls the getter of an attribute, with the attribute's name in front of complaints.
template <typename F, typename... Arguments>
void get_attribute(const OrtApi* api, const OrtKernelInfo* info, const char* name, Arguments... arguments) {
  try {
    call<F>(api, info, name, arguments...);
  } catch (const Error& error) {
    throw Error(std::string("attribute ") + name + ": " + error.what());
  }
}

bool profile_of(const OrtApi* api, const OrtKernelInfo* info) {
  int64_t value = 0;
  OrtStatus* missing = ort::KernelInfoGetAttributeInt64::call(api, info, "profile", &value);
  if (missing) {
    ort::ReleaseStatus::call(api, missing);
    return false;
  }
  if (value != 0 && value != 1) throw Error("attribute profile: " + std::to_string(value) + " is not 0 or 1");
  return value == 1;
}

std::vector<int64_t> program_words(const OrtApi* api, const OrtKernelInfo* info) {
  size_t size = 0;
  get_attribute<ort::KernelInfoGetAttributeArrayInt64>(api, info, "program", nullptr, &size);
  if (size > static_cast<size_t>(kMaxWords)) throw Error("the program is too long");
  std::vector<int64_t> words(size);
  if (size) get_attribute<ort::KernelInfoGetAttributeArrayInt64>(api, info, "program", words.data(), &size);
  return words;
}

// ONNX Runtime's threads for this call.
class Threads {
 public:
  Threads(const OrtApi* api, const OrtKernelContext* context) : api_(api), context_(context) {}

  Parallel parallel() { return Parallel{&Threads::run, this}; }

 private:
  static void run(void* self_, void (*body)(void* context, size_t i), void* context, size_t n) {
    const Threads* self = static_cast<const Threads*>(self_);
    // As many batches as tasks: each goes to the next free thread, where fewer would be fixed shares.
    call<ort::KernelContextParallelFor>(self->api_, self->context_, body, n, n, context);
  }

  const OrtApi* api_;
  const OrtKernelContext* context_;
};

// One node of a session.
class Node {
 public:
  Node(const OrtApi* api, const OrtKernelInfo* info) : api_(api) {
    size_t n_tensors = 0, n_outputs = 0;
    call<ort::KernelInfoGetInputCount>(api, info, &n_tensors);
    call<ort::KernelInfoGetOutputCount>(api, info, &n_outputs);
    int64_t n_inputs = 0;
    get_attribute<ort::KernelInfoGetAttributeInt64>(api, info, "inputs", &n_inputs);
    if (n_inputs < 1 || n_inputs > static_cast<int64_t>(n_tensors)) {
      throw Error("attribute inputs: " + std::to_string(n_inputs) + ", but the node has " + std::to_string(n_tensors));
    }
    n_inputs_ = static_cast<size_t>(n_inputs);
    profile_ = profile_of(api, info);
    Program program = parse_program(program_words(api, info), n_inputs, constants(info, n_tensors));
    n_ops_ = program.ops.size();
    if (n_outputs != program.outputs.size() + (profile_ ? 1 : 0)) {
      throw Error("the node has " + std::to_string(n_outputs) + " outputs, its program " +
                  std::to_string(program.outputs.size()) + (profile_ ? " and the profile" : ""));
    }
    const char* forced = std::getenv("WCR_MED_ISA");
    network_ = std::make_unique<Network>(std::move(program), forced ? forced : "");
  }

  void compute(OrtKernelContext* context) const {
    std::vector<Input> inputs;
    std::vector<Shape> shapes;
    for (size_t i = 0; i < n_inputs_; ++i) {
      inputs.push_back(input(context, i));
      shapes.push_back(inputs.back().shape);
    }
    std::vector<float*> outputs;
    bool empty = true;
    for (const Shape& shape : network_->output_shapes(shapes)) {
      outputs.push_back(output(context, outputs.size(), {shape.n, shape.c, shape.h, shape.w}));
      empty = empty && (shape.n == 0 || shape.c == 0 || shape.h == 0 || shape.w == 0);
    }
    float* milliseconds = profile_ ? output(context, outputs.size(), {static_cast<int64_t>(n_ops_)}) : nullptr;
    if (milliseconds) std::fill(milliseconds, milliseconds + n_ops_, 0.0f);
    if (empty) return;
    Threads threads(api_, context);
    network_->run(inputs, outputs, threads.parallel(), milliseconds);
  }

  const OrtApi* api() const { return api_; }

 private:
  Tensors constants(const OrtKernelInfo* info, size_t n_tensors) const {
    std::vector<Tensor> tensors(n_tensors);
    for (size_t i = n_inputs_; i < n_tensors; ++i) {
      try {
        tensors[i] = constant(api_, info, i);
      } catch (const Error& error) {
        throw Error("input " + std::to_string(i) + " " + error.what());
      }
    }
    return Tensors(std::move(tensors), n_inputs_);
  }

  Input input(const OrtKernelContext* context, size_t index) const {
    const OrtValue* value = nullptr;
    call<ort::KernelContextGetInput>(api_, context, index, &value);
    if (value == nullptr) throw Error("input " + std::to_string(index) + " is missing");
    const TensorInfo info = info_of(api_, value);
    if (info.type != ort::kFloat || info.shape.size() != 4) {
      throw Error("input " + std::to_string(index) + " must be float32 of rank 4 (N, C, H, W)");
    }
    return Input{static_cast<const float*>(data_of(api_, value)),
                 Shape{info.shape[0], info.shape[1], info.shape[2], info.shape[3]}};
  }

  float* output(OrtKernelContext* context, size_t index, const std::vector<int64_t>& shape) const {
    OrtValue* value = nullptr;
    call<ort::KernelContextGetOutput>(api_, context, index, shape.data(), shape.size(), &value);
    if (value == nullptr) throw Error("output " + std::to_string(index) + " is missing");
    return static_cast<float*>(data_of(api_, value));
  }

  const OrtApi* api_;
  size_t n_inputs_ = 0, n_ops_ = 0;
  bool profile_ = false;
  std::unique_ptr<Network> network_;
};

const OrtCustomOp* network_op() {
  static const OrtCustomOp op = [] {
    OrtCustomOp callbacks{};
    callbacks.version = ort::kApiVersion;
    callbacks.get_name = [](const OrtCustomOp*) { return kName; };
    callbacks.get_execution_provider_type = [](const OrtCustomOp*) -> const char* { return nullptr; };
    callbacks.get_input_type = [](const OrtCustomOp*, size_t) { return ort::kUndefined; };
    callbacks.get_input_type_count = [](const OrtCustomOp*) -> size_t { return 1; };
    callbacks.get_output_type = [](const OrtCustomOp*, size_t) { return ort::kFloat; };
    callbacks.get_output_type_count = [](const OrtCustomOp*) -> size_t { return 1; };
    callbacks.kernel_destroy = [](void* node) { delete static_cast<Node*>(node); };
    callbacks.get_input_characteristic = [](const OrtCustomOp*, size_t) { return ort::kVariadic; };
    callbacks.get_output_characteristic = [](const OrtCustomOp*, size_t) { return ort::kVariadic; };
    callbacks.get_input_memory_type = [](const OrtCustomOp*, size_t) { return ort::kMemoryDefault; };
    callbacks.get_variadic_input_min_arity = [](const OrtCustomOp*) { return 1; };
    callbacks.get_variadic_input_homogeneity = [](const OrtCustomOp*) { return 0; };
    callbacks.get_variadic_output_min_arity = [](const OrtCustomOp*) { return 1; };
    callbacks.get_variadic_output_homogeneity = [](const OrtCustomOp*) { return 1; };
    callbacks.create_kernel_v2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
      return guarded(api, [&] { *kernel = new Node(api, info); });
    };
    callbacks.kernel_compute_v2 = [](void* kernel, OrtKernelContext* context) {
      const Node* node = static_cast<const Node*>(kernel);
      return guarded(node->api(), [&] { node->compute(context); });
    };
    return callbacks;
  }();
  return &op;
}

// The domain, made once: sessions refer to it for as long as they live, so it is never released.
OrtCustomOpDomain* domain_of(const OrtApi* api) {
  static std::mutex mutex;
  static std::vector<std::pair<const OrtApi*, OrtCustomOpDomain*>> domains;
  const std::lock_guard<std::mutex> lock(mutex);
  for (const auto& known : domains) {
    if (known.first == api) return known.second;
  }
  OrtCustomOpDomain* domain = nullptr;
  call<ort::CreateCustomOpDomain>(api, kDomain, &domain);
  call<ort::CustomOpDomainAdd>(api, domain, network_op());
  domains.emplace_back(api, domain);
  return domain;
}

}  // namespace
}  // namespace wcr

extern "C" WCR_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->get_api(wcr::ort::kApiVersion);
  if (api == nullptr) {  // older than the ABI that we were written for; version 1 can still say so
    return wcr::ort::CreateStatus::call(base->get_api(1), wcr::ort::kFail,
                                        "wcr_med.Network: ONNX Runtime 1.17 or later is needed");
  }
  return wcr::guarded(api, [&] { wcr::call<wcr::ort::AddCustomOpDomain>(api, options, wcr::domain_of(api)); });
}
