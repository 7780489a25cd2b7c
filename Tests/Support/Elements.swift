// SPDX-License-Identifier: Apache-2.0
import Layerwise

/// A 16-bit floating-point format, read and written in the plainest way: the tests' own idea of it.
struct SmallFormat: @unchecked Sendable {
    let fractionBits: Int
    let lowestExponent: Int

    /// The value of every pattern, which is never written again and lives as long as the process.
    private let values: UnsafePointer<Double>

    static let float16 = SmallFormat(fractionBits: 10, lowestExponent: -14)
    static let bfloat16 = SmallFormat(fractionBits: 7, lowestExponent: -126)

    private init(fractionBits: Int, lowestExponent: Int) {
        self.fractionBits = fractionBits
        self.lowestExponent = lowestExponent
        let values = UnsafeMutablePointer<Double>.allocate(capacity: 1 << 16)
        for bits in 0...UInt16.max { values[Int(bits)] = Self.value(of: bits, fractionBits, lowestExponent) }
        self.values = UnsafePointer(values)
    }

    var infinity: UInt16 { (0x7fff >> fractionBits) << fractionBits }

    /// The value of a pattern.  NaN keeps neither sign nor payload here: see `widened`.
    func decode(_ bits: UInt16) -> Double { values[Int(bits)] }

    private static func value(of bits: UInt16, _ fractionBits: Int, _ lowestExponent: Int) -> Double {
        let quantum = power(lowestExponent - fractionBits)
        let infinity: UInt16 = (0x7fff >> fractionBits) << fractionBits
        let magnitude = bits & 0x7fff
        let exponent = Int(magnitude >> fractionBits)
        let fraction = Double(magnitude & (1 << fractionBits - 1))
        let sign = bits >> 15 == 0 ? 1.0 : -1.0
        if magnitude > infinity { return .nan }
        if magnitude == infinity { return sign * .infinity }
        if exponent == 0 { return sign * fraction * quantum }
        return sign * (fraction + power(fractionBits)) * quantum * power(exponent - 1)
    }

    /// The pattern nearest to `x`, ties to even, which is what IEEE 754 asks for.  NaN keeps its sign and upper payload,
    /// and becomes quiet.
    func encode(_ x: Float) -> UInt16 {
        let sign = UInt16(x.bitPattern >> 16) & 0x8000
        if x.isNaN {
            let payload = UInt16(x.bitPattern >> (23 - UInt32(fractionBits)) & (1 << UInt32(fractionBits) - 1))
            return sign | infinity | payload | 1 << UInt16(fractionBits - 1)
        }
        return sign | magnitude(Double(x).magnitude)
    }

    /// The pattern nearest to `x`, of a finite one the largest at most.
    func bounded(_ x: Double) -> UInt16 {
        let bits = encode(Float(x))
        return x.isFinite && bits & 0x7fff == infinity ? bits - 1 : bits
    }

    /// The nearest pattern of a number ≥ 0.
    private func magnitude(_ x: Double) -> UInt16 {
        if x == .infinity { return infinity }
        if x == 0 { return 0 }
        let exponent = max(Int(x.bitPattern >> 52) - 1023, lowestExponent)
        // What is added leaves no bit for a fraction: the sum is rounded to the nearest integer, ties to even.
        let units = x * Self.power(fractionBits - exponent) + 0x1p52 - 0x1p52
        // Units that fill up to the next power of two carry into the exponent field by themselves.
        let pattern = Int(units) + (exponent - lowestExponent) << fractionBits
        return UInt16(min(pattern, Int(infinity)))
    }

    /// `x` rounded to this format.
    func rounded(_ x: Double) -> Double {
        let magnitude = decode(magnitude(x.magnitude))
        return x < 0 ? -magnitude : magnitude
    }

    /// The value as a step stores it: a finite number stays finite.
    func stored(_ x: Double) -> Double {
        let largest = decode(infinity - 1)
        return x.isFinite ? max(-largest, min(rounded(x), largest)) : x
    }

    /// The bits of the float32 that a pattern stands for.
    func widened(_ bits: UInt16) -> UInt32 {
        if bits & 0x7fff <= infinity { return Float(decode(bits)).bitPattern }
        // Half-precision units make NaN quiet; bfloat16 is the upper half as it is.
        let quiet: UInt32 = fractionBits == 10 ? 0x0040_0000 : 0
        let fraction = UInt32(bits) & (1 << UInt32(fractionBits) - 1)
        return UInt32(bits >> 15) << 31 | 0x7f80_0000 | quiet | fraction << UInt32(23 - fractionBits)
    }

    /// 2 to an exponent of a normal Double, as all of these formats are.
    private static func power(_ exponent: Int) -> Double { Double(bitPattern: UInt64(exponent + 1023) << 52) }
}

extension DType {
    /// What parameters can be.
    static let floating: [DType] = [.float32, .float64, .float16, .bfloat16]

    var smallFormat: SmallFormat? {
        switch self {
        case .float16: .float16
        case .bfloat16: .bfloat16
        default: nil
        }
    }

    func load(_ memory: UnsafeRawPointer, _ index: Int) -> Double {
        switch self {
        case .float64: memory.loadUnaligned(fromByteOffset: index * 8, as: Double.self)
        case .float16: SmallFormat.float16.decode(memory.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
        case .bfloat16: SmallFormat.bfloat16.decode(memory.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
        default: Double(memory.loadUnaligned(fromByteOffset: index * 4, as: Float.self))
        }
    }

    /// Rounds to nearest; what exceeds the type becomes its largest number, so that every test's data are finite unless
    /// the test asks for infinity itself.
    func store(_ x: Double, _ memory: UnsafeMutableRawPointer, _ index: Int) {
        switch self {
        case .float64: memory.storeBytes(of: x, toByteOffset: index * 8, as: Double.self)
        case .float16: memory.storeBytes(of: SmallFormat.float16.bounded(x), toByteOffset: index * 2, as: UInt16.self)
        case .bfloat16: memory.storeBytes(of: SmallFormat.bfloat16.bounded(x), toByteOffset: index * 2, as: UInt16.self)
        default:
            let largest = Double(Float.greatestFiniteMagnitude)
            let bounded = Float(x.isFinite ? max(-largest, min(x, largest)) : x)
            memory.storeBytes(of: bounded, toByteOffset: index * 4, as: Float.self)
        }
    }
}

/// How a tensor is stored: the types of parameters and gradients, and whether there is a master copy.
struct Kind: Sendable, CustomStringConvertible {
    let dtype: DType
    let gradientDType: DType
    let master: Bool

    init(_ dtype: DType, gradients: DType? = nil, master: Bool = false) {
        self.dtype = dtype
        gradientDType = gradients ?? dtype
        self.master = master
    }

    /// Every combination there is.
    static let all: [Kind] = DType.floating.flatMap { dtype in
        let masters = dtype.size == 2 ? [false, true] : [false]
        let gradients = dtype == .float32 ? [dtype] : [dtype, .float32]
        return masters.flatMap { master in gradients.map { Kind(dtype, gradients: $0, master: master) } }
    }

    /// The type of the arithmetic, the moments and the master copy.
    var computeType: DType { dtype == .float64 ? .float64 : .float32 }

    var description: String {
        dtype.name + (gradientDType == dtype ? "" : " with \(gradientDType.name) gradients")
            + (master ? " and master" : "")
    }
}
