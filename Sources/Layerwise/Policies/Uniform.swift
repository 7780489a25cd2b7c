// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// One rate for all layers: scale = 1.
public struct Uniform: Policy {
    public init() {}

    public static let declaration = Declaration(
        name: "uniform", title: "Uniform", summary: "one rate for all layers",
        equation: "scale = 1",
        source: "every optimizer's default")

    public static let depthDependence = DepthDependence.never

    public static let parameters: [Parameter<Self>] = []

    public func shares(of layers: [LayerDescriptor]) -> [LayerScaling] {
        layers.map { _ in LayerScaling(origin: Self.declaration.name) }
    }
}
