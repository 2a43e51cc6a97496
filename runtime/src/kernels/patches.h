// Gathers patches. Everything is in an unnamed namespace: each kernel file compiles its own copy
// with its own instruction set, and no copy may replace another at link time.
#ifndef LARQ_GROUPNET_RUNTIME_KERNELS_PATCHES_H_
#define LARQ_GROUPNET_RUNTIME_KERNELS_PATCHES_H_

#include <cstring>

#include "kernels.h"

namespace lgr {
namespace {

// memcpy of a few words without a call.
LGR_INLINE void copy_words(uint32_t* to, const uint32_t* from, int n) {
  for (; n >= 4; n -= 4, to += 4, from += 4) std::memcpy(to, from, 16);
  if (n & 2) {
    std::memcpy(to, from, 8);
    to += 2;
    from += 2;
  }
  if (n & 1) *to = *from;
}

LGR_INLINE void zero_words(uint32_t* to, int n) {
  for (int i = 0; i < n; i++) to[i] = 0;
}

// Visits the output pixels of an image in order. Holds a copy of the geometry, because the compiler
// must assume that storing words changes integers behind a reference.
class PatchReader {
 public:
  PatchReader(const ConvGeometry& geometry, const uint32_t* image, int first)
      : g_(geometry),
        image_(image),
        y_(first / geometry.out_width),
        x_(first % geometry.out_width),
        row_words_(geometry.filter_width * geometry.patch_words),
        // Taps adjacent in memory are copied together.
        adjacent_(geometry.dilation_width == 1 && geometry.pixel_words == geometry.patch_words),
        step_(static_cast<ptrdiff_t>(geometry.dilation_height) * geometry.in_width *
              geometry.pixel_words) {}

  // Writes the words of the next pixel's patch. Taps outside the image are 0 bits, that is +1.
  LGR_INLINE void next(uint32_t* patch) {
    const int left = x_ * g_.stride_width - g_.pad_left;
    const int top = y_ * g_.stride_height - g_.pad_top;
    const int bottom = top + (g_.filter_height - 1) * g_.dilation_height;
    if (adjacent_ && left >= 0 && left + g_.filter_width <= g_.in_width && top >= 0 &&
        bottom < g_.in_height) {
      const uint32_t* row = pixel(top, left);
      for (int ky = 0; ky < g_.filter_height; ky++, row += step_, patch += row_words_) {
        copy_words(patch, row, row_words_);
      }
    } else {
      gather(top, left, patch);
    }
    if (++x_ == g_.out_width) {
      x_ = 0;
      y_++;
    }
  }

  // Returns the first window of the next `pixels` pixels and skips them, if they are in one output
  // row, their windows are inside the image and neighbouring taps are adjacent in memory. Otherwise
  // returns null.
  const uint32_t* next_inside(int pixels) {
    const int left = x_ * g_.stride_width - g_.pad_left;
    const int right = (x_ + pixels - 1) * g_.stride_width - g_.pad_left + g_.filter_width;
    const int top = y_ * g_.stride_height - g_.pad_top;
    const int bottom = top + (g_.filter_height - 1) * g_.dilation_height;
    if (!adjacent_ || x_ + pixels > g_.out_width || left < 0 || right > g_.in_width || top < 0 ||
        bottom >= g_.in_height) {
      return nullptr;
    }
    x_ += pixels;
    if (x_ == g_.out_width) {
      x_ = 0;
      y_++;
    }
    return pixel(top, left);
  }

  int rows() const { return g_.filter_height; }
  int row_words() const { return row_words_; }  // of one row of a window
  ptrdiff_t row_step() const { return step_; }  // from one row of a window to the next
  ptrdiff_t pixel_step() const {                // from one window to the next
    return static_cast<ptrdiff_t>(g_.stride_width) * g_.pixel_words;
  }

 private:
  const uint32_t* pixel(int y, int x) const {
    return image_ + (static_cast<ptrdiff_t>(y) * g_.in_width + x) * g_.pixel_words;
  }

  // For the border, and for taps that are not adjacent.
  __attribute__((noinline)) void gather(int top, int left, uint32_t* patch) const {
    for (int ky = 0, y = top; ky < g_.filter_height; ky++, y += g_.dilation_height) {
      for (int kx = 0, x = left; kx < g_.filter_width; kx++, x += g_.dilation_width) {
        if (y >= 0 && y < g_.in_height && x >= 0 && x < g_.in_width) {
          copy_words(patch, pixel(y, x), g_.patch_words);
        } else {
          zero_words(patch, g_.patch_words);
        }
        patch += g_.patch_words;
      }
    }
  }

  const ConvGeometry g_;
  const uint32_t* const image_;
  int y_, x_;
  const int row_words_;
  const bool adjacent_;
  const ptrdiff_t step_;
};

}  // namespace
}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_KERNELS_PATCHES_H_
