// Aligned buffers.
#ifndef LARQ_GROUPNET_RUNTIME_MEMORY_H_
#define LARQ_GROUPNET_RUNTIME_MEMORY_H_

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace lgr {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

constexpr size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Uninitialised memory for `count` values. Throws std::bad_alloc.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) : size_(count) {
    void* p = nullptr;
    if (posix_memalign(&p, kAlignment, aligned(count * sizeof(T) + 1)) != 0) throw std::bad_alloc();
    data_.reset(static_cast<T*>(p));
  }

  T* data() const { return data_.get(); }
  size_t size() const { return size_; }

  // Makes room for at least `count` values; the content is lost.
  void grow(size_t count) {
    if (count > size_) *this = Buffer(count);
  }

 private:
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_MEMORY_H_
