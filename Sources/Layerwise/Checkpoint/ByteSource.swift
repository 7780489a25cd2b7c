// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// Where the bytes of a checkpoint come from: a file, of which parts are read as they are needed, or memory.
struct ByteSource: ~Copyable {
    private let descriptor: Int32
    private let memory: UnsafeRawBufferPointer
    /// All bytes.
    let count: Int
    /// How messages name it.
    let name: String

    init(path: String) throws(LayerwiseError) {
        var descriptor: Int32
        // Of a pipe that nobody writes into, this does not wait; of a file it changes nothing.
        repeat { descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) } while descriptor < 0 && errno == EINTR
        if descriptor < 0 { throw .io("open \(path)", errno) }
        var status = stat()
        if fstat(descriptor, &status) != 0 {
            let reason = errno
            close(descriptor)
            throw .io("look at \(path)", reason)
        }
        if status.st_mode & S_IFMT != S_IFREG {
            close(descriptor)
            throw LayerwiseError(.io, "cannot read \(path): not a regular file")
        }
        self.descriptor = descriptor
        memory = UnsafeRawBufferPointer(start: nil, count: 0)
        count = Int(status.st_size)
        name = path
    }

    init(_ bytes: UnsafeRawBufferPointer) {
        descriptor = -1
        memory = bytes
        count = bytes.count
        name = "the checkpoint"
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Lends the bytes of a range, which lies within `count`.
    func withBytes<Result>(
        _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws(LayerwiseError) -> Result
    ) throws(LayerwiseError) -> Result {
        if descriptor < 0 { return try body(UnsafeRawBufferPointer(rebasing: memory[range])) }
        guard let start = Memory.allocateZeroed(range.count) else {
            throw .outOfMemory("\(range.count) bytes of \(name)")
        }
        defer { Memory.free(start, range.count) }
        let buffer = UnsafeMutableRawBufferPointer(start: start, count: range.count)
        try read(range.lowerBound, into: buffer)
        return try body(UnsafeRawBufferPointer(buffer))
    }

    private func read(_ offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(LayerwiseError) {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = pread(descriptor, rest.baseAddress, min(rest.count, 1 << 30), off_t(offset + done))
            if count < 0 && errno == EINTR { continue }
            if count < 0 { throw .io("read \(name)", errno) }
            if count == 0 { throw LayerwiseError(.corrupt, "\(name) became shorter while it was read") }
            done += count
        }
    }
}
