// Which operations run together in one pass over memory.
#ifndef LARQ_GROUPNET_RUNTIME_FUSION_H_
#define LARQ_GROUPNET_RUNTIME_FUSION_H_

#include <vector>

#include "graph.h"
#include "kernels/kernels.h"

namespace lgr {

// A PostOp that still names its tensor: what it reads or writes. kAdd and kMul become those of
// channels or of a scalar once the shapes are known.
struct PlannedOp {
  PostOpKind kind;
  int tensor;
};

// One pass. Without `ops` the node alone, output included. With them the node makes a float value
// for each row (for an elementwise node, its first PlannedOp is a kLoad and the node itself is
// among them), and the ops do the rest and write the outputs.
struct Step {
  Node node;
  std::vector<PlannedOp> ops;

  std::vector<int> reads() const;   // tensors, constants of the ops included
  std::vector<int> writes() const;
};

// Cuts the nodes, in the order of their execution, into steps, in an order of execution.
// `outputs` are the tensors that others read. Unless `join`, each step is one node. Refuses nodes that write a tensor twice or read it
// before it is written.
std::vector<Step> fuse(const TfLiteContext* context, const std::vector<Node>& nodes,
                       const std::vector<int>& outputs, bool join);

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_FUSION_H_
