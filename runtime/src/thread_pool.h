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

// Threads that share the items of parallel loops.
// The caller also takes items and waits only for threads that have joined: a loop ends even if no
// thread wakes up, as in a forked process. Items must not throw.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);  // includes the caller; fewer if the system refuses threads
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(item, worker) once for each item in [0, items); worker is below num_threads() and
  // unique among concurrent calls. One loop runs at a time: the caller must hold turn() if others
  // share the pool.
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
  int process_;  // the threads' process: a fork copies the object but not the threads

  // The current loop. A thread reads it only between join_loop() and leaving.
  Call call_ = nullptr;
  const void* body_ = nullptr;
  uint64_t float_control_ = 0;

  // The remaining items [next, end) of a thread's share. A share has neighbouring items, the same
  // in similar loops, so that a network's rows stay in the thread's cache; a thread that is done
  // helps the others.
  struct alignas(64) Share {
    std::atomic<int> next{0};
    int end = 0;
  };
  std::vector<Share> shares_;

  // Threads inside the loop, plus kOpen while more may join.
  static constexpr int kOpen = 1 << 16;
  std::atomic<int> joined_{0};
  std::atomic<uint32_t> loops_{0};  // counts loops, for threads waiting for the next one
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
