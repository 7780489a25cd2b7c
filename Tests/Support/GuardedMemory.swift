// SPDX-License-Identifier: Apache-2.0
import Glibc
import XCTest

/// Memory between two pages that must not be touched: a read or write past either end is a fault.
final class GuardedMemory {
    private let mapping: UnsafeMutableRawPointer
    private let length: Int
    let start: UnsafeMutableRawPointer
    let bytes: Int

    static let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))

    /// At least `bytes` bytes, in whole pages.
    init(bytes: Int) throws {
        let page = Self.pageSize
        self.bytes = max(1, (bytes + page - 1) / page) * page
        length = self.bytes + 2 * page
        let memory = mmap(nil, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        mapping = try XCTUnwrap(memory == MAP_FAILED ? nil : memory)
        start = mapping + page
        XCTAssertEqual(mprotect(start, self.bytes, PROT_READ | PROT_WRITE), 0)
    }

    deinit { munmap(mapping, length) }

    /// Forbids writing too.
    func protectFromWriting(_ isProtected: Bool) {
        XCTAssertEqual(mprotect(start, bytes, isProtected ? PROT_READ : PROT_READ | PROT_WRITE), 0)
    }
}
