// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// Random runs in which everything that has a say in the rates is changed between the steps, followed by a plain
/// reckoning beside them.
final class TimelineStateMachineTests: XCTestCase {
    override func setUp() { continueAfterFailure = false }

    func testRandomRuns() throws {
        for seed: UInt64 in 0..<400 {
            var run = try Run(seed: seed)
            for _ in 0..<60 { try run.next() }
        }
    }
}

/// One layer, as the reckoning has it.
private struct Layer {
    var rate: Double?
    var scale: Double?
    var start: Int64 = 0
    var frozen = "plan"
    var schedule: (any DeclaredSchedule)?
    /// The t of its last step, if it was in the round under way.
    var stepped: Int64?
    let weight: Buffer
    let gradient: Buffer
}

/// An optimizer and the reckoning of what it does.
private struct Run {
    private var random: Random
    private var recipes: RandomRecipes
    private let optimizer: Optimizer
    private let seed: UInt64
    private var log: [String] = []

    private var layers: [Layer] = []
    private var rate = 0.5
    private var policy: any DeclaredPolicy = Uniform()
    private var schedule: (any DeclaredSchedule)?
    private var plan: (any DeclaredFreezePlan)?
    /// t of the next step of all layers, and of the round that single layers may join.
    private var nextStep: Int64 = 0
    private var round: Int64?

    init(seed: UInt64) throws {
        self.seed = seed
        random = Random(seed: seed)
        recipes = RandomRecipes(seed: ~seed)
        optimizer = try Optimizer(SGD(lr: 0.5))
        for _ in 0..<2 { try addLayer() }
        try optimizer.set(settings(["nonfinite": "skip"]))
    }

    // MARK: - The reckoning

    private var places: [LayerDescriptor] {
        layers.indices.map { LayerDescriptor(name: "\($0)", depth: $0, role: role($0)) }
    }

    private func role(_ layer: Int) -> LayerRole {
        layer == layers.count - 1 ? .head : layer == 0 ? .stem : .block
    }

    /// The rate of each layer at t; nil where it is frozen.
    private func rates(at t: Int64) throws -> [Double?] {
        let shares = try policy.shares(of: places)
        let activities = try plan?.activities(of: places)
        return layers.indices.map { index in
            let layer = layers[index]
            let follows = layer.frozen == "plan"
            let activity = activities?[index]
            if layer.frozen == "yes" { return nil }
            if follows, let activity, !activity.spans.contains(where: { $0.contains(t) }) { return nil }
            let base = layer.rate ?? shares[index].rate ?? rate
            let scale = layer.scale ?? shares[index].scale
            let factor =
                (layer.schedule ?? schedule)?.factor(at: max(0, t - layer.start), base: rate) ?? Factor(1)
            var annealing = 1.0
            if follows, let activity, activity.annealingSteps > 0 {
                annealing = activity.annealingGain * 0.5 * (1 + cos(.pi * Double(t) / activity.annealingSteps))
            }
            return (factor.gain * base * scale + factor.scaled * scale + factor.absolute) * annealing
        }
    }

    // MARK: - What is done

    mutating func next() throws {
        let layer = Int.random(in: 0..<layers.count, using: &random)
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<7: try step()
        case 7..<10: try step(layer)
        case 10:
            let new = recipes.pick([0, 0.25, 2, 0.7])
            rate = new
            try done("rate \(new)") { try $0.setLearningRate(new) }
        case 11:
            let own: Double? = Bool.random(using: &random) ? 0.3 : nil
            layers[layer].rate = own
            try done("rate \(String(describing: own)) of \(layer)") {
                if let own { try $0.setLayer(layer, [Setting("lr", own)]) } else { try $0.unsetLayer(layer, key: "lr") }
            }
        case 12:
            let own: Double? = Bool.random(using: &random) ? 1.7 : nil
            layers[layer].scale = own
            try done("scale \(String(describing: own)) of \(layer)") {
                if let own {
                    try $0.setLayer(layer, [Setting("scale", own)])
                } else {
                    try $0.unsetLayer(layer, key: "scale")
                }
            }
        case 13:
            let (start, frozen) = (Int64.random(in: 0...9, using: &random), recipes.pick(["plan", "yes", "no"]))
            layers[layer].start = start
            layers[layer].frozen = frozen
            try done("start \(start), frozen \(frozen) of \(layer)") {
                try $0.setLayer(layer, [Setting("start", Double(start)), Setting("frozen", frozen)])
            }
        case 14:
            let new = Bool.random(using: &random) ? recipes.schedule() : nil
            schedule = new
            try done("schedule \(String(describing: new?.spec))") { try $0.setSchedule(new) }
        case 15:
            let new = Bool.random(using: &random) ? recipes.schedule() : nil
            layers[layer].schedule = new
            try done("schedule \(String(describing: new?.spec)) of \(layer)") { try $0.setSchedule(new, layer: layer) }
        case 16: try changePolicy()
        case 17: try changePlan()
        case 18: try report()
        default:
            if layers.count < 5 && Bool.random(using: &random) {
                try addLayer()
            } else {
                let step = Int64.random(in: 0...30, using: &random)
                nextStep = step
                round = nil
                for index in layers.indices { layers[index].stepped = nil }
                try done("seek \(step)") { try $0.seek(step) }
            }
        }
    }

    private mutating func done(_ what: String, _ call: (Optimizer) throws -> Void) throws {
        log.append(what)
        try call(optimizer)
    }

    private mutating func addLayer() throws {
        let layer = Layer(weight: Buffer(.float64, [0]), gradient: Buffer(.float64, [1]))
        try optimizer.addLayer(
            "\(layers.count)",
            [
                TensorDescription(
                    "w", parameters: layer.weight.start, gradients: layer.gradient.start, shape: [1], dtype: .float64)
            ])
        layers.append(layer)
        log.append("add layer")
    }

    private mutating func changePolicy() throws {
        let policies: [any DeclaredPolicy] = [
            Uniform(), try LayerDecay(0.5), try RateSlice(0.1, 0.9),
            try LayerDecay(0.5, convention: .timm, headScale: 3),
            try Explicit([Explicit.Assignment("0", lr: 0.4), Explicit.Assignment("*", scale: 0.6)]),
        ]
        let new = recipes.pick(policies)
        policy = new
        try done("policy \(new.spec)") { $0.setPolicy(new) }
    }

    private mutating func changePlan() throws {
        let plans: [(any DeclaredFreezePlan)?] = [
            nil, try GradualUnfreezing(every: 4), try ChainThaw(every: 3), try LayerFreezing(totalSteps: 20),
            try FreezeOut(totalSteps: 25, start: 0.3, spacing: .linear),
            try FreezeAt([FreezeAt.Times("0", unfreezeAt: 14, freezeAt: 6)]),
        ]
        let new = recipes.pick(plans)
        plan = new
        try done("plan \(String(describing: new?.spec))") { $0.setFreezePlan(new) }
    }

    private mutating func report() throws {
        let metric = random.uniform()
        let isTaken = schedule?.takesMetric ?? false || layers.contains { $0.schedule?.takesMetric ?? false }
        log.append("report \(metric)")
        if !isTaken {
            return assertRefused(.notFound) { try optimizer.report(metric) }
        }
        schedule?.report(metric)
        for layer in layers.indices { layers[layer].schedule?.report(metric) }
        try optimizer.report(metric)
    }

    // MARK: - Steps

    /// A step of one layer joins the round under way, unless it has had its step in it.
    private func time(of layer: Int?) -> Int64 {
        guard let layer, let round, layers[layer].stepped != round else { return nextStep }
        return round
    }

    private mutating func step(_ layer: Int? = nil) throws {
        let t = time(of: layer)
        let wanted = try rates(at: t)
        let stepped = layer.map { $0...$0 } ?? 0...layers.count - 1
        let isBad = Int.random(in: 0..<8, using: &random) == 0
        log.append("step \(t) of \(layer.map(String.init) ?? "all")\(isBad ? ", NaN" : "")")
        for own in layers {
            own.weight[0] = 0
            own.gradient[0] = 1
        }
        if isBad { layers[stepped.upperBound].gradient[0] = .nan }
        let skips = isBad && wanted[stepped.upperBound] != nil
        try optimizer.step(StepOptions(layer: layer))
        for index in layers.indices {
            let rate = stepped.contains(index) && !skips ? wanted[index] ?? 0 : 0
            let found = -layers[index].weight[0]
            XCTAssertEqual(
                found, rate, accuracy: 1e-14 * max(1, rate),
                "seed \(seed), layer \(index): \(log.joined(separator: "; "))")
        }
        if !skips {
            for index in stepped { layers[index].stepped = t }
            round = t
            nextStep = t + 1
        }
        XCTAssertEqual(optimizer.summary.nextStep, nextStep, "seed \(seed): \(log.joined(separator: "; "))")
        for (index, rate) in try rates(at: nextStep).enumerated() {
            let info = try optimizer.info(index)
            XCTAssertEqual(
                info.effectiveRate, rate ?? 0, accuracy: 1e-14 * max(1, rate ?? 0), "seed \(seed), layer \(index)")
            XCTAssertEqual(info.frozen, rate == nil, "seed \(seed), layer \(index)")
        }
    }
}
