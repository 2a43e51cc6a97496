// Plain C++: runs everywhere and is the reference for the other kernels.
#include "finish.h"
#include "kernels.h"
#include "patches.h"

namespace lgr {
namespace {

struct Block : TailBlock {
  Block() { n = kChannelBlock; }
};

bool supported() { return true; }

size_t packed_words(int channels, int depth) {
  return static_cast<size_t>(channels) * depth;
}

size_t panel_words(int pixels, int depth) { return static_cast<size_t>(pixels) * depth; }

void pack_filter(const uint32_t* filter, int channels, int depth, uint32_t* packed) {
  std::memcpy(packed, filter, packed_words(channels, depth) * sizeof(uint32_t));
}

void pack_panel(const ConvGeometry& geometry, const uint32_t* image, int first, int pixels,
                uint32_t* panel) {
  PatchReader patches(geometry, image, first);
  for (int p = 0; p < pixels; p++) patches.next(panel + static_cast<size_t>(p) * geometry.depth());
}

void multiply(const uint32_t* panel, const uint32_t* packed, int pixels, int channels, int depth,
              int32_t* counts, size_t stride) {
  for (int p = 0; p < pixels; p++) {
    const uint32_t* patch = panel + static_cast<size_t>(p) * depth;
    for (int c = 0; c < channels; c++) {
      const uint32_t* filter = packed + static_cast<size_t>(c) * depth;
      int32_t count = 0;
      for (int k = 0; k < depth; k++) count += __builtin_popcount(patch[k] ^ filter[k]);
      counts[p * stride + c] = count;
    }
  }
}

}  // namespace

const Kernels kGenericKernels = {
    "generic",   supported,  /*tile_pixels=*/1,   packed_words, panel_words, pack_filter,
    pack_panel,  multiply,   finish_float<Block>, finish_int8,  finish_bits, run_post_ops<Block>,
    max_pool<Block>,
};

}  // namespace lgr
