// The options of a custom operation: a FlexBuffers map from names to integers.
#ifndef LARQ_GROUPNET_RUNTIME_FLEXBUFFER_H_
#define LARQ_GROUPNET_RUNTIME_FLEXBUFFER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace lgr {

class CustomOptions {
 public:
  CustomOptions() = default;
  // Reads a map; other bytes give an empty map. Values other than integers and booleans are
  // ignored. Never reads outside [data, data + size). `operation` must outlive the options.
  CustomOptions(const char* operation, const void* data, int size);

  // Refuses, naming the operation, if the option is missing or outside [low, high].
  int get(const char* name, int low, int high) const;

 private:
  const char* operation_ = "";
  std::map<std::string, int64_t> values_;
};

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_FLEXBUFFER_H_
