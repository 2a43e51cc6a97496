// AVX2 has no vector population count, so counts come from a table: for four bits of a patch, one
// row of a 16 x 16 table holds the number of differing bits for each four bits of a filter, and one
// byte shuffle looks it up for 32 output channels.
// Panels hold, for each four bits, the offset of their row (16 times their value) in a byte; packed
// filters hold four bits of each of 64 channels in 64 bytes.
#include <immintrin.h>

#include "cpu_x86.h"
#include "finish.h"
#include "kernels.h"
#include "patches.h"

namespace lgr {
namespace {

constexpr int kTilePixels = 6;
constexpr int kNibbles = 8;  // of a word

struct Block {
  __m256 v[kChannelBlock / 8];

  using Channels = TailBlock::Channels;

  LGR_INLINE void transform(const Channels& channels, const int32_t* counts,
                            const int32_t* correction) {
    const Transform& t = channels.transform;
    const float* multiplier = t.multiplier + channels.first;
    const float* bias = t.bias + channels.first;
    const auto integers = [](const int32_t* p) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    };
    __m256i x[8];
    for (int i = 0; i < 8; i++) x[i] = _mm256_slli_epi32(integers(counts + 8 * i), 1);
    if (correction) {
      for (int i = 0; i < 8; i++) {
        x[i] = _mm256_add_epi32(x[i], integers(correction + channels.first + 8 * i));
      }
    }
    if (t.clamps) {
      const __m256i low = _mm256_set1_epi32(t.clamp_min), high = _mm256_set1_epi32(t.clamp_max);
      for (int i = 0; i < 8; i++) x[i] = _mm256_max_epi32(_mm256_min_epi32(x[i], high), low);
    }
    for (int i = 0; i < 8; i++) {
      const __m256 product =
          _mm256_mul_ps(_mm256_cvtepi32_ps(x[i]), _mm256_loadu_ps(multiplier + 8 * i));
      v[i] = _mm256_add_ps(product, _mm256_loadu_ps(bias + 8 * i));
    }
  }
  LGR_INLINE void load(const float* p) {
    for (int i = 0; i < 8; i++) v[i] = _mm256_loadu_ps(p + 8 * i);
  }
  LGR_INLINE void store(float* p) const {
    for (int i = 0; i < 8; i++) _mm256_storeu_ps(p + 8 * i, v[i]);
  }
  LGR_INLINE void add(const float* p) {
    for (int i = 0; i < 8; i++) v[i] = _mm256_add_ps(v[i], _mm256_loadu_ps(p + 8 * i));
  }
  LGR_INLINE void multiply(const float* p) {
    for (int i = 0; i < 8; i++) v[i] = _mm256_mul_ps(v[i], _mm256_loadu_ps(p + 8 * i));
  }
  LGR_INLINE void max(const float* p) {
    for (int i = 0; i < 8; i++) v[i] = _mm256_max_ps(v[i], _mm256_loadu_ps(p + 8 * i));
  }
  LGR_INLINE void add(float s) {
    for (int i = 0; i < 8; i++) v[i] = _mm256_add_ps(v[i], _mm256_set1_ps(s));
  }
  LGR_INLINE void multiply(float s) {
    for (int i = 0; i < 8; i++) v[i] = _mm256_mul_ps(v[i], _mm256_set1_ps(s));
  }
  LGR_INLINE void store_bits(uint32_t* p) const {
    for (int w = 0; w < 2; w++) {
      uint32_t word = 0;
      for (int i = 0; i < 4; i++) {
        const __m256 negative = _mm256_cmp_ps(v[4 * w + i], _mm256_setzero_ps(), _CMP_LT_OQ);
        word |= static_cast<uint32_t>(_mm256_movemask_ps(negative)) << (8 * i);
      }
      p[w] = word;
    }
  }
};

// Channels of a packed block: one or two vectors of 32.
int padded(int channels) { return channels > 32 ? 64 : 32; }

size_t packed_words(int channels, int depth) {
  return static_cast<size_t>(padded(channels)) * depth * kNibbles / sizeof(uint32_t);
}

size_t panel_words(int pixels, int depth) {
  return static_cast<size_t>(pixels) * depth * kNibbles / sizeof(uint32_t);
}

// [nibble][channel] bytes.
void pack_filter(const uint32_t* filter, int channels, int depth, uint32_t* packed) {
  uint8_t* out = reinterpret_cast<uint8_t*>(packed);
  for (int k = 0; k < depth; k++) {
    for (int n = 0; n < kNibbles; n++) {
      for (int c = 0; c < padded(channels); c++) {
        const uint32_t word = c < channels ? filter[static_cast<size_t>(c) * depth + k] : 0;
        *out++ = (word >> (4 * n)) & 15;
      }
    }
  }
}

// Spreads the nibbles of 4 words over 32 bytes, each times 16.
LGR_INLINE void spread(const uint32_t* words, uint8_t* nibbles) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
  const __m128i high_nibble = _mm_set1_epi8(static_cast<char>(0xF0));
  const __m128i high = _mm_and_si128(x, high_nibble);
  const __m128i low = _mm_and_si128(_mm_slli_epi16(x, 4), high_nibble);
  __m128i* out = reinterpret_cast<__m128i*>(nibbles);
  _mm_storeu_si128(out, _mm_unpacklo_epi8(low, high));
  _mm_storeu_si128(out + 1, _mm_unpackhi_epi8(low, high));
}

void pack_panel(const ConvGeometry& geometry, const uint32_t* image, int first, int pixels,
                uint32_t* panel) {
  const int depth = geometry.depth();
  const size_t words = static_cast<size_t>(pixels) * depth;
  // The words are gathered in the second half of the panel and spread from there. Spreading runs
  // upwards and overwrites words only after reading them.
  uint32_t* patch = panel + words;
  PatchReader patches(geometry, image, first);
  for (int p = 0; p < pixels; p++, patch += depth) patches.next(patch);
  uint8_t* nibbles = reinterpret_cast<uint8_t*>(panel);
  size_t k = 0;
  for (; k + 4 <= words; k += 4) spread(panel + words + k, nibbles + k * kNibbles);
  uint32_t rest[4] = {};
  uint8_t rest_nibbles[4 * kNibbles];
  std::memcpy(rest, panel + words + k, (words - k) * sizeof(uint32_t));
  spread(rest, rest_nibbles);
  std::memcpy(nibbles + k * kNibbles, rest_nibbles, (words - k) * kNibbles);
}

struct Table {
  alignas(64) uint8_t differing[16][16];
  constexpr Table() : differing() {
    for (int a = 0; a < 16; a++) {
      for (int b = 0; b < 16; b++) {
        const int d = a ^ b;
        differing[a][b] = static_cast<uint8_t>((d & 1) + (d >> 1 & 1) + (d >> 2 & 1) + (d >> 3));
      }
    }
  }
};
constexpr Table kTable;

// A byte holds sums up to 255, that is 63 nibbles: 7 words.
constexpr int kWordsBetweenFlushes = 7;

// Without this, GCC unrolls these loops only after placing their arrays in memory.
#define LGR_UNROLL _Pragma("GCC unroll 8")

// P pixels by 32 * O channels over at most kWordsBetweenFlushes words, added to (or, for the first
// words, stored in) 16-bit sums.
template <int P, int O>
__attribute__((noinline)) void multiply_words(const uint8_t* const* patches,
                                              const uint8_t* packed, int nibbles, bool first,
                                              uint16_t (*sums)[kChannelBlock]) {
  __m256i bytes[P][O];
  const uint8_t* patch[P];
  LGR_UNROLL
  for (int p = 0; p < P; p++) {
    patch[p] = patches[p];
    LGR_UNROLL
    for (int o = 0; o < O; o++) bytes[p][o] = _mm256_setzero_si256();
  }
  for (int n = 0; n < nibbles; n++, packed += 32 * O) {
    __m256i w[O];
    LGR_UNROLL
    for (int o = 0; o < O; o++) {
      w[o] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + 32 * o));
    }
    LGR_UNROLL
    for (int p = 0; p < P; p++) {
      const __m128i* row =
          reinterpret_cast<const __m128i*>(&kTable.differing[0][0] + patch[p][n]);
      const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128(row));
      LGR_UNROLL
      for (int o = 0; o < O; o++) {
        bytes[p][o] = _mm256_add_epi8(bytes[p][o], _mm256_shuffle_epi8(table, w[o]));
        // Keeps GCC from doing the look-ups of all pixels first, which would spill the sums.
        asm volatile("" : "+x"(bytes[p][o]));
      }
    }
  }
  LGR_UNROLL
  for (int p = 0; p < P; p++) {
    LGR_UNROLL
    for (int o = 0; o < O; o++) {
      __m256i* sum = reinterpret_cast<__m256i*>(sums[p] + 32 * o);
      __m256i low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes[p][o]));
      __m256i high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(bytes[p][o], 1));
      if (!first) {
        low = _mm256_add_epi16(low, _mm256_load_si256(sum));
        high = _mm256_add_epi16(high, _mm256_load_si256(sum + 1));
      }
      _mm256_store_si256(sum, low);
      _mm256_store_si256(sum + 1, high);
    }
  }
}

// Words whose sum fits into 16 bits.
constexpr int kWordsOfSums = 65535 / 32 / kWordsBetweenFlushes * kWordsBetweenFlushes;

template <int P, int O>
void multiply_tile(const uint8_t* panel, const uint8_t* packed, int depth, int32_t* counts,
                   size_t stride) {
  alignas(32) uint16_t sums[P][kChannelBlock];
  const uint8_t* patches[P];
  for (int p = 0; p < P; p++) patches[p] = panel + static_cast<size_t>(p) * depth * kNibbles;
  for (int done = 0; done < depth; done += kWordsOfSums) {
    const int end = std::min(depth, done + kWordsOfSums);
    for (int k = done; k < end; k += kWordsBetweenFlushes) {
      const int nibbles = std::min(kWordsBetweenFlushes, end - k) * kNibbles;
      multiply_words<P, O>(patches, packed, nibbles, k == done, sums);
      packed += nibbles * 32 * O;
      for (int p = 0; p < P; p++) patches[p] += nibbles;
    }
    for (int p = 0; p < P; p++) {
      for (int c = 0; c < 32 * O; c++) {
        const int32_t before = done ? counts[p * stride + c] : 0;
        counts[p * stride + c] = before + sums[p][c];
      }
    }
  }
}

template <int O>
void multiply_block(const uint8_t* panel, const uint8_t* packed, int pixels, int depth,
                    int32_t* counts, size_t stride) {
  constexpr int P = kTilePixels;
  const size_t patch = static_cast<size_t>(depth) * kNibbles;
  for (; pixels >= P; pixels -= P, panel += P * patch, counts += P * stride) {
    multiply_tile<P, O>(panel, packed, depth, counts, stride);
  }
  for (; pixels > 0; pixels--, panel += patch, counts += stride) {
    multiply_tile<1, O>(panel, packed, depth, counts, stride);
  }
}

void multiply(const uint32_t* panel, const uint32_t* packed, int pixels, int channels, int depth,
              int32_t* counts, size_t stride) {
  const uint8_t* nibbles = reinterpret_cast<const uint8_t*>(panel);
  const uint8_t* filters = reinterpret_cast<const uint8_t*>(packed);
  if (padded(channels) == 64) {
    multiply_block<2>(nibbles, filters, pixels, depth, counts, stride);
  } else {
    multiply_block<1>(nibbles, filters, pixels, depth, counts, stride);
  }
}

}  // namespace

const Kernels kAvx2Kernels = {
    "avx2",     cpu_has_avx2, kTilePixels,         packed_words, panel_words, pack_filter,
    pack_panel, multiply,  finish_float<Block>, finish_int8,  finish_bits, run_post_ops<Block>,
    max_pool<Block>,
};

}  // namespace lgr
