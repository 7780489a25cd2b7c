// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Memory that the library owns, from the C allocator: Swift's own aborts the process when there is none.
enum Memory {
    /// From this size on, memory comes in whole huge pages, untouched until the thread that steps it does.
    static let hugePage = 2 << 20
    private static let page = 4096

    /// From this size on, memory begins at a chosen offset in its page.
    private static let staggered = 64 << 10

    /// `bytes` zeroed bytes, aligned to a cache line; nil if there are none.
    ///
    /// A step walks through a tensor's parameters, gradient and states side by side.  Where these begin at the same offset in a
    /// page, their elements share the few places that a cache has for such addresses, and a processor may take a store to one
    /// for a store to another.  So memory of 64 KiB and more begins `pageOffset` bytes into a page, rounded to a cache line.
    static func allocateZeroed(_ bytes: Int, pageOffset: Int = 0) -> UnsafeMutableRawPointer? {
        let (padded, overflow) = bytes.addingReportingOverflow(page + 64)
        if bytes < 0 || overflow { return nil }
        let offset = pageOffset & (page - 1) & ~63
        if bytes >= hugePage {
            guard let memory = mmap(nil, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                memory != MAP_FAILED
            else { return nil }
            // Advice only: where it is refused, pages stay small.
            _ = madvise(memory, padded, MADV_HUGEPAGE)
            return memory + offset
        }
        var memory: UnsafeMutableRawPointer?
        if bytes >= staggered {
            guard posix_memalign(&memory, page, padded) == 0, let memory else { return nil }
            memset(memory + offset, 0, bytes)
            return memory + offset
        }
        guard posix_memalign(&memory, 64, max(bytes, 64)) == 0, let memory else { return nil }
        memset(memory, 0, max(bytes, 64))
        return memory
    }

    /// Refuses work for which there is no memory, before anything of it is done.
    ///
    /// Swift's strings and arrays end the process where malloc has nothing for them.  This asks the system for `bytes` of address
    /// space, touches none of it and gives it back, so that what the work then takes is there, unless another thread has taken
    /// it.  The C library takes more from the system in pieces of 1 MiB, so there must be that much besides.
    static func require(_ bytes: Int) throws(LayerwiseError) {
        let wanted = max(0, min(bytes, 1 << 46)) + (2 << 20)
        guard let memory = mmap(nil, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            memory != MAP_FAILED
            // A literal, which takes no memory.
        else { throw LayerwiseError(.outOfMemory, "no memory for the work of a save or load") }
        munmap(memory, wanted)
    }

    /// Zeroes memory that `allocateZeroed` gave, and gives whole pages of large memory back until they are written to again.
    static func clear(_ memory: UnsafeMutableRawPointer, _ bytes: Int) {
        let start = UInt(bitPattern: memory)
        let first = (start + UInt(page) - 1) & ~UInt(page - 1)
        let end = (start + UInt(bytes)) & ~UInt(page - 1)
        guard bytes >= hugePage, let pages = UnsafeMutableRawPointer(bitPattern: first),
            madvise(pages, Int(end - first), MADV_DONTNEED) == 0
        else {
            memset(memory, 0, bytes)
            return
        }
        memset(memory, 0, Int(first - start))
        memset(pages + Int(end - first), 0, Int(start + UInt(bytes) - end))
    }

    static func free(_ memory: UnsafeMutableRawPointer?, _ bytes: Int) {
        guard let memory else { return }
        let start = bytes >= staggered ? memory - Int(bitPattern: memory) & (page - 1) : memory
        if bytes >= hugePage {
            munmap(start, bytes + page + 64)
        } else {
            Glibc.free(start)
        }
    }
}

/// A growable array of plain values in memory of the C allocator, whose elements are reached without checks, reference
/// counts or copies on the way of a step.
struct UnsafeArray<Element: BitwiseCopyable>: ~Copyable {
    private(set) var base: UnsafeMutablePointer<Element>?
    private(set) var count = 0
    private var capacity = 0

    init() {}

    deinit { free(base) }

    /// Room for `total` elements; false if there is no memory, and then nothing has changed.
    mutating func reserve(_ total: Int) -> Bool {
        if total <= capacity { return true }
        let (wanted, overflow) = max(total, capacity * 2, 16).multipliedReportingOverflow(
            by: MemoryLayout<Element>.stride)
        guard !overflow, let memory = realloc(base, wanted) else { return false }
        base = memory.assumingMemoryBound(to: Element.self)
        capacity = wanted / MemoryLayout<Element>.stride
        return true
    }

    /// Appends an element; room must have been reserved.
    mutating func append(_ element: Element) {
        guard count < capacity, let base else { return }
        base[count] = element
        count += 1
    }

    mutating func removeAll() { count = 0 }

    mutating func removeLast() { if count > 0 { count -= 1 } }

    /// The elements, for indices below `count`; not to be read where there are none.
    var elements: UnsafeMutablePointer<Element> {
        base ?? UnsafeMutablePointer(bitPattern: MemoryLayout<Element>.alignment).unsafelyUnwrapped
    }
}
