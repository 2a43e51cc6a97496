// Instruction sets that the processor and the operating system support.
#ifndef LARQ_GROUPNET_RUNTIME_KERNELS_CPU_X86_H_
#define LARQ_GROUPNET_RUNTIME_KERNELS_CPU_X86_H_

namespace lgr {

bool cpu_has_avx2();
bool cpu_has_avx512_vpopcntdq();  // with F, BW and VL

}  // namespace lgr

#endif  // LARQ_GROUPNET_RUNTIME_KERNELS_CPU_X86_H_
