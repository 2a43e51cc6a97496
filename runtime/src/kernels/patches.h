// Gathering of patches. Everything in an unnamed namespace: each kernel file compiles its own copy
// with its own instruction set, and none may replace another's at link time.
#ifndef LARQ_GROUPNET_RUNTIME_KERNELS_PATCHES_H_
#define LARQ_GROUPNET_RUNTIME_KERNELS_PATCHES_H_

#include <cstring>

#include "kernels.h"

namespace lgr {
namespace {

// memcpy of a few words without a call.
inline void copy_words(uint32_t* to, const uint32_t* from, int n) {
  for (; n >= 4; n -= 4, to += 4, from += 4) std::memcpy(to, from, 16);
  if (n & 2) {
    std::memcpy(to, from, 8);
    to += 2;
    from += 2;
  }
  if (n & 1) *to = *from;
}

inline void zero_words(uint32_t* to, int n) {
  for (int i = 0; i < n; i++) to[i] = 0;
}

// Visits the output pixels of an image in order, without a division for each.
class PatchReader {
 public:
  PatchReader(const ConvGeometry& geometry, const uint32_t* image, int first)
      : g_(geometry),
        image_(image),
        y_(first / geometry.out_width),
        x_(first % geometry.out_width),
        // Taps next to each other in memory are copied in one go.
        adjacent_(geometry.dilation_width == 1 && geometry.pixel_words == geometry.patch_words) {}

  // Writes the words of the next pixel's patch. Taps outside the image are 0 bits, that is +1.
  void next(uint32_t* patch) {
    const int row_words = g_.filter_width * g_.patch_words;
    const int left = x_ * g_.stride_width - g_.pad_left;
    int in_y = y_ * g_.stride_height - g_.pad_top;
    for (int ky = 0; ky < g_.filter_height; ky++, in_y += g_.dilation_height, patch += row_words) {
      if (in_y < 0 || in_y >= g_.in_height) {
        zero_words(patch, row_words);
      } else {
        const uint32_t* row =
            image_ + static_cast<ptrdiff_t>(in_y) * g_.in_width * g_.pixel_words;
        if (adjacent_ && left >= 0 && left + g_.filter_width <= g_.in_width) {
          copy_words(patch, row + static_cast<ptrdiff_t>(left) * g_.pixel_words, row_words);
        } else {
          gather_row(row, left, patch);
        }
      }
    }
    if (++x_ == g_.out_width) {
      x_ = 0;
      y_++;
    }
  }

 private:
  void gather_row(const uint32_t* row, int in_x, uint32_t* patch) const {
    for (int kx = 0; kx < g_.filter_width; kx++, in_x += g_.dilation_width) {
      if (in_x >= 0 && in_x < g_.in_width) {
        copy_words(patch, row + static_cast<ptrdiff_t>(in_x) * g_.pixel_words, g_.patch_words);
      } else {
        zero_words(patch, g_.patch_words);
      }
      patch += g_.patch_words;
    }
  }

  const ConvGeometry& g_;
  const uint32_t* image_;
  int y_, x_;
  bool adjacent_;
};

}  // namespace
}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_KERNELS_PATCHES_H_
