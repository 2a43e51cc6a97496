#include "../bnn.h"
#include <arm_neon.h>
namespace bnn {
// packed: blocks of 16 output channels, [block][k][16] words
void pack_neon(Conv& c) {
  int nk = c.kh * c.kw * c.cw, ocp = (c.oc + 15) / 16 * 16;
  c.packed.assign((size_t)ocp * nk, 0);
  size_t at = 0;
  for (int o0 = 0; o0 < ocp; o0 += 16) for (int k = 0; k < nk; k++) for (int o = 0; o < 16; o++)
    c.packed[at++] = o0 + o < c.oc ? c.w[(size_t)(o0 + o) * nk + k] : 0;
}
// n words of 4 pixels against 16 channels; acc: 4 x 4 x 16 byte counters in memory
static inline void steps4(const uint32_t* x0, const uint32_t* x1, const uint32_t* x2, const uint32_t* x3, const uint32_t* w, int n, uint8_t* acc) {
  uint8_t* a = acc;
  asm volatile(
    "ld1 {v16.16b,v17.16b,v18.16b,v19.16b}, [%[a]], #64\n"
    "ld1 {v20.16b,v21.16b,v22.16b,v23.16b}, [%[a]], #64\n"
    "ld1 {v24.16b,v25.16b,v26.16b,v27.16b}, [%[a]], #64\n"
    "ld1 {v28.16b,v29.16b,v30.16b,v31.16b}, [%[a]], #64\n"
    "1:\n"
    "ld1 {v0.4s,v1.4s,v2.4s,v3.4s}, [%[w]], #64\n"
    "ld1r {v4.4s}, [%[x0]], #4\n"
    "ld1r {v5.4s}, [%[x1]], #4\n"
    "ld1r {v6.4s}, [%[x2]], #4\n"
    "ld1r {v7.4s}, [%[x3]], #4\n"
    "eor v8.16b, v0.16b, v4.16b\n"
    "eor v9.16b, v1.16b, v4.16b\n"
    "eor v10.16b, v2.16b, v4.16b\n"
    "eor v11.16b, v3.16b, v4.16b\n"
    "eor v12.16b, v0.16b, v5.16b\n"
    "eor v13.16b, v1.16b, v5.16b\n"
    "eor v14.16b, v2.16b, v5.16b\n"
    "eor v15.16b, v3.16b, v5.16b\n"
    "cnt v8.16b, v8.16b\n"
    "cnt v9.16b, v9.16b\n"
    "cnt v10.16b, v10.16b\n"
    "cnt v11.16b, v11.16b\n"
    "cnt v12.16b, v12.16b\n"
    "cnt v13.16b, v13.16b\n"
    "cnt v14.16b, v14.16b\n"
    "cnt v15.16b, v15.16b\n"
    "add v16.16b, v16.16b, v8.16b\n"
    "add v17.16b, v17.16b, v9.16b\n"
    "add v18.16b, v18.16b, v10.16b\n"
    "add v19.16b, v19.16b, v11.16b\n"
    "add v20.16b, v20.16b, v12.16b\n"
    "add v21.16b, v21.16b, v13.16b\n"
    "add v22.16b, v22.16b, v14.16b\n"
    "add v23.16b, v23.16b, v15.16b\n"
    "eor v8.16b, v0.16b, v6.16b\n"
    "eor v9.16b, v1.16b, v6.16b\n"
    "eor v10.16b, v2.16b, v6.16b\n"
    "eor v11.16b, v3.16b, v6.16b\n"
    "eor v12.16b, v0.16b, v7.16b\n"
    "eor v13.16b, v1.16b, v7.16b\n"
    "eor v14.16b, v2.16b, v7.16b\n"
    "eor v15.16b, v3.16b, v7.16b\n"
    "cnt v8.16b, v8.16b\n"
    "cnt v9.16b, v9.16b\n"
    "cnt v10.16b, v10.16b\n"
    "cnt v11.16b, v11.16b\n"
    "cnt v12.16b, v12.16b\n"
    "cnt v13.16b, v13.16b\n"
    "cnt v14.16b, v14.16b\n"
    "cnt v15.16b, v15.16b\n"
    "add v24.16b, v24.16b, v8.16b\n"
    "add v25.16b, v25.16b, v9.16b\n"
    "add v26.16b, v26.16b, v10.16b\n"
    "add v27.16b, v27.16b, v11.16b\n"
    "add v28.16b, v28.16b, v12.16b\n"
    "add v29.16b, v29.16b, v13.16b\n"
    "add v30.16b, v30.16b, v14.16b\n"
    "add v31.16b, v31.16b, v15.16b\n"
    "subs %w[n], %w[n], #1\n"
    "b.ne 1b\n"
    "sub %[a], %[a], #256\n"
    "st1 {v16.16b,v17.16b,v18.16b,v19.16b}, [%[a]], #64\n"
    "st1 {v20.16b,v21.16b,v22.16b,v23.16b}, [%[a]], #64\n"
    "st1 {v24.16b,v25.16b,v26.16b,v27.16b}, [%[a]], #64\n"
    "st1 {v28.16b,v29.16b,v30.16b,v31.16b}, [%[a]], #64\n"
    : [x0] "+r"(x0), [x1] "+r"(x1), [x2] "+r"(x2), [x3] "+r"(x3), [w] "+r"(w), [n] "+r"(n), [a] "+r"(a)
    : : "cc", "memory", "v0","v1","v2","v3","v4","v5","v6","v7","v8","v9","v10","v11","v12","v13","v14","v15","v16","v17","v18","v19","v20","v21","v22","v23","v24","v25","v26","v27","v28","v29","v30","v31");
}
template <int P>
static inline void steps(const uint32_t* const* q, int off, const uint32_t* w, int n, uint8_t* acc) {
  if constexpr (P == 4) { steps4(q[0] + off, q[1] + off, q[2] + off, q[3] + off, w, n, acc); return; }
  for (int p = 0; p < P; p++) {
    uint8x16_t a0 = vld1q_u8(acc + 64 * p), a1 = vld1q_u8(acc + 64 * p + 16), a2 = vld1q_u8(acc + 64 * p + 32), a3 = vld1q_u8(acc + 64 * p + 48);
    const uint32_t *x = q[p] + off, *v = w;
    for (int i = 0; i < n; i++, v += 16) {
      uint8x16_t d = vreinterpretq_u8_u32(vld1q_dup_u32(x + i));
      a0 = vaddq_u8(a0, vcntq_u8(veorq_u8(d, vreinterpretq_u8_u32(vld1q_u32(v)))));
      a1 = vaddq_u8(a1, vcntq_u8(veorq_u8(d, vreinterpretq_u8_u32(vld1q_u32(v + 4)))));
      a2 = vaddq_u8(a2, vcntq_u8(veorq_u8(d, vreinterpretq_u8_u32(vld1q_u32(v + 8)))));
      a3 = vaddq_u8(a3, vcntq_u8(veorq_u8(d, vreinterpretq_u8_u32(vld1q_u32(v + 12)))));
    }
    vst1q_u8(acc + 64 * p, a0); vst1q_u8(acc + 64 * p + 16, a1); vst1q_u8(acc + 64 * p + 32, a2); vst1q_u8(acc + 64 * p + 48, a3);
  }
}
template <int P>
static inline __attribute__((always_inline)) void tile(const Conv& c, const uint32_t* const* px, const uint32_t* w, size_t pix, int o0, const Epilogue& e) {
  alignas(16) uint8_t acc[P * 64]; uint32x4_t sum[P][4];
  memset(acc, 0, sizeof acc);
  int ns = (int)c.segoff.size(), used = 0; bool flushed = false;
  for (int s = 0; s < ns; s++) for (int i = c.segoff[s], end = i + c.seglen[s]; i < end;) {
    int n = std::min(end - i, 31 - used);
    steps<P>(px, i, w, n, acc); w += 16 * n; i += n; used += n;
    if (used == 31) {
      for (int p = 0; p < P; p++) for (int o = 0; o < 4; o++) { uint16x8_t t = vpaddlq_u8(vld1q_u8(acc + 64 * p + 16 * o)); sum[p][o] = flushed ? vpadalq_u16(sum[p][o], t) : vpaddlq_u16(t); }
      memset(acc, 0, sizeof acc); used = 0; flushed = true;
    }
  }
  if (used) for (int p = 0; p < P; p++) for (int o = 0; o < 4; o++) { uint16x8_t t = vpaddlq_u8(vld1q_u8(acc + 64 * p + 16 * o)); sum[p][o] = flushed ? vpadalq_u16(sum[p][o], t) : vpaddlq_u16(t); }
  int n = std::min(16, c.oc - o0);
  int32x4_t lo = vdupq_n_s32(e.cmin), hi = vdupq_n_s32(e.cmax);
  if (!e.tbits && n == 16 && !c.zero_pad) {
    const float *res = e.res, *accin = e.accin; float *out = e.out, *accout = e.accout; uint32_t* bits = e.bits; const float scale = e.scale;
    const size_t oc = c.oc, ocw = c.ocw, at = pix * oc + o0;
    float32x4_t v[P][4];
    for (int o = 0; o < 4; o++) {
      float32x4_t mul = vld1q_f32(e.mul + o0 + 4 * o), bias = vld1q_f32(e.bias + o0 + 4 * o);
      for (int p = 0; p < P; p++)
        v[p][o] = vaddq_f32(vmulq_f32(vcvtq_f32_s32(vmaxq_s32(vminq_s32(vshlq_n_s32(vreinterpretq_s32_u32(sum[p][o]), 1), hi), lo)), mul), bias);
    }
    if (res) for (int p = 0; p < P; p++) for (int o = 0; o < 4; o++) v[p][o] = vaddq_f32(v[p][o], vld1q_f32(res + at + p * oc + 4 * o));
    if (out) for (int p = 0; p < P; p++) for (int o = 0; o < 4; o++) vst1q_f32(out + at + p * oc + 4 * o, v[p][o]);
    if (bits) {
      static const uint16_t kb[8] = {1, 2, 4, 8, 16, 32, 64, 128};
      const uint16x8_t bm = vld1q_u16(kb);
      for (int p = 0; p < P; p++) {
        uint16x8_t l = vandq_u16(vuzp1q_u16(vreinterpretq_u16_u32(vcltzq_f32(v[p][0])), vreinterpretq_u16_u32(vcltzq_f32(v[p][1]))), bm);
        uint16x8_t h = vandq_u16(vuzp1q_u16(vreinterpretq_u16_u32(vcltzq_f32(v[p][2])), vreinterpretq_u16_u32(vcltzq_f32(v[p][3]))), bm);
        *((uint16_t*)(bits + (pix + p) * ocw) + o0 / 16) = (uint16_t)(vaddvq_u16(l) | vaddvq_u16(h) << 8);
      }
    }
    if (accout) {
      if (accin) for (int p = 0; p < P; p++) for (int o = 0; o < 4; o++) vst1q_f32(accout + at + p * oc + 4 * o, vaddq_f32(vld1q_f32(accin + at + p * oc + 4 * o), vmulq_n_f32(v[p][o], scale)));
      else for (int p = 0; p < P; p++) for (int o = 0; o < 4; o++) vst1q_f32(accout + at + p * oc + 4 * o, vmulq_n_f32(v[p][o], scale));
    }
    return;
  }
  for (int p = 0; p < P; p++) {
    uint32_t a[16]; for (int o = 0; o < 4; o++) vst1q_u32(a + 4 * o, sum[p][o]);
    const int32_t* corr = c.zero_pad ? &c.corr[(size_t)c.cls[(pix + p) % (c.oh * c.ow)] * c.ocp + o0] : nullptr;
    uint16_t bits = 0;
    for (int o = 0; o < n; o++) {
      int x2 = 2 * (int)a[o] + (corr ? corr[o] : 0);
      if (e.tbits) { bits |= (uint16_t)(((x2 >> 1) > e.thresholds[o0 + o]) << o); continue; }
      x2 = std::max(std::min(x2, e.cmax), e.cmin);
      size_t at = (pix + p) * c.oc + o0 + o;
      float v = (float)x2 * e.mul[o0 + o]; v = v + e.bias[o0 + o]; if (e.res) v += e.res[at];
      bits |= (uint16_t)((v < 0) << o); if (e.out) e.out[at] = v;
      if (e.accout) { float y = v * e.scale; e.accout[at] = e.accin ? e.accin[at] + y : y; }
    }
    uint32_t* d = e.tbits ? e.tbits : e.bits;
    if (d) { if (o0 % 32 == 0) d[(pix + p) * c.ocw + o0 / 32] = bits; else d[(pix + p) * c.ocw + o0 / 32] |= (uint32_t)bits << 16; }
  }
}
void conv_neon(Conv& c, const uint32_t* in, const Epilogue& e) {
  constexpr int P = 4;
  int nk = c.kh * c.kw * c.cw, n = c.oh * c.ow;
  for (int b = 0; b < c.batch; b++) {
    const uint32_t* img = pad_image(c, in + (size_t)b * c.ih * c.iw * c.cw);
    size_t pix0 = (size_t)b * n;
    for (int o0 = 0; o0 < c.oc; o0 += 16) {
      const uint32_t* w = c.packed.data() + (size_t)o0 * nk;
      const uint32_t* px[P]; int oy = 0, ox = 0;
      for (int i = 0; i < n;) {
        int m = std::min(P, n - i);
        for (int p = 0; p < m; p++) {
          px[p] = img + ((size_t)oy * c.sh * c.pw + ox * c.sw) * c.cw;
          if (++ox == c.ow) { ox = 0; oy++; }
        }
        switch (m) {
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
