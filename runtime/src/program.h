// A part of a network that runs here: one node of the interpreter after delegation.
#ifndef LARQ_GROUPNET_RUNTIME_PROGRAM_H_
#define LARQ_GROUPNET_RUNTIME_PROGRAM_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "conv.h"
#include "fusion.h"
#include "memory.h"
#include "ops.h"
#include "thread_pool.h"

namespace lgr {

struct Settings {
  const Kernels* kernels = nullptr;
  int num_threads = 1;
  bool fuse = true;
  bool profile = false;
  int repeat = 1;  // runs of every convolution, to count its instructions
};

class Program {
 public:
  // Plans the steps. Refuses errors that do not depend on shapes.
  Program(TfLiteContext* context, const TfLiteDelegateParams& params, const Settings& settings);

  // Reads the input shapes, sets the output shapes and plans memory.
  void prepare(TfLiteContext* context);
  void run(TfLiteContext* context, ThreadPool& pool);

  struct Profile {
    std::string name;
    double seconds = 0;
    uint64_t calls = 0;
  };
  const std::vector<Profile>& profile() const { return profile_; }

 private:
  using Shape = std::vector<int>;

  struct Work {  // a step and everything its shapes determine
    Step step;
    std::unique_ptr<Conv> conv;
    PoolOptions pool_options{};
    PoolGeometry pool{};
  };

  Shape shape_node(const TfLiteContext* context, Work& work);
  Shape shape_conv(const TfLiteContext* context, Work& work);
  Shape shape_pool(Work& work);
  Shape shape_dequantize(const TfLiteContext* context, const Node& node);
  void shape_step(const TfLiteContext* context, Work& work);
  int replaced_by(const Step& step, size_t store, const std::set<int>& done) const;
  void plan_memory(const TfLiteContext* context);
  void resize_outputs(TfLiteContext* context) const;

  const Shape& shape(int tensor) const;
  size_t bytes(const TfLiteContext* context, int tensor) const;
  void* address(const TfLiteContext* context, int tensor) const;
  template <class T>
  T* data(const TfLiteContext* context, int tensor) const {
    return static_cast<T*>(address(context, tensor));
  }

  void run_step(const TfLiteContext* context, const Work& work, ThreadPool& pool);
  void run_conv(const TfLiteContext* context, const Work& work, ThreadPool& pool);
  void run_elementwise(const TfLiteContext* context, const Work& work, ThreadPool& pool);
  void run_pool(const TfLiteContext* context, const Work& work, ThreadPool& pool);
  void run_bit_pool(const TfLiteContext* context, const Work& work, ThreadPool& pool);
  void run_quantize(const TfLiteContext* context, const Work& work);
  void run_dequantize(const TfLiteContext* context, const Work& work);
  std::vector<PostOp> resolve(const TfLiteContext* context, const std::vector<PlannedOp>& ops) const;

  const Settings settings_;
  std::vector<int> inputs_, outputs_;
  std::vector<Work> work_;

  std::map<int, Shape> shapes_;
  std::map<int, size_t> offsets_;  // in arena_, of internal tensors
  Buffer<uint8_t> arena_;
  std::vector<ConvScratch> scratch_;  // one per thread
  std::vector<Profile> profile_;
};

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_PROGRAM_H_
