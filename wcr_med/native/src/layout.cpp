#include "layout.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

namespace wcr {
namespace {

constexpr int64_t kLargestSide = 1 << 20;
constexpr int64_t kLargestArena = int64_t{1} << 34;  // 16 GiB: offsets are 32 bits in units of 8 bytes
constexpr int64_t kAlignment = 128;

[[noreturn]] void fail(size_t op, const std::string& what) {
  throw Error("operation " + std::to_string(op) + ": " + what);
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t positive_mod(int64_t a, int64_t b) { return ((a % b) + b) % b; }

int64_t window_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t before, int64_t after) {
  const int64_t room = size + before + after - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

// A ratio of small positive integers, in lowest terms.
struct Ratio {
  int64_t up = 1, down = 1;
  Ratio times(int64_t a, int64_t b) const {
    const int64_t u = up * a, d = down * b, g = std::gcd(u, d);
    return {u / g, d / g};
  }
  bool operator==(const Ratio& o) const { return up == o.up && down == o.down; }
};

// Blocks of `a` are `up` / `down` times as long as blocks of `b`.
struct Relation {
  int a, b;
  int64_t up, down;
  size_t op;
};

// The length of every value's blocks along one axis: related as the strides say, and long enough for all.
std::vector<int64_t> block_lengths(const std::vector<Relation>& relations, const std::vector<int64_t>& extents,
                                   int lanes) {
  const int n = static_cast<int>(extents.size());
  std::vector<std::vector<size_t>> touching(n);
  for (size_t i = 0; i < relations.size(); ++i) {
    touching[relations[i].a].push_back(i);
    touching[relations[i].b].push_back(i);
  }
  std::vector<int64_t> lengths(n, 0);
  std::vector<Ratio> ratios(n);
  std::vector<char> seen(n, 0);
  for (int root = 0; root < n; ++root) {
    if (seen[root]) continue;
    std::vector<int> group{root};
    seen[root] = 1;
    for (size_t next = 0; next < group.size(); ++next) {
      const int v = group[next];
      for (const size_t i : touching[v]) {
        const Relation& r = relations[i];
        const bool forward = r.a == v;
        const int other = forward ? r.b : r.a;
        const Ratio ratio = forward ? ratios[v].times(r.down, r.up) : ratios[v].times(r.up, r.down);
        if (ratio.up > kLargestSide || ratio.down > kLargestSide) fail(r.op, "strides multiply to more than 2^20");
        if (!seen[other]) {
          seen[other] = 1;
          ratios[other] = ratio;
          group.push_back(other);
        } else if (!(ratios[other] == ratio)) {
          fail(r.op, "its maps come from different strides and do not line up");
        }
      }
    }
    int64_t unit = 1;  // the root's length is a multiple of it
    for (const int v : group) {
      unit = std::lcm(unit, ratios[v].down);
      if (unit > kLargestSide) throw Error("strides multiply to more than 2^20");
    }
    int64_t multiple = 1;
    for (const int v : group)
      multiple = std::max(multiple, ceil_div(ceil_div(extents[v], lanes), unit / ratios[v].down * ratios[v].up));
    for (const int v : group) lengths[v] = multiple * (unit / ratios[v].down) * ratios[v].up;
  }
  return lengths;
}

struct Reach {
  int64_t before = 0, after = 0;  // vectors needed beyond the block, along one axis
  void add(int64_t first, int64_t last, int64_t step) {
    before = std::max(before, -first);
    after = std::max(after, last - step + 1);
  }
  int64_t margin() const { return std::max(before, after); }
};

struct Reaches {
  std::vector<Reach> rows, cols;
};

Reaches find_reaches(const Program& program, size_t n_values) {
  Reaches reaches{std::vector<Reach>(n_values), std::vector<Reach>(n_values)};
  for (const Op& op : program.ops) {
    if (is_convolution(op)) {
      const Steps steps = steps_of(op);
      for (const Phase& phase : phases_of(op))
        for (const Tap& tap : phase.taps)
          for (const int source : op.sources) {
            reaches.rows[source].add(tap.dy, tap.dy, steps.in_h);
            reaches.cols[source].add(tap.dx, tap.dx, steps.in_w);
          }
    } else if (op.code == Opcode::max_pool) {
      reaches.rows[op.sources[0]].add(-op.pad_top, op.kernel_h - 1 - op.pad_top, op.stride_h);
      reaches.cols[op.sources[0]].add(-op.pad_left, op.kernel_w - 1 - op.pad_left, op.stride_w);
    }
  }
  return reaches;
}

void relate(const Program& program, std::vector<Relation>* rows, std::vector<Relation>* cols) {
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    const int out = program.n_inputs + static_cast<int>(i);
    const Steps steps = steps_of(op);
    for (const int source : op.sources) {
      rows->push_back({source, out, steps.in_h, steps.out_h, i});
      cols->push_back({source, out, steps.in_w, steps.out_w, i});
    }
    if (op.residual >= 0) {
      rows->push_back({op.residual, out, 1, 1, i});
      cols->push_back({op.residual, out, 1, 1, i});
    }
  }
}

// First-fit places in the arena; a value's place is free again after its last reader.
int64_t place(const Program& program, const std::vector<int64_t>& sizes, std::vector<int64_t>* starts) {
  const int n = static_cast<int>(sizes.size());
  std::vector<int> last(n);
  for (int v = 0; v < n; ++v) last[v] = v - program.n_inputs;  // an unread value still needs room while it is computed
  for (size_t i = 0; i < program.ops.size(); ++i) {
    for (const int source : program.ops[i].sources) last[source] = static_cast<int>(i);
    if (program.ops[i].residual >= 0) last[program.ops[i].residual] = static_cast<int>(i);
  }
  for (const auto& output : program.outputs)
    for (const int v : output) last[v] = static_cast<int>(program.ops.size());
  int64_t total = 0;
  std::vector<int> alive;
  for (int v = 0; v < n; ++v) {
    const int now = v - program.n_inputs;
    const auto over = [&](int a) { return now >= 0 && last[a] < now; };
    alive.erase(std::remove_if(alive.begin(), alive.end(), over), alive.end());
    std::sort(alive.begin(), alive.end(), [&](int a, int b) { return (*starts)[a] < (*starts)[b]; });
    int64_t start = 0;
    for (const int a : alive) {
      if (start + sizes[v] <= (*starts)[a]) break;
      start = std::max(start, (*starts)[a] + sizes[a]);
    }
    (*starts)[v] = start;
    total = std::max(total, start + sizes[v]);
    alive.push_back(v);
  }
  return total;
}

Shape convolution_shape(const Op& op, size_t index, const Shape& in) {
  Shape out{1, op.c_out, 0, 0};
  if (op.code == Opcode::conv) {
    out.h = window_size(in.h, op.kernel_h, op.stride_h, op.dilation_h, op.pad_top, op.pad_bottom);
    out.w = window_size(in.w, op.kernel_w, op.stride_w, op.dilation_w, op.pad_left, op.pad_right);
  } else {
    const int64_t reach_h = op.dilation_h * (op.kernel_h - 1) + 1, reach_w = op.dilation_w * (op.kernel_w - 1) + 1;
    out.h = (in.h - 1) * op.stride_h + reach_h + op.output_padding_h - op.pad_top - op.pad_bottom;
    out.w = (in.w - 1) * op.stride_w + reach_w + op.output_padding_w - op.pad_left - op.pad_right;
  }
  if (in.c != op.c_in)
    fail(index, "its kernel takes " + std::to_string(op.c_in) + " channels, its sources have " + std::to_string(in.c));
  return out;
}

}  // namespace

bool is_convolution(const Op& op) { return op.code == Opcode::conv || op.code == Opcode::conv_transpose; }

Steps steps_of(const Op& op) {
  Steps steps;
  if (op.code == Opcode::conv || op.code == Opcode::max_pool) steps.in_h = op.stride_h, steps.in_w = op.stride_w;
  if (op.code == Opcode::conv_transpose) steps.out_h = op.stride_h, steps.out_w = op.stride_w;
  if (op.code == Opcode::upsample) steps.out_h = op.factor_h, steps.out_w = op.factor_w;
  return steps;
}

std::vector<Phase> phases_of(const Op& op) {
  std::vector<Phase> phases;
  if (op.code == Opcode::conv) {
    Phase phase;
    for (int64_t ky = 0; ky < op.kernel_h; ++ky)
      for (int64_t kx = 0; kx < op.kernel_w; ++kx)
        phase.taps.push_back({ky, kx, ky * op.dilation_h - op.pad_top, kx * op.dilation_w - op.pad_left});
    phases.push_back(phase);
    return phases;
  }
  for (int64_t row = 0; row < op.stride_h; ++row)
    for (int64_t col = 0; col < op.stride_w; ++col) {
      Phase phase;
      phase.row = row, phase.col = col;
      for (int64_t ky = 0; ky < op.kernel_h; ++ky) {
        const int64_t y = row + op.pad_top - ky * op.dilation_h;
        if (positive_mod(y, op.stride_h)) continue;
        for (int64_t kx = 0; kx < op.kernel_w; ++kx) {
          const int64_t x = col + op.pad_left - kx * op.dilation_w;
          if (positive_mod(x, op.stride_w)) continue;
          phase.taps.push_back({ky, kx, y / op.stride_h, x / op.stride_w});
        }
      }
      phases.push_back(std::move(phase));
    }
  return phases;
}

std::vector<Shape> value_shapes(const Program& program, const std::vector<Shape>& inputs) {
  if (static_cast<int>(inputs.size()) != program.n_inputs) throw Error("the number of inputs is not the program's");
  std::vector<Shape> shapes;
  for (const Shape& in : inputs) shapes.push_back({1, in.c, in.h, in.w});
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    Shape in = shapes[op.sources[0]];
    const Shape& first = shapes[op.sources[0]];
    for (size_t s = 1; s < op.sources.size(); ++s) {
      const Shape& other = shapes[op.sources[s]];
      if (other.h != first.h || other.w != first.w) fail(i, "its sources differ in height or width");
      if (op.code == Opcode::add && other.c != first.c) fail(i, "its terms differ in channels");
      if (is_convolution(op)) in.c += other.c;
    }
    Shape out = in;
    if (is_convolution(op)) {
      out = convolution_shape(op, i, in);
    } else if (op.code == Opcode::max_pool) {
      out.h = window_size(in.h, op.kernel_h, op.stride_h, 1, op.pad_top, op.pad_bottom);
      out.w = window_size(in.w, op.kernel_w, op.stride_w, 1, op.pad_left, op.pad_right);
    } else if (op.code == Opcode::upsample) {
      out.h *= op.factor_h, out.w *= op.factor_w;
    }
    if (out.h < 1 || out.w < 1) fail(i, "nothing is left of its map: the image is too small for the network");
    if (out.h > kLargestSide || out.w > kLargestSide) fail(i, "its map has a side of more than 2^20 pixels");
    const int64_t n_slopes = static_cast<int64_t>(op.slope.size());
    if (op.activation == Activation::slope && n_slopes != 1 && n_slopes != out.c)
      fail(i, "it has " + std::to_string(n_slopes) + " slopes for " + std::to_string(out.c) + " channels");
    if (op.residual >= 0) {
      const Shape& residual = shapes[op.residual];
      if (residual.c != out.c || residual.h != out.h || residual.w != out.w)
        fail(i, "what is added has another shape than its result");
    }
    shapes.push_back(out);
  }
  return shapes;
}

Layout lay_out(const Program& program, const std::vector<Shape>& shapes, const Kernels& kernels) {
  const size_t n = shapes.size();
  const int64_t vector_bytes = kernels.lane_rows * kernels.lane_cols * static_cast<int64_t>(sizeof(float));
  std::vector<Relation> row_relations, col_relations;
  relate(program, &row_relations, &col_relations);
  std::vector<int64_t> heights, widths;
  for (const Shape& shape : shapes) heights.push_back(shape.h), widths.push_back(shape.w);
  const std::vector<int64_t> rows = block_lengths(row_relations, heights, kernels.lane_rows);
  const std::vector<int64_t> cols = block_lengths(col_relations, widths, kernels.lane_cols);
  Reaches reaches = find_reaches(program, n);
  for (bool changed = true; changed;) {  // maps read by one convolution share a row stride
    changed = false;
    for (const Op& op : program.ops) {
      if (!is_convolution(op)) continue;
      int64_t margin = 0;
      for (const int source : op.sources) margin = std::max(margin, reaches.cols[source].margin());
      for (const int source : op.sources) {
        if (reaches.cols[source].margin() == margin) continue;
        reaches.cols[source].before = margin;
        changed = true;
      }
    }
  }

  Layout layout;
  std::vector<int64_t> sizes;
  for (size_t v = 0; v < n; ++v) {
    Map map;
    map.channels = shapes[v].c, map.height = shapes[v].h, map.width = shapes[v].w;
    map.rows = rows[v], map.cols = cols[v];
    map.margin_rows = reaches.rows[v].margin(), map.margin_cols = reaches.cols[v].margin();
    const int64_t height = map.rows + 2 * map.margin_rows;
    map.row_stride = map.cols + 2 * map.margin_cols;
    // Strides that are multiples of the cache's period would put all rows, or all channels, into the same few places.
    if (map.row_stride % 16 == 0) ++map.row_stride;
    if (map.row_stride > kLargestArena / height / vector_bytes) throw Error("the image is too large");
    map.channel_stride = (height * map.row_stride) | 1;
    if (map.channel_stride > kLargestArena / map.channels / vector_bytes) throw Error("the image is too large");
    sizes.push_back(ceil_div(map.channels * map.channel_stride * vector_bytes, kAlignment) * kAlignment);
    layout.maps.push_back(map);
  }
  std::vector<int64_t> starts(n, 0);
  layout.arena_bytes = place(program, sizes, &starts);
  if (layout.arena_bytes > kLargestArena) throw Error("the image is too large: its maps need more than 16 GiB");
  for (size_t v = 0; v < n; ++v) {
    const Map& map = layout.maps[v];
    layout.offsets.push_back(starts[v] + (map.margin_rows * map.row_stride + map.margin_cols) * vector_bytes);
  }
  return layout;
}

}  // namespace wcr
