// SPDX-License-Identifier: Apache-2.0

/// One rate for all layers: scale = 1.
public struct Uniform: Policy, Configurable {
    public static let name = "uniform"
    public static let doc = "one rate for all layers"
    public static let parameters: [Parameter<Self>] = []

    public init() {}
    public init(settings: [Setting]) throws(SettingError) { try self.init(Self(), settings) }

    public func scales(of layers: [LayerPlace]) -> [Double] { layers.map { _ in 1 } }
}
