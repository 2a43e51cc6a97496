// Errors: an exception inside the library, a message and a status at the C boundary.
#ifndef LARQ_GROUPNET_RUNTIME_ERROR_H_
#define LARQ_GROUPNET_RUNTIME_ERROR_H_

#include <stdexcept>
#include <string>

namespace lgr {

class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void append(std::string&) {}

template <class First, class... Rest>
void append(std::string& text, const First& first, const Rest&... rest) {
  if constexpr (std::is_arithmetic_v<First>) {
    text += std::to_string(first);
  } else {
    text += first;
  }
  append(text, rest...);
}

template <class... Parts>
std::string text(const Parts&... parts) {
  std::string joined;
  append(joined, parts...);
  return joined;
}

// Refuses unless the condition holds, with a message joined from the parts.
template <class... Parts>
void expect(bool condition, const Parts&... message) {
  if (!condition) throw Refused(text(message...));
}

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_ERROR_H_
