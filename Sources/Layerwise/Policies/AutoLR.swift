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

    // A step allocates nothing: what stands in an order of the layers stands in the measurements themselves.  The k-th of them has in `first`
    // the index of the k-th layer of the tower by depth, and in `second` the place in that order of the layer with the k-th movement.

    /// Looks at the order of the layers of one tower.
    private func order(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, _ tower: Int) {
        var count = 0
        for index in layers.indices where layers[index].tower == tower && layers[index].count > 0 {
            if layers[index].isHead || layers[index].isFrozen { continue }
            layers[count].first = index
            layers[count].second = count
            count += 1
        }
        Self.sort(count) { a, b in
            let (one, other) = (layers[a].first, layers[b].first)
            return (layers[one].depth, one) < (layers[other].depth, other)
        } swap: { a, b in
            (layers[a].first, layers[b].first) = (layers[b].first, layers[a].first)
        }
        var (least, largest, passed) = (Double.infinity, 0.0, 0.0)
        for position in 0..<count {
            let movement = movement(layers, position)
            guard movement > 0 && movement < .infinity else { return }
            least = min(least, movement)
            largest = max(largest, movement)
            passed = max(passed, layers[layers[position].first].memory.passed)
        }
        if count < 2 { return }
        if score(layers, count) >= threshold(after: passed) {
            for position in 0..<count {
                layers[layers[position].first].memory.passed = passed + 1
                layers[layers[position].first].memory.aim = 0
            }
            return
        }
        if passed == 0 {
            var (first, last) = (lowest * least, highest * largest)
            if first >= last { (first, last) = (least, largest) }
            for position in 0..<count {
                approach(layers, position, first + (last - first) * Double(position) / Double(count - 1))
            }
            return
        }
        // Movements in order, from the middle outwards.
        let interval = (largest - least) / Double(count - 1)
        let middle = count / 2
        var aim = movement(layers, middle)
        approach(layers, middle, aim)
        for position in (0..<middle).reversed() {
            let own = movement(layers, position)
            // A step below the least may be below 0.
            aim = aim < own ? max(aim - interval, 0.5 * aim) : own
            approach(layers, position, aim)
        }
        aim = movement(layers, middle)
        for position in middle + 1..<count {
            let own = movement(layers, position)
            aim = aim > own ? aim + interval : own
            approach(layers, position, aim)
        }
    }

    /// The movement of the layer at a place in the order by depth.
    private func movement(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, _ position: Int) -> Double {
        let layer = layers[position].first
        return layers[layer].average * layers[layer].scale
    }

    /// Sets the scale at which the layer at a place moves as far as it aims.  `aim`: where it has none from the periods before.
    private func approach(
        _ layers: UnsafeMutableBufferPointer<LayerMeasurement>, _ position: Int, _ aim: Double
    ) {
        let layer = layers[position].first
        if layers[layer].memory.aim <= 0 { layers[layer].memory.aim = aim }
        let factor = layers[layer].memory.aim / movement(layers, position)
        let wanted = layers[layer].scale * factor
        // What the bounds hold back is not kept for later.
        let bounded = min(max(wanted, measuring.minScale, .leastNormalMagnitude), measuring.maxScale)
        if !bounded.isFinite { return }
        layers[layer].memory.aimedScale = bounded
        layers[layer].target = bounded
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
    private func score(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, _ count: Int) -> Double {
        Self.sort(count) { a, b in
            let (one, other) = (layers[a].second, layers[b].second)
            return (movement(layers, one), one) < (movement(layers, other), other)
        } swap: { a, b in
            (layers[a].second, layers[b].second) = (layers[b].second, layers[a].second)
        }
        var distance = 0
        for rank in 0..<count { distance += abs(rank - layers[rank].second) }
        return 1 - 2 * Double(distance) / Double(count * count)
    }

    /// Sorts what stands at so many places, as a heap: no two are equal, so that there is one order.
    private static func sort(_ count: Int, precedes: (Int, Int) -> Bool, swap: (Int, Int) -> Void) {
        /// Moves what stands at `start` below all that it precedes, of the first `end` places.
        func sink(_ start: Int, _ end: Int) {
            var place = start
            while 2 * place + 1 < end {
                var child = 2 * place + 1
                if child + 1 < end && precedes(child, child + 1) { child += 1 }
                if !precedes(place, child) { return }
                swap(place, child)
                place = child
            }
        }
        for place in (0..<count / 2).reversed() { sink(place, count) }
        for end in (0..<count).dropFirst().reversed() {
            swap(0, end)
            sink(0, end)
        }
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
