// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Rates that grow while most elements go on in the direction of their last change, and fall while most turn back.
///
///     value = share of elements whose change has the sign of the last
///     scale ← scale + bump        where the average is at least `threshold`
///     scale ← scale − bump        elsewhere
///
/// Source: Automagic, version 2, of Ostris's ai-toolkit, which does so for each tensor, with its own change of Adafactor's kind; here
/// layers of any rule.  There the rate begins at 1e-6, and the bump is as large: `start_scale` says where to begin.  Elements
/// whose change is 0 now or was 0 before are not counted, where theirs count two zeros as agreement; nor is what is NaN.
///
/// *Edge cases*: a layer has no value until one of its elements has changed twice.  Momentum makes changes agree: with it the share is
/// seldom below a half, and `max_scale` is what ends the growth.
public struct SignAgreement: MeasuredPolicy {
    /// By how much a scale changes.
    public var bump = 0.01
    /// Share of signs kept from which on a scale grows.
    public var threshold = 0.5
    public var measuring = SignAgreement.usual

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ bump: Double = 0.01, threshold: Double = 0.5, measuring: Measuring = SignAgreement.usual
    ) throws(SettingError) {
        self.bump = bump
        self.threshold = threshold
        self.measuring = measuring
        try settle()
    }

    /// The last share alone; a tenth to tenfold.
    public static let usual: Measuring = {
        var measuring = Measuring()
        measuring.average = 0
        measuring.minScale = 0.1
        measuring.maxScale = 10
        return measuring
    }()

    package static let declaration = Declaration(
        name: "sign_agreement", title: "SignAgreement",
        summary:
            "rates that grow while most elements of a layer keep the sign of their last change, and fall while they do not",
        details: """
            value = share of the elements whose change has the sign of the last; scale += bump where the average is at least the \
            threshold, else scale -= bump.  The scales are those of the next step, and are saved in checkpoints.  Momentum makes \
            changes agree, so that max_scale often decides.  Each tensor keeps the signs of its last change, a byte for each element; \
            the page on policies has the time that it costs.
            """,
        equation: "scale ← scale ± bump, by the share of signs kept",
        source: "Automagic v2 of ai-toolkit (Ostris), for each layer and any rule", positional: ["bump"])

    package static let parameters: [Parameter<Self>] =
        [
            .number("bump", \.bump, .positive, "by how much a scale changes"),
            .number("threshold", \.threshold, .openFraction, "share of signs kept from which on a scale grows"),
        ]
        + Measuring.parameters.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package var watching: Watching { .signs }

    /// The scale without the ramp.
    package static var memoryCount: Int { 1 }

    package func value(of layer: LayerMeasurement) -> Double? { layer.signAgreement }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        for index in layers.indices where layers[index].isStepped {
            let old = layers[index].memory[0] > 0 ? layers[index].memory[0] : measuring.startScale
            let new = old + (layers[index].average >= threshold ? bump : -bump)
            let bounded = min(max(new, max(measuring.minScale, .leastNormalMagnitude)), measuring.maxScale)
            layers[index].memory[0] = bounded
            layers[index].target = bounded
        }
    }
}
