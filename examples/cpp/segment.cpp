// Segment one patient with the C API of ONNX Runtime.
//
//   g++ -std=c++17 -O2 segment.cpp -I$ORT/include -L$ORT/lib -lonnxruntime -lpng -ltiff -o segment
//   LD_LIBRARY_PATH=$ORT/lib ./segment MODEL.standalone.onnx OUT SLICE_1.tif SLICE_2.tif ...
//
// ONNX Runtime's headers and library come with its release archive, its NuGet package, or Debian's libonnxruntime-dev
// ($ORT is where they were unpacked). libpng-dev and libtiff-dev read and write images; without tiffio.h, PNG alone.
//
// MODEL is written by `wcr-med export --standalone`; it holds preprocessing and threshold. The slices are those of one
// patient, 8-bit RGB, all of them, in order: intensities are measured over the whole volume. Masks of 0 and 255 are
// written into the folder OUT, which must exist, as SLICE_1_mask.png ...
//
// For research use only. Not a medical device.

#include <onnxruntime_c_api.h>
#include <png.h>
#if __has_include(<tiffio.h>)
#include <tiffio.h>
#endif

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

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
  png_destroy_read_struct(&png, &info, nullptr);
  std::fclose(file);
  return image;
}

#if __has_include(<tiffio.h>)
Image read_tiff(const std::string& path) {
  TIFF* tiff = TIFFOpen(path.c_str(), "r");
  if (tiff == nullptr) stop(path + ": not a TIFF file");
  uint32_t rows = 0, columns = 0;
  uint16_t bits = 1, samples = 1, planes = PLANARCONFIG_CONTIG;
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &rows);
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &columns);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planes);
  if (bits != 8 || samples != 3 || planes != PLANARCONFIG_CONTIG || TIFFIsTiled(tiff))
    stop(path + ": not an 8-bit RGB image of whole rows");
  Image image{rows, columns, std::vector<uint8_t>(size_t(rows) * columns * 3)};
  for (uint32_t row = 0; row < rows; ++row)
    if (TIFFReadScanline(tiff, image.pixels.data() + size_t(row) * columns * 3, row) < 0) stop(path + ": damaged");
  TIFFClose(tiff);
  return image;
}
#endif

Image read_image(const std::string& path) {
#if __has_include(<tiffio.h>)
  const std::string suffix = std::filesystem::path(path).extension().string();
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

const OrtApi* ort = nullptr;

void check(OrtStatus* status) {
  if (status != nullptr) stop(ort->GetErrorMessage(status));
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) stop("usage: segment MODEL.standalone.onnx OUT SLICE...");
  const std::string out = arguments[2];
  const std::vector<std::string> paths(arguments + 3, arguments + count);

  // The volume: slices x rows x columns x channels.
  std::vector<uint8_t> volume;
  int64_t shape[4] = {int64_t(paths.size()), 0, 0, 3};
  for (const std::string& path : paths) {
    const Image image = read_image(path);
    if (volume.empty()) shape[1] = image.rows, shape[2] = image.columns;
    if (image.rows != shape[1] || image.columns != shape[2]) stop(path + ": of another size than the first slice");
    volume.insert(volume.end(), image.pixels.begin(), image.pixels.end());
  }

  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (ort == nullptr) stop("the library of ONNX Runtime is older than its header");
  OrtEnv* environment = nullptr;
  OrtSessionOptions* options = nullptr;
  OrtSession* session = nullptr;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "segment", &environment));
  check(ort->CreateSessionOptions(&options));
  check(ort->AddSessionConfigEntry(options, "session.set_denormal_as_zero", "1"));  // faster where weights were pruned
  check(ort->CreateSession(environment, arguments[1], options, &session));

  OrtMemoryInfo* memory = nullptr;
  OrtValue *image = nullptr, *result = nullptr;
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  check(ort->CreateTensorWithDataAsOrtValue(memory, volume.data(), volume.size(), shape, 4,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &image));
  const char *input = "image", *output = "mask";
  const OrtValue* given = image;
  check(ort->Run(session, nullptr, &input, &given, 1, &output, 1, &result));
  void* data = nullptr;
  check(ort->GetTensorMutableData(result, &data));
  const uint8_t* mask = static_cast<const uint8_t*>(data);  // slices x rows x columns, 0 and 1

  const int64_t area = shape[1] * shape[2];
  for (size_t slice = 0; slice < paths.size(); ++slice) {
    const std::string stem = std::filesystem::path(paths[slice]).stem().string();
    write_mask(out + "/" + stem + "_mask.png", mask + slice * area, shape[1], shape[2]);
  }
  std::printf("%lld voxels of lesion in %zu slices; see %s\n",
              static_cast<long long>(std::accumulate(mask, mask + shape[0] * area, int64_t(0))), paths.size(), out.c_str());

  ort->ReleaseValue(result);
  ort->ReleaseValue(image);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseSession(session);
  ort->ReleaseSessionOptions(options);
  ort->ReleaseEnv(environment);
}
