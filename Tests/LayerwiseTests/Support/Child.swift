// SPDX-License-Identifier: Apache-2.0
import Foundation
import XCTest

/// Runs this test program again, with other surroundings, for some of its tests.
enum Child {
    struct Result {
        let status: Int32
        let output: String
    }

    /// `tests` are such as "BitIdentityTests" or "BitIdentityTests/testThreads".
    static func run(_ tests: [String], environment: [String: String]) throws -> Result {
        let output = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).txt")
        XCTAssertTrue(FileManager.default.createFile(atPath: output.path, contents: nil))
        defer { try? FileManager.default.removeItem(at: output) }
        let process = Process()
        process.executableURL = URL(
            fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        process.arguments = [tests.map { "LayerwiseTests.\($0)" }.joined(separator: ",")]
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let handle = try FileHandle(forWritingTo: output)
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus, output: String(decoding: try Data(contentsOf: output), as: UTF8.self))
    }
}
