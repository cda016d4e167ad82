// The computing kernels, one table for each instruction set. Plain data only crosses this border: what is compiled for
// a newer instruction set must not leak into code that runs everywhere.
//
// Feature maps lie in lanes: a map of H x W pixels is cut into lane_rows x lane_cols blocks of equal size, and one
// vector holds the pixels at the same place of every block. Moving by a pixel is moving by a vector, so each tap of a
// convolution is an aligned load, and pooling, strides, transposed convolution and concatenation need no shuffles.
// A margin around each block, filled from its neighbours, takes the place of padding.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wcr {

// A map in the arena. Strides count vectors.
struct Map {
  float* data = nullptr;  // vector (channel 0, row 0, column 0); the margin lies before it
  int64_t channel_stride = 0, row_stride = 0;
  int64_t channels = 0;
  int64_t rows = 0, cols = 0;          // of a block
  int64_t margin_rows = 0, margin_cols = 0;
  int64_t height = 0, width = 0;       // valid pixels; those beyond are zero
};

struct NonZero {
  uint32_t offset;  // of the input vector for output (0, 0), in units of 8 bytes from the arena's start
  float weight;
};

struct Epilogue {
  const float* bias = nullptr;   // one an output channel, or null
  const float* slope = nullptr;  // activation 2
  int64_t slope_step = 0;        // 0: one slope for all channels
  int activation = 0;            // as wcr::Activation
  const char* residual = nullptr;
  int64_t residual_channel = 0, residual_row = 0, residual_col = 0;  // bytes
};

// One convolution with unit steps in the output's blocks (a transposed one is several of these).
// Output (y, x) reads input vectors at `arena + 8 * offset + y * in_row + x * in_col`.
struct Convolution {
  const char* arena = nullptr;
  int64_t in_row = 0, in_col = 0;  // bytes
  char* out = nullptr;
  int64_t out_channel = 0, out_row = 0, out_col = 0;  // bytes
  int64_t rows = 0, cols = 0, c_out = 0;
  Epilogue epilogue;
  // sparse: `segments[block * c_out + channel]` is where that part of `non_zeros` begins
  const NonZero* non_zeros = nullptr;
  const uint32_t* segments = nullptr;
  int64_t n_blocks = 0;
  int64_t tile_rows = 1, tile_cols = 1;  // powers of two, their product at most max_tile
  const uint32_t* ahead = nullptr;       // like `offsets`, one an input channel: what to fetch for the next tile
  int64_t n_ahead = 0, ahead_row = 0, ahead_cols = 0;  // the next tile's new rows begin at ahead_row from this one
  bool fetch_outputs = false;
  // dense: taps in order (channel, row, column); weights (group, tap, dense_group), groups filled up with zeros
  const uint32_t* offsets = nullptr;
  const float* weights = nullptr;
  int64_t n_taps = 0;
};

// A 3x3 convolution of stride 1 by Winograd's minimal filtering F(m x m, 3 x 3), m = 2 or 4.
struct Winograd {
  Convolution convolution;         // `offsets`: of tap (0, 0), one an input channel; n_taps: number of input channels
  int64_t m = 4;
  const float* weights = nullptr;  // (group, point, channel, winograd_group)
  int64_t in_rows = 0, in_cols = 0;  // vectors that may be read, from tap (0, 0) of output (0, 0)
  int64_t tiles = 1;               // computed together, 1 .. winograd_tiles
};

struct Rectangle {
  int64_t row0 = 0, row1 = 0, col0 = 0, col1 = 0, channel0 = 0, channel1 = 0;
};

struct Kernels {
  const char* name;
  int lane_rows, lane_cols;
  int max_tile;         // vectors of a sparse tile
  int dense_group;      // output channels computed together
  int winograd_group, winograd_tiles;

  // Phases of one convolution, alike but for their non-zeros and outputs, tile by tile.
  void (*sparse)(const Convolution* phases, size_t n_phases, const Rectangle&);
  void (*dense)(const Convolution&, const Rectangle&);  // channel0 is a multiple of dense_group
  // Tiles [tile0, tile1) of output channels [channel0, channel1); scratch of winograd_scratch floats, aligned to 64 bytes.
  void (*winograd)(const Winograd&, int64_t tile0, int64_t tile1, float* scratch);
  size_t (*winograd_scratch)(const Winograd&);

  // (rows, cols) of `height` x `width` floats into a channel of a map; pixels beyond become zero.
  void (*pack)(const float* image, const Map&, int64_t channel);
  void (*unpack)(const Map&, int64_t channel, float* image);
  // Fills the margin of a channel, and zeroes its pixels beyond height and width.
  void (*finish)(const Map&, int64_t channel);
  void (*max_pool)(const Map& in, const Map& out, int64_t channel, const int64_t window[6]);  // kh kw sh sw top left
  void (*upsample)(const Map& in, const Map& out, int64_t channel, int64_t factor_h, int64_t factor_w);
  void (*activate)(const Map& in, const Map* second, const Map& out, int64_t channel, const Epilogue&);
};

}  // namespace wcr
