// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Rates that fall layer by layer.
///
///     scale = max(min_scale, decay^distance)
///
/// The distance is counted in each tower by itself:
///
///     convention   embeddings   block k of 1…n   final norm   head
///     depth        top − depth, of whatever depths the layers have (direction output: depth)
///     timm         n + 1        n + 1 − k        1            0      (one less all along where there is no head)
///     beit, mae    n + 1        n + 1 − k        0            0
///     electra      n + 2        n + 2 − k        2            0
///
/// Source: Clark et al. 2020 (ELECTRA, arXiv:2003.10555), `_get_layer_lrs`; timm's `param_groups_layer_decay`
/// (`layer_decay ** (layer_max - i)`, at least `min_scale`); BEiT's `LayerDecayValueAssigner`; MAE's `lr_decay.py`.  Each
/// convention equals its namesake; they differ in what the final norm and the last block get.  A layer's role says what it
/// is: by default the lowest depth of a tower is its embeddings and the highest its head.
public struct LayerDecay: DeclaredPolicy {
    /// Where the rates fall to.
    public enum Direction: String, Choice {
        case input, output
    }

    /// How distances are counted.
    public enum Convention: String, Choice {
        case depth, timm, beit, mae, electra
    }

    /// Factor from one distance to the next.
    public var decay = 0.75
    /// No scale falls below this.
    public var minScale = 0.0
    /// `input` or `output`: the end with the lowest rate.
    public var direction = Direction.input
    /// How the distance is counted: by `depth`, or as in `timm`, `beit`, `mae` or `electra`.
    public var convention = Convention.depth
    /// Scale of heads in place of the decay's.
    public var headScale = Double.nan

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ decay: Double, minScale: Double = 0, direction: Direction = .input, convention: Convention = .depth,
        headScale: Double? = nil
    ) throws(SettingError) {
        self.headScale = try Self.given("head_scale", headScale)
        self.decay = decay
        self.minScale = minScale
        self.direction = direction
        self.convention = convention
        try settle()
    }

    package static let declaration = Declaration(
        name: "layer_decay", title: "LayerDecay", summary: "rates that fall layer by layer",
        details: """
            scale = max(min_scale, decay ** distance).  The distance is counted in each tower by itself:

                convention   embeddings   block k of 1 ... n   final norm   head
                depth        top - depth, of whatever depths the layers have (direction "output": depth)
                timm         n + 1        n + 1 - k            1            0      (one less all along without a head)
                beit, mae    n + 1        n + 1 - k            0            0
                electra      n + 2        n + 2 - k            2            0

            A layer's role says which of these it is; by default the lowest depth of a tower is its embeddings and \
            the highest its head.  Each convention equals its namesake.
            """,
        equation: "scale = max(min_scale, decay^distance)",
        source:
            "Clark et al. 2020, arXiv:2003.10555; timm, BEiT, MAE and ELECTRA, which count the distance differently",
        positional: ["decay", "min_scale", "direction", "convention", "head_scale"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .number("decay", \.decay, .positiveFraction, "factor from one distance to the next").required,
        .number("min_scale", \.minScale, .closedFraction, "no scale falls below this"),
        .choice("direction", \.direction, "\"input\" or \"output\": the end with the lowest rate"),
        .choice(
            "convention", \.convention,
            "how the distance is counted: by \"depth\", or as in \"timm\", \"beit\", \"mae\" or \"electra\""),
        .number("head_scale", \.headScale, .nonNegative, "scale of heads in place of the decay's").optional,
    ]

    package func validate() throws(SettingError) {
        if direction == .output && convention != .depth {
            throw .invalid("direction output needs convention depth, found \(convention.rawValue)")
        }
    }

    package func shares(of layers: [LayerDescriptor]) -> [LayerScaling] {
        let distances = convention == .depth ? byDepth(layers) : byConvention(layers)
        return zip(layers, distances).map { layer, distance in
            if layer.role == .head && !headScale.isNaN {
                return LayerScaling(scale: headScale, origin: "head_scale")
            }
            return LayerScaling(
                scale: max(minScale, integerPower(decay, Int64(distance))), origin: Self.declaration.name)
        }
    }

    private func byDepth(_ layers: [LayerDescriptor]) -> [Int] {
        let towers = TowerDepths(layers)
        return layers.map { direction == .input ? towers.top($0) - $0.depth : $0.depth }
    }

    private func byConvention(_ layers: [LayerDescriptor]) -> [Int] {
        let blocks = TowerDepths(layers.filter { $0.role == .block })
        let towersWithHead = Set(layers.filter { $0.role == .head }.map { NameKey($0.tower) })
        let blocksOf = Dictionary(
            layers.filter { $0.role == .block }.map { (NameKey($0.tower), blocks.count($0)) },
            uniquingKeysWith: { first, _ in first })
        return layers.map { layer in
            let n = blocksOf[NameKey(layer.tower)] ?? 0
            let id =
                switch layer.role {
                case .stem: 0
                case .block: blocks.rank(layer) + 1
                case .norm: convention == .beit || convention == .mae ? n + 1 : n
                case .head: convention == .electra ? n + 2 : n + 1
                }
            let top =
                switch convention {
                case .electra: n + 2
                case .timm where !towersWithHead.contains(NameKey(layer.tower)): n
                default: n + 1
                }
            return max(0, top - id)
        }
    }
}
