#include "../bnn.h"
#include <immintrin.h>
namespace bnn {
// Table look-up kernel: for each nibble of the activations, pshufb(popcount(nib ^ .), weight nibbles of 32 output channels).
// packed (bytes): blocks of 64 output channels, [block][nibble][64]
static uint8_t g_lut[16][16] __attribute__((aligned(64)));
static bool init_lut() { for (int a = 0; a < 16; a++) for (int b = 0; b < 16; b++) g_lut[a][b] = (uint8_t)__builtin_popcount(a ^ b); return true; }
static bool g_init = init_lut();
void pack_avx2(Conv& c) {
  int nk = c.kh * c.kw * c.cw; size_t nb = (c.oc + 63) / 64;
  c.packed.assign(nb * nk * 8 * 64 / 4, 0);
  uint8_t* d = (uint8_t*)c.packed.data();
  for (size_t b = 0; b < nb; b++) for (int k = 0; k < nk; k++) for (int n = 0; n < 8; n++) for (int o = 0; o < 64; o++) {
    int oc = (int)b * 64 + o;
    *d++ = oc < c.oc ? (c.w[(size_t)oc * nk + k] >> (4 * n)) & 15 : 0;
  }
  c.nib.resize((size_t)c.ph * c.pw * c.cw * 8);
}
template <int P>
static inline __attribute__((always_inline)) void flush(__m256i (&acc)[P][2], uint16_t (*sum)[64]) {
  for (int p = 0; p < P; p++) for (int o = 0; o < 2; o++) {
    uint16_t* s = sum[p] + 32 * o;
    __m256i a = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(acc[p][o])), b = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(acc[p][o], 1));
    _mm256_store_si256((__m256i*)s, _mm256_add_epi16(_mm256_load_si256((__m256i*)s), a));
    _mm256_store_si256((__m256i*)(s + 16), _mm256_add_epi16(_mm256_load_si256((__m256i*)(s + 16)), b));
    acc[p][o] = _mm256_setzero_si256();
  }
}
template <int P>
static inline __attribute__((always_inline)) void tile(const Conv& c, const uint8_t* const* px, const uint8_t* w, size_t pix, int o0, const Epilogue& e) {
  alignas(32) uint16_t sum[P][64]; memset(sum, 0, sizeof sum);
  __m256i acc[P][2];
  for (int p = 0; p < P; p++) acc[p][0] = acc[p][1] = _mm256_setzero_si256();
  const uint8_t* q[P]; for (int p = 0; p < P; p++) q[p] = px[p];
  const uint8_t* lut = &g_lut[0][0];
  int ns = (int)c.segoff.size(), used = 0;
  for (int s = 0; s < ns; s++) {
    int off = c.segoff[s] * 8, end = off + c.seglen[s] * 8;
    for (int i = off; i < end;) {
      int stop = std::min(end, i + 56 - used * 1);
      used += stop - i;
      for (; i < stop; i++) {
        __m256i w0 = _mm256_load_si256((const __m256i*)w), w1 = _mm256_load_si256((const __m256i*)(w + 32));
        w += 64;
        for (int p = 0; p < P; p++) {
          __m256i t = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i*)(lut + q[p][i])));
          acc[p][0] = _mm256_add_epi8(acc[p][0], _mm256_shuffle_epi8(t, w0));
          acc[p][1] = _mm256_add_epi8(acc[p][1], _mm256_shuffle_epi8(t, w1));
        }
      }
      if (used >= 56) { flush<P>(acc, sum); used = 0; }
    }
  }
  flush<P>(acc, sum);
  int n = std::min(64, c.oc - o0);
  if (e.tbits || n % 32 != 0 || c.zero_pad) {   // slow but rare epilogues
    for (int p = 0; p < P; p++) {
      const int32_t* corr = c.zero_pad ? &c.corr[(size_t)c.cls[(pix + p) % (c.oh * c.ow)] * c.ocp + o0] : nullptr;
      float row[64]; uint32_t words[2] = {0, 0};
      for (int o = 0; o < n; o++) {
        int x2 = 2 * sum[p][o] + (corr ? corr[o] : 0);
        if (e.tbits) { if ((x2 >> 1) > e.thresholds[o0 + o]) words[o / 32] |= 1u << (o & 31); continue; }
        x2 = std::max(std::min(x2, e.cmax), e.cmin);
        size_t at = (pix + p) * c.oc + o0 + o;
        float v = (float)x2 * e.mul[o0 + o]; v = v + e.bias[o0 + o]; if (e.res) v += e.res[at];
        row[o] = v; if (e.out) e.out[at] = v;
        if (e.accout) { float y = v * e.scale; e.accout[at] = e.accin ? e.accin[at] + y : y; }
      }
      if (e.tbits) memcpy(e.tbits + (pix + p) * c.ocw + o0 / 32, words, (n + 31) / 32 * 4);
      else if (e.bits) quant_row(row, e.bits + (pix + p) * c.ocw + o0 / 32, n);
    }
    return;
  }
  __m256i lo = _mm256_set1_epi32(e.cmin), hi = _mm256_set1_epi32(e.cmax);
  for (int p = 0; p < P; p++) {
    uint32_t words[2] = {0, 0};
    for (int o = 0; o < n; o += 8) {
      __m256i a = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_load_si128((const __m128i*)(sum[p] + o))), 1);
      a = _mm256_max_epi32(_mm256_min_epi32(a, hi), lo);
      __m256 v = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(a), _mm256_loadu_ps(e.mul + o0 + o)), _mm256_loadu_ps(e.bias + o0 + o));
      size_t at = (pix + p) * c.oc + o0 + o;
      if (e.res) v = _mm256_add_ps(v, _mm256_loadu_ps(e.res + at));
      if (e.out) _mm256_storeu_ps(e.out + at, v);
      if (e.bits) words[o / 32] |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ)) << (o & 31);
      if (e.accout) {
        __m256 y = _mm256_mul_ps(v, _mm256_set1_ps(e.scale));
        if (e.accin) y = _mm256_add_ps(_mm256_loadu_ps(e.accin + at), y);
        _mm256_storeu_ps(e.accout + at, y);
      }
    }
    if (e.bits) memcpy(e.bits + (pix + p) * c.ocw + o0 / 32, words, n / 32 * 4);
  }
}
void conv_avx2(Conv& c, const uint32_t* in, const Epilogue& e) {
  constexpr int P = 6;
  int nk = c.kh * c.kw * c.cw, n = c.oh * c.ow;
  for (int b = 0; b < c.batch; b++) {
    const uint32_t* img = pad_image(c, in + (size_t)b * c.ih * c.iw * c.cw);
    size_t words = (size_t)c.ph * c.pw * c.cw;
    uint8_t* nb = c.nib.data();
    for (size_t i = 0; i < words; i++) {   // spread nibbles to bytes, times 16 (offset into the table)
      uint64_t x = img[i];
      uint64_t r = _pdep_u64(x, 0xF0F0F0F0F0F0F0F0ull);
      memcpy(nb + 8 * i, &r, 8);
    }
    size_t pix0 = (size_t)b * n;
    for (int o0 = 0; o0 < c.oc; o0 += 64) {
      const uint8_t* w = (const uint8_t*)c.packed.data() + (size_t)o0 * nk * 8;
      const uint8_t* px[P]; int oy = 0, ox = 0;
      for (int i = 0; i < n;) {
        int m = std::min(P, n - i);
        for (int p = 0; p < m; p++) {
          px[p] = nb + ((size_t)oy * c.sh * c.pw + ox * c.sw) * c.cw * 8;
          if (++ox == c.ow) { ox = 0; oy++; }
        }
        switch (m) {
          case 6: tile<6>(c, px, w, pix0 + i, o0, e); break;
          case 5: tile<5>(c, px, w, pix0 + i, o0, e); break;
          case 4: tile<4>(c, px, w, pix0 + i, o0, e); break;
          case 3: tile<3>(c, px, w, pix0 + i, o0, e); break;
          case 2: tile<2>(c, px, w, pix0 + i, o0, e); break;
          default: tile<1>(c, px, w, pix0 + i, o0, e);
        }
        i += m;
      }
    }
  }
}
}
