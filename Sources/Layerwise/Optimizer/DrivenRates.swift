// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What tensors get at a step, for the optimizer of another library that takes the step: torch's param groups, optax's and
// Keras's leaves.

extension Optimizer {
    /// Numbers the sets of tensors that may share one param group elsewhere.
    ///
    /// Two tensors are in one set if their rate, their decay and all hyperparameters of the rule are equal at every step.
    /// Freezing does not separate tensors, since a frozen tensor is left out by its gradient, except where a plan also
    /// anneals the rate.
    ///
    /// - Parameter groups: Receives, for each tensor in the order of registration, the number of its set; sets are
    ///   numbered from 0 in the order of their first tensors.
    /// - Returns: The number of sets.
    package func rateGroups(into groups: UnsafeMutableBufferPointer<Int64>) throws(LayerwiseError) -> Int {
        if groups.count != tensors.count {
            throw LayerwiseError(.shape, "expected room for \(tensors.count) tensors, found \(groups.count)")
        }
        if let policy = policy.measuredPart {
            throw LayerwiseError(
                .invalidArgument,
                "\(type(of: policy).declaration.name) measures gradients and weights, which an optimizer that does not step "
                    + "cannot see")
        }
        if let plan = freezePlan?.measuredPart {
            throw LayerwiseError(
                .invalidArgument,
                "\(type(of: plan).declaration.name) measures gradients and weights, which an optimizer that does not step "
                    + "cannot see")
        }
        try refresh()
        let alike = alikeRules()
        let movesDecay = Set(timeline.movements.filter { $0.key == "weight_decay" }.map(\.rule))
        var numbers: [RateGroup: Int64] = [:]
        for layer in 0..<layers.count {
            let record = layers.elements[layer]
            let rule = rules[record.rule]
            // Shares of no decay are no difference.
            let decays = rule.weightDecay != 0 || movesDecay.contains(record.rule)
            for index in record.firstTensor..<record.firstTensor + record.tensorCount {
                let tensor = tensors.elements[index]
                let key = RateGroup(
                    rule: alike[record.rule], base: record.base(rule.learningRate),
                    scale: tensor.scale == 1 ? record.scale : record.scale * tensor.scale, track: record.track,
                    annealing: annealingShape(layer), decayScale: decays ? rule.decayScale(tensor.kind) : 0)
                let number = numbers[key] ?? Int64(numbers.count)
                numbers[key] = number
                groups[index] = number
            }
        }
        return numbers.count
    }

    /// The values that tensors get at steps, the same bits as a step of this optimizer would use.
    ///
    /// "lr" is the effective rate; that of a frozen layer is what it would be, since the layer is left out and not slowed.
    /// "weight_decay" is the coefficient that a rule which multiplies it by its rate needs for the decay of this optimizer:
    /// λ of the tensor × rate of the decay / effective rate.  "unscheduled_lr" is base × scale.  Any other key is a number of the rule, as schedules move it.
    ///
    /// - Parameters:
    ///   - keys: The values of each tensor.
    ///   - chosen: The tensors, by their place in the order of registration.
    ///   - first: The first step.
    ///   - count: The number of steps.
    ///   - stride: The distance from one step to the next, ≥ 1.
    ///   - values: Receives step × tensor × key.
    ///   - frozen: Receives step × layer: 1 where the layer is frozen.
    package func drivenValues(
        of keys: [String], tensors chosen: UnsafeBufferPointer<Int64>, from first: Int64, count: Int,
        stride: Int64 = 1, into values: UnsafeMutableBufferPointer<Double>, frozen: UnsafeMutableBufferPointer<UInt8>
    ) throws(LayerwiseError) {
        try checkDriven(keys, chosen, first, count, stride, values.count, frozen.count)
        try refresh()
        let columns = keys.map(DrivenColumn.init)
        var position = 0
        for index in 0..<count {
            let step = first + Int64(index) * stride
            try move(to: step)
            // Tensors of one rule as a rule lie side by side.
            var known = -1
            var rule = self.rule
            var ruleRate = 0.0
            for tensor in chosen {
                let tensor = tensors.elements[Int(tensor)]
                let layer = tensor.layer
                let record = layers.elements[layer]
                if record.rule != known {
                    known = record.rule
                    rule = ruleInForce(known)
                    ruleRate = rule.learningRate
                }
                let factor = record.track < 0 ? Self.unscheduled : timeline.factors.elements[record.track]
                let rates = LayerRates(
                    factor, base: record.base(ruleRate), scale: record.scale, annealing: record.annealing,
                    settings.decayFollows)
                let rate = rates.learningRate(tensor.scale)
                let decayRate = rates.decayRate(tensor.scale)
                if !(rate.isFinite && decayRate.isFinite) {
                    throw LayerwiseError(
                        .outOfRange, "\(subject(layer)): the effective rate at step \(step) is not finite", layer: layer
                    )
                }
                for column in columns {
                    switch column {
                    case .rate: values[position] = rate
                    case .unscheduledRate:
                        values[position] = Self.unscheduled.rate(
                            base: record.base(ruleRate), scale: record.scale * tensor.scale)
                    case .decay:
                        values[position] = try coefficient(
                            rule.weightDecay * rule.decayScale(tensor.kind), decayRate, rate, layer, step)
                    case .number(let key):
                        if case .number(let value) = rule.value(of: key) { values[position] = value }
                    }
                    position += 1
                }
            }
            for layer in 0..<layers.count {
                frozen[index * layers.count + layer] = layers.elements[layer].frozen ? 1 : 0
            }
        }
    }

    /// The coefficient of decay that gives `decayRate` × `decay` where it is multiplied by `rate`.
    private func coefficient(
        _ decay: Double, _ decayRate: Double, _ rate: Double, _ layer: Int, _ step: Int64
    ) throws(LayerwiseError) -> Double {
        if decay == 0 || decayRate == rate { return decay }
        if rate == 0 {
            throw LayerwiseError(
                .outOfRange,
                "\(subject(layer)): decay_follows is \(settings.decayFollows.rawValue), and at step \(step) the rate is 0, by "
                    + "which another optimizer multiplies the decay: expected a scale above 0, or decay_follows = layer_lr",
                layer: layer)
        }
        return decay * (decayRate / rate)
    }

    private func checkDriven(
        _ keys: [String], _ chosen: UnsafeBufferPointer<Int64>, _ first: Int64, _ count: Int, _ stride: Int64,
        _ room: Int, _ frozenRoom: Int
    ) throws(LayerwiseError) {
        if first < 0 || first > mostSteps || count < 0 || stride < 1 || stride > mostSteps {
            throw LayerwiseError(
                .outOfRange,
                "first must be from 0 to \(mostSteps), count at least 0 and stride at least 1, found \(first), \(count) and "
                    + "\(stride)")
        }
        let (reach, tooFar) = Int64(count).multipliedReportingOverflow(by: stride)
        if tooFar || reach > Int64(mostSteps) {
            throw LayerwiseError(.outOfRange, "\(count) steps every \(stride) reach beyond \(mostSteps)")
        }
        for place in chosen where place < 0 || place >= Int64(tensors.count) {
            throw LayerwiseError(.notFound, "no tensor has the place \(place), there are \(tensors.count)")
        }
        for key in keys {
            if key != DrivenColumn.unscheduledKey && !rules.allSatisfy({ type(of: $0).isNumber(key) }) {
                let known = type(of: rule).numberKeys + [DrivenColumn.unscheduledKey]
                throw LayerwiseError(
                    .unknownName,
                    "no number is called \"\(key)\"\(hint(for: key, among: known)), expected one of "
                        + known.joined(separator: ", "))
            }
        }
        let (row, rowOverflow) = chosen.count.multipliedReportingOverflow(by: keys.count)
        let (total, overflow) = row.multipliedReportingOverflow(by: count)
        let (marks, marksOverflow) = layers.count.multipliedReportingOverflow(by: count)
        if rowOverflow || overflow || marksOverflow || total != room || marks != frozenRoom {
            throw LayerwiseError(
                .shape,
                "expected room for \(count) × \(chosen.count) × \(keys.count) values and \(count) × \(layers.count) marks, "
                    + "found \(room) and \(frozenRoom)")
        }
    }

    /// For each rule the first that has the same hyperparameters, moved by the same schedules; the rate is not compared.
    private func alikeRules() -> [Int] {
        var firsts: [[String]: Int] = [:]
        return rules.indices.map { index in
            var key = [type(of: rules[index]).declaration.name] + rules[index].valuesInWords
            for movement in timeline.movements where movement.rule == index {
                key.append("\(movement.key) \(movement.track)")
            }
            let first = firsts[key] ?? index
            firsts[key] = first
            return first
        }
    }

    /// How a plan anneals a layer's rate; nil where it does not.
    private func annealingShape(_ layer: Int) -> [Double]? {
        guard layer < timeline.activities.count, entries[layer].settings.frozen == .plan else { return nil }
        let activity = timeline.activities[layer]
        return activity.anneals ? [activity.annealingSteps, activity.annealingGain] : nil
    }
}

/// One of the values that tensors get.
private enum DrivenColumn {
    case rate
    case unscheduledRate
    case decay
    case number(String)

    /// The key of a tensor's rate without schedule and freezing plan.
    static let unscheduledKey = "unscheduled_lr"

    init(_ key: String) {
        self =
            switch key {
            case "lr": .rate
            case Self.unscheduledKey: .unscheduledRate
            case "weight_decay": .decay
            default: .number(key)
            }
    }
}

/// What the values of a tensor at every step depend on.
private struct RateGroup: Hashable {
    let rule: Int
    let base: Double
    let scale: Double
    let track: Int
    let annealing: [Double]?
    let decayScale: Double
}

extension Configurable {
    /// All values but the rate, as text that is equal where the values are.
    fileprivate var valuesInWords: [String] {
        Self.parameters.filter { $0.key != "lr" }.map { parameter in
            switch value(of: parameter.key) {
            case .number(let number): "\(parameter.key) \(number.bitPattern)"
            case .choice(let name): "\(parameter.key) \(name)"
            case nil: parameter.key
            }
        }
    }
}
