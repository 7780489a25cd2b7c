// SPDX-License-Identifier: Apache-2.0
import CLayerwiseReserve

/// Memory for the strings and arrays of a call on this thread, while it lives.  Swift's run time ends the process where malloc
/// has none; with a reserve, in the shared library, the call goes on and comes to a clean end.
public struct Reserve: ~Copyable {
    private let ticket: Int32

    public init(_ bytes: Int) throws(LayerwiseError) {
        ticket = lwr_open(bytes)
        // A literal, which takes no memory.
        if ticket < 0 { throw LayerwiseError(.outOfMemory, "no memory for the work of a save or load") }
    }

    /// For a header of so many bytes.  Where all came from reserves, in blocks whose sizes are powers of two, to make one took
    /// up to 13.5 times as many, to read one 9 times, and to refuse another optimizer's 13.5 times: at 5 to 5,000 tensors, with
    /// names of 1 to 255 bytes and two to four states.
    init(header bytes: Int) throws(LayerwiseError) { try self.init((1 << 16) + bytes * 16) }

    deinit { lwr_close(ticket) }

    /// Keeps it until here.
    public func last() {}
}

extension Optimizer {
    /// No less than the bytes of the header that a save writes, for the names that there are.
    var headerBound: Int {
        let states = type(of: rule).declaration.states.count + 3
        var bytes = 4096
        for entry in entries {
            bytes += 512
            for tensor in entry.tensors {
                // Each key stands there twice, with escapes.
                bytes += states * (4 * (entry.name.utf8.count + tensor.name.utf8.count) + 256)
            }
        }
        return bytes
    }
}
