// Segment one patient with the C API of ONNX Runtime.
//
//   g++ -std=c++17 -O2 segment.cpp -I$ORT/include -L$ORT/lib -lonnxruntime -lpng -ltiff -lz -o segment
//   LD_LIBRARY_PATH=$ORT/lib ./segment MODEL.standalone.onnx OUT SLICE_1.tif SLICE_2.tif ...
//   LD_LIBRARY_PATH=$ORT/lib ./segment MODEL.standalone.onnx OUT SCAN.nii.gz
//
// ONNX Runtime's headers and library come with its release archive, its NuGet package, or Debian's libonnxruntime-dev
// ($ORT is where they were unpacked). libpng-dev, libtiff-dev and zlib1g-dev read and write images; without tiffio.h,
// no TIFF.
//
// MODEL is written by `wcr-med export --standalone`; it holds preprocessing and threshold. The slices are those of one
// patient, 8-bit RGB, all of them, in order: intensities are measured over the whole volume. Masks of 0 and 255 are
// written into the folder OUT, which must exist, as SLICE_1_mask.png ... A NIfTI file is unsigned 8-bit with the three
// channels on its last axis (see nifti.h); its mask of 0 and 1 is SCAN_mask.nii.gz, on the file's own grid.
//
// For research use only. Not a medical device.

#include <onnxruntime_c_api.h>
#include <png.h>
#if __has_include(<tiffio.h>)
#include <tiffio.h>
#endif

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "nifti.h"

namespace {

[[noreturn]] void stop(const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  std::exit(1);
}

// One 8-bit RGB image: rows x columns x 3.
struct Image {
  int64_t rows = 0, columns = 0;
  std::vector<uint8_t> pixels;
};

// Programs differ in whether they turn an image by its orientation tag: its mask would lie wrong in one half of them.
void check_upright(const std::string& path, uint32_t orientation) {
  if (orientation >= 2 && orientation <= 8)
    stop(path + ": to be turned before it is shown (orientation tag); save it upright");
}

// The orientation tag of an EXIF block, 1 where there is none.
uint32_t orientation_of(const uint8_t* exif, size_t size) {
  const bool little = size > 0 && exif[0] == 'I';
  const auto number = [&](size_t start, size_t bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i < bytes && start + i < size; ++i)
      value |= uint32_t(exif[start + i]) << 8 * (little ? i : bytes - 1 - i);
    return value;
  };
  const size_t table = number(4, 4);
  for (size_t entry = 0, count = number(table, 2); entry < count; ++entry)
    if (number(table + 2 + 12 * entry, 2) == 274) return number(table + 10 + 12 * entry, 2);
  return 1;
}

Image read_png(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) stop(path + ": cannot be opened");
  png_structp png = png_create_read_struct(
      PNG_LIBPNG_VER_STRING, nullptr, [](png_structp, png_const_charp why) { stop(std::string("PNG: ") + why); }, nullptr);
  png_infop info = png_create_info_struct(png);
  png_init_io(png, file);
  png_read_info(png, info);
  if (png_get_bit_depth(png, info) != 8 || png_get_color_type(png, info) != PNG_COLOR_TYPE_RGB)
    stop(path + ": not an 8-bit RGB image");
  Image image{png_get_image_height(png, info), png_get_image_width(png, info), {}};
  image.pixels.resize(image.rows * image.columns * 3);
  std::vector<png_bytep> lines;
  for (int64_t row = 0; row < image.rows; ++row) lines.push_back(image.pixels.data() + row * image.columns * 3);
  png_read_image(png, lines.data());
  png_read_end(png, info);  // the EXIF block may stand after the pixels
  png_uint_32 exif_size = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(png, info, &exif_size, &exif)) check_upright(path, orientation_of(exif, exif_size));
  png_destroy_read_struct(&png, &info, nullptr);
  std::fclose(file);
  return image;
}

#if __has_include(<tiffio.h>)
Image read_tiff(const std::string& path) {
  TIFF* tiff = TIFFOpen(path.c_str(), "r");
  if (tiff == nullptr) stop(path + ": not a TIFF file");
  uint32_t rows = 0, columns = 0;
  uint16_t bits = 1, samples = 1, planes = PLANARCONFIG_CONTIG, orientation = 1;
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &rows);
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &columns);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planes);
  if (bits != 8 || samples != 3 || planes != PLANARCONFIG_CONTIG || TIFFIsTiled(tiff))
    stop(path + ": not an 8-bit RGB image of whole rows");
  TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
  check_upright(path, orientation);
  Image image{rows, columns, std::vector<uint8_t>(size_t(rows) * columns * 3)};
  for (uint32_t row = 0; row < rows; ++row)
    if (TIFFReadScanline(tiff, image.pixels.data() + size_t(row) * columns * 3, row) < 0) stop(path + ": damaged");
  TIFFClose(tiff);
  return image;
}
#endif

Image read_image(const std::string& path) {
#if __has_include(<tiffio.h>)
  std::string suffix = std::filesystem::path(path).extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) { return std::tolower(c); });
  if (suffix == ".tif" || suffix == ".tiff") return read_tiff(path);
#endif
  return read_png(path);
}

void write_mask(const std::string& path, const uint8_t* mask, int64_t rows, int64_t columns) {
  std::vector<uint8_t> grey(mask, mask + rows * columns);
  for (uint8_t& value : grey) value *= 255;
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = columns;
  image.height = rows;
  image.format = PNG_FORMAT_GRAY;
  if (!png_image_write_to_file(&image, path.c_str(), 0, grey.data(), 0, nullptr)) stop(path + ": " + image.message);
}

// 8-bit RGB slices of one size: slices x rows x columns x 3.
struct Volume {
  int64_t slices = 0, rows = 0, columns = 0;
  std::vector<uint8_t> voxels;
};

Volume read_slices(const std::vector<std::string>& paths) {
  Volume volume;
  for (const std::string& path : paths) {
    const Image image = read_image(path);
    if (volume.slices++ == 0) volume.rows = image.rows, volume.columns = image.columns;
    if (image.rows != volume.rows || image.columns != volume.columns)
      stop(path + ": of another size than the first slice");
    volume.voxels.insert(volume.voxels.end(), image.pixels.begin(), image.pixels.end());
  }
  return volume;
}

const OrtApi* ort = nullptr;

void check(OrtStatus* status) {
  if (status != nullptr) stop(ort->GetErrorMessage(status));
}

// slices x rows x columns of 0 and 1.
std::vector<uint8_t> segment(const char* model, Volume& volume) {
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (ort == nullptr) stop("the library of ONNX Runtime is older than its header");
  OrtEnv* environment = nullptr;
  OrtSessionOptions* options = nullptr;
  OrtSession* session = nullptr;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "segment", &environment));
  check(ort->CreateSessionOptions(&options));
  check(ort->AddSessionConfigEntry(options, "session.set_denormal_as_zero", "1"));  // faster where weights were pruned
  check(ort->CreateSession(environment, model, options, &session));

  OrtMemoryInfo* memory = nullptr;
  OrtValue *image = nullptr, *result = nullptr;
  const int64_t shape[4] = {volume.slices, volume.rows, volume.columns, 3};
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  check(ort->CreateTensorWithDataAsOrtValue(memory, volume.voxels.data(), volume.voxels.size(), shape, 4,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &image));
  const char *input = "image", *output = "mask";
  const OrtValue* given = image;
  check(ort->Run(session, nullptr, &input, &given, 1, &output, 1, &result));
  void* data = nullptr;
  check(ort->GetTensorMutableData(result, &data));
  const uint8_t* first = static_cast<const uint8_t*>(data);
  const std::vector<uint8_t> mask(first, first + volume.slices * volume.rows * volume.columns);

  ort->ReleaseValue(result);
  ort->ReleaseValue(image);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseSession(session);
  ort->ReleaseSessionOptions(options);
  ort->ReleaseEnv(environment);
  return mask;
}

void report(const std::vector<uint8_t>& mask, int64_t slices, const std::string& out) {
  std::printf("%lld voxels of lesion in %lld slices; see %s\n", std::accumulate(mask.begin(), mask.end(), 0LL),
              static_cast<long long>(slices), out.c_str());
}

void segment_slices(const char* model, const std::string& out, const std::vector<std::string>& paths) {
  std::vector<std::string> stems;
  for (const std::string& path : paths) {
    stems.push_back(std::filesystem::path(path).stem().string());
    if (std::count(stems.begin(), stems.end(), stems.back()) > 1) stop(path + ": two slices have this name");
  }
  Volume volume = read_slices(paths);
  const std::vector<uint8_t> mask = segment(model, volume);
  const int64_t area = volume.rows * volume.columns;
  for (size_t slice = 0; slice < paths.size(); ++slice)
    write_mask(out + "/" + stems[slice] + "_mask.png", mask.data() + slice * area, volume.rows, volume.columns);
  report(mask, volume.slices, out);
}

void segment_nifti(const char* model, const std::string& out, const std::string& path) {
  nifti::Scan scan = nifti::read(path);
  Volume volume{scan.slices, scan.rows, scan.columns, std::move(scan.voxels)};
  const std::vector<uint8_t> mask = segment(model, volume);
  const std::string name = std::filesystem::path(path).filename().string();
  nifti::write(out + "/" + name.substr(0, name.rfind(".nii")) + "_mask.nii.gz", scan, mask.data());
  report(mask, volume.slices, out);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) stop("usage: segment MODEL.standalone.onnx OUT SLICE... (or one NIfTI file)");
  const std::vector<std::string> paths(arguments + 3, arguments + count);
  const bool any_nifti = std::any_of(paths.begin(), paths.end(), nifti::is_nifti);
  if (any_nifti && paths.size() > 1) stop("give one NIfTI file alone, with all channels, or slices");
  try {
    if (any_nifti)
      segment_nifti(arguments[1], arguments[2], paths[0]);
    else
      segment_slices(arguments[1], arguments[2], paths);
  } catch (const std::exception& error) {
    stop(error.what());
  }
}
