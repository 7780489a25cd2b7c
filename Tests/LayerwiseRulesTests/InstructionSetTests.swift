// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Every instruction set passes the tests of the arithmetic, and gives the same bits.
final class InstructionSetTests: XCTestCase {
    func testCurrentIsForcedOrFastest() {
        let forced = ProcessInfo.processInfo.environment["LAYERWISE_ISA"].flatMap(InstructionSet.init(rawValue:))
        XCTAssertEqual(InstructionSet.current, forced ?? InstructionSet.available.last)
    }

    func testEveryInstructionSet() throws {
        var records: [InstructionSet: String] = [:]
        // Side by side.
        let started = try InstructionSet.available.map { instructionSet in
            let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).digests")
            XCTAssertTrue(FileManager.default.createFile(atPath: file.path, contents: nil))
            let child = try Child(
                [
                    "BitIdentityTests", "KernelAccuracyTests", "SizeAndAlignmentTests",
                    "InstructionSetTests/testCurrentIsForcedOrFastest", "WatchedPolicyTests/testSameBits",
                    "WatchedPolicyTests/testSameBitsOfMagnitudes",
                ],
                environment: ["LAYERWISE_ISA": instructionSet.rawValue, BitRecord.variable: file.path])
            return (instructionSet, file, child)
        }
        for (instructionSet, file, child) in started {
            defer { try? FileManager.default.removeItem(at: file) }
            let result = try child.wait()
            XCTAssertEqual(result.status, 0, "\(instructionSet):\n\(result.output)")
            records[instructionSet] = String(decoding: try Data(contentsOf: file), as: UTF8.self)
        }
        let first = try XCTUnwrap(records[InstructionSet.available[0]]).split(separator: "\n")
        XCTAssertGreaterThan(first.count, 200)
        for instructionSet in InstructionSet.available.dropFirst() {
            let other = try XCTUnwrap(records[instructionSet]).split(separator: "\n")
            XCTAssertEqual(first.count, other.count)
            for (a, b) in zip(first, other) where a != b {
                XCTFail("\(InstructionSet.available[0]) has \(a), \(instructionSet) has \(b)")
            }
        }
    }

    /// A name that the processor does not have is ignored.
    func testUnknownNameIsIgnored() throws {
        let result = try Child.run(
            ["InstructionSetTests/testCurrentIsForcedOrFastest"], environment: ["LAYERWISE_ISA": "abacus"])
        XCTAssertEqual(result.status, 0, result.output)
    }
}
