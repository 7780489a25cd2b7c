// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What schedules with lists or parts share.

/// Schedules from words.
func schedules(_ specs: [Spec]) throws(SettingError) -> [any DeclaredSchedule] {
    var schedules: [any DeclaredSchedule] = []
    for (index, spec) in specs.enumerated() {
        do { schedules.append(try schedule(spec)) } catch { throw error.within("part \(index)") }
    }
    return schedules
}

/// Whole, not negative, and where asked strictly rising numbers of steps.
func steps(_ values: [Double], _ what: String, rising: Bool) throws(SettingError) -> [Int64] {
    var steps: [Int64] = []
    for value in values {
        guard let step = Int64(exactly: value), step >= 0, step <= mostSteps else {
            throw .invalid("\(what) must be whole numbers from 0 to \(mostSteps), found \(value)")
        }
        if rising, let last = steps.last, step <= last {
            throw .invalid("\(what) must rise, found \(step) after \(last)")
        }
        steps.append(step)
    }
    return steps
}

/// How many of the rising `steps` are at most `step`.
func countUpTo(_ step: Int64, in steps: [Int64]) -> Int {
    var low = 0
    var high = steps.count
    while low < high {
        let middle = (low + high) / 2
        if steps[middle] <= step { low = middle + 1 } else { high = middle }
    }
    return low
}

/// Refuses a number that was never given, or is outside its range.
func require(_ key: String, _ value: Double, _ range: ValidRange) throws(SettingError) {
    if !range.contains(value) { throw .invalid("\(key) must be given, in \(range)") }
}

/// Refuses a number of steps that was never given.
func require(_ key: String, _ value: Int) throws(SettingError) {
    if value < 1 { throw .invalid("\(key) must be given, a whole number from 1 to \(mostSteps)") }
}

/// The states of schedules, one after another.
func joinedState(_ schedules: [any DeclaredSchedule]) -> [Double] { schedules.flatMap { $0.state } }

/// The reverse; numbers that are missing leave the rest as it is.
func distribute(_ state: [Double], _ schedules: inout [any DeclaredSchedule]) {
    var rest = state[...]
    for part in schedules.indices {
        let count = schedules[part].state.count
        guard count > 0, rest.count >= count else { continue }
        schedules[part].state = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
    }
}
