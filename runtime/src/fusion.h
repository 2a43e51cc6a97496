// Chooses the operations that run together in one pass over memory.
#ifndef LARQ_GROUPNET_RUNTIME_FUSION_H_
#define LARQ_GROUPNET_RUNTIME_FUSION_H_

#include <vector>

#include "graph.h"
#include "kernels/kernels.h"

namespace lgr {

// A PostOp that still refers to a tensor, which it reads or writes. kAdd and kMul become their
// channel or scalar variants once the shapes are known.
struct PlannedOp {
  PostOpKind kind;
  int tensor;
};

// One pass. Without `ops`, only the node, including its output. With `ops`, the node computes a
// float value for each row, and the ops do the rest and write the outputs. (For an elementwise
// node, the first PlannedOp is a kLoad and the node itself is one of the ops.)
struct Step {
  Node node;
  std::vector<PlannedOp> ops;

  std::vector<int> reads() const;   // tensors, including constants of the ops
  std::vector<int> writes() const;
};

// Divides the nodes, given in execution order, into steps in execution order. `outputs` are the
// tensors that others read. Unless `join`, each step is one node. Refuses nodes that write a tensor
// twice or read it before it is written.
std::vector<Step> fuse(const TfLiteContext* context, const std::vector<Node>& nodes,
                       const std::vector<int>& outputs, bool join);

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_FUSION_H_
