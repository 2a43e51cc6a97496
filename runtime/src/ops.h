// Small operations: packing and unpacking of sign bits, and pools.
#ifndef LARQ_GROUPNET_RUNTIME_OPS_H_
#define LARQ_GROUPNET_RUNTIME_OPS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace lgr {

inline int words_for(int channels) { return channels / 32 + (channels % 32 != 0); }

// bit = value < zero_point, for rows of `channels` values.
void pack_int8(const int8_t* in, size_t rows, int channels, int32_t zero_point, uint32_t* out);
// bit = value is false.
void pack_bool(const uint8_t* in, size_t rows, int channels, uint32_t* out);

// Turns each bit into `zero` or `one`.
template <class T>
void unpack(const uint32_t* in, size_t rows, int channels, T zero, T one, T* out) {
  for (size_t r = 0; r < rows; r++, in += words_for(channels)) {
    for (int c = 0; c < channels; c++) *out++ = (in[c / 32] >> (c % 32)) & 1 ? one : zero;
  }
}

// One output row of a max-pool of bits: the AND over each window, since a bit is 1 where the value
// is negative. Padding is ignored.
void max_pool_row(const PoolGeometry& geometry, const uint32_t* image, int y, uint32_t* out);

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_OPS_H_
