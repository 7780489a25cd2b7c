// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// Any size and any alignment, between pages that fault and bytes that are watched.
final class SizeAndAlignmentTests: XCTestCase {
    private static let sizes =
        Array(0...67) + [511, 512, 513, 1023, 1024, 1025, 16383, 16384, 16385, 32767, 32768, 32769]

    private static let conditions: [Options] = [
        [:], ["telemetry": 1, "clip_value": 0.05, "clip_global_norm": 100],
    ]

    /// One rule without norms, and one that measures; the first is also checked element by element.
    private static func rules() throws -> [RuleCase] {
        [
            try RuleCase("sgd", ["momentum": 0.9, "lr": 0.1]), try RuleCase("adamw", ["lr": 0.1, "amsgrad": 1]),
            try RuleCase("lamb", ["lr": 0.1]),
        ]
    }

    /// Buffers end where a page begins that faults, gradients cannot be written, and results are those of the same
    /// elements in ordinary memory.
    func testBuffersThatEndAtAGuardPage() throws { try check(.end, offsets: [0], sizes: Self.sizes) }

    /// Buffers begin right behind a page that must not be touched.
    func testBuffersThatStartAtAGuardPage() throws { try check(.start, offsets: [0], sizes: Self.sizes) }

    func testEveryOffsetFromACacheLine() throws {
        try check(.start, offsets: Array(1..<64), sizes: [1, 15, 16, 17, 67, 513])
    }

    /// Element i of a rule without norms does not depend on how many follow.
    func testResultsDoNotDependOnTheSize() throws {
        for ruleCase in try Self.rules().prefix(2) {
            for kind in Kind.all {
                let whole = try Model(ruleCase.rule, kind, sizes: [32769])
                try whole.optimizer.step()
                for size in Self.sizes {
                    let part = try Model(ruleCase.rule, kind, sizes: [size])
                    try part.optimizer.step()
                    XCTAssertTrue(
                        part.parameters[0][0].startsAlike(whole.parameters[0][0], size),
                        "\(ruleCase), \(kind), \(InstructionSet.current), size \(size)")
                }
            }
        }
    }

    private enum Place {
        case start, end
    }

    private func check(_ place: Place, offsets: [Int], sizes: [Int]) throws {
        for kind in Kind.all {
            let memory = try GuardedPair(kind, largest: sizes.max() ?? 0)
            let source = try Model(SGD(), kind, sizes: [sizes.max() ?? 0])
            for (number, ruleCase) in try Self.rules().enumerated() {
                for (order, options) in Self.conditions.enumerated() {
                    // Under other instruction sets every pair of rule, condition and size, but not every three of them.
                    for size in sizes where !BitRecord.isKept || (number + order + size) % 2 == 0 {
                        let expected = try step(
                            ruleCase, kind, options, Buffers(source, size), size)
                        for offset in offsets where offset % kind.dtype.size == 0 {
                            let label =
                                "\(ruleCase), \(kind), \(InstructionSet.current), \(options), size \(size), \(place), "
                                + "offset \(offset)"
                            try memory.place(source, size, offset, atEnd: place == .end)
                            let result = try step(ruleCase, kind, options, memory.buffers, size)
                            XCTAssertEqual(result, expected, label)
                            XCTAssertTrue(memory.surroundingsAreIntact(), "\(label): bytes outside were written")
                        }
                    }
                }
            }
        }
    }

    /// Two steps; returns a digest of the parameters.
    private func step(
        _ ruleCase: RuleCase, _ kind: Kind, _ options: Options, _ buffers: Buffers, _ size: Int
    ) throws -> Digest {
        let optimizer = try Optimizer(ruleCase.rule)
        try optimizer.set(settings(options))
        try optimizer.addLayer(
            "layer",
            [
                TensorDescription(
                    "tensor", parameters: buffers.parameters, gradients: buffers.gradients, shape: [size],
                    dtype: kind.dtype, gradientDType: kind.gradientDType, master: kind.master)
            ])
        return try withExtendedLifetime(buffers) {
            try optimizer.step()
            try optimizer.step()
            var digest = Digest()
            digest.add(UnsafeRawBufferPointer(start: buffers.parameters, count: size * kind.dtype.size))
            return digest
        }
    }
}

/// Where parameters and gradients are.
private struct Buffers {
    var parameters: UnsafeMutableRawPointer
    var gradients: UnsafeRawPointer
    private var owners: [Buffer] = []

    init(_ parameters: UnsafeMutableRawPointer, _ gradients: UnsafeRawPointer) {
        self.parameters = parameters
        self.gradients = gradients
    }

    /// Copies of the first elements of a model, in ordinary memory.
    init(_ source: Model, _ size: Int) {
        let copies = [source.parameters[0][0], source.gradients[0][0]].map { buffer in
            let copy = Buffer(buffer.dtype, count: size)
            memcpy(copy.start, buffer.start, size * buffer.dtype.size)
            return copy
        }
        self.init(copies[0].start, UnsafeRawPointer(copies[1].start))
        owners = copies
    }
}

/// Guarded memory for parameters and gradients, of which each test takes a piece.
private final class GuardedPair {
    private let kind: Kind
    private let parameters: GuardedMemory
    private let gradients: GuardedMemory
    private(set) var buffers: Buffers
    private var piece = 0..<0

    init(_ kind: Kind, largest: Int) throws {
        self.kind = kind
        parameters = try GuardedMemory(bytes: largest * kind.dtype.size + 64)
        gradients = try GuardedMemory(bytes: largest * kind.gradientDType.size + 64)
        buffers = Buffers(parameters.start, gradients.start)
    }

    /// Copies the first `size` elements to the start of the memory, `offset` bytes in, or to its very end.
    func place(_ source: Model, _ size: Int, _ offset: Int, atEnd: Bool) throws {
        gradients.protectFromWriting(false)
        let parameterBytes = size * kind.dtype.size
        let gradientBytes = size * kind.gradientDType.size
        let start = atEnd ? parameters.bytes - parameterBytes : offset
        // A gradient of another type keeps the alignment of its own elements.
        let gradientStart =
            atEnd ? gradients.bytes - gradientBytes : offset / kind.gradientDType.size * kind.gradientDType.size
        piece = start..<start + parameterBytes
        for i in near(piece) { parameters.start.storeBytes(of: canary(i), toByteOffset: i, as: UInt8.self) }
        memcpy(parameters.start + start, source.parameters[0][0].start, parameterBytes)
        memcpy(gradients.start + gradientStart, source.gradients[0][0].start, gradientBytes)
        gradients.protectFromWriting(true)
        buffers = Buffers(parameters.start + start, gradients.start + gradientStart)
    }

    func surroundingsAreIntact() -> Bool {
        near(piece).allSatisfy {
            piece.contains($0) || parameters.start.load(fromByteOffset: $0, as: UInt8.self) == canary($0)
        }
    }

    /// The piece and up to 256 bytes on either side.
    private func near(_ piece: Range<Int>) -> Range<Int> {
        max(0, piece.lowerBound - 256)..<min(parameters.bytes, piece.upperBound + 256)
    }

    private func canary(_ i: Int) -> UInt8 { UInt8(truncatingIfNeeded: i &* 37 &+ 11) }
}
