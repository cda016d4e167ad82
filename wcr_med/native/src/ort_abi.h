// The part of ONNX Runtime's C ABI that a custom operator needs, API version 17 (ONNX Runtime 1.17 and later).
//
// The ABI is append-only: a table of functions told apart by their place, and a struct of callbacks whose first field
// says which version its author knew. Declared here, it makes the build need neither ONNX Runtime's headers nor its
// library. Places are counted in `ort_api_1_to_*` of onnxruntime/core/session/onnxruntime_c_api.cc, whose assertions
// fix the last place of each version: 1 ends at 101, 7 at 161, 8 at 169, 14 at 238, 15 at 254, 17 at 275.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct OrtStatus;
struct OrtValue;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtTensorTypeAndShapeInfo;
struct OrtShapeInferContext;

// The table of functions; `wcr::ort` names those we call.
struct OrtApi {
  void (*functions[276])();
};

struct OrtApiBase {
  const OrtApi* (*get_api)(uint32_t version);
  const char* (*get_version)();
};

// Callbacks of an operator, in the order of version 17. Later versions add fields behind the last.
struct OrtCustomOp {
  uint32_t version;
  void* (*create_kernel)(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info);  // replaced by _v2
  const char* (*get_name)(const OrtCustomOp* op);
  const char* (*get_execution_provider_type)(const OrtCustomOp* op);  // null: the CPU
  int (*get_input_type)(const OrtCustomOp* op, size_t index);
  size_t (*get_input_type_count)(const OrtCustomOp* op);
  int (*get_output_type)(const OrtCustomOp* op, size_t index);
  size_t (*get_output_type_count)(const OrtCustomOp* op);
  void (*kernel_compute)(void* kernel, OrtKernelContext* context);  // replaced by _v2
  void (*kernel_destroy)(void* kernel);
  int (*get_input_characteristic)(const OrtCustomOp* op, size_t index);
  int (*get_output_characteristic)(const OrtCustomOp* op, size_t index);
  int (*get_input_memory_type)(const OrtCustomOp* op, size_t index);
  int (*get_variadic_input_min_arity)(const OrtCustomOp* op);
  int (*get_variadic_input_homogeneity)(const OrtCustomOp* op);
  int (*get_variadic_output_min_arity)(const OrtCustomOp* op);
  int (*get_variadic_output_homogeneity)(const OrtCustomOp* op);
  OrtStatus* (*create_kernel_v2)(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel);
  OrtStatus* (*kernel_compute_v2)(void* kernel, OrtKernelContext* context);
  OrtStatus* (*infer_output_shape)(const OrtCustomOp* op, OrtShapeInferContext* context);  // null: unknown shapes
  int (*get_start_version)(const OrtCustomOp* op);
  int (*get_end_version)(const OrtCustomOp* op);
};

}  // extern "C"

namespace wcr::ort {

constexpr uint32_t kApiVersion = 17;

// Error codes.
constexpr int kFail = 1, kInvalidArgument = 2;

// Element types of tensors; those of ONNX's TensorProto.
constexpr int kUndefined = 0, kFloat = 1, kUint8 = 2, kInt8 = 3, kInt64 = 7, kFloat16 = 10;

// How often an input or output occurs, and where an input lies.
constexpr int kVariadic = 2, kMemoryDefault = 0;

// A function of the table: its place and its type.
template <size_t index, typename Result, typename... Arguments>
struct Function {
  static Result call(const OrtApi* api, Arguments... arguments) {
    return reinterpret_cast<Result (*)(Arguments...)>(api->functions[index])(arguments...);
  }
};

using CreateStatus = Function<0, OrtStatus*, int, const char*>;
using GetErrorMessage = Function<2, const char*, const OrtStatus*>;
using CreateCustomOpDomain = Function<26, OrtStatus*, const char*, OrtCustomOpDomain**>;
using CustomOpDomainAdd = Function<27, OrtStatus*, OrtCustomOpDomain*, const OrtCustomOp*>;
using AddCustomOpDomain = Function<28, OrtStatus*, OrtSessionOptions*, OrtCustomOpDomain*>;
using IsTensor = Function<50, OrtStatus*, const OrtValue*, int*>;
using GetTensorMutableData = Function<51, OrtStatus*, OrtValue*, void**>;
using GetTensorElementType = Function<60, OrtStatus*, const OrtTensorTypeAndShapeInfo*, int*>;
using GetDimensionsCount = Function<61, OrtStatus*, const OrtTensorTypeAndShapeInfo*, size_t*>;
using GetDimensions = Function<62, OrtStatus*, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t>;
using GetTensorTypeAndShape = Function<65, OrtStatus*, const OrtValue*, OrtTensorTypeAndShapeInfo**>;
using KernelInfoGetAttributeInt64 = Function<86, OrtStatus*, const OrtKernelInfo*, const char*, int64_t*>;
using KernelContextGetInput = Function<90, OrtStatus*, const OrtKernelContext*, size_t, const OrtValue**>;
using KernelContextGetOutput =
    Function<91, OrtStatus*, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**>;
using ReleaseStatus = Function<93, void, OrtStatus*>;
using ReleaseTensorTypeAndShapeInfo = Function<99, void, OrtTensorTypeAndShapeInfo*>;
// Given no room, the array's size comes back with success.
using KernelInfoGetAttributeArrayInt64 =
    Function<163, OrtStatus*, const OrtKernelInfo*, const char*, int64_t*, size_t*>;
using KernelInfoGetInputCount = Function<230, OrtStatus*, const OrtKernelInfo*, size_t*>;
using KernelInfoGetOutputCount = Function<231, OrtStatus*, const OrtKernelInfo*, size_t*>;
using KernelInfoGetConstantInputTensor = Function<249, OrtStatus*, const OrtKernelInfo*, size_t, int*, const OrtValue**>;
// Runs body(context, i) for i in [0, n) on the session's own threads; n_batches 0 leaves the partition to them.
using KernelContextParallelFor = Function<274, OrtStatus*, const OrtKernelContext*, void (*)(void* context, size_t i),
                                          size_t, size_t, void*>;

}  // namespace wcr::ort
