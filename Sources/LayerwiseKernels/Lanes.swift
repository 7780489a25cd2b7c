// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// 64 bytes of numbers that are worked on together.
///
/// The conforming types are concrete.  A conformance of `SIMD16<Float>` itself would emit functions that the
/// linker may share between the copies of this module, and so run AVX-512 code on a processor without it.
protocol Lanes: BitwiseCopyable {
    init(_ value: Double)

    /// A coefficient times a trust ratio; NaN where lanes cannot hold that though they can hold the coefficient, so that every
    /// group is worked out carefully.
    init(_ coefficient: Double, ratio: Double)

    static func + (a: Self, b: Self) -> Self
    static func - (a: Self, b: Self) -> Self
    static func * (a: Self, b: Self) -> Self
    static func / (a: Self, b: Self) -> Self
    static prefix func - (a: Self) -> Self

    /// a · b + c, rounded once.  Every multiply-add is written with it, so that all instruction sets give the same bits.
    static func fma(_ a: Self, _ b: Self, _ c: Self) -> Self

    func squareRoot() -> Self

    /// To an ulp, for numbers ≥ 0.
    func cubeRoot() -> Self

    /// The larger of both; `self` where either is NaN.
    func maximum(_ other: Self) -> Self

    /// The magnitude of each number.
    func magnitude() -> Self

    /// 1, 0 or −1 with the sign of each number; NaN stays NaN.
    func sign() -> Self

    /// Clamped to [-limit, limit]; NaN stays NaN.
    func clamped(to limit: Self) -> Self

    /// The number at `index` in memory that holds such numbers, in every place.
    static func broadcast(_ memory: UnsafeRawPointer, _ index: Int) -> Self

    /// How many numbers there are.
    static var count: Int { get }

    /// The first `count` numbers, and zeros.
    func prefix(_ count: Int64) -> Self

    /// Adds the squares of all numbers to `sum`, in float64.
    func addSquares(to sum: inout SquareSum)
    func addSquares(to sum: inout ReportSum)

    /// Adds the square of each number to the sum of its place, in float64.
    func addSquares(to sums: UnsafeMutablePointer<Double>)

    /// The number at `index` in memory that holds such numbers.
    static func number(_ memory: UnsafeRawPointer, _ index: Int) -> Double

    /// Adds the products with other numbers to `sum`, in float64.
    func addProducts(_ other: Self, to sum: inout SquareSum)

    /// Adds all numbers to `sum`, in float64.
    func add(to sum: inout SquareSum)

    /// Compares the signs of `old` - `new` with those at `last`, a byte each, counts, and writes them there.
    static func compareSigns(_ old: Self, _ new: Self, _ last: UnsafeMutableRawPointer, _ counts: inout SignCounts)

    /// Bounded to [-limit, limit] where numbers are worked on carefully (`CarefulLanes`); else as it is.
    func bounded(by limit: Self) -> Self

    /// Finite numbers are clamped to [-limit, limit]; infinity and NaN stay.
    func saturated(at limit: Self) -> Self

    /// A result, bounded to the largest number where the operand was finite.
    func settled(operand: Self) -> Self

    /// Times `factor` · `power`², clamped to ±`limit`; a finite number stays finite.
    func scaled(by factor: Double, _ power: Double, limit: Double) -> Self

    /// 0 where a number is finite, NaN where it is not.
    var mark: Self { get }

    /// Whether all numbers are finite, and those of `states`.  It may be false, too, where a sum or product of two of them is
    /// not finite.
    func allFinite(with states: Self?) -> Bool

    /// `self` - `stored`, and 0 where they are equal, infinities too.
    func difference(from stored: Self) -> Self

    /// Adds 1 to `counts` where a change, `self`, is not 0 and nothing `moved`.
    func countLost(moved: Self, to counts: inout SIMD16<Int32>)

    /// `self`, and 0 where it is infinite.
    var zeroIfInfinite: Self { get }

    /// `self`, and `other` where `weight` is not finite.
    func replaced(by other: Self, whereNotFinite weight: Self) -> Self
}

/// The running sum of squares, float64, in a fixed order that no instruction set changes.
struct SquareSum {
    var low = SIMD8<Double>()
    var high = SIMD8<Double>()

    @inline(__always)
    var total: Double {
        lwk_total_double(lwk_add_double(low, high))
    }
}

/// Signs that are compared, counted in a byte for each lane: of at most 127 groups of lanes.
struct SignCounts {
    /// Kept less not kept, and those that had two.
    private var keptLanes = SIMD16<Int8>()
    private var comparedLanes = SIMD16<Int8>()

    @inline(__always) init() {}
    @inline(__always) mutating func add(_ signs: SIMD16<Int8>, _ before: SIMD16<Int8>) {
        keptLanes = lwk_count_kept(keptLanes, signs, before)
        comparedLanes = lwk_count_compared(comparedLanes, signs, before)
    }
    @inline(__always) var kept: Double { Double(lwk_total_char(keptLanes)) }
    @inline(__always) var compared: Double { Double(lwk_total_char(comparedLanes)) }
}

/// The running sum of squares of a number that is only reported.  It takes half as many registers, which the loop of a rule
/// needs itself, and waits longer for the addition before.
struct ReportSum {
    var lanes = SIMD8<Double>()

    @inline(__always) var total: Double { SquareSum(low: lanes).total }
}

/// Sixteen float32 numbers.
struct FloatLanes: Lanes {
    var vector: SIMD16<Float>

    @inline(__always) init(_ vector: SIMD16<Float>) { self.vector = vector }
    @inline(__always) init(_ value: Double) { vector = lwk_repeat_float(Float(value)) }
    @inline(__always) init(_ coefficient: Double, ratio: Double) {
        let product = coefficient * ratio
        let vanishes = product != 0 && product.magnitude < leastNormalFloat && coefficient >= leastNormalFloat
        self.init(vanishes || product.magnitude > largestFloat ? .nan : product)
    }

    @inline(__always) static func + (a: Self, b: Self) -> Self { Self(lwk_add_float(a.vector, b.vector)) }
    @inline(__always) static func - (a: Self, b: Self) -> Self { Self(lwk_subtract_float(a.vector, b.vector)) }
    @inline(__always) static func * (a: Self, b: Self) -> Self { Self(lwk_multiply_float(a.vector, b.vector)) }
    @inline(__always) static func / (a: Self, b: Self) -> Self { Self(lwk_divide_float(a.vector, b.vector)) }
    @inline(__always) static prefix func - (a: Self) -> Self { Self(lwk_negative_float(a.vector)) }
    #if LAYERWISE_BASELINE
    // Without an instruction for it, it is a call for each number, so one copy is enough.
    @inline(never)
    #else
    @inline(__always)
    #endif
    static func fma(_ a: Self, _ b: Self, _ c: Self) -> Self {
        Self(lwk_fused_float(a.vector, b.vector, c.vector))
    }
    @inline(__always) func squareRoot() -> Self { Self(lwk_square_root_float(vector)) }
    @inline(__always) func cubeRoot() -> Self { Self(lwk_cube_root_float(vector)) }
    @inline(__always) func maximum(_ other: Self) -> Self { Self(lwk_maximum_float(vector, other.vector)) }
    @inline(__always) func magnitude() -> Self { Self(lwk_magnitude_float(vector)) }
    @inline(__always) func sign() -> Self { Self(lwk_sign_float(vector)) }
    @inline(__always) func clamped(to limit: Self) -> Self { Self(lwk_clamped_float(vector, limit.vector)) }
    @inline(__always) static func broadcast(_ memory: UnsafeRawPointer, _ index: Int) -> Self {
        Self(lwk_repeat_float(memory.loadUnaligned(fromByteOffset: index &* 4, as: Float.self)))
    }
    @inline(__always) static var count: Int { 16 }
    @inline(__always) func prefix(_ count: Int64) -> Self {
        Self(lwk_prefix_float(vector, Int32(truncatingIfNeeded: count)))
    }
    @inline(__always) func addSquares(to sum: inout SquareSum) {
        addProducts(self, to: &sum)
    }
    @inline(__always) func addProducts(_ other: Self, to sum: inout SquareSum) {
        sum.low = lwk_add_product_low(sum.low, vector, other.vector)
        sum.high = lwk_add_product_high(sum.high, vector, other.vector)
    }
    @inline(__always) func add(to sum: inout SquareSum) {
        sum.low = lwk_add_double(sum.low, lwk_widen_low(vector))
        sum.high = lwk_add_double(sum.high, lwk_widen_high(vector))
    }
    @inline(__always) static func compareSigns(
        _ old: Self, _ new: Self, _ last: UnsafeMutableRawPointer, _ counts: inout SignCounts
    ) {
        let signs = lwk_order_float(old.vector, new.vector)
        counts.add(signs, last.loadUnaligned(as: SIMD16<Int8>.self))
        last.storeBytes(of: signs, as: SIMD16<Int8>.self)
    }
    @inline(__always) func addSquares(to sum: inout ReportSum) {
        sum.lanes = lwk_add_product_low(sum.lanes, vector, vector)
        sum.lanes = lwk_add_product_high(sum.lanes, vector, vector)
    }
    @inline(__always) func addSquares(to sums: UnsafeMutablePointer<Double>) {
        DoubleLanes(lwk_widen_low(vector)).addSquares(to: sums)
        DoubleLanes(lwk_widen_high(vector)).addSquares(to: sums + 8)
    }
    @inline(__always) static func number(_ memory: UnsafeRawPointer, _ index: Int) -> Double {
        Double(memory.loadUnaligned(fromByteOffset: index &* 4, as: Float.self))
    }
    @inline(__always) func bounded(by limit: Self) -> Self { self }
    @inline(__always) func saturated(at limit: Self) -> Self {
        Self.whereZero(mark, clamped(to: limit), else: self)
    }
    @inline(__always) func settled(operand: Self) -> Self {
        Self.whereZero(operand.mark, clamped(to: Self(largestFloat)), else: self)
    }
    @inline(__always) func scaled(by factor: Double, _ power: Double, limit: Double) -> Self {
        let most = Swift.min(limit, largestFloat)
        let low = DoubleLanes(lwk_widen_low(vector)).scaled(by: factor, power, limit: most, limit)
        let high = DoubleLanes(lwk_widen_high(vector)).scaled(by: factor, power, limit: most, limit)
        return Self(lwk_narrow_both(low.vector, high.vector))
    }
    @inline(__always) var mark: Self { self - self }
    @inline(__always) func allFinite(with states: Self?) -> Bool {
        if let states { return lwk_both_finite_float(vector, states.vector) != 0 }
        return lwk_all_finite_float(vector) != 0
    }
    @inline(__always) func difference(from stored: Self) -> Self {
        Self(lwk_difference_float(vector, stored.vector))
    }
    @inline(__always) func countLost(moved: Self, to counts: inout SIMD16<Int32>) {
        counts = lwk_count_lost(counts, vector, moved.vector)
    }
    @inline(__always) var zeroIfInfinite: Self { Self(lwk_zero_if_infinite_float(vector)) }
    @inline(__always) func replaced(by other: Self, whereNotFinite weight: Self) -> Self {
        Self.whereZero(weight.mark, self, else: other)
    }

    /// `x` where `mark` is 0, `y` elsewhere.
    @inline(__always) fileprivate static func whereZero(_ mark: Self, _ x: Self, else y: Self) -> Self {
        Self(lwk_where_zero_float(mark.vector, x.vector, y.vector))
    }
}

/// Eight float64 numbers.
struct DoubleLanes: Lanes {
    var vector: SIMD8<Double>

    @inline(__always) init(_ vector: SIMD8<Double>) { self.vector = vector }
    @inline(__always) init(_ value: Double) { vector = lwk_repeat_double(value) }
    @inline(__always) init(_ coefficient: Double, ratio: Double) { self.init(coefficient * ratio) }

    @inline(__always) static func + (a: Self, b: Self) -> Self { Self(lwk_add_double(a.vector, b.vector)) }
    @inline(__always) static func - (a: Self, b: Self) -> Self { Self(lwk_subtract_double(a.vector, b.vector)) }
    @inline(__always) static func * (a: Self, b: Self) -> Self { Self(lwk_multiply_double(a.vector, b.vector)) }
    @inline(__always) static func / (a: Self, b: Self) -> Self { Self(lwk_divide_double(a.vector, b.vector)) }
    @inline(__always) static prefix func - (a: Self) -> Self { Self(lwk_negative_double(a.vector)) }
    #if LAYERWISE_BASELINE
    // Without an instruction for it, it is a call for each number, so one copy is enough.
    @inline(never)
    #else
    @inline(__always)
    #endif
    static func fma(_ a: Self, _ b: Self, _ c: Self) -> Self {
        Self(lwk_fused_double(a.vector, b.vector, c.vector))
    }
    @inline(__always) func squareRoot() -> Self { Self(lwk_square_root_double(vector)) }
    @inline(__always) func cubeRoot() -> Self { Self(lwk_cube_root_double(vector)) }
    @inline(__always) func maximum(_ other: Self) -> Self { Self(lwk_maximum_double(vector, other.vector)) }
    @inline(__always) func magnitude() -> Self { Self(lwk_magnitude_double(vector)) }
    @inline(__always) func sign() -> Self { Self(lwk_sign_double(vector)) }
    @inline(__always) func clamped(to limit: Self) -> Self { Self(lwk_clamped_double(vector, limit.vector)) }
    @inline(__always) static func broadcast(_ memory: UnsafeRawPointer, _ index: Int) -> Self {
        Self(lwk_repeat_double(memory.loadUnaligned(fromByteOffset: index &* 8, as: Double.self)))
    }
    @inline(__always) static var count: Int { 8 }
    @inline(__always) func prefix(_ count: Int64) -> Self {
        Self(lwk_prefix_double(vector, Int32(truncatingIfNeeded: count)))
    }
    @inline(__always) func addSquares(to sum: inout SquareSum) { addProducts(self, to: &sum) }
    @inline(__always) func addSquares(to sum: inout ReportSum) {
        sum.lanes = lwk_fused_double(vector, vector, sum.lanes)
    }
    @inline(__always) func addSquares(to sums: UnsafeMutablePointer<Double>) {
        let memory = UnsafeMutableRawPointer(sums)
        Self.fma(self, self, .load(memory, 0)).store(memory, 0)
    }
    @inline(__always) static func number(_ memory: UnsafeRawPointer, _ index: Int) -> Double {
        memory.loadUnaligned(fromByteOffset: index &* 8, as: Double.self)
    }
    @inline(__always) func addProducts(_ other: Self, to sum: inout SquareSum) {
        sum.low = lwk_fused_double(vector, other.vector, sum.low)
    }
    @inline(__always) func add(to sum: inout SquareSum) { sum.low = lwk_add_double(sum.low, vector) }
    @inline(__always) static func compareSigns(
        _ old: Self, _ new: Self, _ last: UnsafeMutableRawPointer, _ counts: inout SignCounts
    ) {
        let none = SIMD8<Int8>()
        let signs = lwk_order_double(old.vector, new.vector)
        let before = last.loadUnaligned(as: SIMD8<Int8>.self)
        counts.add(SIMD16(lowHalf: signs, highHalf: none), SIMD16(lowHalf: before, highHalf: none))
        last.storeBytes(of: signs, as: SIMD8<Int8>.self)
    }
    @inline(__always) func bounded(by limit: Self) -> Self { self }
    @inline(__always) func saturated(at limit: Self) -> Self {
        Self.whereZero(mark, clamped(to: limit), else: self)
    }
    @inline(__always) func settled(operand: Self) -> Self {
        Self.whereZero(operand.mark, clamped(to: Self(largestDouble)), else: self)
    }
    @inline(__always) func scaled(by factor: Double, _ power: Double, limit: Double) -> Self {
        scaled(by: factor, power, limit: Swift.min(limit, largestDouble), limit)
    }
    /// `scaled(by:_:limit:)` with another limit for infinities.
    @inline(__always) fileprivate func scaled(
        by factor: Double, _ power: Double, limit: Double, _ infiniteLimit: Double
    ) -> Self {
        let scaled = self * Self(power) * Self(power) * Self(factor)
        return Self.whereZero(mark, scaled.clamped(to: Self(limit)), else: scaled.clamped(to: Self(infiniteLimit)))
    }
    @inline(__always) var mark: Self { self - self }
    @inline(__always) func allFinite(with states: Self?) -> Bool {
        if let states { return lwk_both_finite_double(vector, states.vector) != 0 }
        return lwk_all_finite_double(vector) != 0
    }
    @inline(__always) func difference(from stored: Self) -> Self {
        Self(lwk_difference_double(vector, stored.vector))
    }
    @inline(__always) func countLost(moved: Self, to counts: inout SIMD16<Int32>) {}
    @inline(__always) var zeroIfInfinite: Self { Self(lwk_zero_if_infinite_double(vector)) }
    @inline(__always) func replaced(by other: Self, whereNotFinite weight: Self) -> Self {
        Self.whereZero(weight.mark, self, else: other)
    }

    /// `x` where `mark` is 0, `y` elsewhere.
    @inline(__always) static func whereZero(_ mark: Self, _ x: Self, else y: Self) -> Self {
        Self(lwk_where_zero_double(mark.vector, x.vector, y.vector))
    }
}

private let leastNormalFloat = 0x1p-126

/// The largest finite numbers.
let largestFloat = 0x1.fffffep+127
let largestDouble = 0x1.fffffffffffffp+1023

/// How many bytes one group of lanes takes.
let groupBytes = 64

extension Lanes {
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> Self {
        memory.loadUnaligned(fromByteOffset: offset, as: Self.self)
    }
    @inline(__always) func store(_ memory: UnsafeMutableRawPointer, _ offset: Int) {
        memory.storeBytes(of: self, toByteOffset: offset, as: Self.self)
    }

    /// An average that takes `input` in: (1 − share)·x + share·input.  What stays of x, x − share·x, is rounded apart from what
    /// comes, so that nothing of the input is lost where β is small and the average large.
    @inline(__always) func blended(with input: Self, share: Self) -> Self {
        .fma(share, input, .fma(share, -self, self))
    }
}
