#include "delegate.h"

#include <algorithm>
#include <map>
#include <new>
#include <numeric>
#include <utility>

#include "error.h"
#include "int_array.h"

namespace lgr {
namespace {

constexpr const char* kName = "larq-groupnet-runtime";

// Runs code that may throw inside a C function: reports the message and returns an error.
template <class Body>
TfLiteStatus guarded(TfLiteContext* context, const Body& body) {
  try {
    body();
    return kTfLiteOk;
  } catch (const std::bad_alloc&) {
    context->ReportError(context, "%s: expected more memory. Received: none.", kName);
  } catch (const std::exception& error) {
    context->ReportError(context, "%s: %s", kName, error.what());
  }
  return kTfLiteError;
}

// A claimed part of a graph. Its creation cannot fail, so it stores the reason.
struct Claimed {
  Claimed(TfLiteContext* context, const TfLiteDelegateParams& params)
      : delegate(Delegate::of(params.delegate)) {
    try {
      program = std::make_unique<Program>(context, params, delegate.settings());
      delegate.add(program.get());
    } catch (const std::exception& error) {
      refusal = error.what();
    }
  }
  ~Claimed() { delegate.remove(program.get()); }

  Delegate& delegate;
  std::unique_ptr<Program> program;
  std::string refusal;
};

void* init(TfLiteContext* context, const char* buffer, size_t) {
  // For a delegate, the interpreter passes a structure instead of a custom operation's options.
  const auto* params = reinterpret_cast<const TfLiteDelegateParams*>(buffer);
  return new (std::nothrow) Claimed(context, *params);
}

void release(TfLiteContext*, void* claimed) { delete static_cast<Claimed*>(claimed); }

TfLiteStatus prepare(TfLiteContext* context, TfLiteNode* node) {
  return guarded(context, [&] {
    auto* claimed = static_cast<Claimed*>(node->user_data);
    if (!claimed) throw std::bad_alloc();
    expect(claimed->program != nullptr, claimed->refusal);
    claimed->program->prepare(context);
  });
}

TfLiteStatus invoke(TfLiteContext* context, TfLiteNode* node) {
  return guarded(context, [&] {
    auto* claimed = static_cast<Claimed*>(node->user_data);
    ThreadPool& pool = claimed->delegate.pool();
    // Interpreters that share a delegate take turns with its threads.
    std::unique_lock<std::mutex> turn(pool.turn(), std::defer_lock);
    if (pool.num_threads() > 1) turn.lock();
    claimed->program->run(context, pool);
  });
}

bool is_lce(OpKind kind) {
  return kind == OpKind::kQuantize || kind == OpKind::kConv || kind == OpKind::kDequantize ||
         kind == OpKind::kBitMaxPool;
}

// Sets of nodes connected by tensors, as a union-find structure.
class Components {
 public:
  explicit Components(size_t size) : parent_(size) {
    std::iota(parent_.begin(), parent_.end(), size_t{0});
  }
  size_t root(size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(size_t a, size_t b) { parent_[root(a)] = root(b); }

 private:
  std::vector<size_t> parent_;
};

// A pool is worth taking if its values stay in registers for an operation that waits for nothing
// else. The interpreter must not read them too, since it would have to wait for this library.
bool is_taken(const TfLiteContext* context, const Node& pool,
              const std::vector<const Node*>& readers) {
  const auto is_there = [&](int input) {
    return input == pool.output || (input >= 0 && is_constant(context->tensors[input]));
  };
  bool taken = false;
  for (const Node* reader : readers) {
    if (!reader || reader->kind == OpKind::kMaxPool) return false;
    taken |= (reader->kind == OpKind::kQuantize || is_elementwise(reader->kind)) &&
             std::all_of(reader->inputs.begin(), reader->inputs.end(), is_there);
  }
  return taken;
}

// Of the nodes that can run here, selects LCE's and the float operations connected to them.
std::vector<bool> wanted(const TfLiteContext* context, const std::vector<Node>& nodes,
                         std::map<int, std::vector<const Node*>> readers) {
  for (const Node& node : nodes) {
    for (int input : node.inputs) readers[input].push_back(&node);
  }
  std::map<int, size_t> writers;
  for (size_t i = 0; i < nodes.size(); i++) {
    const int output = nodes[i].output;
    if (nodes[i].kind != OpKind::kMaxPool || is_taken(context, nodes[i], readers[output])) {
      writers[output] = i;
    }
  }
  Components components(nodes.size());
  for (size_t i = 0; i < nodes.size(); i++) {
    if (nodes[i].kind == OpKind::kMaxPool) continue;  // connected to its readers
    for (int input : nodes[i].inputs) {
      const auto writer = writers.find(input);
      if (writer != writers.end()) components.join(i, writer->second);
    }
  }
  std::vector<bool> roots(nodes.size(), false), result(nodes.size());
  for (size_t i = 0; i < nodes.size(); i++) {
    if (is_lce(nodes[i].kind)) roots[components.root(i)] = true;
  }
  for (size_t i = 0; i < nodes.size(); i++) result[i] = roots[components.root(i)];
  return result;
}

// The nodes to run here. Others stay with the interpreter, so a file without LCE's operations runs
// as if this library were not loaded.
std::vector<int> claim(TfLiteContext* context, const std::vector<int>& plan, bool fuse) {
  std::vector<Node> nodes;
  std::vector<int> indices;
  std::map<int, std::vector<const Node*>> readers;  // null: a node that stays with the interpreter
  for (int index : plan) {
    TfLiteNode* source = nullptr;
    TfLiteRegistration* registration = nullptr;
    expect(context->GetNodeAndRegistration(context, index, &source, &registration) == kTfLiteOk,
           "expected the interpreter to give its node ", index, ". Received: an error.");
    if (const auto node = read_node(context, source, registration, fuse)) {
      nodes.push_back(*node);
      indices.push_back(index);
    } else if (source->inputs) {
      for (int input : to_vector(*source->inputs)) readers[input].push_back(nullptr);
    }
  }
  const std::vector<bool> here = wanted(context, nodes, std::move(readers));
  std::vector<int> claimed;
  for (size_t i = 0; i < nodes.size(); i++) {
    if (here[i]) claimed.push_back(indices[i]);
  }
  return claimed;
}

TfLiteStatus prepare_delegate(TfLiteContext* context, TfLiteDelegate* handle) {
  return guarded(context, [&] {
    TfLiteIntArray* plan = nullptr;
    expect(context->GetExecutionPlan(context, &plan) == kTfLiteOk,
           "expected the interpreter to give its plan. Received: an error.");
    // A copy, because the interpreter may reuse its array.
    const std::vector<int> nodes =
        claim(context, to_vector(*plan), Delegate::of(handle).settings().fuse);
    if (nodes.empty()) return;

    TfLiteRegistration registration{};
    registration.init = init;
    registration.free = release;
    registration.prepare = prepare;
    registration.invoke = invoke;
    registration.custom_name = kName;
    registration.version = 1;
    expect(context->ReplaceNodeSubsetsWithDelegateKernels(
               context, registration, to_int_array(nodes).get(), handle) ==
               kTfLiteOk,
           "expected the interpreter to hand over its nodes. Received: an error.");
  });
}

}  // namespace

Delegate::Delegate(const Settings& settings)
    : settings_(settings), pool_(settings.num_threads) {
  handle_.data_ = this;
  handle_.Prepare = prepare_delegate;
  // Without this flag the interpreter prepares every operation before it calls delegates, and fails
  // at LCE's, which it does not know.
  handle_.flags = kTfLiteDelegateFlagsAllowDynamicTensors;
}

void Delegate::add(const Program* program) {
  const std::lock_guard<std::mutex> lock(mutex_);
  programs_.push_back(program);
}

void Delegate::remove(const Program* program) {
  const std::lock_guard<std::mutex> lock(mutex_);
  programs_.erase(std::remove(programs_.begin(), programs_.end(), program), programs_.end());
}

}  // namespace lgr
