// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// A schedule that goes up and down along a `CycleWave`.
package protocol Cycling: DeclaredSchedule {
    /// The form of a cycle.
    var wave: CycleWave { get set }
}

/// Straight lines up and down.
///
///     τ = t mod (up + down), i = ⌊t/(up + down)⌋
///     height = (τ ≤ up: τ/up, else (up + down − τ)/down)·(triangular: 1, triangular2: 2^−i, exp_range: γ^t)
public struct CycleWave: Sendable {
    /// Steps from the lowest to the highest value.
    public var stepSizeUp = 2000
    /// 0: as many as up.
    public var stepSizeDown = 0
    /// How heights change from cycle to cycle.
    public var mode = Mode.triangular
    /// γ of `expRange`.
    public var gamma = 1.0

    /// How heights change from cycle to cycle.
    public enum Mode: String, Choice {
        /// All waves are of one height.
        case triangular
        /// Each wave is half as high as the one before.
        case triangular2
        /// Heights fall by γ at each step.
        case expRange = "exp_range"
    }

    init() {}

    init(_ stepSizeUp: Int, _ stepSizeDown: Int, _ mode: Mode, _ gamma: Double) {
        self.stepSizeUp = stepSizeUp
        self.stepSizeDown = stepSizeDown
        self.mode = mode
        self.gamma = gamma
    }
}

extension CycleWave {
    /// The height at `step`, from 0 to 1.
    func height(at step: Int64) -> Double {
        let time = Double(step)
        let up = Double(stepSizeUp)
        let down = stepSizeDown > 0 ? Double(stepSizeDown) : up
        let elapsed = time.truncatingRemainder(dividingBy: up + down)
        let height = elapsed <= up ? elapsed / up : (up + down - elapsed) / down
        switch mode {
        case .triangular: return height
        case .triangular2: return height * exp2(-((time - elapsed) / (up + down)).rounded())
        case .expRange: return height * integerPower(gamma, step)
        }
    }
}

extension Cycling {
    /// The settings that all share.
    static var waveParameters: [Parameter<Self>] {
        [
            .integer("step_size_up", \.wave.stepSizeUp, 1...mostSteps, "steps up"),
            .integer("step_size_down", \.wave.stepSizeDown, 0...mostSteps, "steps down; 0: as many as up"),
            .choice(
                "mode", \.wave.mode,
                "how heights change: \"triangular\", not; \"triangular2\", by half each cycle; \"exp_range\", by γ each step"
            ),
            .number("gamma", \.wave.gamma, .positiveFraction, "γ: the factor of \"exp_range\""),
        ]
    }

    package func validate() throws(SettingError) {
        if wave.gamma != 1 && wave.mode != .expRange {
            throw .invalid("gamma must be 1 unless mode is exp_range, found \(wave.gamma)")
        }
    }
}
