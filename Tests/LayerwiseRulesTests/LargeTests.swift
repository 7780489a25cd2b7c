// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// A tensor of more than 2³¹ elements.
///
/// The same 16 MiB of shared memory are mapped again and again, back to back, as its parameters, and pages that were never
/// written as its gradients; only the last pages are memory of their own.  All gradients but a few are zero, so that it
/// does not matter in which order the shared elements are written.
final class LargeTests: XCTestCase {
    private static let count = 1 << 31 + 17
    private static let piece = 16 << 20

    func testMoreThanTwoToThe31Elements() throws {
        let parameters = try Repeated(bytes: Self.count * 2, piece: Self.piece)
        let gradients = try Reservation(bytes: Self.count * 2)
        let touched = [Self.count - 1, (1 << 31) + 1, 1 << 31]
        for (i, index) in touched.enumerated() {
            DType.bfloat16.store(2, parameters.start, index)
            DType.bfloat16.store(Double(i + 1), gradients.start, index)
        }
        let untouched = (1 << 31) + 7
        DType.bfloat16.store(3, parameters.start, untouched)

        let optimizer = try Optimizer(SGD(lr: 0.25))
        try optimizer.addLayer(
            "layer",
            [
                TensorDescription(
                    "tensor", parameters: parameters.start, gradients: gradients.start, shape: [Self.count],
                    dtype: .bfloat16)
            ])
        try optimizer.step()
        for (i, index) in touched.enumerated() {
            XCTAssertEqual(DType.bfloat16.load(parameters.start, index), 2 - 0.25 * Double(i + 1), "element \(index)")
        }
        XCTAssertEqual(DType.bfloat16.load(parameters.start, untouched), 3)
        XCTAssertEqual(DType.bfloat16.load(parameters.start, Self.count), 0, "the element past the end was written")
        XCTAssertEqual(optimizer.summary.gradientNorm, 14.0.squareRoot())

        DType.bfloat16.store(.nan, gradients.start, Self.count - 1)
        assertRefused(.nonfinite, layer: 0, tensor: 0, element: Self.count - 1) { try optimizer.step() }
        XCTAssertEqual(DType.bfloat16.load(parameters.start, (1 << 31) + 1), 2 - 0.25 * 2)
    }
}

/// Address space without memory: reads give zeros, and what is written gets a page.
private final class Reservation {
    let start: UnsafeMutableRawPointer
    let bytes: Int

    init(bytes: Int) throws {
        let page = GuardedMemory.pageSize
        self.bytes = (bytes + page) / page * page
        let memory = mmap(
            nil, self.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        start = try XCTUnwrap(memory == MAP_FAILED ? nil : memory)
        // Fewer faults; where huge pages are refused, it takes longer.
        _ = madvise(start, self.bytes, MADV_HUGEPAGE)
    }

    deinit { munmap(start, bytes) }
}

/// The same piece of memory, again and again, and an end of its own.
private final class Repeated {
    private let reservation: Reservation

    var start: UnsafeMutableRawPointer { reservation.start }

    init(bytes: Int, piece: Int) throws {
        reservation = try Reservation(bytes: bytes)
        let name = "/layerwise-test-\(getpid())"
        let file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0o600)
        XCTAssertGreaterThanOrEqual(file, 0)
        shm_unlink(name)
        defer { close(file) }
        XCTAssertEqual(ftruncate(file, piece), 0)
        for offset in stride(from: 0, through: bytes - piece, by: piece) {
            let mapped = mmap(start + offset, piece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0)
            XCTAssertNotEqual(mapped, MAP_FAILED)
        }
    }
}
