#include "flexbuffer.h"

#include <cstring>

#include "error.h"

namespace lgr {
namespace {

// The format's integer types, in the upper six bits of a type byte; the lower two bits are the
// logarithm of a width. Values are little-endian.
enum : int {
  kInt = 1,
  kUint = 2,
  kIndirectInt = 6,
  kIndirectUint = 7,
  kMap = 9,
  kBool = 26,
};

bool is_width(uint64_t n) { return n == 1 || n == 2 || n == 4 || n == 8; }

class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool has(uint64_t at, uint64_t bytes) const { return at <= size_ && bytes <= size_ - at; }

  // Reads an unsigned number of `width` bytes; the caller has checked has().
  uint64_t number(uint64_t at, int width) const {
    uint64_t value = 0;
    std::memcpy(&value, data_ + at, static_cast<size_t>(width));
    return value;
  }

  // Follows the offset, which counts backwards from itself. False if it leaves the buffer.
  bool follow(uint64_t at, int width, uint64_t* target) const {
    if (!has(at, static_cast<uint64_t>(width))) return false;
    const uint64_t offset = number(at, width);
    if (offset > at) return false;
    *target = at - offset;
    return true;
  }

  bool string(uint64_t at, std::string* out) const {
    if (at >= size_) return false;
    const void* end = std::memchr(data_ + at, 0, size_ - at);
    if (!end) return false;
    out->assign(reinterpret_cast<const char*>(data_ + at));
    return true;
  }

  // Reads a value of a map: `width` bytes at `at`, unless it is stored elsewhere.
  bool integer(uint64_t at, int width, uint8_t type, int64_t* out) const {
    int kind = type >> 2;
    if (kind == kIndirectInt || kind == kIndirectUint) {
      if (!follow(at, width, &at)) return false;
      width = 1 << (type & 3);
      kind = kind == kIndirectInt ? kInt : kUint;
    }
    if (kind != kInt && kind != kUint && kind != kBool) return false;
    if (!has(at, static_cast<uint64_t>(width))) return false;
    uint64_t value = number(at, width);
    if (kind == kInt && width < 8) {
      const uint64_t sign = uint64_t{1} << (8 * width - 1);
      value = (value ^ sign) - sign;
    }
    *out = static_cast<int64_t>(value);
    return true;
  }

  uint8_t byte(uint64_t at) const { return data_[at]; }

 private:
  const uint8_t* data_;
  uint64_t size_;
};

// A buffer ends with its root value, the root's type and the root's width. A map's offset points at
// its values. The offset of its keys, the keys' width and the map's size come before the values,
// and one type per value comes after them.
void read_map(const uint8_t* data, size_t size, std::map<std::string, int64_t>* values) {
  if (!data || size < 3) return;
  const Reader in(data, size);
  const uint64_t root_width = in.byte(size - 1);
  const uint8_t root_type = in.byte(size - 2);
  if (root_type >> 2 != kMap || !is_width(root_width) || size - 2 < root_width) return;
  const uint64_t width = uint64_t{1} << (root_type & 3);
  uint64_t map = 0, keys = 0;
  if (!in.follow(size - 2 - root_width, static_cast<int>(root_width), &map)) return;
  if (map < 3 * width) return;
  const int w = static_cast<int>(width);
  const uint64_t count = in.number(map - width, w);
  const uint64_t key_width = in.number(map - 2 * width, w);
  if (!in.follow(map - 3 * width, w, &keys) || !is_width(key_width)) return;
  if (count > size || !in.has(map, count * (width + 1)) || !in.has(keys, count * key_width)) return;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t key = 0;
    std::string name;
    int64_t value = 0;
    if (in.follow(keys + i * key_width, static_cast<int>(key_width), &key) &&
        in.string(key, &name) &&
        in.integer(map + i * width, w, in.byte(map + count * width + i), &value)) {
      (*values)[name] = value;
    }
  }
}

}  // namespace

CustomOptions::CustomOptions(const char* operation, const void* data, int size)
    : operation_(operation) {
  if (size > 0) read_map(static_cast<const uint8_t*>(data), static_cast<size_t>(size), &values_);
}

int CustomOptions::get(const char* name, int low, int high) const {
  const auto found = values_.find(name);
  expect(found != values_.end(), operation_, ": expected the option ", name,
         ", an integer. Received: none. Convert the file again.");
  expect(found->second >= low && found->second <= high, operation_, ": expected ", name, " from ",
         low, " to ", high, ". Received: ", found->second, ".");
  return static_cast<int>(found->second);
}

}  // namespace lgr
