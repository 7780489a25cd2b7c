// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// States and the work of steps in memory that the caller gives.
final class CallersMemoryTests: XCTestCase {
    private static let shapes = [[[20], [3, 4]], [[130, 140]], [[7]]]

    private func settings(_ change: (inout Settings) -> Void = { _ in }) -> Settings {
        var settings = Settings()
        settings.memory = .caller
        change(&settings)
        return settings
    }

    /// A model, and the memory that it was given: of exactly the size that it needs.
    private func given(
        _ rule: any DeclaredRule, _ change: (inout Settings) -> Void = { _ in }
    ) throws -> (Model, UnsafeMutableRawBufferPointer) {
        let model = try Model(rule, shapes: Self.shapes, settings: settings(change))
        let size = try model.optimizer.memorySize()
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
        memory.initializeMemory(as: UInt8.self, repeating: 0xa5)
        try model.optimizer.setMemory(memory)
        XCTAssertEqual(try model.optimizer.memorySize(), size)
        return (model, memory)
    }

    func testEveryRuleHasTheSameBits() throws {
        for ruleCase in try RuleCase.representatives() {
            let plain = try Model(ruleCase.rule, shapes: Self.shapes)
            let (model, memory) = try given(ruleCase.rule)
            defer { memory.deallocate() }
            for model in [plain, model] {
                for _ in 0..<3 { try model.optimizer.step() }
            }
            XCTAssertEqual(try model.digest(), try plain.digest(), "\(ruleCase.rule)")
        }
    }

    /// Four times the columns need four times the memory, not sixteen times.
    func testMemoryGrowsWithTheColumns() throws {
        for ruleCase in try RuleCase.factored() {
            func size(_ shapes: [[Int]]) throws -> Int {
                try Model(ruleCase.rule, shapes: [shapes], settings: settings()).optimizer.memorySize()
            }
            for rows in [[], [4], [2, 2]] {
                let (small, large) = (try size([rows + [1 << 17]]), try size([rows + [1 << 19]]))
                XCTAssertLessThan(large, 5 * small, "\(ruleCase.rule), \(rows)")
            }
        }
    }

    func testMemoryThatIsTooSmallIsRefused() throws {
        let model = try Model(LAMB(lr: 0.1), shapes: Self.shapes, settings: settings())
        let size = try model.optimizer.memorySize()
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
        defer { memory.deallocate() }
        assertRefused(
            .bufferTooSmall, message: "the optimizer needs \(size) bytes of memory, the buffer has \(size - 1)"
        ) { try model.optimizer.setMemory(UnsafeMutableRawBufferPointer(rebasing: memory.dropLast())) }
        assertRefused(.invalidArgument) { try model.optimizer.step() }
        try model.optimizer.setMemory(memory)
        try model.optimizer.step()
    }

    /// A change that needs more is refused and changes nothing; other memory takes over what is kept.
    func testMoreMemory() throws {
        let plain = try Model(SGD(lr: 0.1), shapes: Self.shapes)
        let (model, memory) = try given(SGD(lr: 0.1))
        defer { memory.deallocate() }
        for model in [plain, model] { try model.optimizer.step() }
        let before = try model.fullDigest()
        assertRefused(.bufferTooSmall) { try model.optimizer.set([Setting("momentum", 0.9)]) }
        XCTAssertEqual(try model.fullDigest(), before)
        XCTAssertEqual(try model.digest(), try plain.digest())
        let more = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 * memory.count + (1 << 18), alignment: 64)
        defer { more.deallocate() }
        try model.optimizer.setMemory(more)
        memory.initializeMemory(as: UInt8.self, repeating: 0xff)
        for model in [plain, model] {
            try model.optimizer.set([Setting("momentum", 0.9)])
            try model.optimizer.prepare()
            for _ in 0..<3 { try model.optimizer.step() }
        }
        XCTAssertEqual(try model.digest(), try plain.digest())
    }

    func testTheMemoryIsTheLibrarysByDefault() throws {
        let model = try Model(SGD(lr: 0.1), shapes: Self.shapes)
        assertRefused(.invalidArgument) { _ = try model.optimizer.memorySize() }
        assertRefused(.outOfRange) {
            _ = try Optimizer(SGD(lr: 0.1), settings: self.settings { $0.threads = 4 })
        }
        assertRefused(.outOfRange) { _ = try Optimizer(SGD(lr: 0.1), settings: self.settings { $0.dryRun = true }) }
    }
}
