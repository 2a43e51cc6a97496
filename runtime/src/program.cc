#include "program.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <set>

#include "int_array.h"

namespace lgr {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

// Number of values of a shape with dimensions of at least 0; refuses more than an int can hold.
int64_t elements(const std::vector<int>& shape, const char* operation) {
  int64_t n = 1;
  for (int size : shape) {
    n *= size;
    expect(size >= 0 && n <= kMaxInt, operation, ": expected at most ", kMaxInt,
           " values in a tensor. Received: a tensor with a dimension of ", size, ".");
  }
  return n;
}

std::string to_text(const std::vector<int>& shape) {
  std::string joined;
  for (size_t i = 0; i < shape.size(); i++) joined += text(i ? "x" : "", shape[i]);
  return joined.empty() ? "a scalar" : joined;
}

size_t size_of(TfLiteType type) {
  switch (type) {
    case kTfLiteFloat32:
    case kTfLiteInt32: return 4;
    case kTfLiteInt8:
    case kTfLiteBool: return 1;
    default: throw Refused(text("expected float32, int32, int8 or bool. Received: type ",
                                static_cast<int>(type), "."));
  }
}

const TfLiteTensor& tensor_at(const TfLiteContext* context, const Node& node, size_t input) {
  expect(input < node.inputs.size() && node.inputs[input] >= 0, op_name(node.kind),
         ": expected input ", input, ". Received: none.");
  return context->tensors[node.inputs[input]];
}

void expect_type(const Node& node, const char* what, const TfLiteTensor& tensor, TfLiteType type) {
  expect(tensor.type == type, op_name(node.kind), ": expected ", what, " of type ",
         static_cast<int>(type), ". Received: type ", static_cast<int>(tensor.type), ".");
}

// The values of a constant input; checks their number.
template <class T>
const T* constant(const TfLiteContext* context, const Node& node, size_t input, TfLiteType type,
                  int64_t count) {
  const TfLiteTensor& tensor = tensor_at(context, node, input);
  expect_type(node, "a constant input", tensor, type);
  expect(is_constant(tensor) && num_elements(tensor.dims) == count &&
             tensor.bytes >= static_cast<size_t>(count) * sizeof(T),
         op_name(node.kind), ": expected input ", input, " to be a constant of ", count,
         " values. Received: ", num_elements(tensor.dims), " values in ", tensor.bytes, " bytes",
         is_constant(tensor) ? "." : " that are not constant.");
  return static_cast<const T*>(tensor.data);
}

void check_types(const TfLiteContext* context, const Node& node) {
  const TfLiteType in = tensor_at(context, node, 0).type;
  const TfLiteType out = context->tensors[node.output].type;
  bool right = true;
  const auto is_value = [](TfLiteType type) {
    return type == kTfLiteFloat32 || type == kTfLiteInt8 || type == kTfLiteBool;
  };
  switch (node.kind) {
    case OpKind::kQuantize: right = is_value(in) && out == kTfLiteInt32; break;
    case OpKind::kDequantize: right = in == kTfLiteInt32 && is_value(out); break;
    case OpKind::kBitMaxPool: right = in == kTfLiteInt32 && out == kTfLiteInt32; break;
    case OpKind::kConv:
      right = in == kTfLiteInt32 &&
              (out == kTfLiteFloat32 || out == kTfLiteInt8 || out == kTfLiteInt32);
      break;
    default: break;  // read_node() has checked them
  }
  expect(right, op_name(node.kind), ": expected other types. Received: type ",
         static_cast<int>(in), " in and type ", static_cast<int>(out), " out.");
}

ConvWeights read_weights(const TfLiteContext* context, const Node& node) {
  expect(node.inputs.size() == 5, op_name(node.kind), ": expected 5 inputs. Received: ",
         node.inputs.size(), ".");
  const TfLiteTensor& filter = tensor_at(context, node, 1);
  expect(filter.dims && filter.dims->size == 4, op_name(node.kind),
         ": expected a filter of 4 dimensions. Received: another.");
  ConvWeights weights{};
  weights.filter =
      constant<uint32_t>(context, node, 1, kTfLiteInt32, num_elements(filter.dims));
  weights.channels = filter.dims->data[0];
  weights.height = filter.dims->data[1];
  weights.width = filter.dims->data[2];
  weights.words = filter.dims->data[3];
  weights.scale = 1.0;
  const TfLiteTensor& out = context->tensors[node.output];
  if (out.type == kTfLiteInt32) {
    weights.thresholds = constant<int32_t>(context, node, 4, kTfLiteInt32, weights.channels);
    return weights;
  }
  weights.multiplier = constant<float>(context, node, 2, kTfLiteFloat32, weights.channels);
  weights.bias = constant<float>(context, node, 3, kTfLiteFloat32, weights.channels);
  if (out.type == kTfLiteInt8) {
    expect(out.quantization.type == kTfLiteAffineQuantization && out.params.scale > 0,
           op_name(node.kind), ": expected an int8 output with a scale. Received: none.");
    weights.scale = static_cast<double>(out.params.scale);
    weights.zero_point = out.params.zero_point;
  }
  return weights;
}

PoolOptions pool_options(const CustomOptions& options) {
  constexpr int most = std::numeric_limits<int>::max();
  return {options.get("filter_height", 1, most), options.get("filter_width", 1, most),
          options.get("stride_height", 1, most), options.get("stride_width", 1, most),
          static_cast<Padding>(options.get("padding", 0, 1))};
}

std::vector<int> packed(std::vector<int> shape) {
  shape.back() = words_for(shape.back());
  return shape;
}

// The variant of kAdd or kMul for an operand's shape.
PostOpKind with_operand(PostOpKind kind, const std::vector<int>& value,
                        const std::vector<int>& operand, const char* name) {
  const bool adds = kind == PostOpKind::kAdd || kind == PostOpKind::kAddChannels ||
                    kind == PostOpKind::kAddScalar;
  if (operand == value) return adds ? PostOpKind::kAdd : PostOpKind::kMul;
  const int64_t count = elements(operand, name);
  if (count == 1) return adds ? PostOpKind::kAddScalar : PostOpKind::kMulScalar;
  expect(count == value.back() && operand.back() == value.back(), name,
         ": expected operands of one shape, or one with a value for each channel. Received: ",
         to_text(value), " and ", to_text(operand), ".");
  return adds ? PostOpKind::kAddChannels : PostOpKind::kMulChannels;
}

double seconds_now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

}  // namespace

Program::Program(TfLiteContext* context, const TfLiteDelegateParams& params,
                 const Settings& settings)
    : settings_(settings),
      inputs_(to_vector(*params.input_tensors)),
      outputs_(to_vector(*params.output_tensors)),
      scratch_(static_cast<size_t>(settings.num_threads)) {
  std::vector<Node> nodes;
  for (int i = 0; i < params.nodes_to_replace->size; i++) {
    TfLiteNode* source = nullptr;
    TfLiteRegistration* registration = nullptr;
    expect(context->GetNodeAndRegistration(context, params.nodes_to_replace->data[i], &source,
                                           &registration) == kTfLiteOk,
           "expected the interpreter to give its node ", params.nodes_to_replace->data[i],
           ". Received: an error.");
    const auto node = read_node(context, source, registration, settings_.fuse);
    expect(node.has_value(), "expected the nodes that were claimed. Received: another.");
    check_types(context, *node);
    nodes.push_back(*node);
  }
  for (Step& step : lgr::fuse(context, nodes, outputs_, settings_.fuse)) {
    Work work;
    work.step = std::move(step);
    if (work.step.node.kind == OpKind::kConv) {
      const Node& node = work.step.node;
      work.conv = std::make_unique<Conv>(ConvOptions(node.options), read_weights(context, node),
                                         *settings_.kernels);
    } else if (work.step.node.kind == OpKind::kBitMaxPool) {
      work.pool_options = pool_options(work.step.node.options);
    } else if (work.step.node.kind == OpKind::kMaxPool) {
      work.pool_options = work.step.node.pool;
    }
    work_.push_back(std::move(work));
  }
}

// ---- Shapes --------------------------------------------------------------------------------

const Program::Shape& Program::shape(int tensor) const {
  const auto found = shapes_.find(tensor);
  expect(found != shapes_.end(), "expected the shape of tensor ", tensor, ". Received: none.");
  return found->second;
}

void Program::prepare(TfLiteContext* context) {
  shapes_.clear();
  for (int tensor : inputs_) {
    const TfLiteIntArray* dims = tensor < 0 ? nullptr : context->tensors[tensor].dims;
    if (dims) shapes_[tensor] = to_vector(*dims);
  }
  profile_.clear();
  for (Work& work : work_) shape_step(context, work);
  plan_memory(context);
  resize_outputs(context);
}

void Program::shape_step(const TfLiteContext* context, Work& work) {
  Step& step = work.step;
  const char* name = op_name(step.node.kind);
  const bool loads = !step.ops.empty() && step.ops[0].kind == PostOpKind::kLoad;
  const Shape value = loads ? shape(step.ops[0].tensor) : shape_node(context, work);
  elements(value, name);
  std::string label = name;
  if (work.conv) label += text(" ", to_text(value));
  if (step.ops.empty()) shapes_[step.node.output] = value;
  for (PlannedOp& op : step.ops) {
    expect(!value.empty(), name, ": expected a tensor with channels. Received: a scalar.");
    switch (op.kind) {
      case PostOpKind::kStore: shapes_[op.tensor] = value; break;
      case PostOpKind::kBits: shapes_[op.tensor] = packed(value); break;
      case PostOpKind::kLoad: break;  // has the value's shape, or is a stored value
      default: op.kind = with_operand(op.kind, value, shape(op.tensor), name);
    }
  }
  if (settings_.profile) profile_.push_back({label, 0, 0});
}

// The shape of the node's own output.
Program::Shape Program::shape_node(const TfLiteContext* context, Work& work) {
  const Node& node = work.step.node;
  const Shape& in = shape(node.inputs.at(0));
  expect(!in.empty(), op_name(node.kind), ": expected a tensor with channels. Received: a scalar.");
  switch (node.kind) {
    case OpKind::kQuantize: return packed(in);
    case OpKind::kDequantize: return shape_dequantize(context, node);
    case OpKind::kConv: return shape_conv(context, work);
    case OpKind::kBitMaxPool:
    case OpKind::kMaxPool: return shape_pool(work);
    default: return in;
  }
}

// Words do not determine the number of channels, so the file's output shape does.
Program::Shape Program::shape_dequantize(const TfLiteContext* context, const Node& node) {
  const Shape& in = shape(node.inputs[0]);
  const TfLiteIntArray* dims = context->tensors[node.output].dims;
  expect(dims && dims->size == static_cast<int>(in.size()) && dims->data[dims->size - 1] >= 0 &&
             words_for(dims->data[dims->size - 1]) == in.back(),
         op_name(node.kind), ": expected an output whose channels fill ", in.back(),
         " words. Received: another.");
  Shape out = in;
  out.back() = dims->data[dims->size - 1];
  return out;
}

Program::Shape Program::shape_conv(const TfLiteContext* context, Work& work) {
  const Shape& in = shape(work.step.node.inputs[0]);
  expect(in.size() == 4, "LceBconv2d: expected an input of 4 dimensions. Received: ", to_text(in),
         ".");
  work.conv->set_input(in[0], in[1], in[2], in[3], settings_.num_threads);
  const int channels = work.conv->out_channels();
  const bool bits = context->tensors[work.step.node.output].type == kTfLiteInt32;
  return {in[0], work.conv->out_height(), work.conv->out_width(),
          bits ? words_for(channels) : channels};
}

Program::Shape Program::shape_pool(Work& work) {
  const Node& node = work.step.node;
  const char* name = op_name(node.kind);
  const Shape& in = shape(node.inputs[0]);
  expect(in.size() == 4, name, ": expected an input of 4 dimensions. Received: ", to_text(in), ".");
  const PoolOptions& options = work.pool_options;
  const Window rows =
      place_window(name, in[1], options.filter_height, options.stride_height, 1, options.padding);
  const Window columns =
      place_window(name, in[2], options.filter_width, options.stride_width, 1, options.padding);
  PoolGeometry& pool = work.pool;
  pool.filter_height = options.filter_height;
  pool.filter_width = options.filter_width;
  pool.stride_height = options.stride_height;
  pool.stride_width = options.stride_width;
  pool.in_height = in[1];
  pool.in_width = in[2];
  pool.depth = in[3];
  pool.pad_top = rows.before;
  pool.pad_left = columns.before;
  pool.out_height = rows.out;
  pool.out_width = columns.out;
  return {in[0], rows.out, columns.out, in[3]};
}

void Program::resize_outputs(TfLiteContext* context) const {
  for (int tensor : outputs_) {
    const Shape& dims = shape(tensor);
    // The interpreter takes ownership of the array in any case.
    expect(context->ResizeTensor(context, &context->tensors[tensor],
                                 to_int_array(dims).release()) == kTfLiteOk,
           "expected the interpreter to resize tensor ", tensor, " to ", to_text(dims),
           ". Received: an error.");
  }
}

// ---- Memory --------------------------------------------------------------------------------

size_t Program::bytes(const TfLiteContext* context, int tensor) const {
  return static_cast<size_t>(elements(shape(tensor), "tensor")) *
         size_of(context->tensors[tensor].type);
}

// A tensor that is `done` after this step and whose memory can hold the result of `ops[store]`:
// each of its values is read before the result overwrites it, and none is read afterwards. -1:
// none.
int Program::replaced_by(const Step& step, size_t store, const std::set<int>& done) const {
  const auto reads_rows = [](PostOpKind kind) {
    return kind == PostOpKind::kAdd || kind == PostOpKind::kMul || kind == PostOpKind::kLoad;
  };
  for (size_t i = 0; i < store; i++) {
    const int tensor = step.ops[i].tensor;
    // Windows of later rows read the input of a pool again.
    if (step.node.kind == OpKind::kMaxPool && tensor == step.node.inputs[0]) continue;
    const bool later = std::any_of(
        step.ops.begin() + static_cast<std::ptrdiff_t>(store) + 1, step.ops.end(),
        [&](const PlannedOp& op) { return op.tensor == tensor; });
    if (reads_rows(step.ops[i].kind) && done.count(tensor) && !later &&
        shape(tensor) == shape(step.ops[store].tensor)) {
      return tensor;
    }
  }
  return -1;
}

// Places internal tensors in one arena: over a tensor that is read for the last time, or in the
// first gap that is free from the step that writes the tensor to the last step that reads it.
void Program::plan_memory(const TfLiteContext* context) {
  struct Placed {
    size_t begin, end;  // in the arena
    int tensor;
  };
  const std::set<int> outside(outputs_.begin(), outputs_.end());
  std::map<int, size_t> last_use;
  for (size_t i = 0; i < work_.size(); i++) {
    for (int tensor : work_[i].step.reads()) last_use[tensor] = i;
    for (int tensor : work_[i].step.writes()) last_use.emplace(tensor, i);
  }
  offsets_.clear();
  std::vector<Placed> live;  // by offset
  size_t size = 0;
  for (size_t i = 0; i < work_.size(); i++) {
    const Step& step = work_[i].step;
    std::set<int> done;
    for (const Placed& placed : live) {
      // Repeated steps would read their own output.
      if (last_use[placed.tensor] == i && settings_.repeat == 1) done.insert(placed.tensor);
    }
    for (size_t op = 0; op < step.ops.size() && !done.empty(); op++) {
      const int tensor = step.ops[op].tensor;
      if (step.ops[op].kind != PostOpKind::kStore || outside.count(tensor)) continue;
      const int replaced = replaced_by(step, op, done);
      if (replaced < 0) continue;
      done.erase(replaced);
      offsets_[tensor] = offsets_[replaced];
      std::find_if(live.begin(), live.end(), [&](const Placed& p) {
        return p.tensor == replaced;
      })->tensor = tensor;
    }
    for (int tensor : step.writes()) {
      if (outside.count(tensor) || offsets_.count(tensor)) continue;
      const size_t need = aligned(bytes(context, tensor));
      size_t begin = 0;
      auto next = live.begin();
      while (next != live.end() && next->begin - begin < need) {
        begin = next->end;
        ++next;
      }
      live.insert(next, {begin, begin + need, tensor});
      offsets_[tensor] = begin;
      size = std::max(size, begin + need);
    }
    live.erase(std::remove_if(live.begin(), live.end(),
                              [&](const Placed& p) { return last_use[p.tensor] <= i; }),
               live.end());
  }
  constexpr size_t kMostBytes = size_t{1} << 32;
  expect(size <= kMostBytes, "expected intermediate tensors of at most ", kMostBytes,
         " bytes. Received: ", size, ".");
  if (size > arena_.size()) {
    arena_ = Buffer<uint8_t>();  // frees the old one first
    arena_ = Buffer<uint8_t>(size);
  }
  for (const Work& work : work_) {
    if (work.conv) work.conv->reserve(scratch_);
  }
}

void* Program::address(const TfLiteContext* context, int tensor) const {
  const auto inside = offsets_.find(tensor);
  if (inside != offsets_.end()) return arena_.data() + inside->second;
  const TfLiteTensor& outside = context->tensors[tensor];
  const size_t need = bytes(context, tensor);
  expect(outside.bytes >= need && (outside.data || need == 0), "expected ", need,
         " bytes in tensor ", tensor, ". Received: ", outside.bytes, ".");
  return outside.data;
}

// ---- Execution -----------------------------------------------------------------------------

std::vector<PostOp> Program::resolve(const TfLiteContext* context,
                                     const std::vector<PlannedOp>& planned) const {
  std::vector<PostOp> ops;
  ops.reserve(planned.size());
  for (const PlannedOp& plan : planned) {
    PostOp op{};
    op.kind = plan.kind;
    switch (plan.kind) {
      case PostOpKind::kAddScalar:
      case PostOpKind::kMulScalar: op.scalar = *data<const float>(context, plan.tensor); break;
      case PostOpKind::kStore: op.out = data<float>(context, plan.tensor); break;
      case PostOpKind::kBits: op.bits = data<uint32_t>(context, plan.tensor); break;
      default: op.in = data<const float>(context, plan.tensor);
    }
    ops.push_back(op);
  }
  return ops;
}

void Program::run(TfLiteContext* context, ThreadPool& pool) {
  for (int tensor : inputs_) {
    const auto known = shapes_.find(tensor);
    if (known == shapes_.end()) continue;
    const TfLiteIntArray* dims = context->tensors[tensor].dims;
    expect(dims && to_vector(*dims) == known->second,
           "expected tensor ", tensor, " with the shape it was prepared for, ",
           to_text(known->second), ". Received: another. Allocate the tensors again.");
  }
  for (size_t i = 0; i < work_.size(); i++) {
    const double begin = settings_.profile ? seconds_now() : 0;
    run_step(context, work_[i], pool);
    if (settings_.profile) {
      profile_[i].seconds += seconds_now() - begin;
      profile_[i].calls++;
    }
  }
}

void Program::run_step(const TfLiteContext* context, const Work& work, ThreadPool& pool) {
  switch (work.step.node.kind) {
    case OpKind::kConv:
      for (int i = 0; i < settings_.repeat; i++) run_conv(context, work, pool);
      return;
    case OpKind::kQuantize:
      if (work.step.ops.empty()) return run_quantize(context, work);
      return run_elementwise(context, work, pool);
    case OpKind::kAdd:
    case OpKind::kMul: return run_elementwise(context, work, pool);
    case OpKind::kDequantize: return run_dequantize(context, work);
    case OpKind::kBitMaxPool: return run_bit_pool(context, work, pool);
    case OpKind::kMaxPool: return run_pool(context, work, pool);
  }
}

void Program::run_conv(const TfLiteContext* context, const Work& work, ThreadPool& pool) {
  const Node& node = work.step.node;
  const std::vector<PostOp> ops = resolve(context, work.step.ops);
  ConvOutput output;
  output.ops = ops.data();
  output.num_ops = static_cast<int>(ops.size());
  const TfLiteType type = context->tensors[node.output].type;
  if (type == kTfLiteInt32) output.bits = data<uint32_t>(context, node.output);
  if (type == kTfLiteInt8) output.int8 = data<int8_t>(context, node.output);
  work.conv->run(data<const uint32_t>(context, node.inputs[0]), output, pool, scratch_);
}

void Program::run_elementwise(const TfLiteContext* context, const Work& work, ThreadPool& pool) {
  const std::vector<PostOp> ops = resolve(context, work.step.ops);
  const Shape& value = shape(work.step.ops[0].tensor);
  const int channels = value.back();
  if (elements(value, "") == 0) return;
  const int64_t rows = elements(value, "") / channels;
  // Items of about 16 kB, which stay in cache through all operations.
  const int64_t item_rows = std::max<int64_t>(1, 4096 / channels);
  const int items = static_cast<int>((rows + item_rows - 1) / item_rows);
  pool.for_each(items, [&](int item, int) {
    Part part{};
    part.row = static_cast<size_t>(item * item_rows);
    part.rows = static_cast<int>(std::min<int64_t>(item_rows, rows - item * item_rows));
    part.row_channels = channels;
    for (part.channel = 0; part.channel < channels; part.channel += kChannelBlock) {
      part.channels = std::min(kChannelBlock, channels - part.channel);
      settings_.kernels->post_ops(part, ops.data(), static_cast<int>(ops.size()));
    }
  });
}

void Program::run_pool(const TfLiteContext* context, const Work& work, ThreadPool& pool) {
  const PoolGeometry& g = work.pool;
  const std::vector<PostOp> ops = resolve(context, work.step.ops);
  const int input = work.step.node.inputs[0];
  const float* in = data<const float>(context, input);
  const size_t image = static_cast<size_t>(g.in_height) * g.in_width * g.depth;
  pool.for_each(shape(input)[0] * g.out_height, [&](int item, int) {
    Part part{};
    part.row = static_cast<size_t>(item) * g.out_width;
    part.rows = g.out_width;
    part.row_channels = g.depth;
    for (part.channel = 0; part.channel < g.depth; part.channel += kChannelBlock) {
      part.channels = std::min(kChannelBlock, g.depth - part.channel);
      settings_.kernels->max_pool(g, in + static_cast<size_t>(item / g.out_height) * image,
                                  item % g.out_height, part, ops.data(),
                                  static_cast<int>(ops.size()));
    }
  });
}

void Program::run_bit_pool(const TfLiteContext* context, const Work& work, ThreadPool& pool) {
  const PoolGeometry& g = work.pool;
  const Node& node = work.step.node;
  const uint32_t* in = data<const uint32_t>(context, node.inputs[0]);
  uint32_t* out = data<uint32_t>(context, node.output);
  const size_t image = static_cast<size_t>(g.in_height) * g.in_width * g.depth;
  const size_t row = static_cast<size_t>(g.out_width) * g.depth;
  pool.for_each(shape(node.inputs[0])[0] * g.out_height, [&](int item, int) {
    max_pool_row(g, in + static_cast<size_t>(item / g.out_height) * image, item % g.out_height,
                 out + static_cast<size_t>(item) * row);
  });
}

void Program::run_quantize(const TfLiteContext* context, const Work& work) {
  const Node& node = work.step.node;
  const TfLiteTensor& in = context->tensors[node.inputs[0]];
  const Shape& dims = shape(node.inputs[0]);
  if (elements(dims, "") == 0) return;
  const int channels = dims.back();
  const size_t rows = static_cast<size_t>(elements(dims, "") / channels);
  uint32_t* out = data<uint32_t>(context, node.output);
  if (in.type == kTfLiteInt8) {
    pack_int8(data<const int8_t>(context, node.inputs[0]), rows, channels, in.params.zero_point,
              out);
  } else {
    pack_bool(data<const uint8_t>(context, node.inputs[0]), rows, channels, out);
  }
}

void Program::run_dequantize(const TfLiteContext* context, const Work& work) {
  const Node& node = work.step.node;
  const TfLiteTensor& out = context->tensors[node.output];
  const Shape& dims = shape(node.output);
  if (elements(dims, "") == 0) return;
  const int channels = dims.back();
  const size_t rows = static_cast<size_t>(elements(dims, "") / channels);
  const uint32_t* in = data<const uint32_t>(context, node.inputs[0]);
  if (out.type == kTfLiteFloat32) {
    unpack(in, rows, channels, 1.0f, -1.0f, data<float>(context, node.output));
  } else if (out.type == kTfLiteBool) {
    unpack<uint8_t>(in, rows, channels, 1, 0, data<uint8_t>(context, node.output));
  } else {
    // +1 and -1 in steps of the output's scale, clamped to int8.
    const float steps = std::round(1.0f / out.params.scale);
    const float zero_point = static_cast<float>(out.params.zero_point);
    const float most = 127.0f, least = -128.0f;
    unpack(in, rows, channels,
           static_cast<int8_t>(std::max(least, std::min(most, zero_point + steps))),
           static_cast<int8_t>(std::max(least, std::min(most, zero_point - steps))),
           data<int8_t>(context, node.output));
  }
}

}  // namespace lgr
