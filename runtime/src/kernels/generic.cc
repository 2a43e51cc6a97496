#include "../bnn.h"
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
namespace bnn {
const uint32_t* pad_image(Conv& c, const uint32_t* in) {
  if (!c.padded) return in;
  uint32_t* p = c.padbuf.data();  // border was zeroed at Prepare
  for (int y = 0; y < c.ih; y++) {
    if (y + c.padt >= c.ph) break;
    int n = std::min(c.iw, c.pw - c.padl);
    memcpy(p + ((size_t)(y + c.padt) * c.pw + c.padl) * c.cw, in + (size_t)y * c.iw * c.cw, (size_t)n * c.cw * 4);
  }
  return p;
}
void quant_row(const float* v, uint32_t* out, int c) {
  int i = 0;
  for (; i + 32 <= c; i += 32) {
    uint32_t w = 0;
#if defined(__AVX512F__)
    __m512 z = _mm512_setzero_ps();
    w = _mm512_cmp_ps_mask(_mm512_loadu_ps(v + i), z, _CMP_LT_OQ) | ((uint32_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(v + i + 16), z, _CMP_LT_OQ) << 16);
#elif defined(__SSE2__)
    __m128 z = _mm_setzero_ps();
    for (int j = 0; j < 8; j++) w |= (uint32_t)_mm_movemask_ps(_mm_cmplt_ps(_mm_loadu_ps(v + i + 4 * j), z)) << (4 * j);
#elif defined(__aarch64__)
    static const uint8_t kb[16] = {1,2,4,8,16,32,64,128,1,2,4,8,16,32,64,128};
    uint8x16_t bm = vld1q_u8(kb);
    uint8x16_t m[2];
    for (int h = 0; h < 2; h++) {
      const float* q = v + i + 16 * h;
      uint32x4_t a = vcltzq_f32(vld1q_f32(q)), b = vcltzq_f32(vld1q_f32(q + 4)), d = vcltzq_f32(vld1q_f32(q + 8)), e = vcltzq_f32(vld1q_f32(q + 12));
      m[h] = vandq_u8(vuzp1q_u8(vreinterpretq_u8_u16(vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b))),
                                vreinterpretq_u8_u16(vuzp1q_u16(vreinterpretq_u16_u32(d), vreinterpretq_u16_u32(e)))), bm);
    }
    uint8x16_t s = vpaddq_u8(m[0], m[1]); s = vpaddq_u8(s, s); s = vpaddq_u8(s, s);
    w = vgetq_lane_u32(vreinterpretq_u32_u8(s), 0);
#else
    for (int j = 0; j < 32; j++) w |= (uint32_t)(v[i + j] < 0) << j;
#endif
    *out++ = w;
  }
  if (i < c) { uint32_t w = 0; for (int j = 0; i + j < c; j++) w |= (uint32_t)(v[i + j] < 0) << j; *out = w; }
}
void quant_f32(const float* in, uint32_t* out, size_t rows, int c) {
  if (c % 32 == 0) { quant_row(in, out, (int)(rows * c)); return; }
  int cw = (c + 31) / 32;
  for (size_t r = 0; r < rows; r++) quant_row(in + r * c, out + r * cw, c);
}
void pack_generic(Conv&) {}
void conv_generic(Conv& c, const uint32_t* in0, const Epilogue& e) {
  int gw = c.cw / c.groups, gc = c.oc / c.groups; size_t pix = 0;
  std::vector<float> row(c.oc);
  for (int b = 0; b < c.batch; b++) {
    const uint32_t* in = pad_image(c, in0 + (size_t)b * c.ih * c.iw * c.cw);
    for (int oy = 0; oy < c.oh; oy++) for (int ox = 0; ox < c.ow; ox++, pix++) {
      const uint32_t* base = in + ((size_t)oy * c.sh * c.pw + ox * c.sw) * c.cw;
      const int32_t* corr = c.zero_pad ? c.corr.data() + (size_t)c.cls[oy * c.ow + ox] * c.ocp : nullptr;
      uint32_t word = 0;
      for (int o = 0; o < c.oc; o++) {
        int acc = 0; int g = o / gc;
        for (int ky = 0; ky < c.kh; ky++) for (int kx = 0; kx < c.kw; kx++) {
          const uint32_t* x = base + (ky * c.dh * c.pw + kx * c.dw) * c.cw + g * gw;
          const uint32_t* w = &c.w[(((size_t)o * c.kh + ky) * c.kw + kx) * gw];
          for (int i = 0; i < gw; i++) acc += __builtin_popcount(x[i] ^ w[i]);
        }
        int x2 = 2 * acc + (corr ? corr[o] : 0);
        if (e.tbits) {
          if ((x2 >> 1) > e.thresholds[o]) word |= 1u << (o & 31);
          if ((o & 31) == 31 || o == c.oc - 1) { e.tbits[pix * c.ocw + o / 32] = word; word = 0; }
          continue;
        }
        x2 = std::max(std::min(x2, e.cmax), e.cmin);
        float v = (float)x2 * e.mul[o]; v = v + e.bias[o];
        if (e.res) v += e.res[pix * c.oc + o];
        row[o] = v;
      }
      if (e.tbits) continue;
      if (e.out) memcpy(e.out + pix * c.oc, row.data(), c.oc * 4);
      if (e.bits) quant_row(row.data(), e.bits + pix * c.ocw, c.oc);
      if (e.accout) for (int o = 0; o < c.oc; o++) { float y = row[o] * e.scale; e.accout[pix * c.oc + o] = e.accin ? e.accin[pix * c.oc + o] + y : y; }
    }
  }
}
}
