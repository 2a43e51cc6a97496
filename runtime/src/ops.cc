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
  const int64_t top = int64_t{y} * g.stride_height - g.pad_top;
  const int64_t first_y = std::max<int64_t>(top, 0);
  const int64_t last_y = std::min<int64_t>(top + g.filter_height, g.in_height);
  for (int x = 0; x < g.out_width; x++, out += g.words) {
    const int64_t left = int64_t{x} * g.stride_width - g.pad_left;
    const int64_t first_x = std::max<int64_t>(left, 0);
    const int64_t last_x = std::min<int64_t>(left + g.filter_width, g.in_width);
    std::fill(out, out + g.words, ~uint32_t{0});
    for (int64_t in_y = first_y; in_y < last_y; in_y++) {
      const uint32_t* pixel = image + (in_y * g.in_width + first_x) * g.words;
      for (int64_t in_x = first_x; in_x < last_x; in_x++, pixel += g.words) {
        for (int i = 0; i < g.words; i++) out[i] &= pixel[i];
      }
    }
  }
}

}  // namespace lgr
