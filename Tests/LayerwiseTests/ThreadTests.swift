// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// The thread pool that all optimizers of a process share.
final class ThreadTests: XCTestCase {
    /// Enough elements that a step wakes other threads.
    private static let shapes = [[[300, 300]], [[60000]], [[5]]]

    func testAvailableThreads() {
        XCTAssertGreaterThanOrEqual(availableThreads(), 1)
        XCTAssertLessThanOrEqual(availableThreads(), ProcessInfo.processInfo.processorCount)
    }

    /// The affinity of the process counts.
    func testAvailableThreadsFollowAffinity() {
        let all = affinity(of: "sched_getaffinity", [UInt8](repeating: 0, count: 128))
        var one = [UInt8](repeating: 0, count: all.count)
        if let byte = all.firstIndex(where: { $0 != 0 }) { one[byte] = all[byte] & (~all[byte] &+ 1) }
        _ = affinity(of: "sched_setaffinity", one)
        XCTAssertEqual(availableThreads(), 1)
        _ = affinity(of: "sched_setaffinity", all)
    }

    /// Calls a function that Swift's Glibc module does not show, with a mask of processors; returns the mask.
    private func affinity(of function: String, _ mask: [UInt8]) -> [UInt8] {
        typealias Function = @convention(c) (Int32, Int, UnsafeMutableRawPointer) -> Int32
        var mask = mask
        guard let symbol = dlsym(nil, function) else {
            XCTFail("no \(function)")
            return mask
        }
        XCTAssertEqual(unsafeBitCast(symbol, to: Function.self)(0, mask.count, &mask), 0)
        return mask
    }

    /// Whoever finds the pool taken works alone: every optimizer gives the bits that it gives by itself.
    func testOptimizersOnManyThreads() throws {
        for name in ["adamw", "lamb"] {
            let expected = try stepped(name, threads: 1)
            let failures = Failures()
            onThreads(8) { index in
                for _ in 0..<5 {
                    do {
                        if try Self.stepped(name, threads: 1 + index % 4) != expected {
                            failures.add("\(name): other bits")
                        }
                    } catch { failures.add("\(error)") }
                }
            }
            XCTAssertEqual(failures.all, [])
        }
    }

    /// Where threads cannot be made, a step runs on those there are.
    func testStepWithoutMemoryForThreads() throws {
        let expected = try stepped("lamb", threads: 1)
        let model = try Model(try RuleCase("lamb").rule, shapes: Self.shapes)
        try model.optimizer.set(settings(["threads": 512]))
        // Makes what the step needs for 512 threads, and the process has enough memory for it.
        _ = try model.optimizer.info(0)
        var old = rlimit()
        XCTAssertEqual(getrlimit(Int32(RLIMIT_AS.rawValue), &old), 0)
        var none = rlimit(rlim_cur: 1 << 20, rlim_max: old.rlim_max)
        XCTAssertEqual(setrlimit(Int32(RLIMIT_AS.rawValue), &none), 0)
        let result = Result { try model.optimizer.step() }
        XCTAssertEqual(setrlimit(Int32(RLIMIT_AS.rawValue), &old), 0)
        XCTAssertNoThrow(try result.get())
        try model.optimizer.step()
        XCTAssertEqual(try model.digest(), expected)
        XCTAssertLessThan(try threadCount(), 256, "the limit had no effect")
    }

    /// Workers take no signals, so that they reach the threads of the program.
    func testWorkersBlockAllSignals() throws {
        _ = try stepped("adamw", threads: 4)
        let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")
        let blocked = tasks.filter { task in
            // A thread may have ended in the meantime.
            let status = (try? String(contentsOfFile: "/proc/self/task/\(task)/status", encoding: .utf8)) ?? ""
            // All but SIGKILL and SIGSTOP, which cannot be blocked, and the two that the C library keeps for itself.
            return status.contains("SigBlk:\tfffffffe7ffbfeff")
        }
        XCTAssertGreaterThanOrEqual(blocked.count, 3, "\(tasks.count) threads")
    }

    private func threadCount() throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count
    }

    private func stepped(_ name: String, threads: Int) throws -> Digest { try Self.stepped(name, threads: threads) }

    /// Two steps of a model of its own, the second announced.
    private static func stepped(_ name: String, threads: Int) throws -> Digest {
        let model = try Model(try RuleCase(name).rule, shapes: shapes)
        try model.optimizer.set(settings(["threads": .number(Double(threads))]))
        try model.optimizer.step()
        model.optimizer.expectStep()
        try model.optimizer.step()
        return try model.digest()
    }
}

/// What went wrong on any thread.
private final class Failures: @unchecked Sendable {
    private let lock = NSLock()
    private var messages: [String] = []

    func add(_ message: String) { lock.withLock { messages.append(message) } }
    var all: [String] { lock.withLock { messages } }
}
