// The delegate, as TensorFlow Lite calls it.
#ifndef LARQ_GROUPNET_RUNTIME_DELEGATE_H_
#define LARQ_GROUPNET_RUNTIME_DELEGATE_H_

#include <mutex>
#include <vector>

#include "program.h"
#include "thread_pool.h"

namespace lgr {

class Delegate {
 public:
  explicit Delegate(const Settings& settings);

  TfLiteDelegate* handle() { return &handle_; }
  static Delegate& of(TfLiteDelegate* handle) { return *static_cast<Delegate*>(handle->data_); }

  const Settings& settings() const { return settings_; }
  ThreadPool& pool() { return pool_; }

  // The programs of the interpreters that use the delegate, for profiles.
  void add(const Program* program);
  void remove(const Program* program);
  template <class Visit>
  void for_each_program(const Visit& visit) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Program* program : programs_) visit(*program);
  }

 private:
  TfLiteDelegate handle_{};
  Settings settings_;
  ThreadPool pool_;
  std::mutex mutex_;
  std::vector<const Program*> programs_;
};

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_DELEGATE_H_
