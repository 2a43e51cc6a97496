// Windows of convolutions and pools over one axis, with TensorFlow's padding.
#ifndef LARQ_GROUPNET_RUNTIME_WINDOW_H_
#define LARQ_GROUPNET_RUNTIME_WINDOW_H_

#include <algorithm>
#include <cstdint>

#include "error.h"

namespace lgr {

enum class Padding { kSame = 0, kValid = 1 };  // numbered as in the schema of TensorFlow Lite

struct PoolOptions {
  int filter_height, filter_width;
  int stride_height, stride_width;
  Padding padding;
};

struct Window {
  int out;     // size of the output
  int before;  // padding in front; there may be one more behind
};

// Refuses a window that does not fit. All arguments are at least 1.
inline Window place_window(const char* operation, int in, int filter, int stride, int dilation,
                           Padding padding) {
  const int64_t reach = (static_cast<int64_t>(filter) - 1) * dilation + 1;
  expect(in >= 1 && reach < (1 << 30), operation, ": expected an image, and a window of at most ",
         1 << 30, ". Received: size ", in, ", window ", reach, ".");
  Window window{};
  if (padding == Padding::kSame) {
    window.out = (in - 1) / stride + 1;
    const int64_t missing = static_cast<int64_t>(window.out - 1) * stride + reach - in;
    window.before = static_cast<int>(std::max<int64_t>(missing, 0) / 2);
  } else {
    expect(reach <= in, operation, ": expected an input of at least ", reach,
           " for a window without padding. Received: ", in, ".");
    window.out = static_cast<int>((in - reach) / stride) + 1;
  }
  return window;
}

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_WINDOW_H_
