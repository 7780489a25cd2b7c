// SPDX-License-Identifier: Apache-2.0

/// What a schedule makes of a rate at one step.
///
///     rate = gain·base·scale + scaled·scale + absolute
///
/// Three numbers and not one, because floors differ in what they are multiplied by: a scaled floor by the layer's scale, an
/// absolute one by nothing.
package struct Factor: Sendable, Equatable, BitwiseCopyable {
    /// What multiplies base rate and scale.
    package var gain: Double
    /// What is added after it was multiplied by the scale.
    package var scaled = 0.0
    /// What is added as it is.
    package var absolute = 0.0

    /// Creates a factor, by default without a floor.
    package init(_ gain: Double, scaled: Double = 0, absolute: Double = 0) {
        self.gain = gain
        self.scaled = scaled
        self.absolute = absolute
    }

    /// The effective rate of a layer, which a freezing plan may anneal.
    @inline(__always)
    func rate(base: Double, scale: Double, annealing: Double = 1) -> Double {
        (base * scale * gain + scaled * scale + absolute) * annealing
    }

    /// This factor, and then `next` of what it made.
    func then(_ next: Factor) -> Factor {
        Factor(
            gain * next.gain, scaled: scaled * next.gain + next.scaled, absolute: absolute * next.gain + next.absolute)
    }
}
