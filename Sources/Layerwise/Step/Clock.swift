// SPDX-License-Identifier: Apache-2.0

/// Counts the steps that schedules and freezing plans go by.
///
/// t is 0 at the first step.  A step of all layers begins a new round, and so does the step of one layer that has had its
/// step in this round; so layers that are stepped one by one, as each gradient is ready, share a t as in one step of all.  A
/// step that is skipped or refused does not count.
struct Clock {
    /// t of the last step taken, or of the first if there was none.
    private(set) var round: Int64 = 0
    /// Whether a step was taken in this round.
    private(set) var isTouched = false

    /// t of the next step of all layers.
    var next: Int64 { isTouched ? round + 1 : round }

    /// t of the next step of one layer, last stepped in round `last`.
    func next(after last: Int64) -> Int64 { isTouched && last < round ? round : next }

    /// A step at t was taken.
    mutating func advance(to step: Int64) {
        round = step
        isTouched = true
    }

    /// The next step is at t = `step`, whatever was before.
    mutating func seek(_ step: Int64) {
        round = step
        isTouched = false
    }
}
