#include "thread_pool.h"

#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <system_error>

namespace lgr {
namespace {

// A network is hundreds of loops of a few microseconds each, and waking a thread takes longer than
// one loop. So a thread spins for a while before it sleeps.
constexpr int kSpins = 4000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The caller's rounding mode, and its flush of denormals to 0, which some interpreters set. The
// threads copy both, so results do not depend on the number of threads.
#if defined(__x86_64__)
uint64_t float_control() { return _mm_getcsr() & ~0x3Fu; }  // without the status flags
void set_float_control(uint64_t control) { _mm_setcsr(static_cast<unsigned>(control)); }
#elif defined(__aarch64__)
uint64_t float_control() {
  uint64_t control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  return control;
}
void set_float_control(uint64_t control) { asm volatile("msr fpcr, %0" : : "r"(control)); }
#else
uint64_t float_control() { return 0; }
void set_float_control(uint64_t) {}
#endif

}  // namespace

ThreadPool::ThreadPool(int num_threads)
    : process_(getpid()), shares_(static_cast<size_t>(num_threads)) {
  threads_.reserve(static_cast<size_t>(num_threads - 1));
  try {
    for (int i = 1; i < num_threads; i++) {
      threads_.emplace_back([this, i] { work(i); });
    }
  } catch (const std::system_error&) {
    // Loops run on the threads that were created.
  }
}

ThreadPool::~ThreadPool() {
  if (process_ != getpid()) {
    // The threads do not exist in a forked child, but sleepers still count: destruction would wait.
    for (std::thread& thread : threads_) thread.detach();
    static_cast<void>(sleep_.release());
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(sleep_->mutex);
    stop_ = true;
    loops_++;
  }
  sleep_->wake.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(int items, Call call, const void* body) {
  call_ = call;
  body_ = body;
  float_control_ = float_control();
  const int64_t threads = num_threads();
  for (int64_t i = 0; i < threads; i++) {
    Share& share = shares_[static_cast<size_t>(i)];
    share.next.store(static_cast<int>(i * items / threads), std::memory_order_relaxed);
    share.end = static_cast<int>((i + 1) * items / threads);
  }
  joined_.store(kOpen, std::memory_order_release);  // publishes the loop
  loops_.fetch_add(1);
  if (sleepers_.load() > 0) {
    // waits until no thread is between its check and its wait
    { const std::lock_guard<std::mutex> lock(sleep_->mutex); }
    sleep_->wake.notify_all();
  }
  take_items(0);
  joined_.fetch_sub(kOpen, std::memory_order_acq_rel);
  for (int spins = 0; joined_.load(std::memory_order_acquire) != 0; spins++) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();  // the thread with the last item may need this core
    }
  }
}

void ThreadPool::take_items(int worker) {
  for (int i = 0; i < num_threads(); i++) {
    Share& share = shares_[static_cast<size_t>((worker + i) % num_threads())];
    for (int item; (item = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) {
      call_(body_, item, worker);
    }
  }
}

bool ThreadPool::join_loop() {
  int joined = joined_.load(std::memory_order_relaxed);
  while (joined & kOpen) {
    if (joined_.compare_exchange_weak(joined, joined + 1, std::memory_order_acq_rel)) return true;
  }
  return false;
}

void ThreadPool::work(int worker) {
  uint32_t seen = 0;
  while (!stop_) {
    for (int spins = 0; loops_.load() == seen && spins < kSpins; spins++) pause();
    if (loops_.load() == seen) {
      std::unique_lock<std::mutex> lock(sleep_->mutex);
      sleepers_++;
      sleep_->wake.wait(lock, [&] { return loops_.load() != seen; });
      sleepers_--;
    }
    seen = loops_.load();
    if (join_loop()) {
      if (float_control() != float_control_) set_float_control(float_control_);
      take_items(worker);
      joined_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }
}

}  // namespace lgr
