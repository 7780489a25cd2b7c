// SPDX-License-Identifier: Apache-2.0
import Layerwise

/// Kinds of numbers that weights, gradients and states may be.
enum Regime: CaseIterable {
    /// As in training.
    case ordinary
    /// All of about forty powers of two, independently.
    case wide
    /// Terms of equal size and opposite sign: in the decayed gradient, in the first moment, in w − δ.
    case cancelling
    /// Below the least normal number, a few elements apart, so that no norm is zero.
    case subnormal
    /// As large as squares allow.
    case huge
    /// Gradients far below ε.
    case underEpsilon
}

/// The buffers of one tensor: what is registered, and the states in the type of the arithmetic.
struct TensorBuffers {
    let kind: Kind
    let weights: Buffer
    let gradients: Buffer
    let states: [String: Buffer]
    let shape: [Int]

    init(_ kind: Kind, shape: [Int], rule: any DeclaredRule) {
        let count = shape.reduce(1, *)
        self.kind = kind
        self.shape = shape
        weights = Buffer(kind.dtype, count: count)
        gradients = Buffer(kind.gradientDType, count: count)
        var states: [String: Buffer] = [:]
        let own = rule.states(of: TensorTraits(isMatrix: shape.count > 1))
        for (index, state) in type(of: rule).declaration.states.enumerated() where own.contains(.state(index)) {
            states[state.name] =
                state.shape == .parameter ? Buffer(kind.computeType, count: count) : Buffer(.float64, count: 1)
            if case .value(let start) = state.start, let buffer = states[state.name] {
                for i in 0..<buffer.count { buffer[i] = start }
            }
        }
        if kind.master { states["master"] = Buffer(kind.computeType, count: count) }
        self.states = states
    }

    var description: TensorDescription {
        TensorDescription(
            "tensor", parameters: weights.start, gradients: gradients.start, shape: shape, dtype: kind.dtype,
            gradientDType: kind.gradientDType, master: kind.master)
    }

    /// The numbers that the arithmetic starts from: the master copy where there is one.
    var sharpWeights: Buffer { states["master"] ?? weights }

    /// Draws every number.  A tensor that has not stepped has no moments yet.
    func fill(_ regime: Regime, _ rule: any DeclaredRule, steps: Int64, _ random: inout Random) {
        let states = states.sorted { $0.key < $1.key }.compactMap { name, state in
            name == "master" ? nil : (content: StateContent(name), state: state)
        }
        // A mean square is no smaller than the square of the mean.
        let hasMean = self.states["grad_avg"] != nil
        var (weights, gradients) = ([Double](), [Double]())
        var numbers = states.map { _ in [Double]() }
        for i in 0..<self.weights.count {
            let drawn = draw(regime, rule, i, &random)
            weights.append(drawn.weight)
            gradients.append(drawn.gradient)
            if steps == 0 { continue }
            for (index, (content, _)) in states.enumerated() {
                let number =
                    switch content {
                    case .moment: drawn.moment
                    case .square: drawn.square + (hasMean ? 2 * drawn.moment * drawn.moment : 0)
                    case .largestSquare: drawn.square * (1.25 + 0.75 * random.uniform())
                    case .root: drawn.square.squareRoot()
                    case .place: drawn.weight + drawn.moment
                    case .number(let number): number
                    case .rate: rule.learningRate * 0.9
                    }
                numbers[index].append(number)
            }
        }
        self.weights.values = weights
        self.gradients.values = gradients
        self.states["master"]?.values = steps == 0 ? self.weights.values : weights
        for (numbers, (_, state)) in zip(numbers, states) {
            // Of a state that is one number, the last.
            if state.count == weights.count {
                state.values = numbers
            } else if let last = numbers.last {
                state[0] = last
            }
        }
    }

    private struct Drawn {
        var weight: Double
        var gradient: Double
        var moment: Double
        var square: Double
    }

    private func draw(_ regime: Regime, _ rule: any DeclaredRule, _ i: Int, _ random: inout Random) -> Drawn {
        func squared(_ x: Double) -> Double { x * x }
        let ordinary = Drawn(
            weight: 0.1 * random.uniform(), gradient: 0.01 * random.uniform(), moment: 0.01 * random.uniform(),
            square: squared(0.01 * random.uniform()))
        switch regime {
        case .ordinary: return ordinary
        case .wide:
            return Drawn(
                weight: random.wide(-20...20), gradient: random.wide(-20...20), moment: random.wide(-20...20),
                square: random.wide(-40...40).magnitude)
        case .cancelling:
            if i % 2 == 0 { return ordinary }
            var drawn = ordinary
            let nearly = 1 + 1e-3 * random.uniform()
            let decay = rule.weightDecay
            switch i % 6 {
            case 1: drawn.gradient = -decay * drawn.weight * nearly
            case 3: drawn.moment = -drawn.gradient * nearly / 9
            default: drawn.weight = rule.learningRate * nearly * (random.uniform() < 0 ? -1 : 1)
            }
            return drawn
        case .subnormal:
            if i % 8 == 0 { return ordinary }
            return Drawn(
                weight: random.wide(tiny(weights.dtype)), gradient: random.wide(tiny(gradients.dtype)),
                moment: random.wide(tiny(kind.computeType)), square: random.wide(tiny(kind.computeType)).magnitude)
        case .huge:
            let top = kind.computeType == .float64 ? 400 : 60
            return Drawn(
                weight: random.wide(top - 8...top), gradient: random.wide(top - 8...top),
                moment: random.wide(top - 8...top), square: random.wide(2 * top - 16...2 * top).magnitude)
        case .underEpsilon:
            return Drawn(
                weight: 0.1 * random.uniform(), gradient: random.wide(-44 ... -38), moment: random.wide(-44 ... -38),
                square: random.wide(-88 ... -76).magnitude)
        }
    }

    /// The exponents of subnormal numbers.
    private func tiny(_ dtype: DType) -> ClosedRange<Int> {
        switch dtype {
        case .float64: -1074 ... -1023
        case .float16: -24 ... -15
        case .bfloat16: -133 ... -127
        default: -149 ... -127
        }
    }
}

/// What the numbers of a state are.
private enum StateContent {
    case moment, square, largestSquare, root, place, rate
    /// About what 1,000 steps leave of it.
    case number(Double)

    init(_ name: String) {
        switch name {
        case "momentum_buffer", "exp_avg", "grad_avg", "exp_avg_slow", "exp_avg_diff", "prev", "previous_grad",
            "last_grad", "s":
            self = .moment
        case "exp_avg_sq", "square_avg", "sum", "acc_delta", "exp_avg_var", "grad_sum_sq", "rbar", "G": self = .square
        case "max_exp_avg_sq": self = .largestSquare
        case "exp_inf", "step_size", "grad_norm": self = .root
        case "z", "ax", "x0", "init_buffer": self = .place
        case "mu_product": self = .number(1e-40)
        case "weight_sum", "eta", "mu": self = .number(0.5)
        case "lr_max", "exp_avg_lr_1": self = .rate
        // A state that stayed at its start would test little.
        default: fatalError("say here what the state \(name) may be")
        }
    }
}
