// SPDX-License-Identifier: Apache-2.0

/// Normal noise for the gradients of one tensor at one step.
///
/// The numbers of a pair of elements follow from the seed, the tensor's names, its step and their place alone, by a generator that
/// counts: threads, instruction sets and the order of tensors change nothing, and a resumed run goes on with the same noise.
///
/// Sources: Salmon et al. 2011 for Philox4x32-10; Box and Muller 1958; Neelakantan et al. 2015 (arXiv:1511.06807) for the noise.
struct NormalNoise {
    let deviation: Double
    let seed: UInt64
    /// From the names of the layer and the tensor.
    let key: UInt64
    let step: UInt64

    /// A number for a layer's and a tensor's name: the FNV-1a hash of both.
    static func key(of layer: String, _ tensor: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        for byte in layer.utf8 { add(byte) }
        add(0)
        for byte in tensor.utf8 { add(byte) }
        return hash
    }

    /// Adds noise to `count` lanes.  The first is element `offset` of the tensor.
    func add(to memory: UnsafeMutableRawPointer, _ offset: Int, _ count: Int, isDouble: Bool) {
        if isDouble {
            let lanes = memory.assumingMemoryBound(to: Double.self)
            forEach(offset, count) { lanes[$0] += deviation * $1 }
        } else {
            let lanes = memory.assumingMemoryBound(to: Float.self)
            forEach(offset, count) { lanes[$0] += Float(deviation * $1) }
        }
    }

    private func forEach(_ offset: Int, _ count: Int, _ body: (Int, Double) -> Void) {
        var index = 0
        while index < count {
            let element = offset + index
            let (even, odd) = normals(UInt64(element / 2))
            if element % 2 == 0 {
                body(index, even)
                index += 1
                if index == count { return }
            }
            body(index, odd)
            index += 1
        }
    }

    /// Two independent normal numbers of mean 0 and variance 1.
    func normals(_ pair: UInt64) -> (Double, Double) {
        var counter = SIMD4<UInt32>(pair.low, pair.high, step.low, step.high)
        let mixed = seed ^ key
        var (first, second) = (mixed.low, mixed.high)
        for _ in 0..<10 {
            let a = UInt64(0xD251_1F53) * UInt64(counter[0])
            let b = UInt64(0xCD9E_8D57) * UInt64(counter[2])
            counter = [b.high ^ counter[1] ^ first, b.low, a.high ^ counter[3] ^ second, a.low]
            first = first &+ 0x9E37_79B9
            second = second &+ 0xBB67_AE85
        }
        // In (0, 1] and [0, 1), with 53 bits.
        let u = Double((UInt64(counter[0]) << 32 | UInt64(counter[1])) >> 11 + 1) * 0x1p-53
        let v = Double((UInt64(counter[2]) << 32 | UInt64(counter[3])) >> 11) * 0x1p-53
        let radius = (-2 * logarithm(u)).squareRoot()
        let (cosine, sine) = cosineAndSine(v)
        return (radius * cosine, radius * sine)
    }
}

extension UInt64 {
    fileprivate var low: UInt32 { UInt32(truncatingIfNeeded: self) }
    fileprivate var high: UInt32 { UInt32(truncatingIfNeeded: self >> 32) }
}

// The C library's functions may give other bits on another machine.

/// ln x of a normal number above 0, to about an ulp of the larger of 1 and the result.
func logarithm(_ x: Double) -> Double {
    var (exponent, m) = (Double(x.exponent), x.significand)
    if m > 1.4142135623730951 {
        m /= 2
        exponent += 1
    }
    // ln m = 2·artanh(s): 2·(s + s³/3 + s⁵/5 + …), with |s| ≤ 0.172.
    let s = (m - 1) / (m + 1)
    let square = s * s
    var sum = 1.0 / 23
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
func cosineAndSine(_ x: Double) -> (Double, Double) {
    let quarter = (4 * x).rounded()
    let angle = (x - quarter / 4) * 6.283185307179586
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
    switch Int(quarter) & 3 {
    case 0: return (cosine, sine)
    case 1: return (-sine, cosine)
    case 2: return (-cosine, -sine)
    default: return (sine, -cosine)
    }
}
