#ifndef LARQ_GROUPNET_RUNTIME_THREAD_POOL_H_
#define LARQ_GROUPNET_RUNTIME_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace lgr {

// Threads that share the items of one loop after the other.
//
// The caller takes items too, and waits only for threads that have begun one: a loop ends even if
// no thread wakes up, as in a process that forked. Items must not throw.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);  // the caller is one of them; fewer if the system has none
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(item, worker) once for each item in [0, items); worker is below num_threads(), and
  // two calls at the same time have different ones. One loop runs at a time: the pool belongs to
  // whoever holds its Turn.
  template <class Body>
  void for_each(int items, const Body& body) {
    if (items <= 1 || threads_.empty()) {
      for (int i = 0; i < items; i++) body(i, 0);
      return;
    }
    run(items, [](const void* b, int item, int worker) {
      (*static_cast<const Body*>(b))(item, worker);
    }, &body);
  }

  std::mutex& turn() { return turn_; }

 private:
  using Call = void (*)(const void* body, int item, int worker);

  void run(int items, Call call, const void* body);
  void take_items(int worker);
  void work(int worker);
  bool join_loop();

  std::mutex turn_;
  std::vector<std::thread> threads_;
  int process_;  // whose threads they are: a fork copies the object, not the threads

  // The current loop. A thread reads it only between join_loop() and leaving.
  Call call_ = nullptr;
  const void* body_ = nullptr;
  uint64_t float_control_ = 0;

  // The items [next, end) that are left of a thread's share. Each has neighbouring items, the same
  // ones in loops alike, so that a network's rows stay in its cache; who is done helps the others.
  struct alignas(64) Share {
    std::atomic<int> next{0};
    int end = 0;
  };
  std::vector<Share> shares_;

  // Threads inside the loop, plus kOpen while more may join.
  static constexpr int kOpen = 1 << 16;
  std::atomic<int> joined_{0};
  std::atomic<uint32_t> loops_{0};  // counts loops, for threads that wait for the next
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  struct Sleep {
    std::mutex mutex;
    std::condition_variable wake;
  };
  std::unique_ptr<Sleep> sleep_ = std::make_unique<Sleep>();
};

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_THREAD_POOL_H_
