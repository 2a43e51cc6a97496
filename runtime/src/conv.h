// LceBconv2d: a binary convolution. Filters are packed once; the input shape may change.
#ifndef LARQ_GROUPNET_RUNTIME_CONV_H_
#define LARQ_GROUPNET_RUNTIME_CONV_H_

#include <vector>

#include "flexbuffer.h"
#include "kernels/kernels.h"
#include "memory.h"
#include "thread_pool.h"
#include "window.h"

namespace lgr {

struct ConvOptions {
  explicit ConvOptions(const CustomOptions& options);

  int stride_height, stride_width;
  int dilation_height, dilation_width;
  Padding padding;
  bool pads_with_one;  // else with zero, which a bit cannot represent
  int channels;        // of the input
  int activation;
};

// The constants of a convolution. Exactly one of multiplier and thresholds is set.
struct ConvWeights {
  const uint32_t* filter;  // [channels][height][width][words of a group]
  int channels, height, width, words;
  const float* multiplier;
  const float* bias;
  const int32_t* thresholds;
  // An int8 output holds value / scale + zero_point; 1 and 0 for floats.
  double scale;
  double zero_point;
};

// The output: exactly one of the three.
struct ConvOutput {
  const PostOp* ops = nullptr;  // for a float output
  int num_ops = 0;
  int8_t* int8 = nullptr;
  uint32_t* bits = nullptr;
};

// Memory that one thread needs while it runs any of a network's convolutions.
struct ConvScratch {
  Buffer<uint32_t> panel;
  Buffer<int32_t> counts;
  Buffer<uint32_t> image;  // with its padding; all threads use the first one
};

class Conv {
 public:
  // Packs the filters; keeps no pointer into the weights. Refuses what cannot be computed.
  Conv(const ConvOptions& options, const ConvWeights& weights, const Kernels& kernels);

  // Sets the input shape; words per pixel. Refuses a shape that does not fit.
  void set_input(int batch, int height, int width, int words, int num_threads);

  int out_height() const { return geometry_.out_height; }
  int out_width() const { return geometry_.out_width; }
  int out_channels() const { return channels_; }
  int words_in() const { return groups_ * geometry_.patch_words; }

  // One entry for each thread.
  void reserve(std::vector<ConvScratch>& scratch) const;

  void run(const uint32_t* in, const ConvOutput& output, ThreadPool& pool,
           std::vector<ConvScratch>& scratch) const;

 private:
  struct Strip;

  void fold_outputs(const ConvOptions& options, const ConvWeights& weights);
  void pack(const ConvWeights& weights);
  void sum_taps(const ConvWeights& weights, int channels_in);
  void set_corrections();
  void plan_image();
  void plan_strips(int num_threads);
  size_t counts_stride() const;
  void pad_image(const uint32_t* in, ThreadPool& pool, uint32_t* padded) const;
  void run_strip(const uint32_t* in, const uint32_t* padded, const ConvOutput& output, int item,
                 ConvScratch& scratch) const;
  void finish(const Strip& strip, const int32_t* counts, int channel, int channels,
              const ConvOutput& output) const;

  const Kernels& kernels_;
  ConvGeometry geometry_{};
  Padding padding_;
  bool zero_padding_;
  int batch_ = 0;
  int channels_;        // of the output
  int groups_;
  int group_channels_;  // channels_ / groups_

  Buffer<uint32_t> packed_;
  std::vector<size_t> blocks_;  // start of each block of each group in packed_

  // Outputs; see Transform.
  std::vector<float> multiplier_, bias_;
  std::vector<int32_t> thresholds_;  // doubled
  int32_t clamp_min_ = 0, clamp_max_ = 0;
  bool clamps_ = false;

  // Zero padding: the correction to 2 * count of a tap outside the image, for each tap and channel;
  // its sum over the taps outside, for each class of pixels with the same taps outside; the class
  // of each pixel.
  std::vector<int32_t> tap_corrections_, corrections_, correction_of_;

  // Windows are read in place from images of padded_words_ words; 0: windows are gathered instead.
  PaddedImage padded_{};
  std::vector<size_t> offsets_;
  size_t padded_words_ = 0;

  // How the output is divided into work items.
  int strip_pixels_ = 0, strips_ = 0;
  int split_blocks_ = 0, splits_ = 0;  // channel blocks per item, items per strip
};

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_CONV_H_
