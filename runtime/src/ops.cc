#include "ops.h"

#include <algorithm>

namespace lgr {
namespace {

template <class T, class IsOne>
void pack(const T* in, size_t rows, int channels, uint32_t* out, const IsOne& is_one) {
  for (size_t r = 0; r < rows; r++, in += channels) {
    for (int c = 0; c < channels; c += 32) {
      uint32_t word = 0;
      for (int j = 0; j < std::min(32, channels - c); j++) {
        word |= static_cast<uint32_t>(is_one(in[c + j])) << j;
      }
      *out++ = word;
    }
  }
}

}  // namespace

void pack_int8(const int8_t* in, size_t rows, int channels, int32_t zero_point, uint32_t* out) {
  pack(in, rows, channels, out, [&](int8_t value) { return value < zero_point; });
}

void pack_bool(const uint8_t* in, size_t rows, int channels, uint32_t* out) {
  pack(in, rows, channels, out, [](uint8_t value) { return value == 0; });
}

void max_pool_row(const PoolGeometry& g, const uint32_t* image, int y, uint32_t* out) {
  const PoolGeometry::Span rows = g.rows(y);
  for (int x = 0; x < g.out_width; x++, out += g.depth) {
    const PoolGeometry::Span columns = g.columns(x);
    std::fill(out, out + g.depth, ~uint32_t{0});
    for (int64_t in_y = rows.begin; in_y < rows.end; in_y++) {
      const uint32_t* pixel = image + (in_y * g.in_width + columns.begin) * g.depth;
      for (int64_t in_x = columns.begin; in_x < columns.end; in_x++, pixel += g.depth) {
        for (int i = 0; i < g.depth; i++) out[i] &= pixel[i];
      }
    }
  }
}

}  // namespace lgr
