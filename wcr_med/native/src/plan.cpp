#include "plan.h"

#include <algorithm>

namespace wcr {
namespace {

constexpr int64_t kFirstLevelCache = 28 << 10;    // bytes of input that a block of channels may take
constexpr int64_t kSecondLevelCache = 600 << 10;  // bytes of transformed input of the tiles computed together
constexpr int64_t kFetchedAhead = 1 << 20;       // bytes of maps beyond which inputs are asked for early
constexpr int64_t kEnoughTasks = 16;              // to share among threads
constexpr int64_t kMostStrips = 256;              // keeps the list of tasks short, however wide a map is
constexpr double kFewestPerBlock = 7.0;           // non-zeros that make loading and storing the sums worth while

int64_t vector_bytes(const Kernels& kernels) {
  return kernels.lane_rows * kernels.lane_cols * static_cast<int64_t>(sizeof(float));
}

// Tasks enough for all threads, each as tall a strip as possible.
std::vector<Rectangle> split_rectangle(const Convolution& c, int64_t row_step, int64_t col_step, int64_t channel_step) {
  col_step *= (c.cols + kMostStrips * col_step - 1) / (kMostStrips * col_step);
  const int64_t strips = (c.cols + col_step - 1) / col_step;
  const int64_t most_bands = std::max<int64_t>(1, c.rows / (4 * row_step));
  const int64_t bands = std::clamp<int64_t>((kEnoughTasks + strips - 1) / strips, 1, most_bands);
  const int64_t most_groups = (c.c_out + channel_step - 1) / channel_step;
  const int64_t groups = std::clamp<int64_t>(kEnoughTasks / (strips * bands), 1, most_groups);
  const int64_t band = (c.rows + bands * row_step - 1) / (bands * row_step) * row_step;
  const int64_t group = (c.c_out + groups * channel_step - 1) / (groups * channel_step) * channel_step;
  std::vector<Rectangle> rectangles;
  for (int64_t x = 0; x < c.cols; x += col_step)
    for (int64_t y = 0; y < c.rows; y += band)
      for (int64_t channel = 0; channel < c.c_out; channel += group)
        rectangles.push_back({y, std::min(y + band, c.rows), x, std::min(x + col_step, c.cols), channel,
                              std::min(channel + group, c.c_out)});
  return rectangles;
}

int64_t power_below(int64_t limit, int64_t most) {
  int64_t power = 1;
  while (power * 2 <= std::min(limit, most)) power *= 2;
  return power;
}

// Channels of input to go through at a time, so that a tile's inputs stay in the first-level cache. Each phase has sums
// of its own for each block: no more of them than there are non-zeros.
int64_t channels_per_block(const Op& op, const Convolution& c, size_t n_non_zeros, size_t n_phases,
                           int64_t vector_bytes) {
  const int64_t lines = (c.tile_rows + op.kernel_h - 1) * (c.tile_cols + op.kernel_w - 1);
  const int64_t block = std::max<int64_t>(1, kFirstLevelCache / (lines * vector_bytes));
  const double per_channel = static_cast<double>(n_non_zeros) / static_cast<double>(op.c_in * op.c_out);
  const double fewest = std::max(kFewestPerBlock, static_cast<double>(n_phases));
  return per_channel * static_cast<double>(block) < fewest || op.c_in < 2 * block ? op.c_in : block;
}

void split(const Op& op, Kind kind, const Kernels& kernels, Phased* phased) {
  Convolution& c = phased->convolution;
  if (kind == Kind::sparse) {
    // Large tiles share a weight among more pixels; small ones leave room for more channels in the cache.
    const int64_t tile = c.cols > 16 ? kernels.max_tile : 8;
    c.tile_cols = power_below(c.cols, tile == 16 ? 8 : 4);
    c.tile_rows = std::min<int64_t>(4, power_below(c.rows, tile / c.tile_cols));
    phased->rectangles = split_rectangle(c, c.tile_rows, c.tile_cols, 1);
  } else if (kind == Kind::dense) {
    phased->rectangles = split_rectangle(c, 4, 16, kernels.dense_group);
  } else {
    Winograd& w = phased->winograd;
    w.m = kind == Kind::winograd2 ? 2 : 4;
    const int64_t n_tiles = (c.rows + w.m - 1) / w.m * ((c.cols + w.m - 1) / w.m);
    const int64_t per_tile = (w.m + 2) * (w.m + 2) * op.c_in * vector_bytes(kernels);
    w.tiles = std::clamp<int64_t>(kSecondLevelCache / per_tile, 1, kernels.winograd_tiles);
    const int64_t chunk = std::max<int64_t>(w.tiles, n_tiles / kEnoughTasks / w.tiles * w.tiles);
    for (int64_t t = 0; t < n_tiles; t += chunk) phased->tiles.emplace_back(t, std::min(t + chunk, n_tiles));
  }
}

Inputs inputs_of(const Op& op, const Layout& layout, int64_t bytes) {
  Inputs inputs;
  inputs.row = layout.maps[op.sources[0]].row_stride * bytes, inputs.col = bytes;
  for (const int source : op.sources) {
    const Map& map = layout.maps[source];
    for (int64_t channel = 0; channel < map.channels; ++channel)
      inputs.channels.push_back(layout.offsets[source] + channel * map.channel_stride * bytes);
  }
  return inputs;
}

Phased plan_phase(const Program& program, const Kernels& kernels, const Packed& pack, const Plan& plan,
                  const Inputs& inputs, size_t index, size_t number) {
  const Op& op = program.ops[index];
  const Phase& phase = pack.phases[number];
  const Steps steps = steps_of(op);
  const int64_t bytes = vector_bytes(kernels);
  const size_t out_value = program.n_inputs + index;
  const Map& in = plan.layout.maps[op.sources[0]];
  const Map& out = plan.layout.maps[out_value];

  Phased phased;
  Convolution& c = phased.convolution;
  c.epilogue = epilogue_of(op);
  c.in_row = inputs.row * steps.in_h;
  c.in_col = inputs.col * steps.in_w;
  c.out_channel = out.channel_stride * bytes;
  c.out_row = out.row_stride * bytes * steps.out_h;
  c.out_col = bytes * steps.out_w;
  c.rows = out.rows / steps.out_h, c.cols = out.cols / steps.out_w, c.c_out = op.c_out;
  phased.out_offset = plan.layout.offsets[out_value] + (phase.row * out.row_stride + phase.col) * bytes;
  if (op.residual >= 0) {
    const Map& residual = plan.layout.maps[op.residual];
    phased.residual_offset = plan.layout.offsets[op.residual] + (phase.row * residual.row_stride + phase.col) * bytes;
    c.epilogue.residual_channel = residual.channel_stride * bytes;
    c.epilogue.residual_row = residual.row_stride * bytes * steps.out_h;
    c.epilogue.residual_col = bytes * steps.out_w;
  }
  split(op, pack.kind, kernels, &phased);
  const std::vector<Tap> corner(phase.taps.begin(), phase.taps.begin() + (phase.taps.empty() ? 0 : 1));
  const bool large = op.c_in * in.channel_stride * bytes > kFetchedAhead;
  if (pack.kind == Kind::sparse) {
    const int64_t block = channels_per_block(op, c, pack.n_non_zeros, pack.phases.size(), bytes);
    phased.sparse = pack_sparse(op, phase, pack.sparse[number], inputs, block);
    c.n_blocks = phased.sparse.n_blocks;
    c.fetch_outputs = large;
    if (large && c.in_col == bytes && number == 0 && !phase.taps.empty()) {
      phased.offsets = tap_offsets(inputs, corner);
      c.n_ahead = op.c_in;
      c.ahead_row = c.tile_rows + phase.taps.back().dy - phase.taps.front().dy;
      c.ahead_cols = c.tile_cols + phase.taps.back().dx - phase.taps.front().dx;
    }
  } else if (pack.kind == Kind::dense) {
    phased.offsets = tap_offsets(inputs, phase.taps);
    c.n_taps = static_cast<int64_t>(phased.offsets.size());
    c.weights = pack.dense[number].data();
  } else {
    phased.offsets = tap_offsets(inputs, corner);
    c.n_taps = op.c_in;
    c.n_ahead = large ? op.c_in : 0;
    phased.winograd.weights = pack.winograd.data();
    phased.winograd.in_rows = c.rows + 2, phased.winograd.in_cols = c.cols + 2;
  }
  return phased;
}

}  // namespace

Epilogue epilogue_of(const Op& op) {
  Epilogue epilogue;
  epilogue.bias = op.bias.empty() ? nullptr : op.bias.data();
  epilogue.slope = op.slope.data();
  epilogue.slope_step = op.slope.size() > 1 ? 1 : 0;
  epilogue.activation = static_cast<int>(op.activation);
  return epilogue;
}

std::shared_ptr<const Plan> make_plan(const Program& program, const Kernels& kernels, const std::vector<Packed>& packed,
                                      const std::vector<Shape>& inputs) {
  auto plan = std::make_shared<Plan>();
  plan->inputs = inputs;
  plan->shapes = value_shapes(program, inputs);
  plan->layout = lay_out(program, plan->shapes, kernels);
  plan->convolutions.resize(program.ops.size());
  for (size_t i = 0; i < program.ops.size(); ++i) {
    if (!is_convolution(program.ops[i])) continue;
    const Inputs inputs = inputs_of(program.ops[i], plan->layout, vector_bytes(kernels));
    for (size_t phase = 0; phase < packed[i].phases.size(); ++phase)
      plan->convolutions[i].push_back(plan_phase(program, kernels, packed[i], *plan, inputs, i, phase));
  }
  return plan;
}

}  // namespace wcr
