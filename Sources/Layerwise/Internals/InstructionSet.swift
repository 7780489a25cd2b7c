// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import LayerwiseRules

// The modules of the kernels are found by the names of their symbols (KernelSymbols.swift) and not imported: a change of a kernel
// compiles nothing here, and they are compiled beside this module.
@_silgen_name("layerwise_kernel_table") private func baselineTable() -> KernelTable
@_silgen_name("layerwise_rule_kernels") private func baselineKernels(_ key: KernelKey) -> RuleKernels
#if arch(x86_64)
@_silgen_name("layerwise_kernel_table_avx2") private func avx2Table() -> KernelTable
@_silgen_name("layerwise_rule_kernels_avx2") private func avx2Kernels(_ key: KernelKey) -> RuleKernels
@_silgen_name("layerwise_kernel_table_avx512") private func avx512Table() -> KernelTable
@_silgen_name("layerwise_rule_kernels_avx512") private func avx512Kernels(_ key: KernelKey) -> RuleKernels
#endif

/// The copy of the kernels in use.
public enum InstructionSet: String, CaseIterable, Sendable {
    case baseline, avx2, avx512, neon

    /// What this processor runs, slowest first.
    public static var available: [InstructionSet] {
        #if arch(x86_64)
        let level = lwk_processor_level()
        return [.baseline] + (level >= 1 ? [.avx2] : []) + (level >= 2 ? [.avx512] : [])
        #elseif arch(arm64)
        return [.neon]
        #else
        return [.baseline]
        #endif
    }

    /// The fastest, unless the environment variable LAYERWISE_ISA names another that the processor has.  Read once.
    public static let current: InstructionSet = {
        let available = Self.available
        if let text = getenv("LAYERWISE_ISA"), let forced = InstructionSet(rawValue: String(cString: text)),
            available.contains(forced)
        {
            return forced
        }
        return available.last ?? .baseline
    }()

    package var kernels: KernelTable {
        switch self {
        #if arch(x86_64)
        case .avx512: avx512Table()
        case .avx2: avx2Table()
        #endif
        default: baselineTable()
        }
    }

    package func kernels(of key: KernelKey) -> RuleKernels {
        switch self {
        #if arch(x86_64)
        case .avx512: avx512Kernels(key)
        case .avx2: avx2Kernels(key)
        #endif
        default: baselineKernels(key)
        }
    }

    /// The kernels of the current instruction set.
    static let kernels = current.kernels

    /// Those kernels in memory that stays, so that what a thread copies is small.
    nonisolated(unsafe) static let kernelMemory: UnsafePointer<KernelTable> = {
        let memory = UnsafeMutablePointer<KernelTable>.allocate(capacity: 1)
        memory.initialize(to: kernels)
        return UnsafePointer(memory)
    }()
}
