// SPDX-License-Identifier: Apache-2.0
import Layerwise
import LayerwiseRules
import XCTest

/// The conversions of 16-bit storage, bit for bit, for every instruction set.
final class StorageTests: XCTestCase {
    func testDecodeEveryPattern() {
        let patterns = Array(UInt16.min...UInt16.max)
        forEveryStorage { format, kernels, label in
            var decoded = [UInt32](repeating: 0, count: patterns.count)
            kernels.decode(patterns, patterns.count, &decoded)
            for (pattern, bits) in zip(patterns, decoded) where bits != format.widened(pattern) {
                XCTFail("\(label): \(hex(pattern)) became \(hex(bits)), expected \(hex(format.widened(pattern)))")
                return
            }
        }
    }

    /// What is decoded is encoded to the same pattern; NaN becomes quiet.
    func testEncodeEveryExactValue() {
        forEveryStorage { format, kernels, label in
            let exact = (UInt16.min...UInt16.max).map { Float(bitPattern: format.widened($0)) }
            check(exact, format, kernels, label)
        }
    }

    /// Half-way between neighbours, ties go to the even one; a little more or less decides.
    func testEncodeMidpointsAndTheirNeighbours() {
        forEveryStorage { format, kernels, label in
            var values: [Float] = []
            for pattern in 0..<format.infinity {
                let low = format.decode(pattern)
                // Above the largest finite number the next one would be twice the step away.
                let high =
                    pattern + 1 == format.infinity ? 2 * low - format.decode(pattern - 1) : format.decode(pattern + 1)
                let middle = Float((low + high) / 2)
                values += [middle, middle.nextUp, middle.nextDown, -middle, -middle.nextUp, -middle.nextDown]
            }
            check(values, format, kernels, label)
        }
    }

    func testEncodeExtremes() {
        let payloads = (0..<23).map { Float(bitPattern: 0x7f80_0000 | 1 << UInt32($0)) }
        let extremes: [Float] =
            [
                0, .infinity, .greatestFiniteMagnitude, .leastNormalMagnitude, .leastNonzeroMagnitude, 65504, 65519.99,
                65520, 65536, 0x1p-24, 0x1p-25, 0x1.000002p-25, 0x1p-26, 0x1p-14, 0x1.ffcp-15, 3.3895314e38, 3.39e38,
                Float(bitPattern: 0x7fff_ffff),
            ] + payloads
        forEveryStorage { format, kernels, label in check(extremes + extremes.map { -$0 }, format, kernels, label) }
    }

    /// Some of every binade, all 2³² patterns in a stride.
    func testEncodeAStrideThroughAllFloats() {
        forEveryStorage { format, kernels, label in
            check(stride(from: 0, through: UInt32.max, by: 2753).map(Float.init(bitPattern:)), format, kernels, label)
        }
    }

    /// float32 and float64 are copied as they are, NaN payloads and all.
    func testWholeFloatsAreCopied() {
        var random = Random(seed: 1)
        for instructionSet in InstructionSet.available {
            for count in 0...40 {
                let words = (0..<count).map { _ in random.next() }
                var copy = [UInt64](repeating: 0, count: count)
                instructionSet.kernels.float64.encode(words, count, &copy)
                XCTAssertEqual(copy, words, "\(instructionSet), \(count) float64")
                var halves = [UInt64](repeating: 0, count: count)
                instructionSet.kernels.float32.encode(words, 2 * count, &halves)
                XCTAssertEqual(halves, words, "\(instructionSet), \(2 * count) float32")
            }
        }
    }

    private func forEveryStorage(_ body: (SmallFormat, StorageKernels, String) -> Void) {
        for instructionSet in InstructionSet.available {
            body(.float16, instructionSet.kernels.float16, "float16, \(instructionSet)")
            body(.bfloat16, instructionSet.kernels.bfloat16, "bfloat16, \(instructionSet)")
        }
    }

    private func check(_ values: [Float], _ format: SmallFormat, _ kernels: StorageKernels, _ label: String) {
        // The kernels read whole groups of lanes.
        let groups = (values.count + 15) / 16
        let padded = values + [Float](repeating: 0, count: groups * 16 - values.count)
        var encoded = [UInt16](repeating: 0, count: values.count)
        kernels.encode(padded, values.count, &encoded)
        for (value, bits) in zip(values, encoded) where bits != format.encode(value) {
            XCTFail("\(label): \(hex(value.bitPattern)) became \(hex(bits)), expected \(hex(format.encode(value)))")
            return
        }
    }

    private func hex<I: BinaryInteger>(_ x: I) -> String { "0x" + String(x, radix: 16) }
}
