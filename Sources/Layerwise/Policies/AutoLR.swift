// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Rates at which layers move the more the nearer they are to the output: where the order fails, each layer gets a movement to aim at.
///
///     value = ‖Δw‖ / elements / scale,  movement = average · scale
///     score = 1 − 2 Σ |i − rank of the movement of layer i| / n²,  i by depth
///
/// Every `period` steps the score of each tower is compared with the threshold.  While it is lower,
///
///     scale ← scale · aim / movement
///
/// The aims are set when the score has been high enough the time before, or was not looked at yet: at first they rise in equal steps from
/// lowest · the least movement to highest · the largest; later they are the movements, and a movement out of order is moved to one
/// step, (largest − least) / (n − 1), from its neighbour nearer to the middle.  While the score stays low, aims stay.  After each time that
/// the score is high enough, the threshold is multiplied by `threshold_decay` until it is below 0.8.
///
/// Source: Ro and Choi 2021 (AutoLR, arXiv:2002.06048) and its repository, with these numbers.  There a movement is that of a whole epoch, and
/// an epoch whose score is too low is *rolled back* and tried again.  Here movements are those of the steps, averaged, and nothing
/// is taken back: a score that is too low changes the rates of the steps to come.  Take a snapshot before each epoch to have their
/// trials.  The head is left out, as there, and keeps scale 1; the stem is a layer like any other, where theirs has half the rate of the next.
/// Layers are not pruned.
///
/// *Edge cases*: where lowest · least exceeds highest · largest, which would turn the order round, aims go from the least movement to the
/// largest.  A step without a change has no value.  Frozen layers are left out, and so are layers without a value.
public struct AutoLR: MeasuredPolicy {
    /// The score that is good enough.
    public var threshold = 0.94
    /// What the threshold is multiplied by after each good score, until it is below 0.8.
    public var thresholdDecay = 0.99
    /// The first aim of the first layer, in least movements.
    public var lowest = 2.0
    /// The first aim of the last layer, in largest movements.
    public var highest = 0.4
    public var measuring = AutoLR.usual

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ threshold: Double = 0.94, thresholdDecay: Double = 0.99, lowest: Double = 2, highest: Double = 0.4,
        measuring: Measuring = AutoLR.usual
    ) throws(SettingError) {
        self.threshold = threshold
        self.thresholdDecay = thresholdDecay
        self.lowest = lowest
        self.highest = highest
        self.measuring = measuring
        try settle()
    }

    /// A look every 20 steps; a thousandth to a thousandfold.
    public static let usual: Measuring = {
        var measuring = Measuring()
        measuring.warmup = 20
        measuring.period = 20
        measuring.minScale = 1e-3
        measuring.maxScale = 1e3
        return measuring
    }()

    package static let declaration = Declaration(
        name: "auto_lr", title: "AutoLR",
        summary: "rates at which layers move the more the nearer they are to the output",
        details: """
            movement = average of |dw| / elements.  Every period steps the movements are compared with the order of the layers: score = 1 - 2 \
            * sum(|i - rank|) / n**2, for each tower without its head.  While it is below the threshold, scale *= aim / movement.  The first aims \
            rise in equal steps from lowest * the least movement to highest * the largest; later ones are the movements, put in order from the \
            middle outwards.  The published AutoLR compares whole epochs, and rolls back those whose score is low; here nothing is taken \
            back.  The scales are those of the next step, and are saved in checkpoints.  It costs what telemetry costs.
            """,
        equation: "scale ← scale · aim / movement, while movements do not rise with depth",
        source: "Ro and Choi 2021, arXiv:2002.06048, without trials", positional: ["threshold"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] =
        [
            .number("threshold", \.threshold, .fraction, "the score that is good enough"),
            .number(
                "threshold_decay", \.thresholdDecay, .positiveFraction,
                "what the threshold is multiplied by after each good score, until it is below 0.8"),
            .number("lowest", \.lowest, .positive, "the first aim of the first layer, in least movements"),
            .number("highest", \.highest, .positive, "the first aim of the last layer, in largest movements"),
        ]
        + Measuring.parameters.filter { $0.key != "unit" }.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package static var memoryCount: Int { 3 }

    package func value(of layer: LayerMeasurement) -> Double? {
        layer.updateNorm > 0 && layer.scale > 0 && layer.elements > 0
            ? layer.updateNorm / layer.elements / layer.scale : nil
    }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        for index in layers.indices where layers[index].isStepped {
            let own = layers[index].memory
            layers[index].target = layers[index].isHead ? 1 : own.aimedScale > 0 ? own.aimedScale : measuring.startScale
        }
        var tower = 0
        while let first = layers.firstIndex(where: { $0.tower == tower }) {
            if layers[first...].contains(where: { $0.tower == tower && isDue($0) }) { order(layers, tower) }
            tower += 1
        }
    }

    /// Whether this step ends a period of the layer.
    private func isDue(_ layer: LayerMeasurement) -> Bool {
        layer.isStepped && !layer.isHead && layer.count >= Int64(measuring.warmup)
            && layer.count % Int64(measuring.period) == 0
    }

    /// Looks at the order of the layers of one tower.
    private func order(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, _ tower: Int) {
        let own = layers.indices.filter {
            layers[$0].tower == tower && !layers[$0].isHead && !layers[$0].isFrozen && layers[$0].count > 0
        }.sorted { (layers[$0].depth, $0) < (layers[$1].depth, $1) }
        let movements = own.map { layers[$0].average * layers[$0].scale }
        guard own.count > 1, movements.allSatisfy({ $0 > 0 && $0 < .infinity }) else { return }
        let passed = own.map { layers[$0].memory.passed }.max() ?? 0
        if Self.score(movements) >= threshold(after: passed) {
            for index in own {
                layers[index].memory.passed = passed + 1
                layers[index].memory.aim = 0
            }
            return
        }
        let fresh = passed == 0 ? rising(movements) : Self.mended(movements)
        for (position, index) in own.enumerated() {
            if layers[index].memory.aim <= 0 { layers[index].memory.aim = fresh[position] }
            let factor = layers[index].memory.aim / movements[position]
            let wanted = layers[index].scale * factor
            // What the bounds hold back is not kept for later.
            let bounded = min(max(wanted, measuring.minScale, .leastNormalMagnitude), measuring.maxScale)
            if !bounded.isFinite { continue }
            layers[index].memory.aimedScale = bounded
            layers[index].target = bounded
        }
    }

    private func threshold(after passed: Double) -> Double {
        var threshold = threshold
        var left = passed
        while left > 0 && threshold > 0.8 && thresholdDecay < 1 {
            threshold *= thresholdDecay
            left -= 1
        }
        return threshold
    }

    /// 1 where movements rise with depth.
    static func score(_ movements: [Double]) -> Double {
        let ranks = movements.indices.sorted { (movements[$0], $0) < (movements[$1], $1) }
        let distance = ranks.enumerated().reduce(0) { $0 + abs($1.offset - $1.element) }
        return 1 - 2 * Double(distance) / Double(movements.count * movements.count)
    }

    private func rising(_ movements: [Double]) -> [Double] {
        let (least, largest) = (movements.min() ?? 0, movements.max() ?? 0)
        var (first, last) = (lowest * least, highest * largest)
        if first >= last { (first, last) = (least, largest) }
        return movements.indices.map { first + (last - first) * Double($0) / Double(movements.count - 1) }
    }

    /// Movements in order, from the middle outwards.
    static func mended(_ movements: [Double]) -> [Double] {
        var aims = movements
        let least = movements.min() ?? 0
        let interval = ((movements.max() ?? 0) - least) / Double(movements.count - 1)
        let middle = aims.count / 2
        for index in stride(from: middle, to: 0, by: -1) where aims[index] < aims[index - 1] {
            // A step below the least may be below 0.
            aims[index - 1] = max(aims[index] - interval, 0.5 * aims[index])
        }
        for index in middle..<aims.count - 1 where aims[index] > aims[index + 1] {
            aims[index + 1] = aims[index] + interval
        }
        return aims
    }
}

/// What AutoLR keeps of a layer.
extension SIMD4<Double> {
    /// How often the score was good enough.
    fileprivate var passed: Double {
        get { self[0] }
        set { self[0] = newValue }
    }

    /// The movement aimed at; 0 where there is none.
    fileprivate var aim: Double {
        get { self[1] }
        set { self[1] = newValue }
    }

    /// The scale without period and ramp; 0 until there is one.
    fileprivate var aimedScale: Double {
        get { self[2] }
        set { self[2] = newValue }
    }
}
