// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseKernels
import LayerwisePlatform
import LayerwiseRules

#if arch(x86_64)
import LayerwiseKernelsAVX2
import LayerwiseKernelsAVX512
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
        case .avx512: LayerwiseKernelsAVX512.kernelTable()
        case .avx2: LayerwiseKernelsAVX2.kernelTable()
        #endif
        default: LayerwiseKernels.kernelTable()
        }
    }

    package func kernels(of key: KernelKey) -> RuleKernels {
        switch self {
        #if arch(x86_64)
        case .avx512: LayerwiseKernelsAVX512.ruleKernels(key)
        case .avx2: LayerwiseKernelsAVX2.ruleKernels(key)
        #endif
        default: LayerwiseKernels.ruleKernels(key)
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
