// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Several policies at once.
///
///     scale = product of the parts' scales; λ's factors multiply likewise; a trust ratio adapts where all parts let it
public struct Combine: DeclaredPolicy {
    private var policies: [any DeclaredPolicy] = []

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(_ policies: [any Policy]) throws(SettingError) {
        self.policies = policies.map(\.implementation.policy)
        try settle()
    }

    package static let declaration = Declaration(
        name: "combine", title: "Combine", summary: "several policies at once: their scales multiply",
        details: """
            A trust ratio adapts a tensor where all of them let it, and at most one of them gives a layer a rate. \
            Their factors of the decay multiply too.
            """,
        equation: "scale = ∏ scaleᵢ",
        source: "Layerwise",
        parts: "two policies or more",
        arguments: [
            Argument("policies", .eachPart, "two policies or more")
        ],
        positional: ["policies"])

    package static let depthDependence = DepthDependence.parts

    package static let parameters: [Parameter<Self>] = []

    package var components: [any Component] { policies }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        for (index, part) in parts.enumerated() {
            do { policies.append(try policy(part)) } catch { throw error.within("part \(index)") }
        }
    }

    package func validate() throws(SettingError) {
        if policies.count < 2 { throw .invalid("expected at least two policies, found \(policies.count)") }
        let measured = policies.filter { $0.measuredPart != nil }
        if measured.count > 1 {
            let names = measured.map { type(of: $0).declaration.name }
            throw .invalid("one policy can measure, found \(names.joined(separator: ", "))")
        }
    }

    package var measuredPart: (any MeasuredPolicy)? {
        for policy in policies { if let part = policy.measuredPart { return part } }
        return nil
    }

    package func shares(of layers: [LayerDescriptor]) throws(SettingError) -> [LayerScaling] {
        var shares = layers.map { _ in LayerScaling() }
        for (part, policy) in policies.enumerated() {
            let next: [LayerScaling]
            do { next = try policy.shares(of: layers) } catch { throw error.within("part \(part)") }
            for index in shares.indices {
                guard shares[index].multiply(by: next[index]) else {
                    throw .invalid("two policies give layer \"\(layers[index].name)\" a rate of its own")
                }
            }
        }
        return shares
    }
}

extension LayerScaling {
    /// This share with another on top of it; false if both bring a rate of their own.
    mutating func multiply(by other: LayerScaling) -> Bool {
        if rate != nil && other.rate != nil { return false }
        rate = rate ?? other.rate
        scale *= other.scale
        if !other.origin.isEmpty && other.origin != Uniform.declaration.name {
            origin = origin.isEmpty || origin == Uniform.declaration.name ? other.origin : "\(origin) × \(other.origin)"
        }
        if tensors.isEmpty {
            tensors = other.tensors
        } else {
            for (index, share) in other.tensors.enumerated() where index < tensors.count {
                tensors[index].scale *= share.scale
                tensors[index].decay *= share.decay
                tensors[index].mayAdapt = tensors[index].mayAdapt && share.mayAdapt
            }
        }
        return true
    }
}
