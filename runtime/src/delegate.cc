#include "tfl_abi.h"
#include "bnn.h"
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <time.h>
#include <limits>
namespace {
using namespace bnn;
// ---- flexbuffer map with integer values -----------------------------------
uint64_t rd(const uint8_t* p, int w) { uint64_t v = 0; memcpy(&v, p, w); return v; }
std::map<std::string, int64_t> flex(const uint8_t* b, size_t n) {
  std::map<std::string, int64_t> out;
  if (!b || n < 3) return out;
  int rw = b[n - 1], rt = b[n - 2];
  if ((rt >> 2) != 9 || !(rw == 1 || rw == 2 || rw == 4 || rw == 8) || n < (size_t)rw + 2) return out;
  const uint8_t *root = b + n - 2 - rw, *end = b + n;
  auto back = [&](const uint8_t* p, int w) -> const uint8_t* { uint64_t o = rd(p, w); return o <= (uint64_t)(p - b) ? p - o : nullptr; };
  const uint8_t* v = back(root, rw); int bw = 1 << (rt & 3);
  if (!v || v - b < 3 * bw) return out;
  uint64_t size = rd(v - bw, bw); int kw = (int)rd(v - 2 * bw, bw); const uint8_t* keys = back(v - 3 * bw, bw);
  if (!keys || !(kw == 1 || kw == 2 || kw == 4 || kw == 8) || size > n || v + size * (bw + 1) > end || keys + size * kw > end) return out;
  for (uint64_t i = 0; i < size; i++) {
    const uint8_t* k = back(keys + i * kw, kw); if (!k) continue;
    size_t len = strnlen((const char*)k, end - k);
    int t = v[size * bw + i], ty = t >> 2; const uint8_t* p = v + i * bw; int w = bw;
    if (ty == 6 || ty == 7) { w = 1 << (t & 3); p = back(p, bw); ty -= 5; if (!p) continue; }
    if (ty != 1 && ty != 2 && ty != 26) continue;
    uint64_t u = rd(p, w); int64_t s = ty == 1 && w < 8 ? (int64_t)(u << (64 - 8 * w)) >> (64 - 8 * w) : (int64_t)u;
    out[std::string((const char*)k, len)] = s;
  }
  return out;
}
struct Options { bool fuse = false; int profile = 0, repeat = 1; std::string kernel; ConvFn conv; void (*pack)(Conv&); };
struct Delegate { TfLiteDelegate d; Options o; };
double g_sum[8]; long g_n[8];

enum Kind { QUANT, BCONV, DEQUANT, BPOOL, ADD, MUL, ADDQ, NOP };
const char* const kind_names[] = {"quant", "bconv", "dequant", "bpool", "add", "mul", "addquant"};
struct Step {
  Kind kind; std::vector<int> in; int out; std::map<std::string, int64_t> opt; int act = 0;
  std::unique_ptr<Conv> conv;
  int res = -1, fout = -1, bits = -1, accin = -1, accout = -1; float scale = 0;   // fused epilogue of BCONV
  double seconds = 0; long calls = 0;
};
struct Kernel {
  Options* o; std::vector<Step> steps; std::vector<int> ext_in, ext_out;
  std::map<int, int> internal;                    // tensor -> buffer
  std::vector<avec<uint8_t>> buffers; long runs = 0;
  bool packed = false;
};
size_t count(const TfLiteIntArray* d) { size_t n = 1; for (int i = 0; i < d->size; i++) n *= d->data[i]; return n; }
size_t bytes(const TfLiteTensor& t) { return count(t.dims) * (t.type == kTfLiteInt8 || t.type == kTfLiteBool ? 1 : 4); }
bool same_shape(const TfLiteTensor& a, const TfLiteTensor& b) { return a.dims->size == b.dims->size && !memcmp(a.dims->data, b.dims->data, 4 * a.dims->size); }

int classify(TfLiteContext* c, TfLiteNode* n, TfLiteRegistration* r, bool fuse) {
  auto& t = c->tensors;
  if (r->custom_name && (r->builtin_code == 32 || r->builtin_code == 0x7fffffff || r->builtin_code == 0 || true) && !strncmp(r->custom_name, "Lce", 3)) {
    if (!strcmp(r->custom_name, "LceQuantize")) return QUANT;
    if (!strcmp(r->custom_name, "LceBconv2d")) return BCONV;
    if (!strcmp(r->custom_name, "LceDequantize")) return DEQUANT;
    if (!strcmp(r->custom_name, "LceBMaxPool2d")) return BPOOL;
    return -1;
  }
  if (!fuse || (r->builtin_code != 0 && r->builtin_code != 18) || r->custom_name || n->inputs->size != 2) return -1;
  auto &a = t[n->inputs->data[0]], &b = t[n->inputs->data[1]], &y = t[n->outputs->data[0]];
  if (a.type != kTfLiteFloat32 || b.type != kTfLiteFloat32 || !n->builtin_data || *(int*)n->builtin_data != 0) return -1;
  if (!same_shape(a, y)) return -1;
  bool sc = count(b.dims) == 1 && b.allocation_type == kTfLiteMmapRo;
  if (r->builtin_code == 0) return same_shape(a, b) ? ADD : -1;
  return sc ? MUL : -1;
}
#define FAIL(...) do { ctx->ReportError(ctx, __VA_ARGS__); return kTfLiteError; } while (0)

TfLiteStatus setup_conv(TfLiteContext* ctx, Options& o, Step& s) {
  auto* T = ctx->tensors;
  for (const char* k : {"stride_height", "stride_width", "dilation_height_factor", "dilation_width_factor", "padding", "pad_values", "channels_in", "fused_activation_function"})
    if (!s.opt.count(k)) FAIL("LceBconv2d: attribute %s is missing", k);
  auto &x = T[s.in[0]], &f = T[s.in[1]], &y = T[s.out];
  if (x.dims->size != 4 || f.dims->size != 4) FAIL("LceBconv2d: rank");
  if (f.allocation_type != kTfLiteMmapRo) FAIL("LceBconv2d: filter must be constant");
  s.conv.reset(new Conv()); Conv& c = *s.conv;
  c.batch = x.dims->data[0]; c.ih = x.dims->data[1]; c.iw = x.dims->data[2]; c.cw = x.dims->data[3]; c.cin = (int)s.opt["channels_in"];
  c.oc = f.dims->data[0]; c.kh = f.dims->data[1]; c.kw = f.dims->data[2]; c.ocw = (c.oc + 31) / 32; c.groups = c.cw / f.dims->data[3];
  c.sh = (int)s.opt["stride_height"]; c.sw = (int)s.opt["stride_width"]; c.dh = (int)s.opt["dilation_height_factor"]; c.dw = (int)s.opt["dilation_width_factor"];
  c.same = s.opt["padding"] == 0; c.pad_value = (int)s.opt["pad_values"];
  int eh = (c.kh - 1) * c.dh + 1, ew = (c.kw - 1) * c.dw + 1;
  c.oh = c.same ? (c.ih + c.sh - 1) / c.sh : (c.ih - eh + c.sh) / c.sh; c.ow = c.same ? (c.iw + c.sw - 1) / c.sw : (c.iw - ew + c.sw) / c.sw;
  c.padt = std::max(0, (c.oh - 1) * c.sh + eh - c.ih) / 2; c.padl = std::max(0, (c.ow - 1) * c.sw + ew - c.iw) / 2;
  if (!c.same) c.padt = c.padl = 0;
  c.ph = (c.oh - 1) * c.sh + eh; c.pw = (c.ow - 1) * c.sw + ew;
  c.padded = c.same && (c.ph > c.ih || c.pw > c.iw || c.padt || c.padl);
  if (!c.padded) { c.ph = c.ih; c.pw = c.iw; } else { c.ph = std::max(c.ph, c.ih + c.padt); c.pw = std::max(c.pw, c.iw + c.padl); c.padbuf.assign((size_t)c.ph * c.pw * c.cw + 16, 0); }
  c.segoff.clear(); c.seglen.clear();
  for (int ky = 0; ky < c.kh; ky++) {
    if (c.dw == 1) { c.segoff.push_back(ky * c.dh * c.pw * c.cw); c.seglen.push_back(c.kw * c.cw); }
    else for (int kx = 0; kx < c.kw; kx++) { c.segoff.push_back((ky * c.dh * c.pw + kx * c.dw) * c.cw); c.seglen.push_back(c.cw); }
  }
  const uint32_t* w = (const uint32_t*)f.data; c.w.assign(w, w + count(f.dims));
  c.K = c.kh * c.kw * (c.cin / c.groups);
  int act = (int)s.opt["fused_activation_function"];
  int lo = std::numeric_limits<int>::lowest(), hi = std::numeric_limits<int>::max();
  if (act == 1) lo = 0; else if (act == 2) lo = -1, hi = 1; else if (act == 3) lo = 0, hi = 6;
  lo = std::max(lo, -c.K); hi = std::min(hi, c.K); c.cmin = c.K - hi; c.cmax = c.K - lo;
  if (y.type == kTfLiteInt32) { const int32_t* t = (const int32_t*)T[s.in[4]].data; c.thresholds.assign(t, t + c.oc); }
  else if (y.type == kTfLiteFloat32) {
    const float *m = (const float*)T[s.in[2]].data, *b = (const float*)T[s.in[3]].data;
    c.mul.resize(c.oc); c.bias.resize(c.oc);
    for (int i = 0; i < c.oc; i++) { double pm = m[i], pb = b[i]; c.mul[i] = (float)(-1 * pm / 1.0); c.bias[i] = (float)((pb + (double)c.K * pm) / 1.0 + 0.0); }
  } else FAIL("LceBconv2d: int8 output is not supported yet");
  c.zero_pad = c.padded && c.pad_value == 0; c.ocp = (c.oc + 63) / 64 * 64;
  if (c.zero_pad) {
    std::map<std::tuple<int, int, int, int>, int> seen; c.cls.resize(c.oh * c.ow); c.corr.assign(c.ocp, 0); int ncls = 1;
    int gw = f.dims->data[3];
    for (int oy = 0; oy < c.oh; oy++) for (int ox = 0; ox < c.ow; ox++) {
      auto range = [](int o, int st, int pad, int k, int d, int n) { int a = 0, b = k; while (a < k && o * st - pad + a * d < 0) a++; while (b > 0 && o * st - pad + (b - 1) * d >= n) b--; return std::make_pair(a, b); };
      auto ry = range(oy, c.sh, c.padt, c.kh, c.dh, c.ih), rx = range(ox, c.sw, c.padl, c.kw, c.dw, c.iw);
      int& cl = c.cls[oy * c.ow + ox]; cl = 0;
      if (ry.first == 0 && ry.second == c.kh && rx.first == 0 && rx.second == c.kw) continue;
      auto key = std::make_tuple(ry.first, ry.second, rx.first, rx.second);
      auto it = seen.find(key); if (it != seen.end()) { cl = it->second; continue; }
      cl = seen[key] = ncls++; c.corr.resize((size_t)ncls * c.ocp, 0);
      for (int q = 0; q < c.oc; q++) { int sum = 0;
        for (int ky = 0; ky < c.kh; ky++) for (int kx = 0; kx < c.kw; kx++) {
          if (ky >= ry.first && ky < ry.second && kx >= rx.first && kx < rx.second) continue;
          int pc = 0; for (int i = 0; i < gw; i++) pc += __builtin_popcount(c.w[(((size_t)q * c.kh + ky) * c.kw + kx) * gw + i]);
          sum += c.cin / c.groups - 2 * pc;
        }
        c.corr[(size_t)cl * c.ocp + q] = sum; }
    }
  }
  if (c.groups == 1) o.pack(c);
  return kTfLiteOk;
}
double cpu() { timespec t; clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
int out_of(TfLiteNode* n) { return n->outputs->data[0]; }
// Pattern fusion over the step list (see report): conv -> add -> {quantize, mul -> add}
void fuse(TfLiteContext* ctx, Kernel& k) {
  std::map<int, int> prod; std::map<int, std::vector<int>> cons;
  for (int i = 0; i < (int)k.steps.size(); i++) { auto& s = k.steps[i]; prod[s.out] = i; for (int j = 0; j < (s.kind == BCONV || s.kind == MUL ? 1 : (int)s.in.size()); j++) cons[s.in[j]].push_back(i); }
  auto is_ext = [&](int t) { return std::find(k.ext_out.begin(), k.ext_out.end(), t) != k.ext_out.end(); };
  // `at[t]`: position in the order where tensor t becomes available after fusion
  std::map<int, int> at; for (auto& p : prod) at[p.first] = p.second;
  auto avail = [&](int t) { auto i = at.find(t); return i == at.end() ? -1 : i->second; };
  for (int i = 0; i < (int)k.steps.size(); i++) {
    auto& s = k.steps[i];
    if (s.kind != BCONV || ctx->tensors[s.out].type != kTfLiteFloat32) continue;
    s.fout = s.out;
    int cur = s.out;
    auto single = [&](int t) { return !is_ext(t) && cons[t].size() == 1; };
    // residual
    if (single(cur)) {
      int a = cons[cur][0]; auto& sa = k.steps[a];
      if (sa.kind == ADD) {
        int other = sa.in[0] == cur ? sa.in[1] : sa.in[0];
        if (avail(other) < i) { s.res = other; s.fout = cur = sa.out; sa.kind = NOP; at[cur] = i; }
      }
    }
    bool need_float = is_ext(cur);
    std::vector<int> left;
    for (int j : cons[cur]) {
      auto& q = k.steps[j];
      if (q.kind == QUANT && s.bits < 0) { s.bits = q.out; q.kind = NOP; at[q.out] = i; continue; }
      if (q.kind == MUL && s.accout < 0) {
        s.scale = *(float*)ctx->tensors[q.in[1]].data; int mt = q.out;
        if (single(mt) && k.steps[cons[mt][0]].kind == ADD) {
          auto& ad = k.steps[cons[mt][0]]; int other = ad.in[0] == mt ? ad.in[1] : ad.in[0];
          if (avail(other) < i) { s.accin = other; s.accout = ad.out; ad.kind = NOP; q.kind = NOP; at[ad.out] = i; continue; }
        }
        s.accout = mt; q.kind = NOP; at[mt] = i; continue;
      }
      left.push_back(j);
    }
    if (left.empty() && !need_float) s.fout = -1;
  }
  for (auto& s : k.steps) if (s.kind == ADD) {   // add -> quantize in one pass (float kept only where used)
    for (int j : cons[s.out]) if (k.steps[j].kind == QUANT && s.bits < 0) { s.bits = k.steps[j].out; k.steps[j].kind = NOP; s.kind = ADDQ; s.fout = s.out; if (cons[s.out].size() == 1 && !is_ext(s.out)) s.fout = -1; }
  }
  std::vector<Step> kept; for (auto& s : k.steps) if (s.kind != NOP) kept.push_back(std::move(s)); k.steps.swap(kept);
}
std::vector<int> reads(const Step& s) {
  std::vector<int> r; if (s.kind == BCONV || s.kind == MUL) r.push_back(s.in[0]); else r = s.in;
  for (int t : {s.res, s.accin}) if (t >= 0) r.push_back(t); return r;
}
std::vector<int> writes(const Step& s) {
  std::vector<int> r;
  if (s.fout >= 0) r.push_back(s.fout); else if ((s.kind == BCONV && s.bits < 0 && s.accout < 0) || (s.kind != BCONV && s.kind != ADDQ)) r.push_back(s.out);
  for (int t : {s.bits, s.accout}) if (t >= 0) r.push_back(t); return r;
}
void* k_init(TfLiteContext* ctx, const char* buffer, size_t) {
  auto* p = (const TfLiteDelegateParams*)buffer;
  auto* k = new Kernel(); k->o = &((Delegate*)p->delegate->data_)->o;
  for (int i = 0; i < p->input_tensors->size; i++) k->ext_in.push_back(p->input_tensors->data[i]);
  for (int i = 0; i < p->output_tensors->size; i++) k->ext_out.push_back(p->output_tensors->data[i]);
  for (int i = 0; i < p->nodes_to_replace->size; i++) {
    TfLiteNode* n; TfLiteRegistration* r;
    if (ctx->GetNodeAndRegistration(ctx, p->nodes_to_replace->data[i], &n, &r) != kTfLiteOk) continue;
    Step s; s.kind = (Kind)classify(ctx, n, r, k->o->fuse); s.out = out_of(n);
    for (int j = 0; j < n->inputs->size; j++) s.in.push_back(n->inputs->data[j]);
    s.opt = flex((const uint8_t*)n->custom_initial_data, (size_t)n->custom_initial_data_size);
    k->steps.push_back(std::move(s));
  }
  if (k->o->fuse) fuse(ctx, *k);
  return k;
}
void k_free(TfLiteContext*, void* b) {
  auto* k = (Kernel*)b;
  if (k->o->profile && k->runs) {
    double sum[8] = {0}; long n[8] = {0}; for (auto& s : k->steps) { sum[s.kind] += s.seconds; n[s.kind]++; }
    for (int i = 0; i < 7; i++) if (n[i] && (k->o->profile > 1 || k->steps.size() > 20)) fprintf(stderr, "[bnn] %-9s %4ld steps %9.3f ms/run\n", kind_names[i], n[i], sum[i] / k->runs * 1e3);
    std::map<std::string, std::pair<double, int>> shapes;
    for (auto& s : k->steps) if (s.kind == BCONV) { auto& c = *s.conv; char nm[96]; snprintf(nm, 96, "%dx%d s%d %4d->%4d @%dx%d", c.kh, c.kw, c.sh, c.cin, c.oc, c.oh, c.ow); auto& e = shapes[nm]; e.first += s.seconds / k->runs; e.second++; 
      e.first += 0; }
    if (k->steps.size() > 20) for (auto& e : shapes) fprintf(stderr, "[bnn]   %-28s x%2d %9.3f ms\n", e.first.c_str(), e.second.second, e.second.first * 1e3);
  }
  delete k;
}
TfLiteStatus k_prepare(TfLiteContext* ctx, TfLiteNode* node) {
  auto& k = *(Kernel*)node->user_data; auto* T = ctx->tensors;
  for (auto& s : k.steps) if (s.kind == BCONV && !s.conv) { if (setup_conv(ctx, *k.o, s) != kTfLiteOk) return kTfLiteError; }
  // buffers of tensors that live inside the partition, reused after their last reader
  std::map<int, int> last; for (int i = 0; i < (int)k.steps.size(); i++) for (int t : reads(k.steps[i])) last[t] = i;
  std::multimap<size_t, int> freed; k.internal.clear();
  std::vector<size_t> sizes;
  for (int i = 0; i < (int)k.steps.size(); i++) {
    for (int t : writes(k.steps[i])) {
      if (std::find(k.ext_out.begin(), k.ext_out.end(), t) != k.ext_out.end()) continue;
      size_t n = bytes(T[t]); auto f = freed.lower_bound(n);
      if (f != freed.end() && f->first <= 2 * n) { k.internal[t] = f->second; freed.erase(f); } else { k.internal[t] = (int)sizes.size(); sizes.push_back(n); }
    }
    for (int t : reads(k.steps[i])) if (last[t] == i && k.internal.count(t)) { freed.emplace(sizes[k.internal[t]], k.internal[t]); last[t] = -1; }
  }
  k.buffers.resize(sizes.size()); for (size_t i = 0; i < sizes.size(); i++) k.buffers[i].resize(sizes[i]);
  return kTfLiteOk;
}
void bpool(const TfLiteTensor& x, const TfLiteTensor& y, const uint32_t* in, uint32_t* out, std::map<std::string, int64_t>& o) {
  int B = x.dims->data[0], H = x.dims->data[1], W = x.dims->data[2], C = x.dims->data[3], OH = y.dims->data[1], OW = y.dims->data[2];
  int fh = (int)o["filter_height"], fw = (int)o["filter_width"], sh = (int)o["stride_height"], sw = (int)o["stride_width"];
  int pt = o["padding"] == 0 ? std::max(0, (OH - 1) * sh + fh - H) / 2 : 0, pl = o["padding"] == 0 ? std::max(0, (OW - 1) * sw + fw - W) / 2 : 0;
  for (int b = 0; b < B; b++) for (int oy = 0; oy < OH; oy++) for (int ox = 0; ox < OW; ox++) for (int c = 0; c < C; c++) {
    uint32_t v = ~0u;
    for (int ky = std::max(0, pt - oy * sh); ky < fh && oy * sh - pt + ky < H; ky++) for (int kx = std::max(0, pl - ox * sw); kx < fw && ox * sw - pl + kx < W; kx++)
      v &= in[((b * H + oy * sh - pt + ky) * W + ox * sw - pl + kx) * C + c];
    *out++ = v;
  }
}
TfLiteStatus k_invoke(TfLiteContext* ctx, TfLiteNode* node) {
  auto& k = *(Kernel*)node->user_data; auto* T = ctx->tensors; k.runs++;
  auto ptr = [&](int t) -> void* { if (t < 0) return nullptr; auto i = k.internal.find(t); return i != k.internal.end() ? (void*)k.buffers[i->second].data() : T[t].data; };
  for (auto& s : k.steps) {
    double t0 = k.o->profile ? cpu() : 0;
    switch (s.kind) {
      case BCONV: {
        Conv& c = *s.conv; Epilogue e; e.mul = c.mul.data(); e.bias = c.bias.data(); e.cmin = c.cmin; e.cmax = c.cmax;
        if (T[s.out].type == kTfLiteInt32) { e.thresholds = c.thresholds.data(); e.tbits = (uint32_t*)ptr(s.out); }
        else if (k.o->fuse) { e.res = (const float*)ptr(s.res); e.out = (float*)ptr(s.fout); e.bits = (uint32_t*)ptr(s.bits); e.scale = s.scale; e.accin = (const float*)ptr(s.accin); e.accout = (float*)ptr(s.accout); }
        else e.out = (float*)ptr(s.out);
        if (c.oc % 32) for (uint32_t* d : {e.bits, e.tbits}) if (d) memset(d, 0, (size_t)c.batch * c.oh * c.ow * c.ocw * 4);  // kernels store 16 bits at a time
        for (int rep = 0; rep < k.o->repeat; rep++) (c.groups == 1 ? k.o->conv : conv_generic)(c, (const uint32_t*)ptr(s.in[0]), e); break; }
      case QUANT: {
        auto& x = T[s.in[0]]; int ch = x.dims->data[x.dims->size - 1]; size_t rows = count(x.dims) / ch; auto* out = (uint32_t*)ptr(s.out);
        if (x.type == kTfLiteFloat32) quant_f32((const float*)ptr(s.in[0]), out, rows, ch);
        else { const int8_t* in = (const int8_t*)ptr(s.in[0]); int cw = (ch + 31) / 32, zp = x.type == kTfLiteBool ? 1 : x.params.zero_point;
          for (size_t r = 0; r < rows; r++) for (int w = 0; w < cw; w++) { uint32_t v = 0; for (int j = 0; j < 32 && w * 32 + j < ch; j++) v |= (uint32_t)(in[r * ch + w * 32 + j] < zp) << j; out[r * cw + w] = v; } }
        break; }
      case DEQUANT: {
        auto& y = T[s.out]; int ch = y.dims->data[y.dims->size - 1], cw = (ch + 31) / 32; size_t rows = count(y.dims) / ch; auto* in = (const uint32_t*)ptr(s.in[0]);
        if (y.type == kTfLiteFloat32) { float* o = (float*)ptr(s.out); for (size_t r = 0; r < rows; r++) for (int j = 0; j < ch; j++) *o++ = in[r * cw + j / 32] >> (j & 31) & 1 ? -1.f : 1.f; }
        else if (y.type == kTfLiteInt8) { int off = (int)__builtin_roundf(1.0f / y.params.scale); int8_t z = (int8_t)std::min(127, y.params.zero_point + off), w = (int8_t)std::max(-128, y.params.zero_point - off);
          int8_t* o = (int8_t*)ptr(s.out); for (size_t r = 0; r < rows; r++) for (int j = 0; j < ch; j++) *o++ = in[r * cw + j / 32] >> (j & 31) & 1 ? w : z; }
        else FAIL("LceDequantize: type");
        break; }
      case BPOOL: bpool(T[s.in[0]], T[s.out], (const uint32_t*)ptr(s.in[0]), (uint32_t*)ptr(s.out), s.opt); break;
      case ADD: case ADDQ: {
        const float *a = (const float*)ptr(s.in[0]), *b = (const float*)ptr(s.in[1]); size_t n = count(T[s.out].dims); int ch = T[s.out].dims->data[T[s.out].dims->size - 1];
        if (s.kind == ADD) { float* o = (float*)ptr(s.out); for (size_t i = 0; i < n; i++) o[i] = a[i] + b[i]; }
        else { float* o = (float*)ptr(s.fout); auto* q = (uint32_t*)ptr(s.bits); alignas(64) float tmp[4096]; int cw = (ch + 31) / 32;
          for (size_t r = 0; r < n; r += ch, q += cw) { float* d = o ? o + r : tmp; for (int i = 0; i < ch; i++) d[i] = a[r + i] + b[r + i]; quant_row(d, q, ch); } }
        break; }
      case MUL: { const float *a = (const float*)ptr(s.in[0]); float b = *(const float*)ptr(s.in[1]); size_t n = count(T[s.out].dims); float* o = (float*)ptr(s.out); for (size_t i = 0; i < n; i++) o[i] = a[i] * b; break; }
      default: break;
    }
    if (k.o->profile) { double dt = cpu() - t0; s.seconds += dt; g_sum[s.kind] += dt; g_n[s.kind]++; }
  }
  return kTfLiteOk;
}
TfLiteStatus prepare(TfLiteContext* ctx, TfLiteDelegate* d) {
  auto* self = (Delegate*)d->data_; TfLiteIntArray* plan;
  if (ctx->GetExecutionPlan(ctx, &plan) != kTfLiteOk) return kTfLiteError;
  std::vector<int> order(plan->data, plan->data + plan->size), nodes(1, 0);
  for (int i : order) {
    TfLiteNode* n; TfLiteRegistration* r;
    if (ctx->GetNodeAndRegistration(ctx, i, &n, &r) != kTfLiteOk) return kTfLiteError;
    if (classify(ctx, n, r, self->o.fuse) >= 0) nodes.push_back(i);
  }
  nodes[0] = (int)nodes.size() - 1;
  if (self->o.profile) fprintf(stderr, "[bnn] claims %d of %zu nodes, kernel %s, fuse %d, sizeof(Tensor) %zu\n", nodes[0], order.size(), self->o.kernel.c_str(), self->o.fuse, sizeof(TfLiteTensor));
  TfLiteRegistration reg{}; reg.init = k_init; reg.free = k_free; reg.prepare = k_prepare; reg.invoke = k_invoke; reg.custom_name = "BnnDelegate"; reg.version = 1;
  return ctx->ReplaceNodeSubsetsWithDelegateKernels(ctx, reg, (TfLiteIntArray*)nodes.data(), d);
}
}
extern "C" __attribute__((visibility("default"))) TfLiteDelegate* tflite_plugin_create_delegate(const char* const* keys, const char* const* values, size_t n, void (*report)(const char*)) {
  auto* s = new Delegate(); memset(&s->d, 0, sizeof s->d);
  s->d.data_ = s; s->d.Prepare = prepare; s->d.flags = 1;  // AllowDynamicTensors: without it the interpreter prepares every op first and stops at the unresolved custom ops
  std::string want = "auto";
  for (size_t i = 0; i < (size_t)(int)n; i++) {
    std::string k = keys[i], v = values[i];
    if (k == "fuse") s->o.fuse = v != "0"; else if (k == "kernel") want = v; else if (k == "num_threads") {} else if (k == "repeat") s->o.repeat = atoi(v.c_str()); else if (k == "profile") s->o.profile = atoi(v.c_str());
    else { if (report) report(("unknown option " + k).c_str()); delete s; return nullptr; }
  }
  s->o.conv = conv_generic; s->o.pack = pack_generic; s->o.kernel = "generic";
#if defined(__x86_64__)
  bool v512 = __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bw"), v2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
  if (v512 && (want == "auto" || want == "avx512")) s->o.conv = conv_avx512, s->o.pack = pack_avx512, s->o.kernel = "avx512";
  else if (v2 && (want == "auto" || want == "avx2")) s->o.conv = conv_avx2, s->o.pack = pack_avx2, s->o.kernel = "avx2";
#elif defined(__aarch64__)
  if (want != "generic") s->o.conv = conv_neon, s->o.pack = pack_neon, s->o.kernel = "neon";
#endif
  return &s->d;
}
extern "C" __attribute__((visibility("default"))) void tflite_plugin_destroy_delegate(TfLiteDelegate* d) {
  if (((Delegate*)d->data_)->o.profile > 2) for (int i = 0; i < 7; i++) if (g_n[i]) fprintf(stderr, "[bnn total] %s %ld calls %.3f ms\n", kind_names[i], g_n[i], g_sum[i] * 1e3);
  delete (Delegate*)d->data_; }
