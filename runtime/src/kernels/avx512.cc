// AVX-512 with VPOPCNTDQ (Ice Lake, Zen 4 and later): 16 output channels in a register.
// Words are processed in pairs, and a carry-save adder before the population count halves the
// number of counts. With d = x1 ^ w1 and e = x2 ^ w2 for the two words of a pair,
//   ones' = ones ^ d ^ e,  twos = majority(ones, d, e),
// and the sum of bits is count(ones at the end) + 2 * sum of count(twos). Panels and filters hold
// (x1, x1 ^ x2) and (w1, w1 ^ w2), so d ^ e is one exclusive or. This takes 5 instructions for two
// words instead of 6 with xor, count and add.
#include <immintrin.h>

#include "cpu_x86.h"
#include "finish.h"
#include "kernels.h"
#include "patches.h"

namespace lgr {
namespace {

constexpr int kLanes = 16;
constexpr int kTilePixels = 2;

struct Block {
  __m512 v[kChannelBlock / kLanes];

  // Enough registers are free to keep these over all rows.
  struct Channels {
    __m512 multiplier[4], bias[4];
    __m512i low, high;
    const bool clamps;
    const int first;

    LGR_INLINE Channels(const Transform& t, int first)
        : low(_mm512_set1_epi32(t.clamp_min)),
          high(_mm512_set1_epi32(t.clamp_max)),
          clamps(t.clamps),
          first(first) {
      for (int i = 0; i < 4; i++) {
        multiplier[i] = _mm512_loadu_ps(t.multiplier + first + kLanes * i);
        bias[i] = _mm512_loadu_ps(t.bias + first + kLanes * i);
      }
    }
  };

  LGR_INLINE void transform(const Channels& channels, const int32_t* counts,
                            const int32_t* correction) {
    __m512i x[4];
    for (int i = 0; i < 4; i++) {
      x[i] = _mm512_slli_epi32(_mm512_loadu_si512(counts + kLanes * i), 1);
    }
    if (correction) {
      for (int i = 0; i < 4; i++) {
        x[i] = _mm512_add_epi32(x[i],
                                _mm512_loadu_si512(correction + channels.first + kLanes * i));
      }
    }
    if (channels.clamps) {
      for (int i = 0; i < 4; i++) {
        x[i] = _mm512_max_epi32(_mm512_min_epi32(x[i], channels.high), channels.low);
      }
    }
    for (int i = 0; i < 4; i++) {
      v[i] = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(x[i]), channels.multiplier[i]),
                           channels.bias[i]);
    }
  }
  LGR_INLINE void load(const float* p) {
    for (int i = 0; i < 4; i++) v[i] = _mm512_loadu_ps(p + kLanes * i);
  }
  LGR_INLINE void store(float* p) const {
    for (int i = 0; i < 4; i++) _mm512_storeu_ps(p + kLanes * i, v[i]);
  }
  LGR_INLINE void add(const float* p) {
    for (int i = 0; i < 4; i++) v[i] = _mm512_add_ps(v[i], _mm512_loadu_ps(p + kLanes * i));
  }
  LGR_INLINE void multiply(const float* p) {
    for (int i = 0; i < 4; i++) v[i] = _mm512_mul_ps(v[i], _mm512_loadu_ps(p + kLanes * i));
  }
  LGR_INLINE void max(const float* p) {
    for (int i = 0; i < 4; i++) v[i] = _mm512_max_ps(v[i], _mm512_loadu_ps(p + kLanes * i));
  }
  LGR_INLINE void add(float s) {
    for (int i = 0; i < 4; i++) v[i] = _mm512_add_ps(v[i], _mm512_set1_ps(s));
  }
  LGR_INLINE void multiply(float s) {
    for (int i = 0; i < 4; i++) v[i] = _mm512_mul_ps(v[i], _mm512_set1_ps(s));
  }
  LGR_INLINE void store_bits(uint32_t* p) const {
    for (int i = 0; i < 2; i++) {
      const __mmask16 low = _mm512_cmp_ps_mask(v[2 * i], _mm512_setzero_ps(), _CMP_LT_OQ);
      const __mmask16 high = _mm512_cmp_ps_mask(v[2 * i + 1], _mm512_setzero_ps(), _CMP_LT_OQ);
      p[i] = _mm512_kunpackw(high, low);
    }
  }
};

int even(int depth) { return depth + depth % 2; }

int padded(int channels) { return (channels + kLanes - 1) / kLanes * kLanes; }

size_t packed_words(int channels, int depth) {
  return static_cast<size_t>(padded(channels)) * even(depth);
}

size_t panel_words(int pixels, int depth) { return static_cast<size_t>(pixels) * even(depth); }

// [pair of words][w1, w1 ^ w2][channel]; padding channels and the word that fills the last
// pair are 0.
void pack_filter(const uint32_t* filter, int channels, int depth, uint32_t* packed) {
  for (int k = 0; k < depth; k += 2) {
    for (int c = 0; c < padded(channels); c++, packed++) {
      uint32_t first = 0, second = 0;
      if (c < channels) {
        const size_t at = static_cast<size_t>(c) * depth + k;
        first = filter[at];
        if (k + 1 < depth) second = filter[at + 1];
      }
      packed[0] = first;
      packed[padded(channels)] = first ^ second;
    }
    packed += padded(channels);
  }
}

// Turns pairs (x1, x2) into (x1, x1 ^ x2).
LGR_INLINE void pair_up(const uint32_t* in, size_t words, uint32_t* out) {
  size_t k = 0;
  for (; k + kLanes <= words; k += kLanes) {
    const __m512i x = _mm512_loadu_si512(in + k);
    _mm512_storeu_si512(out + k, _mm512_xor_si512(x, _mm512_slli_epi64(x, 32)));
  }
  for (; k < words; k += 2) {
    const uint32_t first = in[k], second = in[k + 1];
    out[k] = first;
    out[k + 1] = first ^ second;
  }
}

void pack_panel(const ConvGeometry& geometry, const uint32_t* image, int first, int pixels,
                uint32_t* panel) {
  const int depth = geometry.depth();
  PatchReader patches(geometry, image, first);
  for (int p = 0; p < pixels; p++) {
    uint32_t* patch = panel + static_cast<size_t>(p) * even(depth);
    patches.next(patch);
    if (depth % 2) patch[depth] = 0;
  }
  // A separate pass, because wide loads of words that were just stored one by one would stall.
  pair_up(panel, panel_words(pixels, depth), panel);
}

// Copies rows with padding around them and pairs their words as in a panel. Padding is +1, 0 bits.
void pad_rows(const ConvGeometry& g, const PaddedImage& padded, const uint32_t* image, int first,
              int rows, uint32_t* out) {
  const size_t row_words = static_cast<size_t>(padded.width) * g.pixel_words;
  const size_t left = static_cast<size_t>(g.pad_left) * g.pixel_words;
  const size_t words = static_cast<size_t>(std::min(g.in_width, padded.width - g.pad_left)) *
                       g.pixel_words;
  out += first * row_words;
  for (int y = first - g.pad_top; y < first - g.pad_top + rows; y++, out += row_words) {
    if (y < 0 || y >= g.in_height) {
      std::fill(out, out + row_words, 0);
      continue;
    }
    const uint32_t* row = image + static_cast<size_t>(y) * g.in_width * g.pixel_words;
    std::fill(out, out + left, 0);
    pair_up(row, words, out + left);
    std::fill(out + left + words, out + row_words, 0);
  }
}

// The patches of a panel, one after the other.
class PanelReader {
 public:
  PanelReader(const uint32_t* panel, int depth) : next_(panel), depth_(depth) {}
  LGR_INLINE const uint32_t* next() {
    const uint32_t* patch = next_;
    next_ += depth_;
    return patch;
  }

 private:
  const uint32_t* next_;
  const int depth_;
};

// The windows of a padded image, in the order of the output's pixels.
class WindowReader {
 public:
  WindowReader(const ConvGeometry& g, const PaddedImage& padded, const uint32_t* words, int first)
      : step_(static_cast<size_t>(g.stride_width) * g.pixel_words),
        row_step_(static_cast<size_t>(g.stride_height) * padded.width * g.pixel_words),
        width_(g.out_width),
        left_(g.out_width - first % g.out_width),
        row_(words + static_cast<size_t>(first / g.out_width) * row_step_),
        next_(row_ + static_cast<size_t>(first % g.out_width) * step_) {}
  LGR_INLINE const uint32_t* next() {
    const uint32_t* window = next_;
    next_ += step_;
    if (--left_ == 0) {
      left_ = width_;
      next_ = row_ += row_step_;
    }
    return window;
  }

 private:
  const size_t step_, row_step_;
  const int width_;
  int left_;  // windows of this row
  const uint32_t *row_, *next_;
};

// Location of a patch's words: `number` runs of `words` words each.
struct Runs {
  const size_t* offsets;
  int number, words;
};

// One tile: P pixels by 16 * O channels.
template <int P, int O>
LGR_INLINE void multiply_tile(const uint32_t* const (&patches)[P], const Runs& runs,
                              const uint32_t* packed, int32_t* counts, size_t stride) {
  constexpr int kXor3 = 0x96;
  // Truth table over d, sum and ones. Where sum and ones differ, the pair has one set bit, which
  // carries if ones is also set; elsewhere both bits of the pair are equal, and d is one of them.
  constexpr int kCarry = 0xB2;
  __m512i ones[P][O], twos[P][O];
  for (int p = 0; p < P; p++) {
    for (int o = 0; o < O; o++) ones[p][o] = twos[p][o] = _mm512_setzero_si512();
  }
  for (int run = 0; run < runs.number; run++) {
    const uint32_t* words[P];
    for (int p = 0; p < P; p++) words[p] = patches[p] + runs.offsets[run];
    for (int k = 0; k < runs.words; k += 2, packed += 2 * kLanes * O) {
      for (int o = 0; o < O; o++) {
        const __m512i w1 = _mm512_loadu_si512(packed + kLanes * o);
        const __m512i w12 = _mm512_loadu_si512(packed + kLanes * (O + o));
        for (int p = 0; p < P; p++) {
          const uint32_t* x = words[p] + k;
          const __m512i d = _mm512_xor_si512(_mm512_set1_epi32(static_cast<int>(x[0])), w1);
          const __m512i sum = _mm512_ternarylogic_epi32(
              w12, _mm512_set1_epi32(static_cast<int>(x[1])), ones[p][o], kXor3);
          const __m512i carry = _mm512_ternarylogic_epi32(d, sum, ones[p][o], kCarry);
          ones[p][o] = sum;
          twos[p][o] = _mm512_add_epi32(twos[p][o], _mm512_popcnt_epi32(carry));
        }
      }
    }
  }
  for (int p = 0; p < P; p++) {
    for (int o = 0; o < O; o++) {
      const __m512i count = _mm512_add_epi32(_mm512_popcnt_epi32(ones[p][o]),
                                             _mm512_slli_epi32(twos[p][o], 1));
      _mm512_storeu_si512(counts + p * stride + kLanes * o, count);
    }
  }
}

template <int O, class Reader>
void multiply_block(Reader reader, int pixels, const Runs& runs, const uint32_t* packed,
                    int32_t* counts, size_t stride) {
  constexpr int P = kTilePixels;
  static_assert(P == 2, "a tile takes two patches");
  for (; pixels >= P; pixels -= P, counts += P * stride) {
    const uint32_t* first = reader.next();
    multiply_tile<P, O>({first, reader.next()}, runs, packed, counts, stride);
  }
  if (pixels > 0) multiply_tile<1, O>({reader.next()}, runs, packed, counts, stride);
}

template <class Reader>
void multiply_all(const Reader& reader, int pixels, const Runs& runs, const uint32_t* packed,
                  int channels, int32_t* counts, size_t stride) {
  switch (padded(channels) / kLanes) {
    case 4: multiply_block<4>(reader, pixels, runs, packed, counts, stride); break;
    case 3: multiply_block<3>(reader, pixels, runs, packed, counts, stride); break;
    case 2: multiply_block<2>(reader, pixels, runs, packed, counts, stride); break;
    default: multiply_block<1>(reader, pixels, runs, packed, counts, stride);
  }
}

void multiply(const uint32_t* panel, const uint32_t* packed, int pixels, int channels, int depth,
              int32_t* counts, size_t stride) {
  const size_t begin = 0;
  multiply_all(PanelReader(panel, even(depth)), pixels, {&begin, 1, even(depth)}, packed, channels,
               counts, stride);
}

void multiply_windows(const ConvGeometry& geometry, const PaddedImage& padded,
                      const uint32_t* words, int first, int pixels, const uint32_t* packed,
                      int channels, int32_t* counts, size_t stride) {
  multiply_all(WindowReader(geometry, padded, words, first), pixels,
               {padded.offsets, padded.runs, padded.run_words}, packed, channels, counts, stride);
}

}  // namespace

const Kernels kAvx512Kernels = {
    "avx512",   cpu_has_avx512_vpopcntdq, kTilePixels,         packed_words, panel_words, pack_filter,
    pack_panel, multiply,  finish_float<Block>, finish_int8,  finish_bits, run_post_ops<Block>,
    max_pool<Block>, /*run_multiple=*/2, pad_rows, multiply_windows,
};

}  // namespace lgr
