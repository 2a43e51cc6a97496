#include "conv.h"

#include <cmath>
#include <limits>
#include <map>
#include <utility>

namespace lgr {
namespace {

constexpr const char* kName = "LceBconv2d";
constexpr int kMaxInt = std::numeric_limits<int>::max();

// Numbered as in the schema of TensorFlow Lite.
enum Activation { kNone = 0, kRelu = 1, kReluN1To1 = 2, kRelu6 = 3 };

std::pair<int, int> activation_range(int activation) {
  switch (activation) {
    case kRelu: return {0, kMaxInt};
    case kReluN1To1: return {-1, 1};
    case kRelu6: return {0, 6};
    default: return {-kMaxInt, kMaxInt};
  }
}

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Taps [first, second) of a window that lie inside the image.
std::pair<int, int> taps_inside(int out, int stride, int before, int taps, int dilation, int in) {
  const auto inside = [&](int tap) {
    const int64_t at = static_cast<int64_t>(out) * stride - before + int64_t{tap} * dilation;
    return at >= 0 && at < in;
  };
  int first = 0, last = taps;
  while (first < taps && !inside(first)) first++;
  while (last > first && !inside(last - 1)) last--;
  return {first, last};
}

}  // namespace

ConvOptions::ConvOptions(const CustomOptions& options)
    : stride_height(options.get("stride_height", 1, kMaxInt)),
      stride_width(options.get("stride_width", 1, kMaxInt)),
      dilation_height(options.get("dilation_height_factor", 1, kMaxInt)),
      dilation_width(options.get("dilation_width_factor", 1, kMaxInt)),
      padding(static_cast<Padding>(options.get("padding", 0, 1))),
      pads_with_one(options.get("pad_values", 0, 1) == 1),
      channels(options.get("channels_in", 1, kMaxInt)),
      activation(options.get("fused_activation_function", kNone, kRelu6)) {}

Conv::Conv(const ConvOptions& options, const ConvWeights& weights, const Kernels& kernels)
    : kernels_(kernels),
      padding_(options.padding),
      zero_padding_(options.padding == Padding::kSame && !options.pads_with_one),
      channels_(weights.channels) {
  expect(weights.channels >= 1 && weights.height >= 1 && weights.width >= 1 && weights.words >= 1,
         kName, ": expected a filter without empty dimensions. Received: ", weights.channels, "x",
         weights.height, "x", weights.width, "x", weights.words, ".");
  const int words = (options.channels - 1) / 32 + 1;
  groups_ = words / weights.words;
  expect(words == groups_ * weights.words && channels_ % groups_ == 0, kName,
         ": expected a filter whose words and channels divide into groups. Received: ", words,
         " words of input, ", weights.words, " of filter, ", channels_, " output channels.");
  expect(groups_ == 1 || options.channels == 32 * words, kName,
         ": expected groups of a multiple of 32 channels. Received: ", options.channels,
         " channels in ", groups_, " groups.");
  expect(int64_t{weights.height} * weights.width * weights.words < (1 << 24), kName,
         ": expected at most ", 1 << 24, " words in a filter. Received: more.");
  group_channels_ = channels_ / groups_;

  geometry_.patch_words = weights.words;
  geometry_.filter_height = weights.height;
  geometry_.filter_width = weights.width;
  geometry_.stride_height = options.stride_height;
  geometry_.stride_width = options.stride_width;
  geometry_.dilation_height = options.dilation_height;
  geometry_.dilation_width = options.dilation_width;

  fold_outputs(options, weights);
  pack(weights);
  if (zero_padding_) sum_taps(weights, options.channels / groups_);
}

// Folds the same constants as LCE, in double and rounded once, so outputs are bit-identical.
void Conv::fold_outputs(const ConvOptions& options, const ConvWeights& weights) {
  const int total = geometry_.taps() * (options.channels / groups_);  // largest dot product
  const auto [low, high] = activation_range(options.activation);
  clamp_min_ = total - std::min(high, total);
  clamp_max_ = total - std::max(low, -total);
  // Bits above the last channel are 0 in every converted file. In other files they count, and the
  // limits keep the result equal to LCE's.
  clamps_ = options.activation != kNone || options.channels % 32 != 0;
  if (weights.thresholds) {
    const int most = 32 * geometry_.depth();
    for (int c = 0; c < channels_; c++) {
      thresholds_.push_back(2 * std::max(-1, std::min(weights.thresholds[c], most)));
    }
    return;
  }
  for (int c = 0; c < channels_; c++) {
    const double multiplier = weights.multiplier[c];
    const double bias = weights.bias[c];
    multiplier_.push_back(static_cast<float>(-multiplier / weights.scale));
    bias_.push_back(static_cast<float>((bias + total * multiplier) / weights.scale +
                                       weights.zero_point));
  }
}

void Conv::pack(const ConvWeights& weights) {
  const int depth = geometry_.depth();
  size_t size = 0;
  for (int g = 0; g < groups_; g++) {
    for (int c = 0; c < group_channels_; c += kChannelBlock) {
      blocks_.push_back(size);
      const int channels = std::min(kChannelBlock, group_channels_ - c);
      size += aligned(sizeof(uint32_t) * kernels_.packed_words(channels, depth)) / sizeof(uint32_t);
    }
  }
  packed_ = Buffer<uint32_t>(size);
  size_t block = 0;
  for (int g = 0; g < groups_; g++) {
    for (int c = 0; c < group_channels_; c += kChannelBlock) {
      const size_t first = static_cast<size_t>(g) * group_channels_ + c;
      kernels_.pack_filter(weights.filter + first * depth,
                           std::min(kChannelBlock, group_channels_ - c), depth,
                           packed_.data() + blocks_[block++]);
    }
  }
}

// A tap in the padding is counted as if its values were +1: 2 * (set bits of the filter). Zeros add
// nothing to the dot product, so they must add the tap's number of channels to 2 * count.
void Conv::sum_taps(const ConvWeights& weights, int channels_in) {
  const int taps = geometry_.taps();
  const uint32_t* filter = weights.filter;
  tap_corrections_.resize(static_cast<size_t>(taps) * channels_);
  for (int c = 0; c < channels_; c++) {
    for (int tap = 0; tap < taps; tap++) {
      int set = 0;
      for (int i = 0; i < geometry_.patch_words; i++) set += __builtin_popcount(*filter++);
      tap_corrections_[static_cast<size_t>(tap) * channels_ + c] = channels_in - 2 * set;
    }
  }
}

void Conv::set_input(int batch, int height, int width, int words, int num_threads) {
  expect(words == words_in(), kName, ": expected an input with ", words_in(),
         " words of channels. Received: ", words, ".");
  ConvGeometry& g = geometry_;
  const Window rows = place_window(kName, height, g.filter_height, g.stride_height,
                                   g.dilation_height, padding_);
  const Window columns =
      place_window(kName, width, g.filter_width, g.stride_width, g.dilation_width, padding_);
  expect(int64_t{rows.out} * columns.out < (1 << 30), kName, ": expected fewer than ", 1 << 30,
         " output pixels. Received: ", rows.out, "x", columns.out, ".");
  expect(int64_t{batch} * rows.out * columns.out * channels_ <= kMaxInt, kName,
         ": expected at most ", kMaxInt, " output values. Received: ", batch, "x", rows.out, "x",
         columns.out, "x", channels_, ".");
  batch_ = batch;
  g.in_height = height;
  g.in_width = width;
  g.pixel_words = words;
  g.pad_top = rows.before;
  g.pad_left = columns.before;
  g.out_height = rows.out;
  g.out_width = columns.out;
  if (zero_padding_) set_corrections();
  plan_image();
  plan_strips(num_threads);
}

void Conv::set_corrections() {
  const ConvGeometry& g = geometry_;
  std::map<std::pair<std::pair<int, int>, std::pair<int, int>>, int32_t> classes;
  corrections_.clear();
  correction_of_.clear();
  correction_of_.reserve(static_cast<size_t>(g.out_height) * g.out_width);
  for (int y = 0; y < g.out_height; y++) {
    const auto rows = taps_inside(y, g.stride_height, g.pad_top, g.filter_height,
                                  g.dilation_height, g.in_height);
    for (int x = 0; x < g.out_width; x++) {
      const auto columns = taps_inside(x, g.stride_width, g.pad_left, g.filter_width,
                                       g.dilation_width, g.in_width);
      const auto [found, is_new] =
          classes.try_emplace({rows, columns}, static_cast<int32_t>(classes.size()));
      correction_of_.push_back(found->second);
      if (!is_new) continue;
      const size_t begin = corrections_.size();
      corrections_.resize(begin + static_cast<size_t>(channels_));
      for (int tap = 0; tap < g.taps(); tap++) {
        const int ky = tap / g.filter_width, kx = tap % g.filter_width;
        const bool inside = ky >= rows.first && ky < rows.second && kx >= columns.first &&
                            kx < columns.second;
        if (inside) continue;
        const int32_t* correction = &tap_corrections_[static_cast<size_t>(tap) * channels_];
        for (int c = 0; c < channels_; c++) corrections_[begin + c] += correction[c];
      }
    }
  }
}

// Decides whether windows are read in place. Taps adjacent in memory form one run.
void Conv::plan_image() {
  const ConvGeometry& g = geometry_;
  const bool adjacent = g.dilation_width == 1 && groups_ == 1;
  padded_.run_words = adjacent ? g.filter_width * g.patch_words : g.patch_words;
  padded_words_ = 0;
  if (!kernels_.multiply_windows || padded_.run_words % kernels_.run_multiple != 0 ||
      g.patch_words % kernels_.run_multiple != 0) {
    return;
  }
  const auto size = [](int out, int stride, int taps, int dilation) {
    return int64_t{out - 1} * stride + int64_t{taps - 1} * dilation + 1;
  };
  const int64_t height = size(g.out_height, g.stride_height, g.filter_height, g.dilation_height);
  const int64_t width = size(g.out_width, g.stride_width, g.filter_width, g.dilation_width);
  // Wide padding around a small image would cost more memory than it saves.
  const int64_t most = std::max<int64_t>(2 * int64_t{g.in_height} * g.in_width, 1 << 14);
  if (height > most || width > most || height * width > most) return;
  padded_.height = static_cast<int>(height);
  padded_.width = static_cast<int>(width);
  padded_words_ = static_cast<size_t>(height * width) * g.pixel_words;

  offsets_.clear();
  for (int ky = 0; ky < g.filter_height; ky++) {
    for (int kx = 0; kx < (adjacent ? 1 : g.filter_width); kx++) {
      const int64_t pixel = int64_t{ky} * g.dilation_height * width + int64_t{kx} * g.dilation_width;
      offsets_.push_back(static_cast<size_t>(pixel) * g.pixel_words);
    }
  }
  padded_.runs = static_cast<int>(offsets_.size());
  padded_.offsets = offsets_.data();
}

// Chooses strips whose panel stays in the L1 cache while the filters stream past it.
void Conv::plan_strips(int num_threads) {
  constexpr int kMostPixels = 48;
  constexpr size_t kPanelBytes = 32 << 10;
  const int tile = kernels_.tile_pixels;
  const int pixels = geometry_.out_height * geometry_.out_width;
  const size_t patch = sizeof(uint32_t) * kernels_.panel_words(tile, geometry_.depth()) /
                       static_cast<size_t>(tile);
  const int fit = static_cast<int>(std::min<size_t>(kPanelBytes / patch, kMostPixels));
  const int most = std::max(tile, fit / tile * tile);
  strips_ = ceil_div(pixels, most);
  strip_pixels_ = ceil_div(ceil_div(pixels, strips_), tile) * tile;
  strips_ = ceil_div(pixels, strip_pixels_);

  // If there are few strips, they are also split along the channels to occupy all threads. Groups
  // are not split, because their channels may share words of the output.
  constexpr int kItems = 16;
  const int blocks = ceil_div(channels_, kChannelBlock);
  const int wanted =
      groups_ > 1 || num_threads == 1 ? 1 : std::min(blocks, ceil_div(kItems, strips_));
  split_blocks_ = ceil_div(blocks, wanted);
  splits_ = ceil_div(blocks, split_blocks_);
}

// Counts are kept for one block of channels, or for all channels with groups; multiply() may write
// one block beyond the last channel.
size_t Conv::counts_stride() const {
  return groups_ == 1 ? kChannelBlock : static_cast<size_t>(channels_) + kChannelBlock;
}

void Conv::reserve(std::vector<ConvScratch>& scratch) const {
  for (ConvScratch& s : scratch) {
    s.panel.grow(kernels_.panel_words(strip_pixels_, geometry_.depth()));
    s.counts.grow(static_cast<size_t>(strip_pixels_ + kernels_.tile_pixels) * counts_stride());
  }
  scratch[0].image.grow(static_cast<size_t>(batch_) * padded_words_);
}

struct Conv::Strip {
  int image;
  int first;   // pixel of the image
  int pixels;
};

void Conv::run(const uint32_t* in, const ConvOutput& output, ThreadPool& pool,
               std::vector<ConvScratch>& scratch) const {
  uint32_t* padded = nullptr;
  if (padded_words_ > 0) {
    padded = scratch[0].image.data();
    pad_image(in, pool, padded);
  }
  pool.for_each(batch_ * strips_ * splits_, [&](int item, int worker) {
    run_strip(in, padded, output, item, scratch[static_cast<size_t>(worker)]);
  });
}

void Conv::pad_image(const uint32_t* in, ThreadPool& pool, uint32_t* padded) const {
  const ConvGeometry& g = geometry_;
  const size_t image_words = static_cast<size_t>(g.in_height) * g.in_width * g.pixel_words;
  // Each thread copies the rows of its own strips: rows written by another thread arrive slowly.
  const int rows = ceil_div(padded_.height, pool.num_threads());
  const int items = ceil_div(padded_.height, rows);
  pool.for_each(batch_ * items, [&](int item, int) {
    const size_t image = static_cast<size_t>(item / items);
    const int first = item % items * rows;
    kernels_.pad_rows(g, padded_, in + image * image_words, first,
                      std::min(rows, padded_.height - first), padded + image * padded_words_);
  });
}

void Conv::run_strip(const uint32_t* in, const uint32_t* padded, const ConvOutput& output, int item,
                     ConvScratch& scratch) const {
  const ConvGeometry& g = geometry_;
  const int pixels = g.out_height * g.out_width;
  const int split = item % splits_;
  Strip strip{};
  strip.image = item / splits_ / strips_;
  strip.first = item / splits_ % strips_ * strip_pixels_;
  strip.pixels = std::min(strip_pixels_, pixels - strip.first);
  const uint32_t* image =
      in + static_cast<size_t>(strip.image) * g.in_height * g.in_width * g.pixel_words;
  const size_t stride = counts_stride();
  const int blocks = ceil_div(group_channels_, kChannelBlock);
  const int first_block = groups_ > 1 ? 0 : split * split_blocks_;
  const int end_block = groups_ > 1 ? blocks : std::min(blocks, first_block + split_blocks_);

  for (int group = 0; group < groups_; group++) {
    const size_t group_word = static_cast<size_t>(group) * g.patch_words;
    if (!padded) {
      kernels_.pack_panel(g, image + group_word, strip.first, strip.pixels, scratch.panel.data());
    }
    for (int block = first_block; block < end_block; block++) {
      const int channel = group * group_channels_ + block * kChannelBlock;
      const int channels = std::min(kChannelBlock, group_channels_ - block * kChannelBlock);
      int32_t* counts = scratch.counts.data() + (groups_ > 1 ? channel : 0);
      const uint32_t* packed =
          packed_.data() + blocks_[static_cast<size_t>(group) * blocks + block];
      if (padded) {
        kernels_.multiply_windows(g, padded_, padded + strip.image * padded_words_ + group_word,
                                  strip.first, strip.pixels, packed, channels, counts, stride);
      } else {
        kernels_.multiply(scratch.panel.data(), packed, strip.pixels, channels, g.depth(), counts,
                          stride);
      }
      if (groups_ == 1) finish(strip, counts, channel, channels, output);
    }
  }
  if (groups_ == 1) return;
  for (int channel = 0; channel < channels_; channel += kChannelBlock) {
    finish(strip, scratch.counts.data() + channel, channel,
           std::min(kChannelBlock, channels_ - channel), output);
  }
}

void Conv::finish(const Strip& strip, const int32_t* counts, int channel, int channels,
                  const ConvOutput& output) const {
  const size_t pixels = static_cast<size_t>(geometry_.out_height) * geometry_.out_width;
  const Part part{strip.image * pixels + strip.first, strip.pixels, channel, channels, channels_};
  Transform transform{};
  transform.multiplier = multiplier_.data();
  transform.bias = bias_.data();
  transform.clamp_min = clamp_min_;
  transform.clamp_max = clamp_max_;
  transform.clamps = clamps_;
  if (zero_padding_) {
    transform.corrections = corrections_.data();
    transform.correction_of = correction_of_.data() + strip.first;
    transform.correction_stride = static_cast<size_t>(channels_);
  }
  const size_t stride = counts_stride();
  if (output.bits) {
    kernels_.finish_bits(counts, stride, part, transform, thresholds_.data(), output.bits);
  } else if (output.int8) {
    kernels_.finish_int8(counts, stride, part, transform, output.int8);
  } else {
    kernels_.finish_float(counts, stride, part, transform, output.ops, output.num_ops);
  }
}

}  // namespace lgr
