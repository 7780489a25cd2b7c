// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What gives every layer its share of the learning rate and of the decay, such as `LayerDecay`.
///
/// The policies of this module are all there are: no other type can conform.
public protocol Policy: Sendable {
    /// The policy as the library reads it.  Only the library can create such a value.
    var implementation: PolicyImplementation { get }
}

/// A policy as the library reads it.
public struct PolicyImplementation: Sendable {
    package let policy: any DeclaredPolicy
}

extension DeclaredPolicy {
    public var implementation: PolicyImplementation { PolicyImplementation(policy: self) }
}

/// What gives every layer its share of the learning rate and of the decay.
///
/// To add one, copy `ULMFiT.swift` and list it in `allPolicies`.
package protocol DeclaredPolicy: Policy, Component {
    /// The share of each layer, in the order of `layers`; scales are ≥ 0 and finite.
    func shares(of layers: [LayerDescriptor]) throws(SettingError) -> [LayerScaling]

    /// Whether a share depends on the layer's depth, or on the role that follows from it; if not, the order in which layers are
    /// registered does not matter.
    static var depthDependence: DepthDependence { get }

    /// The policy itself or the part of it that measures layers; nil where nothing is measured.
    var measuredPart: (any MeasuredPolicy)? { get }
}

extension DeclaredPolicy {
    package var measuredPart: (any MeasuredPolicy)? { nil }

    /// Whether this policy's shares depend on the depths of layers.
    package var dependsOnDepth: Bool {
        switch Self.depthDependence {
        case .always: true
        case .never: false
        case .parts: components.contains { ($0 as? any DeclaredPolicy)?.dependsOnDepth ?? true }
        }
    }
}

/// What a policy or a freezing plan sees of a layer.
package struct LayerDescriptor: Sendable {
    /// The name.
    package let name: String
    /// Position from the input: 0 is the first.
    package let depth: Int
    /// The stack it belongs to, each of which has depths of its own; "" where there is one.
    package let tower: String
    /// Whether it is a stem, a block, a norm or a head.
    package let role: LayerRole
    /// Its tensors.
    package let tensors: [TensorDescriptor]

    /// Creates what a policy says; what is not given changes nothing.
    package init(
        name: String, depth: Int, tower: String = "", role: LayerRole = .block, tensors: [TensorDescriptor] = []
    ) {
        self.name = name
        self.depth = depth
        self.tower = tower
        self.role = role
        self.tensors = tensors
    }
}

/// What a policy sees of a tensor.
package struct TensorDescriptor: Sendable {
    /// The name.
    package let name: String
    /// Of the whole tensor.
    package let shape: [Int]
    /// Of the part that is here; the same where it is whole.
    let part: [Int]

    /// Describes a layer or a tensor to a policy.
    package init(name: String, shape: [Int]) { self.init(name: name, shape: shape, part: shape) }

    init(name: String, shape: [Int], part: [Int]) {
        self.name = name
        self.shape = shape
        self.part = part
    }
}

/// What a policy gives a layer.
package struct LayerScaling: Sendable, Equatable {
    /// A rate in place of the optimizer's base rate.
    package var rate: Double?
    /// What the rate is multiplied by.
    package var scale: Double
    /// Which policy, or which of its patterns, says so; empty where none does.
    package var origin: String
    /// Each tensor's own, on top of it; empty where all are alike.
    package var tensors: [TensorScaling]

    /// Creates what a policy says; what is not given changes nothing.
    package init(scale: Double = 1, rate: Double? = nil, origin: String = "", tensors: [TensorScaling] = []) {
        self.rate = rate
        self.scale = scale
        self.origin = origin
        self.tensors = tensors
    }
}

extension LayerScaling {
    /// A layer of which the policy `origin` treats some tensors apart, if it does.
    init(_ tensors: [TensorScaling], origin: String) {
        let isAny = tensors.contains { $0 != TensorScaling() }
        self.init(origin: isAny ? origin : "", tensors: isAny ? tensors : [])
    }
}

/// What a policy gives a tensor, on top of its layer's share.
package struct TensorScaling: Sendable, Equatable {
    /// What the rate is multiplied by.
    package var scale = 1.0
    /// What λ is multiplied by; 0 is no decay.
    package var decay = 1.0
    /// Whether a trust ratio may adapt it.
    package var mayAdapt = true

    /// Creates what a policy says; what is not given changes nothing.
    package init(scale: Double = 1, decay: Double = 1, mayAdapt: Bool = true) {
        self.scale = scale
        self.decay = decay
        self.mayAdapt = mayAdapt
    }
}

/// Every policy, in the order of the documentation.
package let allPolicies: [any DeclaredPolicy.Type] = [
    Uniform.self, Explicit.self, LayerDecay.self, GeometricRange.self, ULMFiT.self, RateSlice.self, Exclude.self,
    MuP.self, CompleteP.self, Blockwise.self, LoRAPlus.self, RelativeGradientNorm.self, UpdateRatio.self, LARC.self,
    TVLARS.self,
    Hypergradient.self, SignAgreement.self, LDoGScale.self, GradientNoise.self, AutoLR.self, TempBalance.self,
    AlphaDecay.self, ForTower.self, Combine.self,
]

/// The policy that `spec` describes.
package func policy(_ spec: Spec) throws(SettingError) -> any DeclaredPolicy {
    try component(spec.name, among: allPolicies, "policy") { $0.declaration }.init(spec)
}

/// The layers of each tower by depth.
struct TowerDepths {
    /// The depths of a tower, rising, and the place of each.
    private struct Depths {
        var sorted: [Int] = []
        var ranks: [Int: Int] = [:]
    }

    private var towers: [NameKey: Depths] = [:]

    init(_ layers: [LayerDescriptor]) {
        var depths: [NameKey: Set<Int>] = [:]
        for layer in layers { depths[NameKey(layer.tower), default: []].insert(layer.depth) }
        towers = depths.mapValues { depths in
            let sorted = depths.sorted()
            return Depths(sorted: sorted, ranks: Dictionary(uniqueKeysWithValues: zip(sorted, sorted.indices)))
        }
    }

    /// The highest depth of the layer's tower.
    func top(_ layer: LayerDescriptor) -> Int { towers[NameKey(layer.tower)]?.sorted.last ?? layer.depth }

    /// How many different depths the layer's tower has.
    func count(_ layer: LayerDescriptor) -> Int { towers[NameKey(layer.tower)]?.sorted.count ?? 1 }

    /// The place of the layer's depth among those of its tower, from 0; of a depth that is not there 0.
    func rank(_ layer: LayerDescriptor) -> Int { towers[NameKey(layer.tower)]?.ranks[layer.depth] ?? 0 }
}
