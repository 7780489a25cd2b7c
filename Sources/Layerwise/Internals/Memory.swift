// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// Memory that the library owns, from the C allocator: Swift's own aborts the process when there is none.
enum Memory {
    /// From this size on, memory comes in whole huge pages, untouched until the thread that steps it does.
    static let hugePage = 2 << 20
    private static let page = 4096

    /// From this size on, memory begins at a chosen offset in its page.
    static let staggered = 64 << 10

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
            #if os(Linux) || os(Android)
            // Advice only: where it is refused, pages stay small.
            _ = madvise(memory, padded, MADV_HUGEPAGE)
            #endif
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
        #if os(Linux) || os(Android)
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
        #else
        // Elsewhere such pages need not come back as zeros.
        memset(memory, 0, bytes)
        #endif
    }

    static func free(_ memory: UnsafeMutableRawPointer?, _ bytes: Int) {
        guard let memory else { return }
        let start = bytes >= staggered ? memory - Int(bitPattern: memory) & (page - 1) : memory
        if bytes >= hugePage {
            munmap(start, bytes + page + 64)
        } else {
            LayerwisePlatform.free(start)
        }
    }
}

/// Where an optimizer gets the memory that grows with its tensors: from the C allocator, or from the caller.
///
/// The caller's memory is handed out from its beginning to its end, and no part of it is taken back.
struct MemorySource {
    private enum Kind { case library, promised, given, counted }

    private let kind: Kind
    /// Where the caller's memory begins, rounded up to a cache line, and its bytes from there.
    private let start: UnsafeMutableRawPointer?
    private let room: Int
    /// The bytes that the caller gave.
    let size: Int
    /// The bytes that were handed out.
    private(set) var used = 0

    /// The most bytes that are left out at the beginning of memory without alignment.
    static let slack = 63

    private init(_ kind: Kind, _ start: UnsafeMutableRawPointer? = nil, room: Int = .max, size: Int = 0) {
        (self.kind, self.start, self.room, self.size) = (kind, start, room, size)
    }

    /// The C allocator.
    static var library: Self { Self(.library) }
    /// The caller, who has not given the memory yet.
    static var promised: Self { Self(.promised, room: 0) }
    /// None: what is asked for is added up.
    static var counted: Self { Self(.counted) }

    /// The caller's memory, which needs no alignment.
    init(_ memory: UnsafeMutableRawPointer, _ size: Int) {
        let skipped = -Int(bitPattern: memory) & Self.slack
        self.init(.given, memory + skipped, room: size - skipped, size: size)
    }

    var isLibrary: Bool { kind == .library }
    var isPromised: Bool { kind == .promised }
    var isGiven: Bool { kind == .given }

    /// Allocates zeroed memory, aligned to a cache line, and returns nil where that fails.  The library's begins where `pageOffset` says
    /// (`Memory.allocateZeroed`).
    mutating func allocateZeroed(_ bytes: Int, pageOffset: Int = 0) -> UnsafeMutableRawPointer? {
        if kind == .library { return Memory.allocateZeroed(bytes, pageOffset: pageOffset) }
        // What follows a large piece begins elsewhere in its page, for the reason that `Memory` gives.
        let distance = bytes >= Memory.staggered ? 13 * 64 : 0
        let (padded, overflow) = max(bytes, 1).addingReportingOverflow(distance + 63)
        if bytes < 0 || overflow { return nil }
        let rounded = padded & ~63
        let (end, isPast) = used.addingReportingOverflow(rounded)
        if isPast || end > room { return nil }
        defer { used = end }
        guard let start else { return nil }
        memset(start + used, 0, bytes)
        return start + used
    }

    /// The bytes that are left of the caller's memory.
    var unused: Int { room - used }

    /// Gives memory of the library's back.
    func free(_ memory: UnsafeMutableRawPointer?, _ bytes: Int) {
        if kind == .library { Memory.free(memory, bytes) }
    }
}

/// Memory of a step, whose content is not kept.
struct WorkMemory: ~Copyable {
    private(set) var start: UnsafeMutableRawPointer?
    private(set) var bytes = 0
    /// The most bytes that were asked for.
    private var wanted = 0
    private var isOwned = true

    init() {}

    deinit { if isOwned { Memory.free(start, bytes) } }

    /// Grows to so many bytes; false if there is no memory, and then nothing has changed.  Memory that the caller has promised is
    /// only asked for.
    mutating func reserve(_ bytes: Int, from source: inout MemorySource) -> Bool {
        wanted = max(wanted, bytes)
        if self.bytes >= bytes || source.isPromised { return true }
        return replace(bytes, from: &source)
    }

    /// Takes its bytes from another source; if these are only counted, nothing changes.
    mutating func move(to source: inout MemorySource) { if wanted > 0 { _ = replace(wanted, from: &source) } }

    private mutating func replace(_ bytes: Int, from source: inout MemorySource) -> Bool {
        guard let memory = source.allocateZeroed(bytes) else { return false }
        if isOwned { Memory.free(start, self.bytes) }
        (start, self.bytes, isOwned) = (memory, bytes, source.isLibrary)
        return true
    }
}

/// A growable array of plain values outside Swift's heap, whose elements are reached without checks, reference counts or
/// copies on the way of a step.
struct UnsafeArray<Element: BitwiseCopyable>: ~Copyable {
    private(set) var base: UnsafeMutablePointer<Element>?
    private(set) var count = 0
    private var capacity = 0
    /// The most elements for which room was asked.
    private var wanted = 0
    private var isOwned = true

    init() {}

    deinit { if isOwned { free(base) } }

    /// Makes room for `total` elements in memory of the C allocator.  Returns false, and changes nothing, where that fails.
    mutating func reserve(_ total: Int) -> Bool {
        wanted = max(wanted, total)
        if total <= capacity { return true }
        let (wanted, overflow) = max(total, capacity * 2, 16).multipliedReportingOverflow(
            by: MemoryLayout<Element>.stride)
        guard isOwned, !overflow, let memory = realloc(base, wanted) else { return false }
        base = memory.assumingMemoryBound(to: Element.self)
        capacity = wanted / MemoryLayout<Element>.stride
        return true
    }

    /// Makes room for `total` elements, in the caller's memory where the optimizer was given some.  Returns false where that fails.
    mutating func reserve(_ total: Int, from source: inout MemorySource) -> Bool {
        if !source.isGiven { return reserve(total) }
        wanted = max(wanted, total)
        return total <= capacity || replace(total, from: &source)
    }

    /// Moves to another source; if the bytes are only counted, nothing changes.
    mutating func move(to source: inout MemorySource) { if wanted > 0 { _ = replace(wanted, from: &source) } }

    private mutating func replace(_ total: Int, from source: inout MemorySource) -> Bool {
        let stride = MemoryLayout<Element>.stride
        let (bytes, overflow) = total.multipliedReportingOverflow(by: stride)
        guard !overflow, let memory = source.allocateZeroed(bytes) else { return false }
        if let base { memcpy(memory, base, count * stride) }
        if isOwned { free(base) }
        base = memory.assumingMemoryBound(to: Element.self)
        (capacity, isOwned) = (total, false)
        return true
    }

    /// Appends an element; room must have been reserved.
    mutating func append(_ element: Element) {
        guard count < capacity, let base else { return }
        base[count] = element
        count += 1
    }

    mutating func removeAll() { (count, wanted) = (0, 0) }

    mutating func removeLast() { if count > 0 { count -= 1 } }

    /// The elements, for indices below `count`; not to be read where there are none.
    var elements: UnsafeMutablePointer<Element> {
        base ?? UnsafeMutablePointer(bitPattern: MemoryLayout<Element>.alignment).unsafelyUnwrapped
    }
}
