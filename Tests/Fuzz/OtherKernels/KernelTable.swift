// SPDX-License-Identifier: Apache-2.0
import LayerwiseKernels
package import LayerwiseRules

// The one copy of the kernels that there is here, under the names of the others.

@_silgen_name("layerwise_kernel_table_avx2") package func avx2Table() -> KernelTable { kernelTable() }
@_silgen_name("layerwise_rule_kernels_avx2") package func avx2Kernels(_ key: KernelKey) -> RuleKernels {
    ruleKernels(key)
}
@_silgen_name("layerwise_kernel_table_avx512") package func avx512Table() -> KernelTable { kernelTable() }
@_silgen_name("layerwise_rule_kernels_avx512") package func avx512Kernels(_ key: KernelKey) -> RuleKernels {
    ruleKernels(key)
}
