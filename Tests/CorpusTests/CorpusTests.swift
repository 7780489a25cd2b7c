// SPDX-License-Identifier: Apache-2.0
import Foundation
import XCTest

/// The corpus of the fuzzer and its seeds, each offered once, unchanged.  An input ends at a page that must not be touched, so that
/// a read past it is a fault.  A find ends the process, as under the fuzzer (Tests/Fuzz); the line "FOUND" says what and for which input.
final class CorpusTests: XCTestCase {
    func testSeeds() throws {
        for (name, bytes) in seeds() { try offer(bytes, name) }
        XCTAssertGreaterThanOrEqual(Tally.taken, 20)
    }

    func testCorpus() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Fuzz/Corpus")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        XCTAssertGreaterThan(files.count, 80)
        let (taken, refused) = (Tally.taken, Tally.refused.values.reduce(0, +))
        for file in files { try offer(try Data(contentsOf: folder.appendingPathComponent(file)), file) }
        XCTAssertGreaterThan(Tally.taken, taken)
        XCTAssertGreaterThan(Tally.refused.values.reduce(0, +), refused)
    }

    /// A checkpoint and a text of a run state, cut off at every length.
    func testEveryLength() throws {
        for (name, bytes) in seeds() where ["0", "text-0-0"].contains(name) {
            for length in 1..<bytes.count { try offer(bytes.prefix(length), "\(name), \(length) bytes of it") }
        }
    }

    private func offer(_ bytes: some Collection<UInt8>, _ name: String) throws {
        Tally.input = name
        let memory = try GuardedMemory(bytes: bytes.count)
        let input = UnsafeMutableRawBufferPointer(
            start: memory.start + memory.bytes - bytes.count, count: bytes.count)
        input.copyBytes(from: bytes)
        withExtendedLifetime(memory) { offerInput(UnsafeRawBufferPointer(input)) }
    }
}
