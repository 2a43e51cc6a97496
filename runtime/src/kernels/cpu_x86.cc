// Queries the processor directly, because __builtin_cpu_supports() always says no in ziglang
// builds. A separate file, because it runs before the supported instructions are known.
#include "cpu_x86.h"

#include <cpuid.h>

#include <cstdint>

namespace lgr {
namespace {

struct Features {
  uint32_t ebx = 0, ecx = 0;  // of leaf 7
  uint64_t saved = 0;         // registers that the operating system saves, as in XCR0
};

Features features() {
  Features found;
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr uint32_t kOsXsave = 1u << 27;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & kOsXsave)) return found;
  if (!__get_cpuid_count(7, 0, &eax, &found.ebx, &found.ecx, &edx)) return found;
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  found.saved = static_cast<uint64_t>(high) << 32 | low;
  return found;
}

bool all(uint64_t bits, uint64_t wanted) { return (bits & wanted) == wanted; }

}  // namespace

bool cpu_has_avx2() {
  constexpr uint64_t kYmm = 0x6;
  const Features f = features();
  return all(f.ebx, 1u << 5) && all(f.saved, kYmm);
}

bool cpu_has_avx512_vpopcntdq() {
  constexpr uint64_t kZmm = 0xE6;
  constexpr uint32_t kF = 1u << 16, kBw = 1u << 30, kVl = 1u << 31;
  constexpr uint32_t kVpopcntdq = 1u << 14;
  const Features f = features();
  return all(f.ebx, kF | kBw | kVl) && all(f.ecx, kVpopcntdq) && all(f.saved, kZmm);
}

}  // namespace lgr
