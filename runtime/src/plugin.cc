// The C interface: turns options into a delegate.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "delegate.h"
#include "error.h"
#include "larq_groupnet_runtime.h"

#ifndef LARQ_GROUPNET_RUNTIME_VERSION
#error "The build defines LARQ_GROUPNET_RUNTIME_VERSION."
#endif

namespace lgr {
namespace {

constexpr int kMostThreads = 64;
constexpr int kMostRepeats = 1000;

// The kernels of this machine, fastest first.
std::vector<const Kernels*> supported_kernels() {
  const Kernels* const built[] = {
#if defined(__x86_64__)
      &kAvx512Kernels,
      &kAvx2Kernels,
#elif defined(__aarch64__)
      &kNeonKernels,
#endif
      &kGenericKernels,
  };
  std::vector<const Kernels*> supported;
  for (const Kernels* kernels : built) {
    if (kernels->supported()) supported.push_back(kernels);
  }
  return supported;
}

std::string names_of(const std::vector<const Kernels*>& all) {
  std::string names;
  for (const Kernels* kernels : all) names += text(names.empty() ? "" : ",", kernels->name);
  return names;
}

const Kernels* find_kernels(const std::string& name) {
  const std::vector<const Kernels*> supported = supported_kernels();
  if (name == "auto") return supported.front();
  for (const Kernels* kernels : supported) {
    if (name == kernels->name) return kernels;
  }
  throw Refused(text("kernel: expected auto or one that this machine can run (",
                     names_of(supported), "). Received: ", name, "."));
}

int number(const std::string& key, const std::string& value, int low, int high) {
  char* end = nullptr;
  const long parsed = std::strtol(value.c_str(), &end, 10);
  expect(!value.empty() && *end == '\0' && parsed >= low && parsed <= high, key,
         ": expected a number from ", low, " to ", high, ". Received: ", value, ".");
  return static_cast<int>(parsed);
}

Settings read_settings(const char* const* keys, const char* const* values, size_t num_options) {
  Settings settings;
  settings.kernels = find_kernels("auto");
  for (size_t i = 0; i < num_options; i++) {
    const std::string key = keys[i] ? keys[i] : "", value = values[i] ? values[i] : "";
    if (key == "num_threads") {
      settings.num_threads = number(key, value, 1, kMostThreads);
    } else if (key == "kernel") {
      settings.kernels = find_kernels(value);
    } else if (key == "fuse") {
      settings.fuse = number(key, value, 0, 1) == 1;
    } else if (key == "profile") {
      settings.profile = number(key, value, 0, 1) == 1;
    } else if (key == "repeat") {
      settings.repeat = number(key, value, 1, kMostRepeats);
    } else {
      throw Refused(text("expected the options num_threads, kernel, fuse, profile or repeat. "
                         "Received: ", key, "."));
    }
  }
  return settings;
}

}  // namespace
}  // namespace lgr

extern "C" {

TfLiteDelegate* tflite_plugin_create_delegate(const char* const* keys, const char* const* values,
                                              size_t num_options,
                                              larq_groupnet_runtime_report report) {
  // TensorFlow's Python passes an int, so the upper half of the register is undefined.
  const size_t count = static_cast<uint32_t>(num_options);
  try {
    return (new lgr::Delegate(lgr::read_settings(keys, values, count)))->handle();
  } catch (const std::exception& error) {
    if (report) report(lgr::text("larq-groupnet-runtime: ", error.what()).c_str());
    return nullptr;
  }
}

void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) {
  if (delegate) delete &lgr::Delegate::of(delegate);
}

const char* larq_groupnet_runtime_version(void) { return LARQ_GROUPNET_RUNTIME_VERSION; }

const char* larq_groupnet_runtime_kernels(void) {
  static const std::string names = lgr::names_of(lgr::supported_kernels());
  return names.c_str();
}

const char* larq_groupnet_runtime_kernel(const TfLiteDelegate* delegate) {
  return lgr::Delegate::of(const_cast<TfLiteDelegate*>(delegate)).settings().kernels->name;
}

void larq_groupnet_runtime_profile(const TfLiteDelegate* delegate,
                                   larq_groupnet_runtime_visit visit, void* data) {
  lgr::Delegate::of(const_cast<TfLiteDelegate*>(delegate))
      .for_each_program([&](const lgr::Program& program) {
        for (const lgr::Program::Profile& step : program.profile()) {
          visit(data, step.name.c_str(), step.seconds, step.calls);
        }
      });
}

}  // extern "C"
