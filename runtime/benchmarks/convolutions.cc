// The 95 binary convolutions of Group-Net ResNet-18 (K = 5, 224 x 224), without an interpreter.
//
//   convolutions [KERNEL] [RUNS]
//
// Prints milliseconds of CPU time for each shape. For instructions on ARM, count those of two runs
// and of one under qemu-user, and take the difference; see README.md.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "../src/conv.h"

namespace {

struct Layer {
  int count, kernel, stride, size, channels_in, channels_out;  // size of the output
};

constexpr Layer kLayers[] = {
    {20, 3, 1, 56, 64, 64},   {5, 3, 2, 28, 64, 128},  {15, 3, 1, 28, 128, 128},
    {5, 1, 2, 28, 64, 128},   {5, 3, 2, 14, 128, 256}, {15, 3, 1, 14, 256, 256},
    {5, 1, 2, 14, 128, 256},  {5, 3, 2, 7, 256, 512},  {15, 3, 1, 7, 512, 512},
    {5, 1, 2, 7, 256, 512},
};

const lgr::Kernels* find(const std::string& name) {
  for (const lgr::Kernels* kernels : {
#if defined(__x86_64__)
           &lgr::kAvx512Kernels, &lgr::kAvx2Kernels,
#elif defined(__aarch64__)
           &lgr::kNeonKernels,
#endif
           &lgr::kGenericKernels}) {
    if (kernels->supported() && (name == "auto" || name == kernels->name)) return kernels;
  }
  std::fprintf(stderr, "no kernel %s\n", name.c_str());
  std::exit(1);
}

double milliseconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
}

// Options as a converter writes them: a FlexBuffers map, here of bytes.
std::vector<uint8_t> options(const Layer& layer) {
  const std::pair<const char*, int> entries[] = {
      {"channels_in", layer.channels_in}, {"dilation_height_factor", 1},
      {"dilation_width_factor", 1},       {"fused_activation_function", 1},
      {"pad_values", 1},                  {"padding", 0},
      {"stride_height", layer.stride},    {"stride_width", layer.stride},
  };
  constexpr int kWidth = 2, kCount = 8;
  std::vector<uint8_t> out;
  const auto put = [&](size_t value) {
    out.push_back(static_cast<uint8_t>(value & 255));
    out.push_back(static_cast<uint8_t>(value >> 8));
  };
  size_t names[kCount];
  for (int i = 0; i < kCount; i++) {
    names[i] = out.size();
    const char* name = entries[i].first;
    out.insert(out.end(), name, name + std::strlen(name) + 1);
  }
  if (out.size() % kWidth) out.push_back(0);
  const size_t size_at = out.size();
  put(kCount);
  const size_t keys = out.size();
  for (size_t name : names) put(out.size() - name);
  (void)size_at;
  put(out.size() - keys);
  put(kWidth);
  put(kCount);
  const size_t map = out.size();
  for (const auto& entry : entries) put(static_cast<size_t>(entry.second));
  for (int i = 0; i < kCount; i++) out.push_back(1 << 2 | 1);  // integers of two bytes
  put(out.size() - map);
  out.push_back(9 << 2 | 1);  // a map of two-byte entries
  out.push_back(kWidth);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const lgr::Kernels& kernels = *find(argc > 1 ? argv[1] : "auto");
  const int runs = argc > 2 ? std::atoi(argv[2]) : 10;
  std::mt19937 random(0);
  lgr::ThreadPool pool(1);
  double total = 0;
  for (const Layer& layer : kLayers) {
    const int words = layer.channels_in / 32, size = layer.size * layer.stride;
    std::vector<uint32_t> in(static_cast<size_t>(size) * size * words);
    std::vector<uint32_t> filter(static_cast<size_t>(layer.channels_out) * layer.kernel *
                                 layer.kernel * words);
    for (uint32_t& word : in) word = random();
    for (uint32_t& word : filter) word = random();
    const std::vector<float> multiplier(static_cast<size_t>(layer.channels_out), 0.5f);
    const std::vector<float> bias(static_cast<size_t>(layer.channels_out), 1.0f);
    std::vector<float> out(static_cast<size_t>(layer.size) * layer.size * layer.channels_out);

    const std::vector<uint8_t> bytes = options(layer);
    const lgr::CustomOptions custom("LceBconv2d", bytes.data(), static_cast<int>(bytes.size()));
    lgr::ConvWeights weights{};
    weights.filter = filter.data();
    weights.channels = layer.channels_out;
    weights.height = weights.width = layer.kernel;
    weights.words = words;
    weights.multiplier = multiplier.data();
    weights.bias = bias.data();
    weights.scale = 1;
    lgr::Conv conv(lgr::ConvOptions(custom), weights, kernels);
    conv.set_input(1, size, size, words, /*num_threads=*/1);
    std::vector<lgr::ConvScratch> scratch(1);
    conv.reserve(scratch);

    lgr::PostOp store{};
    store.kind = lgr::PostOpKind::kStore;
    store.out = out.data();
    lgr::ConvOutput output;
    output.ops = &store;
    output.num_ops = 1;
    const double begin = milliseconds();
    for (int i = 0; i < runs * layer.count; i++) conv.run(in.data(), output, pool, scratch);
    const double time = (milliseconds() - begin) / runs;
    std::printf("%2d x %dx%d/%d %3d -> %3d at %2dx%2d  %8.3f ms\n", layer.count, layer.kernel,
                layer.kernel, layer.stride, layer.channels_in, layer.channels_out, layer.size,
                layer.size, time);
    total += time;
  }
  std::printf("%s: %.3f ms\n", kernels.name, total);
}
