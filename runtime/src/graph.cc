#include "graph.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/kernels.h"

namespace lgr {
namespace {

constexpr int kNoActivation = 0;

std::optional<OpKind> lce_kind(const char* name) {
  for (OpKind kind :
       {OpKind::kQuantize, OpKind::kConv, OpKind::kDequantize, OpKind::kBitMaxPool}) {
    if (std::strcmp(name, op_name(kind)) == 0) return kind;
  }
  return std::nullopt;
}

bool same_shape(const TfLiteIntArray* a, const TfLiteIntArray* b) {
  return a && b && a->size == b->size &&
         std::memcmp(a->data, b->data, sizeof(int) * static_cast<size_t>(a->size)) == 0;
}

// True for a constant with a single value or one value per channel of `value`.
bool broadcasts(const TfLiteTensor& constant, const TfLiteTensor& value) {
  if (!is_constant(constant) || !constant.dims || !value.dims || value.dims->size < 1) return false;
  const int64_t n = num_elements(constant.dims);
  if (constant.dims->size > value.dims->size || n < 1 ||
      constant.bytes < static_cast<size_t>(n) * sizeof(float)) {
    return false;
  }
  return n == 1 || (n == constant.dims->data[constant.dims->size - 1] &&
                    n == value.dims->data[value.dims->size - 1]);
}

bool is_float(const TfLiteTensor& tensor) { return tensor.type == kTfLiteFloat32; }

bool runs_elementwise(const TfLiteTensor* tensors, const Node& node, int activation) {
  const TfLiteTensor& a = tensors[node.inputs[0]];
  const TfLiteTensor& b = tensors[node.inputs[1]];
  const TfLiteTensor& out = tensors[node.output];
  if (activation != kNoActivation || !is_float(a) || !is_float(b) || !is_float(out)) return false;
  if (!out.dims || out.dims->size < 1) return false;
  const bool a_full = same_shape(a.dims, out.dims), b_full = same_shape(b.dims, out.dims);
  // The interpreter folds operations on two constants.
  if (is_constant(a) && is_constant(b)) return false;
  return (a_full && b_full) || (a_full && broadcasts(b, out)) || (b_full && broadcasts(a, out));
}

bool runs_pool(const TfLiteTensor* tensors, const TfLitePoolParams& params, Node* node) {
  const TfLiteTensor& in = tensors[node->inputs[0]];
  // XNNPACK is faster if channels do not fill blocks.
  const bool pays = in.dims && in.dims->size == 4 && in.dims->data[3] % kChannelBlock == 0;
  const TfLiteTensor& out = tensors[node->output];
  const bool same = params.padding == kTfLitePaddingSame;
  node->pool = {params.filter_height, params.filter_width, params.stride_height,
                params.stride_width, same ? Padding::kSame : Padding::kValid};
  return pays && is_float(in) && is_float(out) && params.activation == kNoActivation &&
         (same || params.padding == kTfLitePaddingValid) && params.filter_height >= 1 &&
         params.filter_width >= 1 && params.stride_height >= 1 && params.stride_width >= 1;
}

}  // namespace

const char* op_name(OpKind kind) {
  switch (kind) {
    case OpKind::kQuantize: return "LceQuantize";
    case OpKind::kConv: return "LceBconv2d";
    case OpKind::kDequantize: return "LceDequantize";
    case OpKind::kBitMaxPool: return "LceBMaxPool2d";
    case OpKind::kMaxPool: return "MAX_POOL_2D";
    case OpKind::kAdd: return "ADD";
    case OpKind::kMul: return "MUL";
  }
  return "";
}

int64_t num_elements(const TfLiteIntArray* dims) {
  if (!dims) return -1;
  int64_t n = 1;
  for (int i = 0; i < dims->size; i++) {
    if (dims->data[i] < 0) return -1;
    n *= dims->data[i];
    if (n > std::numeric_limits<int>::max()) return -1;
  }
  return n;
}

std::optional<Node> read_node(TfLiteContext* context, const TfLiteNode* source,
                              const TfLiteRegistration* registration, bool fuse) {
  Node node{};
  if (!source->inputs || !source->outputs || source->outputs->size < 1) return std::nullopt;
  node.inputs.assign(source->inputs->data, source->inputs->data + source->inputs->size);
  node.output = source->outputs->data[0];
  const int tensors = static_cast<int>(context->tensors_size);
  if (node.output < 0 || node.output >= tensors) return std::nullopt;
  for (int input : node.inputs) {
    if (input >= tensors) return std::nullopt;
  }
  if (registration->custom_name) {
    const auto kind = lce_kind(registration->custom_name);
    if (!kind) return std::nullopt;
    node.kind = *kind;
    node.options = CustomOptions(op_name(*kind), source->custom_initial_data,
                                 source->custom_initial_data_size);
    return node;
  }
  const int code = registration->builtin_code;
  const size_t inputs = code == kTfLiteBuiltinMaxPool2d ? 1 : 2;
  if (!fuse || !source->builtin_data || node.inputs.size() != inputs ||
      std::any_of(node.inputs.begin(), node.inputs.end(), [](int input) { return input < 0; })) {
    return std::nullopt;
  }
  bool runs = false;
  if (code == kTfLiteBuiltinAdd) {
    node.kind = OpKind::kAdd;
    runs = runs_elementwise(context->tensors, node,
                            static_cast<const TfLiteAddParams*>(source->builtin_data)->activation);
  } else if (code == kTfLiteBuiltinMul) {
    node.kind = OpKind::kMul;
    runs = runs_elementwise(context->tensors, node,
                            static_cast<const TfLiteMulParams*>(source->builtin_data)->activation);
  } else if (code == kTfLiteBuiltinMaxPool2d) {
    node.kind = OpKind::kMaxPool;
    runs = runs_pool(context->tensors, *static_cast<const TfLitePoolParams*>(source->builtin_data),
                     &node);
  }
  return runs ? std::optional<Node>(node) : std::nullopt;
}

}  // namespace lgr
