// An 8-bit NIfTI-1 volume as axial slices, and its mask on the file's own grid. Needs zlib.
//
// Voxels are reordered, never interpolated. What could give a wrong mask is refused: anything but four dimensions with
// 3 channels last, unsigned 8-bit, unscaled; no place in space, or axes more than 30 degrees off those of the body.
// Functions throw std::runtime_error with one line to show.

#pragma once

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace nifti {

constexpr size_t kHeaderBytes = 348, kFirstVoxel = 352;

// The header as it lies in the file, in the byte order of the machine that wrote it.
struct Header {
  std::vector<uint8_t> bytes = std::vector<uint8_t>(kFirstVoxel);  // with the 4 bytes that follow
  bool swapped = false;

  template <typename T>
  T get(size_t offset) const {
    uint8_t raw[sizeof(T)];
    std::copy_n(&bytes[offset], sizeof(T), raw);
    if (swapped) std::reverse(raw, raw + sizeof(T));
    T value;
    std::memcpy(&value, raw, sizeof(T));
    return value;
  }

  template <typename T>
  void set(size_t offset, T value) {
    std::memcpy(&bytes[offset], &value, sizeof(T));
    if (swapped) std::reverse(&bytes[offset], &bytes[offset] + sizeof(T));
  }
};

// Slices from foot to head, rows from front to back, columns from the patient's right to left.
struct Scan {
  Header header;
  int64_t slices = 0, rows = 0, columns = 0;
  int64_t first = 0, slice_step = 0, row_step = 0, column_step = 0;  // where they lie among the voxels of the file
  std::vector<uint8_t> voxels;                                       // slices x rows x columns x 3

  int64_t place(int64_t slice, int64_t row, int64_t column) const {
    return first + slice * slice_step + row * row_step + column * column_step;
  }
};

inline bool is_nifti(const std::string& path) {
  const auto ends = [&](const std::string& end) {
    return path.size() > end.size() && path.compare(path.size() - end.size(), end.size(), end) == 0;
  };
  return ends(".nii") || ends(".nii.gz");
}

// The whole file, unpacked if it is packed; zlib compares the checksum at its end.
inline std::vector<uint8_t> read_bytes(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error(path + ": cannot be opened");
  constexpr size_t kBlock = 1 << 20;
  std::vector<uint8_t> content;
  size_t size = 0;
  int got = 0;
  do {
    content.resize(size + kBlock);
    got = gzread(file, content.data() + size, kBlock);
    size += got > 0 ? got : 0;
  } while (got > 0);
  content.resize(size);
  if ((gzclose(file) != Z_OK) | (got < 0)) throw std::runtime_error(path + ": damaged, cannot be unpacked");
  return content;
}

// Where each axis of voxels leads: [axis][x, y, z], x to the patient's right, y to the front, z to the head.
inline void directions(const std::string& path, const Header& header, double (&axes)[3][3]) {
  const int sform = header.get<int16_t>(254), qform = header.get<int16_t>(252);
  if (std::min(sform, qform) < 0 || std::max(sform, qform) > 5 || (sform == 0 && qform == 0))
    throw std::runtime_error(path + ": no place in space (sform_code, qform_code): left and right are unknown");
  if (sform > 0) {
    for (int axis = 0; axis < 3; ++axis)
      for (int world = 0; world < 3; ++world) axes[axis][world] = header.get<float>(280 + 16 * world + 4 * axis);
    return;
  }
  const double b = header.get<float>(256), c = header.get<float>(260), d = header.get<float>(264);
  const double rest = 1 - (b * b + c * c + d * d), a = std::sqrt(std::max(rest, 0.0));
  if (!(rest > -1e-6)) throw std::runtime_error(path + ": its quaternion is no rotation");
  const double side = header.get<float>(76) == -1 ? -1 : 1;  // of a left-handed file
  const double rotation[3][3] = {{a * a + b * b - c * c - d * d, 2 * (b * c + a * d), 2 * (b * d - a * c)},
                                 {2 * (b * c - a * d), a * a + c * c - b * b - d * d, 2 * (c * d + a * b)},
                                 {2 * (b * d + a * c), 2 * (c * d - a * b), a * a + d * d - b * b - c * c}};
  for (int axis = 0; axis < 3; ++axis)
    for (int world = 0; world < 3; ++world) axes[axis][world] = (axis == 2 ? side : 1) * rotation[axis][world];
}

// Which way through the voxels gives axial slices.
inline void place(const std::string& path, Scan& scan) {
  double axes[3][3];
  directions(path, scan.header, axes);
  int64_t sizes[3] = {0, 0, 0}, steps[3] = {0, 0, 0}, stride = 1;
  for (int axis = 0; axis < 3; ++axis) {
    const double* axis_of = axes[axis];
    const double length = std::hypot(axis_of[0], axis_of[1], axis_of[2]);
    const auto shorter = [](double left, double right) { return std::fabs(left) < std::fabs(right); };
    const int world = std::max_element(axis_of, axis_of + 3, shorter) - axis_of;
    // Within 30 degrees every way of naming the axes gives the same answer, sheared or not. NaN is refused, too.
    const bool clear = std::isfinite(length) && length > 0 && std::fabs(axis_of[world]) >= 0.866 * length;
    if (!clear || sizes[world] != 0)
      throw std::runtime_error(path + ": its axes are more than 30 degrees off those of the body (affine)");
    const int64_t size = scan.header.get<int16_t>(42 + 2 * axis);
    const bool wanted = (axis_of[world] > 0) == (world == 2);  // to the left, to the back, to the head
    sizes[world] = size;
    steps[world] = wanted ? stride : -stride;
    if (!wanted) scan.first += (size - 1) * stride;
    stride *= size;
  }
  scan.columns = sizes[0], scan.rows = sizes[1], scan.slices = sizes[2];
  scan.column_step = steps[0], scan.row_step = steps[1], scan.slice_step = steps[2];
}

// Offset of the first voxel, once the header is sound and the file is as long as it says.
inline size_t check(const std::string& path, const Header& header, size_t file_size) {
  const auto refuse = [&](const std::string& why) { throw std::runtime_error(path + ": " + why); };
  const int n_dimensions = header.get<int16_t>(40), n_channels = header.get<int16_t>(48);
  if (n_dimensions != 4) refuse(std::to_string(n_dimensions) + " dimensions, needs 4: three of space, then channels");
  if (n_channels != 3) refuse(std::to_string(n_channels) + " channels on its last axis, needs 3");
  if (header.get<int16_t>(70) != 2 || header.get<int16_t>(72) != 8)
    refuse("its voxels are not unsigned 8-bit; `wcr-med infer` takes any real numbers");
  const float slope = header.get<float>(112), intercept = header.get<float>(116);
  if (std::isfinite(slope) && slope != 0 && !(slope == 1 && intercept == 0))
    refuse("its voxels are scaled (scl_slope, scl_inter); `wcr-med infer` takes it");
  size_t n_bytes = n_channels;
  for (int axis = 0; axis < 3; ++axis) {
    const int size = header.get<int16_t>(42 + 2 * axis);
    if (size < 1 || !(header.get<float>(80 + 4 * axis) > 0)) refuse("voxels without number or size (dim, pixdim)");
    n_bytes *= size;
  }
  const float offset = header.get<float>(108);
  if (!(offset >= kFirstVoxel)) refuse("its voxels would start within the header (vox_offset)");
  if (!(double(offset) + double(n_bytes) <= double(file_size))) refuse("it ends before its last voxel; copy it again");
  return size_t(offset);
}

inline Scan read(const std::string& path) {
  const std::vector<uint8_t> content = read_bytes(path);
  Scan scan;
  std::copy_n(content.begin(), std::min(content.size(), kFirstVoxel), scan.header.bytes.begin());
  scan.header.swapped = scan.header.get<int32_t>(0) != int32_t(kHeaderBytes);
  if (scan.header.get<int32_t>(0) != int32_t(kHeaderBytes) || std::memcmp(&scan.header.bytes[344], "n+1", 4) != 0)
    throw std::runtime_error(path + ": not a NIfTI-1 file in one piece");
  const uint8_t* voxels = content.data() + check(path, scan.header, content.size());
  place(path, scan);
  const int64_t n_voxels = scan.slices * scan.rows * scan.columns;
  scan.voxels.reserve(3 * n_voxels);
  for (int64_t slice = 0; slice < scan.slices; ++slice)
    for (int64_t row = 0; row < scan.rows; ++row)
      for (int64_t column = 0; column < scan.columns; ++column)
        for (int64_t channel = 0; channel < 3; ++channel)
          scan.voxels.push_back(voxels[channel * n_voxels + scan.place(slice, row, column)]);
  return scan;
}

// Writes slices x rows x columns of 0 and 1 as .nii.gz. Of the input's header only the geometry is kept: its free text
// may name a patient.
inline void write(const std::string& path, const Scan& scan, const uint8_t* mask) {
  Header header;
  header.swapped = scan.header.swapped;
  const auto copy = [&](size_t begin, size_t end) {
    std::copy(&scan.header.bytes[begin], &scan.header.bytes[end], &header.bytes[begin]);
  };
  header.set<int32_t>(0, kHeaderBytes);
  for (int axis = 0; axis < 8; ++axis) header.set<int16_t>(40 + 2 * axis, 1);
  header.set<int16_t>(40, 3);
  copy(42, 48);                // dim: of space
  header.set<int16_t>(70, 2);  // datatype: unsigned 8-bit
  header.set<int16_t>(72, 8);  // bitpix
  copy(76, 92);                // pixdim: of space
  header.set<float>(108, kFirstVoxel);
  header.set<float>(112, 1);                       // scl_slope
  header.bytes[123] = scan.header.bytes[123] & 7;  // unit of length
  copy(252, 328);                                  // qform and sform
  std::memcpy(&header.bytes[344], "n+1", 4);

  std::vector<uint8_t> content = header.bytes;
  content.resize(kFirstVoxel + scan.slices * scan.rows * scan.columns);
  for (int64_t slice = 0; slice < scan.slices; ++slice)
    for (int64_t row = 0; row < scan.rows; ++row)
      for (int64_t column = 0; column < scan.columns; ++column)
        content[kFirstVoxel + scan.place(slice, row, column)] = *mask++;

  gzFile file = gzopen(path.c_str(), "wb");
  if (file == nullptr) throw std::runtime_error(path + ": cannot be written");
  const bool whole = gzwrite(file, content.data(), content.size()) == int64_t(content.size());
  if ((gzclose(file) != Z_OK) | !whole) {
    std::remove(path.c_str());
    throw std::runtime_error(path + ": cannot be written whole");
  }
}

}  // namespace nifti
