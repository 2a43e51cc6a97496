// TfLiteIntArray from a vector.
#ifndef LARQ_GROUPNET_RUNTIME_INT_ARRAY_H_
#define LARQ_GROUPNET_RUNTIME_INT_ARRAY_H_

#include <algorithm>
#include <memory>
#include <vector>

#include "memory.h"
#include "tfl_abi.h"

namespace lgr {

using IntArray = std::unique_ptr<TfLiteIntArray, Free>;

// Uses malloc, so that the interpreter can take ownership.
inline IntArray to_int_array(const std::vector<int>& values) {
  void* memory = std::malloc(sizeof(TfLiteIntArray) + sizeof(int) * values.size());
  if (!memory) throw std::bad_alloc();
  IntArray array(static_cast<TfLiteIntArray*>(memory));
  array->size = static_cast<int>(values.size());
  std::copy(values.begin(), values.end(), array->data);
  return array;
}

inline std::vector<int> to_vector(const TfLiteIntArray& array) {
  return std::vector<int>(array.data, array.data + array.size);
}

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_INT_ARRAY_H_
