// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise

/// Steps optimizers at once that each have a part of every tensor, each on a thread of its own; what each threw.
func stepTogether(_ optimizers: [Optimizer]) -> [LayerwiseError?] {
    let meeting = Meeting(optimizers.count)
    let errors = Errors(optimizers.count)
    nonisolated(unsafe) let optimizers = optimizers
    onThreads(optimizers.count) { index in
        do {
            try optimizers[index].step(StepOptions(reduce: { meeting.add($0) }))
        } catch { errors.set(index, error as? LayerwiseError) }
    }
    return errors.all
}

private final class Errors: @unchecked Sendable {
    private let lock = NSLock()
    private(set) var all: [LayerwiseError?]

    init(_ count: Int) { all = Array(repeating: nil, count: count) }

    func set(_ index: Int, _ error: LayerwiseError?) { lock.withLock { all[index] = error } }
}

/// Where threads meet to add up their numbers.
private final class Meeting: @unchecked Sendable {
    private let condition = NSCondition()
    private let count: Int
    private var present = 0
    private var round = 0
    private var sums: [Double] = []
    private var result: [Double] = []

    init(_ count: Int) { self.count = count }

    func add(_ numbers: UnsafeMutableBufferPointer<Double>) -> Bool {
        condition.lock()
        defer { condition.unlock() }
        sums = present == 0 ? Array(numbers) : zip(sums, numbers).map { $0 + $1 }
        present += 1
        let own = round
        if present == count {
            (result, present, round) = (sums, 0, round + 1)
            condition.broadcast()
        }
        while round == own { condition.wait() }
        for index in numbers.indices { numbers[index] = result[index] }
        return true
    }
}
