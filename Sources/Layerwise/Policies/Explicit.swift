// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A scale, or a rate of its own, for each layer by name or pattern.
///
/// Matching is strict (`Matching`): a pattern that no layer has, a layer that no pattern matches and one that two match are
/// errors, each of which a setting relaxes.  The pattern "*" stands for every layer that no other pattern matches.
public struct Explicit: DeclaredPolicy {
    /// What layers that match get.
    public struct Assignment: Component {
        /// A pattern of names of layers.
        public var match = ""
        /// The scale of layers that match.
        public var scale = Double.nan
        /// The rate of layers that match, in place of the optimizer's.
        public var learningRate = Double.nan

        public init() {}

        /// `scale` multiplies the optimizer's rate, `lr` takes its place; one of them, or both.
        public init(_ match: String, scale: Double? = nil, lr: Double? = nil) {
            self.match = match
            self.scale = scale ?? .nan
            learningRate = lr ?? .nan
        }

        package static let declaration = Declaration(
            name: "layers", summary: "what layers that match get", equation: "scale, or lr in place of the optimizer's",
            source: "mmengine's custom_keys, Burn's groups, Keras's OptimizerMap")

        package static let parameters: [Parameter<Self>] = [
            .text("match", \.match, "a layer's name, or a pattern of names"),
            .number("scale", \.scale, .nonNegative, "rate multiplier").optional,
            .number("lr", \.learningRate, .nonNegative, "rate in place of the optimizer's").optional,
        ]

        package func validate() throws(SettingError) {
            if match.isEmpty { throw .invalid("match must be given") }
            if scale.isNaN && learningRate.isNaN { throw .invalid("\"\(match)\" needs a scale or an lr") }
        }
    }

    /// How patterns are read and what is refused.
    public var matching = Matching()
    /// Patterns of names with the scales of the layers that they match.
    public private(set) var assignments: [Assignment] = []

    public init() {}

    /// Scales by name.
    public init(_ scales: [String: Double]) throws(SettingError) {
        try self.init(scales.sorted { NameKey($0.key) < NameKey($1.key) }.map { Assignment($0.key, scale: $0.value) })
    }

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ assignments: [Assignment], syntax: PatternSyntax = .exact, unused: Matching.Unused = .error,
        unmatched: Matching.Unmatched = .error, ambiguous: Matching.Ambiguous = .error
    ) throws(SettingError) {
        self.assignments = assignments
        matching = Matching(syntax: syntax, unused: unused, unmatched: unmatched, ambiguous: ambiguous)
        try settle()
    }

    package static let declaration = Declaration(
        name: "explicit", title: "Explicit",
        summary: "a scale or a rate for each layer by name or pattern; \"*\" is every other layer",
        details: """
            The pattern "*" stands for every layer that no other pattern matches.  Matching is strict unless the last \
            three arguments relax it.
            """,
        equation: "scale = that of the pattern that matches",
        source: "mmengine's custom_keys, Burn's groups, Keras's OptimizerMap, with strict matching",
        parts: "layers: match, scale, lr",
        arguments: [
            .byPattern("scales", Assignment.self, ["scale"], "scale by pattern, in \(ValidRange.nonNegative)"),
            .byPattern(
                "rates", Assignment.self, ["lr"],
                "rate by pattern, in \(ValidRange.nonNegative), which takes the place of the optimizer's lr; a pattern that has a scale too gets the rate times the scale"
            ),
        ],
        positional: ["scales"])

    package static let depthDependence = DepthDependence.never

    package static let parameters: [Parameter<Self>] = Matching.parameters.map { $0.lifted(\.matching) }

    package var components: [any Component] { assignments }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        assignments = try Layerwise.parts(parts, of: Self.declaration.name)
    }

    package func validate() throws(SettingError) { try matching.check(assignments.map(\.match)) }

    package func shares(of layers: [LayerDescriptor]) throws(SettingError) -> [LayerScaling] {
        let taken = try matching.assign(assignments.map(\.match), to: layers.map(\.name), "layer")
        return taken.map { position in
            guard let position else { return LayerScaling() }
            let own = assignments[position]
            return LayerScaling(
                scale: own.scale.isNaN ? 1 : own.scale, rate: own.learningRate.isNaN ? nil : own.learningRate,
                origin: "explicit \(own.match)")
        }
    }
}
