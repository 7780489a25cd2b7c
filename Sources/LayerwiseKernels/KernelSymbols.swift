// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// The symbols by which `InstructionSet` finds the kernels of this copy of the module.

#if LAYERWISE_AVX512
@_silgen_name("layerwise_kernel_table_avx512")
#elseif LAYERWISE_AVX2
@_silgen_name("layerwise_kernel_table_avx2")
#else
@_silgen_name("layerwise_kernel_table")
#endif
package func exportedTable() -> KernelTable { kernelTable() }

#if LAYERWISE_AVX512
@_silgen_name("layerwise_rule_kernels_avx512")
#elseif LAYERWISE_AVX2
@_silgen_name("layerwise_rule_kernels_avx2")
#else
@_silgen_name("layerwise_rule_kernels")
#endif
package func exportedKernels(_ key: KernelKey) -> RuleKernels { ruleKernels(key) }
