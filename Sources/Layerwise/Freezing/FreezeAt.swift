// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Steps at which layers thaw and freeze, by name or pattern.
///
///     unfreeze_at: frozen before it; freeze_at: frozen from it on; with both, what the two say in turn
///
/// Matching is strict as in `Explicit`, but a layer that no pattern matches always trains, unless `unmatched` says otherwise.
/// Source: Burn's freeze_group, fastai's freeze_to, Lightning's BackboneFinetuning, as a plan.
public struct FreezeAt: DeclaredFreezePlan {
    /// What layers that match do.
    public struct Times: Component {
        /// A pattern of names of layers.
        public var match = ""
        /// The step from which they train; −1 if there is none.
        public var unfreezeAt = -1
        /// The step from which they rest; −1 if there is none.
        public var freezeAt = -1

        public init() {}

        /// Creates the times of the layers that match.
        public init(_ match: String, unfreezeAt: Int? = nil, freezeAt: Int? = nil) {
            self.match = match
            self.unfreezeAt = unfreezeAt ?? -1
            self.freezeAt = freezeAt ?? -1
        }

        package static let declaration = Declaration(
            name: "layers", summary: "when layers that match train", equation: "", source: "")

        package static let parameters: [Parameter<Self>] = [
            .text("match", \.match, "a layer's name, or a pattern of names"),
            .integer("unfreeze_at", \.unfreezeAt, -1...mostSteps, "the step at which it thaws; -1: none"),
            .integer("freeze_at", \.freezeAt, -1...mostSteps, "the step at which it freezes; -1: none"),
        ]

        package func validate() throws(SettingError) {
            if match.isEmpty { throw .invalid("match must be given") }
            if unfreezeAt < 0 && freezeAt < 0 { throw .invalid("\"\(match)\" needs unfreeze_at or freeze_at") }
            if unfreezeAt == freezeAt {
                throw .invalid("\"\(match)\": unfreeze_at and freeze_at must differ, found \(freezeAt) twice")
            }
        }

        var activity: Activity {
            let thaw = Int64(unfreezeAt)
            let freeze = Int64(freezeAt)
            let spans: [Range<Int64>] =
                if freeze < 0 {
                    [thaw..<Int64.max]
                } else if thaw < 0 {
                    [0..<freeze]
                } else if thaw < freeze {
                    [thaw..<freeze]
                } else {
                    [0..<freeze, thaw..<Int64.max]
                }
            return Activity(spans: spans.filter { !$0.isEmpty })
        }
    }

    /// How patterns are read and what is refused.
    public var matching = FreezeAt.startMatching
    /// Times by pattern.
    public private(set) var times: [Times] = []

    private static var startMatching: Matching {
        var matching = Matching()
        matching.unmatched = .keep
        return matching
    }

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ times: [Times], syntax: PatternSyntax = .exact, unused: Matching.Unused = .error,
        unmatched: Matching.Unmatched = .keep, ambiguous: Matching.Ambiguous = .error
    ) throws(SettingError) {
        self.times = times
        matching = Matching(syntax: syntax, unused: unused, unmatched: unmatched, ambiguous: ambiguous)
        try settle()
    }

    package static let declaration = Declaration(
        name: "freeze_at", title: "FreezeAt", summary: "steps at which layers thaw and freeze, by name or pattern",
        details: """
            A layer is frozen before its step in `unfreeze`, and from its step in `freeze` on; with both, what the two \
            say in turn.  Matching is that of `Explicit`, but a layer that no pattern matches always trains.
            """,
        equation: "active from unfreeze_at on, until freeze_at",
        source: "Burn's freeze_group, fastai's freeze_to, Lightning's BackboneFinetuning, as a plan",
        parts: "layers: match, unfreeze_at, freeze_at",
        arguments: [
            .byPattern(
                "unfreeze", Times.self, ["unfreeze_at"],
                "the step at which a layer thaws, in [-1, 2**53], by pattern of layer names; -1: none"),
            .byPattern("freeze", Times.self, ["freeze_at"], "the step at which it freezes, likewise"),
        ],
        positional: ["unfreeze", "freeze"])

    package static let depthDependence = DepthDependence.never

    package static let parameters: [Parameter<Self>] = Matching.parameters.map { $0.lifted(\.matching) }

    package var components: [any Component] { times }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        times = try Layerwise.parts(parts, of: Self.declaration.name)
    }

    package func validate() throws(SettingError) {
        if times.isEmpty { throw .invalid("needs a layer to thaw or to freeze") }
        try matching.check(times.map(\.match))
    }

    package func activities(of layers: [LayerDescriptor]) throws(SettingError) -> [Activity] {
        let taken = try matching.assign(times.map(\.match), to: layers.map(\.name), "layer")
        return taken.map { $0.map { times[$0].activity } ?? .always }
    }
}
