// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// Normal noise from a generator that counts: the numbers of a pair of elements follow from the key, the step and the pair's place alone.
//
// Sources: Salmon et al. 2011 for Philox4x32-10; Box and Muller 1958.

/// Adds `deviation` times normal noise to `count` lanes.  The first is element `start` of its tensor.
@inline(__always)
func addNoise<V: Lanes>(
    _: V.Type, _ lanes: UnsafeMutableRawPointer, _ start: Int, _ count: Int, _ deviation: Double, _ key: UInt64,
    _ step: UInt64
) {
    let isFloat = V.count == 16
    let scale = SIMD16<Double>(repeating: deviation)
    // An odd element is the second of a pair.
    var index = -(start & 1)
    while index < count {
        let noise = scale * sixteenNormals(UInt64(truncatingIfNeeded: (start &+ index) >> 1), key, step)
        let isWhole = index >= 0 && index &+ 16 <= count
        if isFloat {
            let floats = lanes.assumingMemoryBound(to: Float.self)
            if isWhole {
                let place = lanes + index &* 4
                let sum =
                    place.loadUnaligned(as: SIMD16<Float>.self)
                    + SIMD16(lowHalf: lwk_narrow(noise.lowHalf), highHalf: lwk_narrow(noise.highHalf))
                place.storeBytes(of: sum, as: SIMD16<Float>.self)
            } else {
                for lane in max(0, -index)..<min(16, count &- index) { floats[index &+ lane] += Float(noise[lane]) }
            }
        } else {
            let doubles = lanes.assumingMemoryBound(to: Double.self)
            if isWhole {
                let place = lanes + index &* 8
                let sum = place.loadUnaligned(as: SIMD16<Double>.self) + noise
                place.storeBytes(of: sum, as: SIMD16<Double>.self)
            } else {
                for lane in max(0, -index)..<min(16, count &- index) { doubles[index &+ lane] += noise[lane] }
            }
        }
        index &+= 16
    }
}

/// Independent normal numbers of mean 0 and variance 1, of eight pairs of elements from `pair` on, side by side.
@inline(__always)
private func sixteenNormals(_ pair: UInt64, _ key: UInt64, _ step: UInt64) -> SIMD16<Double> {
    let low = SIMD8<UInt64>(repeating: 0xFFFF_FFFF)
    let pairs = SIMD8<UInt64>(repeating: pair) &+ SIMD8(0, 1, 2, 3, 4, 5, 6, 7)
    var (c0, c1) = (pairs & low, pairs &>> 32)
    var (c2, c3) = (SIMD8(repeating: step) & low, SIMD8<UInt64>(repeating: step) &>> 32)
    var (first, second) = (UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32))
    for _ in 0..<10 {
        let a = SIMD8(repeating: 0xD251_1F53) &* (c0 & low)
        let b = SIMD8(repeating: 0xCD9E_8D57) &* (c2 & low)
        c0 = b &>> 32 ^ c1 ^ SIMD8(repeating: UInt64(first))
        c1 = b & low
        c2 = a &>> 32 ^ c3 ^ SIMD8(repeating: UInt64(second))
        c3 = a & low
        first = first &+ 0x9E37_79B9
        second = second &+ 0xBB67_AE85
    }
    // In (0, 1] and [0, 1), with 53 bits.
    let u = doubles((c0 &<< 32 | c1) &>> 11 &+ SIMD8(repeating: 1)) * 0x1p-53
    let v = doubles((c2 &<< 32 | c3) &>> 11) * 0x1p-53
    let radius = (-2 * logarithm(u)).squareRoot()
    let (cosine, sine) = cosineAndSine(v)
    var normals = SIMD16<Double>()
    normals.evenHalf = radius * cosine
    normals.oddHalf = radius * sine
    return normals
}

/// Whole numbers up to 2^53 as numbers of float64.
@inline(__always)
private func doubles(_ x: SIMD8<UInt64>) -> SIMD8<Double> {
    // Both halves beside a power of two whose last digits they are; taken away, it leaves them.
    let high = unsafeBitCast(x &>> 32 | SIMD8(repeating: 0x4530_0000_0000_0000), to: SIMD8<Double>.self) - 0x1p84
    let low = unsafeBitCast(
        x & SIMD8(repeating: 0xFFFF_FFFF) | SIMD8(repeating: 0x4330_0000_0000_0000), to: SIMD8<Double>.self)
    return high + (low - 0x1p52)
}

/// ln x of a normal number above 0, to about an ulp of the larger of 1 and the result.  (The C library's functions may give other bits on
/// another machine.)
@inline(__always)
private func logarithm(_ x: SIMD8<Double>) -> SIMD8<Double> {
    let bits = unsafeBitCast(x, to: SIMD8<UInt64>.self)
    var exponent = doubles(bits &>> 52) - 1023
    var m = unsafeBitCast(
        bits & SIMD8(repeating: 0x000F_FFFF_FFFF_FFFF) | SIMD8(repeating: 0x3FF0_0000_0000_0000),
        to: SIMD8<Double>.self)
    let isLarge = m .> 1.4142135623730951
    m.replace(with: m * 0.5, where: isLarge)
    exponent.replace(with: exponent + 1, where: isLarge)
    // ln m = 2·artanh(s): 2·(s + s³/3 + s⁵/5 + …), with |s| ≤ 0.172.
    let s = (m - 1) / (m + 1)
    let square = s * s
    var sum = SIMD8(repeating: 1.0 / 23)
    sum = sum * square + 1.0 / 21
    sum = sum * square + 1.0 / 19
    sum = sum * square + 1.0 / 17
    sum = sum * square + 1.0 / 15
    sum = sum * square + 1.0 / 13
    sum = sum * square + 1.0 / 11
    sum = sum * square + 1.0 / 9
    sum = sum * square + 1.0 / 7
    sum = sum * square + 1.0 / 5
    sum = sum * square + 1.0 / 3
    return exponent * 0.6931471805599453 + 2 * (s + s * (sum * square))
}

/// cos 2πx and sin 2πx for x in [0, 1), to about an ulp of 1.
@inline(__always)
private func cosineAndSine(_ x: SIMD8<Double>) -> (SIMD8<Double>, SIMD8<Double>) {
    // The nearest quarter.
    var quarter = SIMD8<Double>(repeating: 0)
    quarter.replace(with: SIMD8(repeating: 1), where: x .>= 0.125)
    quarter.replace(with: SIMD8(repeating: 2), where: x .>= 0.375)
    quarter.replace(with: SIMD8(repeating: 3), where: x .>= 0.625)
    quarter.replace(with: SIMD8(repeating: 4), where: x .>= 0.875)
    let angle = (x - quarter * 0.25) * 6.283185307179586
    let square = angle * angle
    // Taylor's series, with |angle| ≤ π/4.
    var cosine = 1 - square * (1.0 / (15 * 16))
    cosine = 1 - square * (1.0 / (13 * 14)) * cosine
    cosine = 1 - square * (1.0 / (11 * 12)) * cosine
    cosine = 1 - square * (1.0 / (9 * 10)) * cosine
    cosine = 1 - square * (1.0 / (7 * 8)) * cosine
    cosine = 1 - square * (1.0 / (5 * 6)) * cosine
    cosine = 1 - square * (1.0 / (3 * 4)) * cosine
    cosine = 1 - square * (1.0 / (1 * 2)) * cosine
    var sine = 1 - square * (1.0 / (14 * 15))
    sine = 1 - square * (1.0 / (12 * 13)) * sine
    sine = 1 - square * (1.0 / (10 * 11)) * sine
    sine = 1 - square * (1.0 / (8 * 9)) * sine
    sine = 1 - square * (1.0 / (6 * 7)) * sine
    sine = 1 - square * (1.0 / (4 * 5)) * sine
    sine = angle * (1 - square * (1.0 / (2 * 3)) * sine)
    let isOdd = quarter .== 1 .| quarter .== 3
    var (first, second) = (cosine, sine)
    first.replace(with: sine, where: isOdd)
    second.replace(with: cosine, where: isOdd)
    first.replace(with: -first, where: quarter .== 1 .| quarter .== 2)
    second.replace(with: -second, where: quarter .== 2 .| quarter .== 3)
    return (first, second)
}
