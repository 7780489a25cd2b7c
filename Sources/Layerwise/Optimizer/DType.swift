// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// The type of stored elements.  The raw values are those of `lw_dtype` in layerwise.h.
public enum DType: Int32, Sendable, BitwiseCopyable, CaseIterable {
    case float32 = 1
    case float64 = 2
    /// IEEE binary16.
    case float16 = 3
    /// The upper half of a float32.
    case bfloat16 = 4
    /// Only as a state: the step count.
    case int64 = 5
    /// Only as a state: signs.
    case int8 = 6

    /// Whether parameters may have it, and numbers of it may become those of another such type.
    var isFloatingPoint: Bool { self != .int64 && self != .int8 }

    /// Bytes of one element.
    public var size: Int {
        switch self {
        case .float32: 4
        case .float64, .int64: 8
        case .float16, .bfloat16: 2
        case .int8: 1
        }
    }

    /// The distance from 1 to the next larger number.
    var epsilon: Double {
        switch self {
        case .float32: 0x1p-23
        case .float64, .int64, .int8: 0x1p-52
        case .float16: 0x1p-10
        case .bfloat16: 0x1p-7
        }
    }

    /// The name in checkpoints and in Python, such as "float32".
    public var name: String {
        switch self {
        case .float32: "float32"
        case .float64: "float64"
        case .float16: "float16"
        case .bfloat16: "bfloat16"
        case .int64: "int64"
        case .int8: "int8"
        }
    }

    /// The type that the arithmetic and the moments have.
    var laneType: DType { self == .float64 ? .float64 : .float32 }

    /// A rule's kernel for weights and gradients of this type; nil where they go by tiles of lanes.
    func kernel(in rule: RuleKernels) -> RuleKernel? {
        switch self {
        case .float64: rule.float64
        case .float16: rule.float16
        case .bfloat16: rule.bfloat16
        case .float32, .int64, .int8: rule.float32
        }
    }

    func kernels(in table: KernelTable) -> StorageKernels {
        switch self {
        case .float64: table.float64
        case .float16: table.float16
        case .bfloat16: table.bfloat16
        case .float32, .int64, .int8: table.float32
        }
    }
}
