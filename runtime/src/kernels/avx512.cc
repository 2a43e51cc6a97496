#include "../bnn.h"
#include <immintrin.h>
namespace bnn {
// packed: blocks of up to 64 output channels (O vectors of 16), [block][k][O*16]
void pack_avx512(Conv& c) {
  int nk = c.kh * c.kw * c.cw, ocp = (c.oc + 15) / 16 * 16;
  c.packed.assign((size_t)ocp * nk, 0);
  size_t at = 0;
  for (int o0 = 0; o0 < ocp; o0 += 64) {
    int n = std::min(64, ocp - o0);
    for (int k = 0; k < nk; k++) for (int o = 0; o < n; o++)
      c.packed[at++] = o0 + o < c.oc ? c.w[(size_t)(o0 + o) * nk + k] : 0;
  }
}
template <int P, int O>
static inline __attribute__((always_inline)) void tile(const Conv& c, const uint32_t* const* px, const uint32_t* w, size_t pix, int o0, const Epilogue& e) {
  __m512i acc[P][O];
  for (int p = 0; p < P; p++) for (int o = 0; o < O; o++) acc[p][o] = _mm512_setzero_si512();
  const uint32_t* q[P]; for (int p = 0; p < P; p++) q[p] = px[p];
  int ns = (int)c.segoff.size();
  for (int s = 0; s < ns; s++) {
    int off = c.segoff[s], end = off + c.seglen[s];
    for (int i = off; i < end; i++) {
      __m512i wv[O];
      for (int o = 0; o < O; o++) wv[o] = _mm512_load_si512(w + 16 * o);
      w += 16 * O;
      for (int p = 0; p < P; p++) {
        __m512i x = _mm512_set1_epi32((int)q[p][i]);
        for (int o = 0; o < O; o++) acc[p][o] = _mm512_add_epi32(acc[p][o], _mm512_popcnt_epi32(_mm512_xor_si512(x, wv[o])));
      }
    }
  }
  for (int o = 0; o < O; o++) {
    int oc = o0 + 16 * o; int left = c.oc - oc;
    __mmask16 m = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
    if (e.tbits) {
      __m512i t = _mm512_maskz_loadu_epi32(m, e.thresholds + oc);
      for (int p = 0; p < P; p++) {
        __m512i a = acc[p][o];
        if (c.zero_pad) a = _mm512_add_epi32(a, _mm512_srai_epi32(_mm512_loadu_si512(&c.corr[(size_t)c.cls[(pix + p) % (c.oh * c.ow)] * c.ocp + oc]), 1));
        ((uint16_t*)(e.tbits + (pix + p) * c.ocw))[oc / 16] = _mm512_mask_cmpgt_epi32_mask(m, a, t);
      }
      continue;
    }
    __m512 mul = _mm512_maskz_loadu_ps(m, e.mul + oc), bias = _mm512_maskz_loadu_ps(m, e.bias + oc);
    __m512i lo = _mm512_set1_epi32(e.cmin), hi = _mm512_set1_epi32(e.cmax);
    for (int p = 0; p < P; p++) {
      __m512i a = _mm512_slli_epi32(acc[p][o], 1);
      if (c.zero_pad) a = _mm512_add_epi32(a, _mm512_loadu_si512(&c.corr[(size_t)c.cls[(pix + p) % (c.oh * c.ow)] * c.ocp + oc]));
      a = _mm512_max_epi32(_mm512_min_epi32(a, hi), lo);
      __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(a), mul), bias);
      size_t at = (pix + p) * c.oc + oc;
      if (e.res) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, e.res + at));
      if (e.out) _mm512_mask_storeu_ps(e.out + at, m, v);
      if (e.bits) ((uint16_t*)(e.bits + (pix + p) * c.ocw))[oc / 16] = _mm512_mask_cmp_ps_mask(m, v, _mm512_setzero_ps(), _CMP_LT_OQ);
      if (e.accout) {
        __m512 y = _mm512_mul_ps(v, _mm512_set1_ps(e.scale));
        if (e.accin) y = _mm512_add_ps(_mm512_maskz_loadu_ps(m, e.accin + at), y);
        _mm512_mask_storeu_ps(e.accout + at, m, y);
      }
    }
  }
}
template <int O>
static void block(const Conv& c, const uint32_t* img, const uint32_t* w, size_t pix0, int o0, const Epilogue& e) {
  constexpr int P = 6;
  const uint32_t* px[P]; int n = c.oh * c.ow, oy = 0, ox = 0;
  for (int i = 0; i < n;) {
    int m = std::min(P, n - i);
    for (int p = 0; p < m; p++) {
      px[p] = img + ((size_t)oy * c.sh * c.pw + ox * c.sw) * c.cw;
      if (++ox == c.ow) { ox = 0; oy++; }
    }
    switch (m) {
      case 6: tile<6, O>(c, px, w, pix0 + i, o0, e); break;
      case 5: tile<5, O>(c, px, w, pix0 + i, o0, e); break;
      case 4: tile<4, O>(c, px, w, pix0 + i, o0, e); break;
      case 3: tile<3, O>(c, px, w, pix0 + i, o0, e); break;
      case 2: tile<2, O>(c, px, w, pix0 + i, o0, e); break;
      default: tile<1, O>(c, px, w, pix0 + i, o0, e);
    }
    i += m;
  }
}
void conv_avx512(Conv& c, const uint32_t* in, const Epilogue& e) {
  int nk = c.kh * c.kw * c.cw, ocp = (c.oc + 15) / 16 * 16;
  for (int b = 0; b < c.batch; b++) {
    const uint32_t* img = pad_image(c, in + (size_t)b * c.ih * c.iw * c.cw);
    size_t pix0 = (size_t)b * c.oh * c.ow;
    for (int o0 = 0; o0 < ocp; o0 += 64) {
      const uint32_t* w = c.packed.data() + (size_t)o0 * nk;
      switch (std::min(64, ocp - o0) / 16) {
        case 4: block<4>(c, img, w, pix0, o0, e); break;
        case 3: block<3>(c, img, w, pix0, o0, e); break;
        case 2: block<2>(c, img, w, pix0, o0, e); break;
        default: block<1>(c, img, w, pix0, o0, e);
      }
    }
  }
}
}
