// Calls into ONNX Runtime and back: its statuses become exceptions here, and ours become statuses there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "network.h"
#include "ort_abi.h"

namespace wcr {

// Calls a function of ONNX Runtime; its complaint becomes an Error.
template <typename F, typename... Arguments>
void call(const OrtApi* api, Arguments... arguments) {
  OrtStatus* status = F::call(api, arguments...);
  if (status == nullptr) return;
  const std::string message = ort::GetErrorMessage::call(api, status);
  ort::ReleaseStatus::call(api, status);
  throw Error(message);
}

// Runs `body` for ONNX Runtime, which must see no exception.
template <typename Body>
OrtStatus* guarded(const OrtApi* api, Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const Error& error) {
    return ort::CreateStatus::call(api, ort::kInvalidArgument, (std::string("wcr_med.Network: ") + error.what()).c_str());
  } catch (const std::bad_alloc&) {
    return ort::CreateStatus::call(api, ort::kFail, "wcr_med.Network: not enough memory");
  } catch (const std::exception& error) {
    return ort::CreateStatus::call(api, ort::kFail, (std::string("wcr_med.Network: ") + error.what()).c_str());
  } catch (...) {
    return ort::CreateStatus::call(api, ort::kFail, "wcr_med.Network: unknown failure");
  }
}

// An ONNX Runtime tensor's element type and shape.
struct TensorInfo {
  int type = ort::kUndefined;
  std::vector<int64_t> shape;
};

// Throws Error if the value is no tensor.
inline TensorInfo info_of(const OrtApi* api, const OrtValue* value) {
  int is_tensor = 0;
  call<ort::IsTensor>(api, value, &is_tensor);
  if (!is_tensor) throw Error("is not a tensor");
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  call<ort::GetTensorTypeAndShape>(api, value, &raw);
  const auto release = [api](OrtTensorTypeAndShapeInfo* info) { ort::ReleaseTensorTypeAndShapeInfo::call(api, info); };
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(release)> owner(raw, release);
  TensorInfo info;
  call<ort::GetTensorElementType>(api, raw, &info.type);
  size_t rank = 0;
  call<ort::GetDimensionsCount>(api, raw, &rank);
  info.shape.resize(rank);
  call<ort::GetDimensions>(api, raw, info.shape.data(), rank);
  return info;
}

inline void* data_of(const OrtApi* api, const OrtValue* value) {
  void* data = nullptr;
  call<ort::GetTensorMutableData>(api, const_cast<OrtValue*>(value), &data);
  return data;
}

}  // namespace wcr
