// SPDX-License-Identifier: Apache-2.0

/// Rates that fall layer by layer.
///
///     scale = max(min_scale, decay^(top − depth))   (direction: input; the highest depth has scale 1)
///     scale = max(min_scale, decay^depth)           (direction: output; depth 0 has scale 1)
///
/// Source: Clark et al. 2020 (ELECTRA, arXiv:2003.10555), in timm's form: `layer_decay ** (layer_max - i)`, at least
/// `min_scale`.  With layers that each have a depth of their own it equals timm's.
public struct LayerDecay: Policy, Configurable {
    /// Where the rates fall to.
    public enum Direction: String, Choice {
        case input, output
    }

    public static let name = "layer_decay"
    public static let doc = "rates that fall layer by layer: max(min_scale, decay^distance)"

    public var decay = 0.75
    public var minScale = 0.0
    public var direction = Direction.input

    public init(_ decay: Double, minScale: Double = 0, direction: Direction = .input) throws(SettingError) {
        try self.init(settings: [
            Setting("decay", decay), Setting("min_scale", minScale), Setting("direction", direction.rawValue),
        ])
    }

    init() {}
    public init(settings: [Setting]) throws(SettingError) { try self.init(Self(), settings) }

    public static let parameters: [Parameter<Self>] = [
        .number("decay", \.decay, .positiveFraction, "ratio between neighbouring depths"),
        .number("min_scale", \.minScale, .closedFraction, "no layer's scale is lower"),
        .choice("direction", \.direction, "input: rates fall towards the input; output: towards the output"),
    ]

    public func scales(of layers: [LayerPlace]) -> [Double] {
        let top = layers.map(\.depth).max() ?? 0
        return layers.map { layer in
            let distance = direction == .input ? top - layer.depth : layer.depth
            return max(minScale, integerPower(decay, Int64(distance)).high)
        }
    }
}
