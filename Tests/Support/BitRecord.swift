// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Digests of results, in the file that the environment names, if any: `InstructionSetTests` compares those of several processes.
enum BitRecord {
    static let variable = "LAYERWISE_TEST_DIGESTS"

    private static let path = ProcessInfo.processInfo.environment[variable]

    /// Whether this process is one of those that are compared.
    static var isKept: Bool { path != nil }

    /// Appends a line to the file.
    static func add(_ label: String, _ digest: Digest?) throws {
        guard let path, let digest else { return }
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try file.seekToEnd()
        try file.write(contentsOf: Data("\(label): \(digest)\n".utf8))
        try file.close()
    }
}
