// The operations of a file that this library runs, read from the interpreter's structures.
#ifndef LARQ_GROUPNET_RUNTIME_GRAPH_H_
#define LARQ_GROUPNET_RUNTIME_GRAPH_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "flexbuffer.h"
#include "tfl_abi.h"
#include "window.h"

namespace lgr {

enum class OpKind { kQuantize, kConv, kDequantize, kBitMaxPool, kMaxPool, kAdd, kMul };

const char* op_name(OpKind kind);

inline bool is_elementwise(OpKind kind) { return kind == OpKind::kAdd || kind == OpKind::kMul; }

// A copy, because the interpreter moves its own nodes when it hands them over.
struct Node {
  OpKind kind;
  std::vector<int> inputs;  // tensors; -1 for an omitted one
  int output;
  CustomOptions options;  // of LCE's operations
  PoolOptions pool;       // of a kMaxPool
};

// The node, if this library can run it: LCE's operations, and with `fuse` also the float additions,
// multiplications and max-pools around them.
std::optional<Node> read_node(TfLiteContext* context, const TfLiteNode* node,
                              const TfLiteRegistration* registration, bool fuse);

// Number of values, or -1 if a dimension is negative or the number exceeds 2^31 - 1.
int64_t num_elements(const TfLiteIntArray* dims);

inline bool is_constant(const TfLiteTensor& tensor) {
  return tensor.allocation_type == kTfLiteMmapRo && tensor.data != nullptr;
}

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_GRAPH_H_
