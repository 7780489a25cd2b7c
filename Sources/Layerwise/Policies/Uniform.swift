// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// One rate for all layers: scale = 1.
public struct Uniform: DeclaredPolicy {
    public init() {}

    package static let declaration = Declaration(
        name: "uniform", title: "Uniform", summary: "one rate for all layers",
        equation: "scale = 1",
        source: "every optimizer's default")

    package static let depthDependence = DepthDependence.never

    package static let parameters: [Parameter<Self>] = []

    package func shares(of layers: [LayerDescriptor]) -> [LayerScaling] {
        layers.map { _ in LayerScaling(origin: Self.declaration.name) }
    }
}
