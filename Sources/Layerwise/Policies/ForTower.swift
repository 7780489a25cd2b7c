// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A policy for the layers of one tower only; the others keep what they have.
///
///     combine(for_tower "vision": layer_decay 0.65, for_tower "text": layer_decay 0.8)
public struct ForTower: DeclaredPolicy {
    /// The tower's name, which some layer must have.
    public var tower = ""
    private var policies: [any DeclaredPolicy] = []

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(_ tower: String, _ policy: any Policy) throws(SettingError) {
        self.tower = tower
        policies = [policy.implementation.policy]
        try settle()
    }

    package static let declaration = Declaration(
        name: "for_tower", title: "ForTower", summary: "a policy for the layers of one tower only",
        details: """
            `Combine(ForTower("vision", LayerDecay(0.65)), ForTower("text", LayerDecay(0.8)))`.  The other layers keep \
            what they have.
            """,
        equation: "scale = that of the part, else 1",
        source: "Layerwise",
        parts: "one policy",
        arguments: [
            Argument("policy", .part, "the policy, which sees these layers and no others")
        ],
        positional: ["tower", "policy"])

    package static let depthDependence = DepthDependence.parts

    package static let parameters: [Parameter<Self>] = [
        .text("tower", \.tower, "the tower's name, which some layer must have").required
    ]

    package var components: [any Component] { policies }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        for part in parts { policies.append(try policy(part)) }
    }

    package func validate() throws(SettingError) {
        if policies.count != 1 { throw .invalid("expected one policy, found \(policies.count)") }
        for policy in policies where policy.measuredPart != nil {
            throw .invalid("\(type(of: policy).declaration.name) measures the layers of all towers")
        }
    }

    package func shares(of layers: [LayerDescriptor]) throws(SettingError) -> [LayerScaling] {
        let own = layers.indices.filter { NameKey(layers[$0].tower) == NameKey(tower) }
        if own.isEmpty {
            let towers = Set(layers.map { NameKey($0.tower) }).subtracting([""]).sorted().map(\.text)
            throw .unknown(
                "no tower is called \"\(tower)\", "
                    + (towers.isEmpty ? "no layer has a tower" : "expected one of \(list(towers))"))
        }
        var shares = layers.map { _ in LayerScaling() }
        guard let policy = policies.first else { return shares }
        for (index, share) in zip(own, try policy.shares(of: own.map { layers[$0] })) { shares[index] = share }
        return shares
    }
}
