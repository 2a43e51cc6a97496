// NEON on AArch64: tiles of 4 pixels by 16 channels.
// Each vector of 4 words takes an exclusive or, a bit count per byte and an addition: 16 of the 32
// registers hold the sums of a tile, as bytes. Panels interleave the words of 4 pixels, so one ld4r
// spreads a word of each over the lanes of four registers.
// The inner loop is assembly: compilers keep neither all 16 sums in registers nor the replicating
// loads. README.md has the gain.
#include <arm_neon.h>

#include "finish.h"
#include "kernels.h"
#include "patches.h"

namespace lgr {
namespace {

constexpr int kTilePixels = 4;
constexpr int kTileChannels = 16;

// Without this, Clang unrolls these loops only after placing their arrays in memory.
#define LGR_UNROLL _Pragma("GCC unroll 16")

struct Block {
  float32x4_t v[kChannelBlock / 4];

  using Channels = TailBlock::Channels;

  LGR_INLINE void transform(const Channels& channels, const int32_t* counts,
                            const int32_t* correction) {
    const Transform& t = channels.transform;
    const float* multiplier = t.multiplier + channels.first;
    const float* bias = t.bias + channels.first;
    int32x4_t x[16];
    LGR_UNROLL
    for (int i = 0; i < 16; i++) x[i] = vshlq_n_s32(vld1q_s32(counts + 4 * i), 1);
    if (correction) {
      LGR_UNROLL
      for (int i = 0; i < 16; i++) x[i] = vaddq_s32(x[i], vld1q_s32(correction + channels.first + 4 * i));
    }
    if (t.clamps) {
      const int32x4_t low = vdupq_n_s32(t.clamp_min), high = vdupq_n_s32(t.clamp_max);
      LGR_UNROLL
      for (int i = 0; i < 16; i++) x[i] = vmaxq_s32(vminq_s32(x[i], high), low);
    }
    LGR_UNROLL
    for (int i = 0; i < 16; i++) {
      const float32x4_t product = vmulq_f32(vcvtq_f32_s32(x[i]), vld1q_f32(multiplier + 4 * i));
      v[i] = vaddq_f32(product, vld1q_f32(bias + 4 * i));
    }
  }
  LGR_INLINE void load(const float* p) {
    LGR_UNROLL
    for (int i = 0; i < 16; i++) v[i] = vld1q_f32(p + 4 * i);
  }
  LGR_INLINE void store(float* p) const {
    LGR_UNROLL
    for (int i = 0; i < 16; i++) vst1q_f32(p + 4 * i, v[i]);
  }
  LGR_INLINE void add(const float* p) {
    LGR_UNROLL
    for (int i = 0; i < 16; i++) v[i] = vaddq_f32(v[i], vld1q_f32(p + 4 * i));
  }
  LGR_INLINE void multiply(const float* p) {
    LGR_UNROLL
    for (int i = 0; i < 16; i++) v[i] = vmulq_f32(v[i], vld1q_f32(p + 4 * i));
  }
  LGR_INLINE void max(const float* p) {
    LGR_UNROLL
    for (int i = 0; i < 16; i++) v[i] = vmaxq_f32(v[i], vld1q_f32(p + 4 * i));
  }
  LGR_INLINE void add(float s) {
    LGR_UNROLL
    for (int i = 0; i < 16; i++) v[i] = vaddq_f32(v[i], vdupq_n_f32(s));
  }
  LGR_INLINE void multiply(float s) {
    LGR_UNROLL
    for (int i = 0; i < 16; i++) v[i] = vmulq_f32(v[i], vdupq_n_f32(s));
  }
  LGR_INLINE void store_bits(uint32_t* p) const {
    static const uint8_t kBitOfLane[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                           1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bit = vld1q_u8(kBitOfLane);
    uint8x16_t masked[4];  // one byte for each of 16 channels: its bit within its byte, or 0
    LGR_UNROLL
    for (int i = 0; i < 4; i++) {
      uint16x8_t half[2];
      LGR_UNROLL
      for (int j = 0; j < 2; j++) {
        const uint32x4_t low = vcltzq_f32(v[4 * i + 2 * j]);
        const uint32x4_t high = vcltzq_f32(v[4 * i + 2 * j + 1]);
        half[j] = vuzp1q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
      }
      masked[i] = vandq_u8(
          bit, vuzp1q_u8(vreinterpretq_u8_u16(half[0]), vreinterpretq_u8_u16(half[1])));
    }
    // Three rounds of pairwise sums leave 8 bytes, which hold 64 channels.
    const uint8x16_t sums = vpaddq_u8(vpaddq_u8(masked[0], masked[1]), vpaddq_u8(masked[2], masked[3]));
    vst1_u32(p, vreinterpret_u32_u8(vget_low_u8(vpaddq_u8(sums, sums))));
  }
};

bool supported() { return true; }

int padded(int channels) { return (channels + kTileChannels - 1) / kTileChannels * kTileChannels; }

int tiles(int pixels) { return (pixels + kTilePixels - 1) / kTilePixels; }

size_t packed_words(int channels, int depth) { return static_cast<size_t>(padded(channels)) * depth; }

// One extra tile as room to gather patches before they are interleaved.
size_t panel_words(int pixels, int depth) {
  return static_cast<size_t>(tiles(pixels) + 1) * kTilePixels * depth;
}

// [16 channels][word][channel].
void pack_filter(const uint32_t* filter, int channels, int depth, uint32_t* packed) {
  for (int c0 = 0; c0 < channels; c0 += kTileChannels) {
    for (int k = 0; k < depth; k++) {
      for (int c = c0; c < c0 + kTileChannels; c++) {
        *packed++ = c < channels ? filter[static_cast<size_t>(c) * depth + k] : 0;
      }
    }
  }
}

// Interleaves `words` words of 4 rows that lie `step` words apart; returns the end.
LGR_INLINE uint32_t* interleave(const uint32_t* rows, ptrdiff_t step, int words, uint32_t* out) {
  int k = 0;
  for (; k + 4 <= words; k += 4, out += 16) {
    uint32x4x4_t four;
    for (int i = 0; i < 4; i++) four.val[i] = vld1q_u32(rows + i * step + k);
    vst4q_u32(out, four);
  }
  if (words & 2) {
    uint32x2x4_t two;
    for (int i = 0; i < 4; i++) two.val[i] = vld1_u32(rows + i * step + k);
    vst4_u32(out, two);
    k += 2;
    out += 8;
  }
  if (words & 1) {
    for (int i = 0; i < 4; i++) *out++ = rows[i * step + k];
  }
  return out;
}

// [4 pixels][word][pixel]; the pixels that fill the last tile are 0.
void pack_panel(const ConvGeometry& geometry, const uint32_t* image, int first, int pixels,
                uint32_t* panel) {
  const int depth = geometry.depth();
  uint32_t* gathered = panel + static_cast<size_t>(tiles(pixels)) * kTilePixels * depth;
  PatchReader patches(geometry, image, first);
  for (int p = 0; p < pixels; p += kTilePixels) {
    const uint32_t* window =
        p + kTilePixels <= pixels ? patches.next_inside(kTilePixels) : nullptr;
    if (window) {
      for (int ky = 0; ky < patches.rows(); ky++, window += patches.row_step()) {
        panel = interleave(window, patches.pixel_step(), patches.row_words(), panel);
      }
      continue;
    }
    for (int i = 0; i < kTilePixels; i++) {
      uint32_t* patch = gathered + static_cast<size_t>(i) * depth;
      if (p + i < pixels) {
        patches.next(patch);
      } else {
        zero_words(patch, depth);
      }
    }
    panel = interleave(gathered, depth, depth, panel);
  }
}

// Sums of one tile: [pixel][4 channels to a vector], 4 bytes to a channel.
struct ByteSums {
  uint8x16_t v[kTilePixels][4];
};

// Words before a byte may overflow: 8 bits each, at most 255.
constexpr int kWordsOfByteSums = 31;

// The sums over 1 to kWordsOfByteSums words.
LGR_INLINE ByteSums sum_words(const uint32_t* x, const uint32_t* w, int words) {
  ByteSums sums;
  // v0 to v3: 16 channels of a filter; v4 to v7: a word of each pixel; v8 to v15: differing bits.
#define LGR_LOAD                                        \
  "ld1 {v0.16b, v1.16b, v2.16b, v3.16b}, [%[w]], #64\n" \
  "ld4r {v4.4s, v5.4s, v6.4s, v7.4s}, [%[x]], #16\n"
#define LGR_XOR(x0, x1)                                                             \
  "eor v8.16b, v0.16b, " x0 ".16b\n eor v9.16b, v1.16b, " x0 ".16b\n"               \
  "eor v10.16b, v2.16b, " x0 ".16b\n eor v11.16b, v3.16b, " x0 ".16b\n"             \
  "eor v12.16b, v0.16b, " x1 ".16b\n eor v13.16b, v1.16b, " x1 ".16b\n"             \
  "eor v14.16b, v2.16b, " x1 ".16b\n eor v15.16b, v3.16b, " x1 ".16b\n"
#define LGR_COUNT_TO(t0, t1, t2, t3, t4, t5, t6, t7)                                \
  "cnt " t0 ".16b, v8.16b\n cnt " t1 ".16b, v9.16b\n cnt " t2 ".16b, v10.16b\n"     \
  "cnt " t3 ".16b, v11.16b\n cnt " t4 ".16b, v12.16b\n cnt " t5 ".16b, v13.16b\n"   \
  "cnt " t6 ".16b, v14.16b\n cnt " t7 ".16b, v15.16b\n"
#define LGR_ADD(s, t) "add " s ".16b, " s ".16b, " t ".16b\n"
  // The first word stores its counts, which saves clearing the sums.
#define LGR_FIRST_STEP                                                               \
  LGR_LOAD                                                                           \
  LGR_XOR("v4", "v5")                                                                \
  LGR_COUNT_TO("%[s00]", "%[s01]", "%[s02]", "%[s03]", "%[s10]", "%[s11]", "%[s12]", "%[s13]") \
  LGR_XOR("v6", "v7")                                                                \
  LGR_COUNT_TO("%[s20]", "%[s21]", "%[s22]", "%[s23]", "%[s30]", "%[s31]", "%[s32]", "%[s33]")
#define LGR_COUNT LGR_COUNT_TO("v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15")
#define LGR_STEP                                                                     \
  LGR_LOAD                                                                           \
  LGR_XOR("v4", "v5")                                                                \
  LGR_COUNT                                                                          \
  LGR_ADD("%[s00]", "v8") LGR_ADD("%[s01]", "v9") LGR_ADD("%[s02]", "v10")           \
  LGR_ADD("%[s03]", "v11") LGR_ADD("%[s10]", "v12") LGR_ADD("%[s11]", "v13")         \
  LGR_ADD("%[s12]", "v14") LGR_ADD("%[s13]", "v15")                                  \
  LGR_XOR("v6", "v7")                                                                \
  LGR_COUNT                                                                          \
  LGR_ADD("%[s20]", "v8") LGR_ADD("%[s21]", "v9") LGR_ADD("%[s22]", "v10")           \
  LGR_ADD("%[s23]", "v11") LGR_ADD("%[s30]", "v12") LGR_ADD("%[s31]", "v13")         \
  LGR_ADD("%[s32]", "v14") LGR_ADD("%[s33]", "v15")
  asm(LGR_FIRST_STEP                // words - 1 steps are left
      "sub %w[n], %w[n], #1\n"
      "tbz %w[n], #0, 1f\n"         // one of them, if they are odd
      LGR_STEP
      "1:\n"
      "lsr %w[n], %w[n], #1\n"
      "cbz %w[n], 3f\n"
      "2:\n"                        // the others by two
      LGR_STEP
      "subs %w[n], %w[n], #1\n"
      LGR_STEP
      "b.ne 2b\n"
      "3:\n"
      : [x] "+r"(x), [w] "+r"(w), [n] "+r"(words),
        [s00] "=&w"(sums.v[0][0]), [s01] "=&w"(sums.v[0][1]), [s02] "=&w"(sums.v[0][2]),
        [s03] "=&w"(sums.v[0][3]), [s10] "=&w"(sums.v[1][0]), [s11] "=&w"(sums.v[1][1]),
        [s12] "=&w"(sums.v[1][2]), [s13] "=&w"(sums.v[1][3]), [s20] "=&w"(sums.v[2][0]),
        [s21] "=&w"(sums.v[2][1]), [s22] "=&w"(sums.v[2][2]), [s23] "=&w"(sums.v[2][3]),
        [s30] "=&w"(sums.v[3][0]), [s31] "=&w"(sums.v[3][1]), [s32] "=&w"(sums.v[3][2]),
        [s33] "=&w"(sums.v[3][3])
      :
      : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
        "v12", "v13", "v14", "v15");
#undef LGR_STEP
#undef LGR_COUNT
#undef LGR_FIRST_STEP
#undef LGR_ADD
#undef LGR_COUNT_TO
#undef LGR_XOR
#undef LGR_LOAD
  return sums;
}

// One tile over the whole depth. Writes 4 pixels by 16 channels.
LGR_INLINE void multiply_tile(const uint32_t* x, const uint32_t* w, int depth, int32_t* counts,
                              size_t stride) {
  for (int k = 0; k < depth; k += kWordsOfByteSums) {
    const int words = std::min(kWordsOfByteSums, depth - k);
    const ByteSums sums = sum_words(x, w, words);
    x += kTilePixels * words;
    w += kTileChannels * words;
    LGR_UNROLL
    for (int p = 0; p < kTilePixels; p++) {
      LGR_UNROLL
      for (int i = 0; i < 4; i++) {
        uint32_t* out = reinterpret_cast<uint32_t*>(counts + p * stride + 4 * i);
        const uint16x8_t pairs = vpaddlq_u8(sums.v[p][i]);
        vst1q_u32(out, k == 0 ? vpaddlq_u16(pairs) : vpadalq_u16(vld1q_u32(out), pairs));
      }
    }
  }
}

void multiply(const uint32_t* panel, const uint32_t* packed, int pixels, int channels, int depth,
              int32_t* counts, size_t stride) {
  for (int c = 0; c < channels; c += kTileChannels) {
    const uint32_t* w = packed + static_cast<size_t>(c) * depth;
    for (int p = 0; p < pixels; p += kTilePixels) {
      multiply_tile(panel + static_cast<size_t>(p) * depth, w, depth, counts + p * stride + c,
                    stride);
    }
  }
}

}  // namespace

const Kernels kNeonKernels = {
    "neon",     supported, kTilePixels,         packed_words, panel_words, pack_filter,
    pack_panel, multiply,  finish_float<Block>, finish_int8,  finish_bits, run_post_ops<Block>,
    max_pool<Block>,
};

}  // namespace lgr
