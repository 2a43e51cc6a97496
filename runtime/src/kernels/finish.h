// Turns counts into outputs, for any instruction set that provides a Block: the values of
// kChannelBlock channels of one row, held in registers. Rows with fewer channels use TailBlock,
// whose plain loops the compiler vectorises.
// Products and sums are rounded one by one, as in TensorFlow Lite (-ffp-contract=off), so fusing
// changes no bit. Unnamed namespace: see patches.h.
#ifndef LARQ_GROUPNET_RUNTIME_KERNELS_FINISH_H_
#define LARQ_GROUPNET_RUNTIME_KERNELS_FINISH_H_

#include <algorithm>
#include <cmath>

#include "kernels.h"

namespace lgr {
namespace {

LGR_INLINE int32_t doubled(int32_t count, const int32_t* correction, int channel) {
  return 2 * count + (correction ? correction[channel] : 0);
}

LGR_INLINE float transformed(const Transform& t, int32_t count, const int32_t* correction,
                             int channel) {
  const int32_t x = doubled(count, correction, channel);
  const float product =
      static_cast<float>(std::max(std::min(x, t.clamp_max), t.clamp_min)) * t.multiplier[channel];
  return product + t.bias[channel];
}

struct TailBlock {
  int n;
  float v[kChannelBlock];

  // The constants of the part's channels for the transform of all rows.
  struct Channels {
    Channels(const Transform& transform, int first) : transform(transform), first(first) {}
    const Transform& transform;
    const int first;
  };

  void transform(const Channels& channels, const int32_t* counts, const int32_t* correction) {
    for (int i = 0; i < n; i++) {
      v[i] = transformed(channels.transform, counts[i], correction, channels.first + i);
    }
  }
  void load(const float* p) { std::copy(p, p + n, v); }
  void store(float* p) const { std::copy(v, v + n, p); }
  void add(const float* p) {
    for (int i = 0; i < n; i++) v[i] += p[i];
  }
  void multiply(const float* p) {
    for (int i = 0; i < n; i++) v[i] *= p[i];
  }
  void max(const float* p) {
    for (int i = 0; i < n; i++) {
      const float x = p[i];
      v[i] = v[i] > x ? v[i] : x;  // NaN and -0 as on x86
    }
  }
  void add(float s) {
    for (int i = 0; i < n; i++) v[i] += s;
  }
  void multiply(float s) {
    for (int i = 0; i < n; i++) v[i] *= s;
  }
  void store_bits(uint32_t* p) const {
    for (int i = 0; i < n; i += 32) {
      uint32_t word = 0;
      for (int j = 0; j < std::min(32, n - i); j++) {
        word |= static_cast<uint32_t>(v[i + j] < 0) << j;
      }
      *p++ = word;
    }
  }
};

LGR_INLINE size_t words_of(int channels) { return (static_cast<unsigned>(channels) + 31) / 32; }

template <class Block>
LGR_INLINE void run_ops(Block& value, const Part& part, size_t row, const PostOp* ops,
                        int num_ops) {
  const size_t at = row * part.row_channels + part.channel;
  const size_t row_words = words_of(part.row_channels);
  const size_t first_word = static_cast<unsigned>(part.channel) / 32;
  for (int i = 0; i < num_ops; i++) {
    const PostOp& op = ops[i];
    switch (op.kind) {
      case PostOpKind::kAdd: value.add(op.in + at); break;
      case PostOpKind::kAddChannels: value.add(op.in + part.channel); break;
      case PostOpKind::kAddScalar: value.add(op.scalar); break;
      case PostOpKind::kMul: value.multiply(op.in + at); break;
      case PostOpKind::kMulChannels: value.multiply(op.in + part.channel); break;
      case PostOpKind::kMulScalar: value.multiply(op.scalar); break;
      case PostOpKind::kLoad: value.load(op.in + at); break;
      case PostOpKind::kStore: value.store(op.out + at); break;
      case PostOpKind::kBits:
        value.store_bits(op.bits + row * row_words + first_word);
        break;
    }
  }
}

// Calls `run` with a whole block of channels, or a partial one.
template <class Block, class Run>
LGR_INLINE void with_block(int channels, const Run& run) {
  if (channels == kChannelBlock) {
    Block value;
    run(value);
  } else {
    TailBlock value;
    value.n = channels;
    run(value);
  }
}

template <class Block>
LGR_INLINE void finish_float_rows(Block& value, const int32_t* counts, size_t stride,
                                  const Part& part, const Transform& transform, const PostOp* ops,
                                  int num_ops) {
  const typename Block::Channels channels(transform, part.channel);
  for (int r = 0; r < part.rows; r++) {
    value.transform(channels, counts + r * stride, transform.correction(r));
    run_ops(value, part, part.row + r, ops, num_ops);
  }
}

template <class Block>
void finish_float(const int32_t* counts, size_t stride, const Part& part,
                  const Transform& transform, const PostOp* ops, int num_ops) {
  with_block<Block>(part.channels, [&](auto& value) {
    finish_float_rows(value, counts, stride, part, transform, ops, num_ops);
  });
}

template <class Block>
LGR_INLINE void run_post_ops_rows(Block& value, const Part& part, const PostOp* ops, int num_ops) {
  for (size_t row = part.row; row < part.row + part.rows; row++) {
    value.load(ops[0].in + row * part.row_channels + part.channel);
    run_ops(value, part, row, ops + 1, num_ops - 1);
  }
}

template <class Block>
void run_post_ops(const Part& part, const PostOp* ops, int num_ops) {
  with_block<Block>(part.channels,
                    [&](auto& value) { run_post_ops_rows(value, part, ops, num_ops); });
}

template <class Block>
LGR_INLINE void max_pool_pixels(Block& value, const PoolGeometry& g, const float* image, int y,
                                const Part& part, const PostOp* ops, int num_ops) {
  const PoolGeometry::Span rows = g.rows(y);
  const size_t row_values = static_cast<size_t>(g.in_width) * g.depth;
  const float* top = image + static_cast<size_t>(rows.begin) * row_values + part.channel;
  for (int x = 0; x < part.rows; x++) {
    const PoolGeometry::Span columns = g.columns(x);
    const float* row = top + static_cast<size_t>(columns.begin) * g.depth;
    value.load(row);
    for (int64_t in_y = rows.begin; in_y < rows.end; in_y++, row += row_values) {
      const float* pixel = row;
      for (int64_t in_x = columns.begin; in_x < columns.end; in_x++, pixel += g.depth) {
        value.max(pixel);
      }
    }
    run_ops(value, part, part.row + x, ops, num_ops);
  }
}

template <class Block>
void max_pool(const PoolGeometry& geometry, const float* image, int y, const Part& part,
              const PostOp* ops, int num_ops) {
  with_block<Block>(part.channels, [&](auto& value) {
    max_pool_pixels(value, geometry, image, y, part, ops, num_ops);
  });
}

// Rounds half away from zero and saturates. The limits keep the conversion defined; NaN becomes the
// lower limit.
LGR_INLINE int8_t to_int8(float x) {
  const float limited = x >= -128.0f ? std::min(x, 127.0f) : -128.0f;
  // std::round, written so that it vectorises: the largest float below 0.5 keeps 0.49999997 at 0.
  const float half = limited < 0 ? -0.49999997f : 0.49999997f;
  return static_cast<int8_t>(static_cast<int32_t>(limited + half));
}

inline void finish_int8(const int32_t* counts, size_t stride, const Part& part,
                        const Transform& transform, int8_t* out) {
  for (int r = 0; r < part.rows; r++) {
    const int32_t* correction = transform.correction(r);
    int8_t* row = out + (part.row + r) * part.row_channels + part.channel;
    for (int i = 0; i < part.channels; i++) {
      row[i] =
          to_int8(transformed(transform, counts[r * stride + i], correction, part.channel + i));
    }
  }
}

inline void finish_bits(const int32_t* counts, size_t stride, const Part& part,
                        const Transform& transform, const int32_t* thresholds, uint32_t* out) {
  for (int r = 0; r < part.rows; r++) {
    const int32_t* correction = transform.correction(r);
    uint32_t* words = out + (part.row + r) * words_of(part.row_channels) + words_of(part.channel);
    for (int i = 0; i < part.channels; i += 32) {
      uint32_t word = 0;
      for (int j = 0; j < std::min(32, part.channels - i); j++) {
        const int c = part.channel + i + j;
        const int32_t x = doubled(counts[r * stride + i + j], correction, c);
        word |= static_cast<uint32_t>(x > thresholds[c]) << j;
      }
      words[i / 32] = word;
    }
  }
}

}  // namespace
}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_KERNELS_FINISH_H_
