// SPDX-License-Identifier: Apache-2.0
import LayerwiseKernels
package import LayerwiseRules

/// The one copy of the kernels that there is here.
package func kernelTable() -> KernelTable { LayerwiseKernels.kernelTable() }

package func ruleKernels(_ key: KernelKey) -> RuleKernels { LayerwiseKernels.ruleKernels(key) }
