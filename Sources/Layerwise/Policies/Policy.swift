// SPDX-License-Identifier: Apache-2.0

/// What computes every layer's scale, the multiplier of its learning rate.
///
/// To add one, copy `LayerDecay.swift` and list it in `allPolicies`.
public protocol Policy: Sendable {
    /// The key in C, such as "layer_decay".
    static var name: String { get }
    static var doc: String { get }

    /// The policy that `settings` describe.
    init(settings: [Setting]) throws(SettingError)

    /// The scale of each layer, in the order of `layers`; ≥ 0 and finite.
    func scales(of layers: [LayerPlace]) throws(SettingError) -> [Double]
}

/// What a policy sees of a layer.
public struct LayerPlace: Sendable {
    public let name: String
    /// Position from the input: 0 is the first.
    public let depth: Int

    public init(name: String, depth: Int) {
        self.name = name
        self.depth = depth
    }
}

/// Every policy, in the order of the documentation.
public let allPolicies: [any Policy.Type] = [Uniform.self, Explicit.self, LayerDecay.self, GeometricRange.self]

extension Policy where Self: Configurable {
    init(_ start: Self, _ settings: [Setting]) throws(SettingError) {
        self = start
        for setting in settings { try assign(setting) }
        try validate()
    }
}
