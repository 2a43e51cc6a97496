// The functions of an instruction set: one table, defined once per file of this folder.
//
// A binary convolution runs in strips of output pixels. For each strip, pack_panel() gathers the
// windows of its pixels ("patches"); then, for each block of up to kChannelBlock output channels,
// multiply() counts the bits in which a patch differs from a filter, and finish_*() turns the
// counts into the output. The layouts of panels and packed filters are the kernel's own.
//
// A bit is 1 where a value is negative; a word holds 32 channels, the lowest bit first, and the
// bits above the last channel are 0. So dot(patch, filter) = taps * channels - 2 * count.
#ifndef LARQ_GROUPNET_RUNTIME_KERNELS_KERNELS_H_
#define LARQ_GROUPNET_RUNTIME_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>

#define LGR_INLINE inline __attribute__((always_inline))

namespace lgr {

// Output channels that multiply() and finish_*() handle in one call: a multiple of the 32 channels
// of a word, so that no two calls write the same word.
constexpr int kChannelBlock = 64;

// Geometry of a convolution over one image, or over the words of one of its groups.
struct ConvGeometry {
  int in_height, in_width;
  int pixel_words;              // words per input pixel, all groups
  int patch_words;              // words per tap, of one group
  int filter_height, filter_width;
  int stride_height, stride_width;
  int dilation_height, dilation_width;
  int pad_top, pad_left;
  int out_height, out_width;

  int taps() const { return filter_height * filter_width; }
  int depth() const { return taps() * patch_words; }  // words of a patch
};

struct PoolGeometry {
  int in_height, in_width;
  int depth;  // per pixel: words of bits, or channels
  int filter_height, filter_width;
  int stride_height, stride_width;
  int pad_top, pad_left;
  int out_height, out_width;

  struct Span {
    int64_t begin, end;
  };
  // The rows and columns of the input in a window, without padding: at least one of each.
  LGR_INLINE Span rows(int y) const {
    return inside(int64_t{y} * stride_height - pad_top, filter_height, in_height);
  }
  LGR_INLINE Span columns(int x) const {
    return inside(int64_t{x} * stride_width - pad_left, filter_width, in_width);
  }
  static LGR_INLINE Span inside(int64_t first, int filter, int size) {
    return {first > 0 ? first : 0, first + filter < size ? first + filter : size};
  }
};

// An image with its padding, and the layout of a window in it: `runs` runs of words, the same for
// every window.
struct PaddedImage {
  int height, width;
  int runs, run_words;
  const size_t* offsets;  // of each run, from the first word of the window
};

// Elementwise operations on a float value, in execution order.
enum class PostOpKind {
  kAdd,          // value += tensor
  kAddChannels,  // value += one number for each channel
  kAddScalar,
  kMul,
  kMulChannels,
  kMulScalar,
  kLoad,   // value = tensor
  kStore,  // tensor = value
  kBits,   // tensor = sign bits of value
};

struct PostOp {
  PostOpKind kind;
  union {
    const float* in;   // kAdd, kMul, kLoad: a tensor of the value's shape; k*Channels: a vector
    float* out;        // kStore
    uint32_t* bits;    // kBits
    float scalar;      // k*Scalar
  };
};

// Rows (pixels) and channels of a value: the part [row, row + rows) x [channel, channel + channels)
// of a tensor with row_channels channels; channel is a multiple of kChannelBlock.
struct Part {
  size_t row;
  int rows;
  int channel;
  int channels;
  int row_channels;
};

// Turns counts into real values: clamp(2 * count + correction) * multiplier + bias.
struct Transform {
  const float* multiplier;  // of channel 0
  const float* bias;
  int32_t clamp_min, clamp_max;
  bool clamps;              // false: all counts are within the limits
  // Zero padding: corrections[correction_of[pixel] * correction_stride + channel], where pixel is
  // counted from the part's first row. Null without zero padding.
  const int32_t* corrections;
  const int32_t* correction_of;
  size_t correction_stride;

  const int32_t* correction(int row) const {
    return corrections ? corrections + static_cast<size_t>(correction_of[row]) * correction_stride
                       : nullptr;
  }
};

struct Kernels {
  const char* name;
  bool (*supported)();
  int tile_pixels;  // multiply() is fastest when the pixels of a strip are a multiple of it

  // Number of words of one block's packed filters, and of a panel.
  size_t (*packed_words)(int channels, int depth);
  size_t (*panel_words)(int pixels, int depth);

  // filter: [channels][depth], channels <= kChannelBlock.
  void (*pack_filter)(const uint32_t* filter, int channels, int depth, uint32_t* packed);

  // Gathers the patches of the pixels [first, first + pixels) of an image.
  void (*pack_panel)(const ConvGeometry& geometry, const uint32_t* image, int first, int pixels,
                     uint32_t* panel);

  // counts[pixel * stride + channel]. It may write past `pixels` and `channels` up to multiples of
  // tile_pixels and 16.
  void (*multiply)(const uint32_t* panel, const uint32_t* packed, int pixels, int channels,
                   int depth, int32_t* counts, size_t stride);

  void (*finish_float)(const int32_t* counts, size_t stride, const Part& part,
                       const Transform& transform, const PostOp* ops, int num_ops);
  void (*finish_int8)(const int32_t* counts, size_t stride, const Part& part,
                      const Transform& transform, int8_t* out);
  // bit = 2 * count + correction > threshold; thresholds of channel 0.
  void (*finish_bits)(const int32_t* counts, size_t stride, const Part& part,
                      const Transform& transform, const int32_t* thresholds, uint32_t* out);

  // Only the operations; the first is a kLoad.
  void (*post_ops)(const Part& part, const PostOp* ops, int num_ops);

  // The maxima of the windows of output row y, then the operations. The part is that row. NaN and
  // the order of +0 and -0 depend on the processor.
  void (*max_pool)(const PoolGeometry& geometry, const float* image, int y, const Part& part,
                   const PostOp* ops, int num_ops);

  // Optional. They need windows whose run_words are a multiple of run_multiple.
  int run_multiple = 0;
  // Writes the rows [first, first + rows) of a padded image.
  void (*pad_rows)(const ConvGeometry& geometry, const PaddedImage& padded, const uint32_t* image,
                   int first, int rows, uint32_t* out) = nullptr;
  // Like multiply(), for the output pixels [first, first + pixels); `words` is the image.
  void (*multiply_windows)(const ConvGeometry& geometry, const PaddedImage& padded,
                           const uint32_t* words, int first, int pixels, const uint32_t* packed,
                           int channels, int32_t* counts, size_t stride) = nullptr;
};

extern const Kernels kGenericKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#elif defined(__aarch64__)
extern const Kernels kNeonKernels;
#endif

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_KERNELS_KERNELS_H_
