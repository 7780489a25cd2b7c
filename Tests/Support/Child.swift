// SPDX-License-Identifier: Apache-2.0
import Foundation
import XCTest

/// Runs this test program again, with other surroundings, for some of its tests.
final class Child {
    struct Result {
        let status: Int32
        let output: String
    }

    /// The module that this file is compiled in.
    private static let module = String(reflecting: Child.self).prefix { $0 != "." }

    private let process = Process()
    private let output = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).txt")

    /// Starts it.  `tests` are such as "BitIdentityTests" or "BitIdentityTests/testThreads".
    init(_ tests: [String], environment: [String: String]) throws {
        XCTAssertTrue(FileManager.default.createFile(atPath: output.path, contents: nil))
        process.executableURL = URL(
            fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        process.arguments = [tests.map { "\(Self.module).\($0)" }.joined(separator: ",")]
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let handle = try FileHandle(forWritingTo: output)
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
    }

    deinit { try? FileManager.default.removeItem(at: output) }

    static func run(_ tests: [String], environment: [String: String]) throws -> Result {
        try Child(tests, environment: environment).wait()
    }

    /// Waits for its end.
    func wait() throws -> Result {
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus, output: String(decoding: try Data(contentsOf: output), as: UTF8.self))
    }
}
