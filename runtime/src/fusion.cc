#include "fusion.h"

#include <algorithm>
#include <map>
#include <set>

#include "error.h"

namespace lgr {
namespace {

// Builds steps by following the values in registers to the nodes that read them.
class Fuser {
 public:
  Fuser(const TfLiteContext* context, const std::vector<Node>& nodes,
        const std::vector<int>& outputs, bool join)
      : context_(context), nodes_(nodes), outputs_(outputs.begin(), outputs.end()), join_(join) {
    std::set<int> written;
    for (size_t i = 0; i < nodes.size(); i++) {
      for (int input : std::set<int>(nodes[i].inputs.begin(), nodes[i].inputs.end())) {
        readers_[input].push_back(i);
      }
      expect(written.insert(nodes[i].output).second,
             "expected one operation for each tensor. Received: two that write tensor ",
             nodes[i].output, ".");
    }
    // Tensors that are not yet written.
    missing_ = std::move(written);
    done_.assign(nodes.size(), false);
  }

  std::vector<Step> run() {
    std::vector<Step> steps;
    for (size_t i = 0; i < nodes_.size(); i++) {
      if (done_[i]) continue;
      for (int input : nodes_[i].inputs) {
        expect(!missing_.count(input), op_name(nodes_[i].kind),
               ": expected inputs that are computed before. Received: tensor ", input,
               ", which is computed later.");
      }
      steps.push_back(start(i));
    }
    return steps;
  }

 private:
  Step start(size_t index) {
    const Node& node = nodes_[index];
    Step step{node, {}};
    done_[index] = true;
    if (is_elementwise(node.kind)) {
      const int value = full_input(node);
      step.ops.push_back({PostOpKind::kLoad, value});
      step.ops.push_back(op_of(node, value));
    } else if (node.kind == OpKind::kQuantize && is_float(node.inputs)) {
      step.ops.push_back({PostOpKind::kLoad, node.inputs[0]});
      step.ops.push_back({PostOpKind::kBits, node.output});
      missing_.erase(node.output);
      return step;
    } else if (node.kind != OpKind::kMaxPool &&
               (node.kind != OpKind::kConv || type(node.output) != kTfLiteFloat32)) {
      missing_.erase(node.output);
      return step;
    }
    follow(node.output, &step);
    return step;
  }

  // The tensor `value` is in registers: adds the nodes that read it to the step.
  void follow(int value, Step* step) {
    missing_.erase(value);
    for (size_t i : readers_[value]) {
      if (join_ && !done_[i] && nodes_[i].kind == OpKind::kQuantize) {
        step->ops.push_back({PostOpKind::kBits, nodes_[i].output});
        missing_.erase(nodes_[i].output);
        done_[i] = true;
      }
    }
    const Node* next = take_reader(value, *step);
    if (must_store(value, next)) step->ops.push_back({PostOpKind::kStore, value});
    for (bool in_registers = true; next; in_registers = false) {
      if (!in_registers) step->ops.push_back({PostOpKind::kLoad, value});
      step->ops.push_back(op_of(*next, value));
      follow(next->output, step);
      next = take_reader(value, *step);
    }
  }

  // Takes an elementwise node that reads the value and whose other operand is ready; or null.
  const Node* take_reader(int value, const Step& step) {
    // Limits long chains, because follow() recurses for each node.
    constexpr size_t kMostOps = 64;
    if (!join_ || step.ops.size() >= kMostOps) return nullptr;
    for (size_t i : readers_[value]) {
      if (done_[i] || !is_elementwise(nodes_[i].kind)) continue;
      const bool there = std::none_of(nodes_[i].inputs.begin(), nodes_[i].inputs.end(),
                                      [&](int input) { return missing_.count(input) > 0; });
      if (there) {
        done_[i] = true;
        return &nodes_[i];
      }
    }
    return nullptr;
  }

  // False only if the value's sole reader, if any, is the next node, once.
  bool must_store(int value, const Node* next) {
    const auto is_left = [&](size_t i) { return !done_[i]; };
    return outputs_.count(value) ||
           (next && next->inputs[0] == value && next->inputs[1] == value) ||
           std::any_of(readers_[value].begin(), readers_[value].end(), is_left);
  }

  PlannedOp op_of(const Node& node, int value) const {
    return {node.kind == OpKind::kAdd ? PostOpKind::kAdd : PostOpKind::kMul,
            node.inputs[0] == value ? node.inputs[1] : node.inputs[0]};
  }

  // The computed input with the shape of the output.
  int full_input(const Node& node) const {
    return is_constant(context_->tensors[node.inputs[0]]) ? node.inputs[1] : node.inputs[0];
  }

  TfLiteType type(int tensor) const { return context_->tensors[tensor].type; }
  bool is_float(const std::vector<int>& inputs) const {
    return !inputs.empty() && inputs[0] >= 0 && type(inputs[0]) == kTfLiteFloat32;
  }

  const TfLiteContext* context_;
  const std::vector<Node>& nodes_;
  std::set<int> outputs_;
  bool join_;
  std::map<int, std::vector<size_t>> readers_;
  std::set<int> missing_;
  std::vector<bool> done_;
};

bool writes_tensor(PostOpKind kind) {
  return kind == PostOpKind::kStore || kind == PostOpKind::kBits;
}

}  // namespace

std::vector<int> Step::reads() const {
  std::vector<int> tensors;
  // The ops include the inputs of elementwise nodes and float quantisations.
  const bool all_ops = !ops.empty() && ops[0].kind == PostOpKind::kLoad;
  if (!all_ops) tensors = node.inputs;
  for (const PlannedOp& op : ops) {
    if (!writes_tensor(op.kind)) tensors.push_back(op.tensor);
  }
  return tensors;
}

std::vector<int> Step::writes() const {
  if (ops.empty()) return {node.output};
  std::vector<int> tensors;
  for (const PlannedOp& op : ops) {
    if (writes_tensor(op.kind)) tensors.push_back(op.tensor);
  }
  return tensors;
}

std::vector<Step> fuse(const TfLiteContext* context, const std::vector<Node>& nodes,
                       const std::vector<int>& outputs, bool join) {
  return Fuser(context, nodes, outputs, join).run();
}

}  // namespace lgr
