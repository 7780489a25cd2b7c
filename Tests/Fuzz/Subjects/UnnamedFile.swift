// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A file without a name in any folder, for what reads files by their path.
enum UnnamedFile {
    private nonisolated(unsafe) static let stream = tmpfile()
    private static let descriptor = stream.map { fileno($0) } ?? -1

    /// By which it is opened.
    static let path = "/proc/self/fd/\(descriptor)"

    /// Gives it other bytes.
    static func fill(_ bytes: UnsafeRawBufferPointer) {
        guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, bytes.baseAddress, bytes.count, 0) == bytes.count else {
            fail("cannot write \(bytes.count) bytes into a file without a name: \(errno)")
        }
    }
}
