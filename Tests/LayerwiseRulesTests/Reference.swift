// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise

// The rules as plain loops over numbers that are wider than those under test, written from the equations that the rules
// document and from nothing else.

/// One tensor of the reference.
struct ReferenceTensor<N: BinaryFloatingPoint> {
    var weights: [N]
    var gradients: [N]
    /// By name; a missing one is zero.
    var states: [String: [N]] = [:]
    /// t, the steps taken.
    var steps: Int64 = 0
    let isMatrix: Bool

    /// δ of the last step: w ← w − δ.
    var changes: [N] = []
    /// What δ and the states would be if no two of their terms had opposite signs.  Where terms cancel, the rounding of
    /// each is what remains, so errors are measured against these.
    var changeMagnitudes: [N] = []
    var stateMagnitudes: [String: [N]] = [:]
    var trustRatio: N = 1

    /// The least normal number of the type under test: below it, numbers have fewer bits and errors are absolute.
    let floor: N

    init(weights: [N], gradients: [N], isMatrix: Bool, floor: N) {
        self.weights = weights
        self.gradients = gradients
        self.isMatrix = isMatrix
        self.floor = floor
    }

    /// The relative spacing of the type under test.
    var epsilon: N { N(floor == N(Double.leastNormalMagnitude) ? Double(Double.ulpOfOne) : Double(Float.ulpOfOne)) }

    func state(_ name: String) -> [N] { states[name] ?? weights.map { _ in 0 } }

    mutating func setState(_ name: String, _ values: [N], magnitudes: [N]) {
        states[name] = values
        stateMagnitudes[name] = magnitudes
    }

    fileprivate func magnitude(_ terms: N...) -> N { terms.reduce(floor) { $0 + $1.magnitude } }

    /// w ← w − δ.
    mutating func subtract() {
        for i in weights.indices { weights[i] -= changes[i] }
    }
}

/// One step of the tensors of a layer, whose scale multiplies the learning rate; false where the tests do not know the rule.
func referenceStep<N>(_ rule: any DeclaredRule, _ layer: inout [ReferenceTensor<N>], scale: Double = 1) -> Bool {
    // Concrete types, so that the loops are compiled for N.
    switch rule {
    case let rule as SGD: rule.step(&layer, scale)
    case let rule as LARS: rule.step(&layer, scale)
    case let rule as Adam: rule.step(&layer, scale)
    case let rule as AdamW: rule.step(&layer, scale)
    case let rule as LAMB: rule.step(&layer, scale)
    case let rule as Lion: rule.step(&layer, scale)
    case let rule as NAdam: rule.step(&layer, scale)
    case let rule as RMSprop: rule.step(&layer, scale)
    case let rule as Adagrad: rule.step(&layer, scale)
    case let rule as Adadelta: rule.step(&layer, scale)
    case let rule as Adamax: rule.step(&layer, scale)
    case let rule as RAdam: rule.step(&layer, scale)
    case let rule as Rprop: rule.step(&layer, scale)
    case let rule as ASGD: rule.step(&layer, scale)
    case let rule as Tiger: rule.step(&layer, scale)
    case let rule as SignSGD: rule.step(&layer, scale)
    case let rule as AdaBelief: rule.step(&layer, scale)
    case let rule as Yogi: rule.step(&layer, scale)
    case let rule as Adan: rule.step(&layer, scale)
    case let rule as ADOPT: rule.step(&layer, scale)
    case let rule as AdEMAMix: rule.step(&layer, scale)
    case let rule as SimplifiedAdEMAMix: rule.step(&layer, scale)
    case let rule as LaProp: rule.step(&layer, scale)
    case let rule as MADGRAD: rule.step(&layer, scale)
    case let rule as Fromage: rule.step(&layer, scale)
    case let rule as StableAdamW: rule.step(&layer, scale)
    case let rule as MARS: rule.step(&layer, scale)
    case let rule as NovoGrad: rule.step(&layer, scale)
    case let rule as LANS: rule.step(&layer, scale)
    case let rule as LDoG: rule.step(&layer, scale)
    case let rule as ScheduleFreeSGD: rule.step(&layer, scale)
    case let rule as ScheduleFreeAdamW: rule.step(&layer, scale)
    case let rule as ScheduleFreeRAdam: rule.step(&layer, scale)
    default: return false
    }
    return true
}

func euclidean<N: BinaryFloatingPoint>(_ values: [N]) -> N { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }

func power<N: BinaryFloatingPoint>(_ base: Double, _ exponent: Int64) -> N {
    (0..<exponent).reduce(1) { power, _ in power * N(base) }
}

// MARK: - SGD

/// b ← d at a tensor's first step, unless that is damped too, else μ·b + (1 − τ)·d; returns what is applied, and its
/// magnitude.
private func velocity<N>(
    _ tensor: inout ReferenceTensor<N>, _ input: [N], _ inputMagnitudes: [N], momentum: Double, dampening: Double,
    dampensFirst: Bool = false, nesterov: Bool
) -> ([N], [N]) {
    if momentum == 0 { return (input, inputMagnitudes) }
    let mu = N(momentum)
    let share = tensor.steps == 0 && !dampensFirst ? 1 : 1 - N(dampening)
    let old = tensor.state("momentum_buffer")
    let new = old.indices.map { mu * old[$0] + share * input[$0] }
    let magnitudes = old.indices.map { tensor.magnitude(mu * old[$0], share * inputMagnitudes[$0]) }
    tensor.setState("momentum_buffer", new, magnitudes: magnitudes)
    if !nesterov { return (new, magnitudes) }
    return (
        new.indices.map { input[$0] + mu * new[$0] }, new.indices.map { inputMagnitudes[$0] + mu * magnitudes[$0] }
    )
}

extension SGD {
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let coupled = decoupledWeightDecay ? 0 : N(weightDecay)
        let decoupled = decoupledWeightDecay ? N(weightDecay) : 0
        for index in layer.indices {
            var tensor = layer[index]
            let (w, g) = (tensor.weights, tensor.gradients)
            let d = w.indices.map { g[$0] + coupled * w[$0] }
            let magnitudes = w.indices.map { tensor.magnitude(g[$0], coupled * w[$0]) }
            let (b, bMagnitudes) = velocity(
                &tensor, d, magnitudes, momentum: momentum, dampening: dampening, nesterov: nesterov)
            tensor.changes = w.indices.map { rate * b[$0] + rate * decoupled * w[$0] }
            tensor.changeMagnitudes = w.indices.map {
                tensor.magnitude(rate * bMagnitudes[$0], rate * decoupled * w[$0])
            }
            tensor.subtract()
            tensor.steps += 1
            layer[index] = tensor
        }
    }
}

// MARK: - LARS

extension LARS {
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let ratios = self.ratios(layer, rate)
        for index in layer.indices {
            var tensor = layer[index]
            let r = ratios[index]
            let decay = decay(tensor)
            let inner = lrPosition == .inside ? rate : 1
            let outer = lrPosition == .inside ? 1 : rate
            let (w, g) = (tensor.weights, tensor.gradients)
            let d = w.indices.map { inner * r * (g[$0] + decay * w[$0]) }
            let magnitudes = w.indices.map { tensor.magnitude(inner * r * tensor.magnitude(g[$0], decay * w[$0])) }
            let (b, bMagnitudes) = velocity(
                &tensor, d, magnitudes, momentum: momentum, dampening: dampening, dampensFirst: dampenFirst,
                nesterov: nesterov)
            tensor.changes = b.map { outer * $0 }
            tensor.changeMagnitudes = bMagnitudes.map { outer * $0 }
            tensor.trustRatio = r
            tensor.subtract()
            tensor.steps += 1
            layer[index] = tensor
        }
    }

    private func decay<N>(_ tensor: ReferenceTensor<N>) -> N {
        weightDecayExclude1D && !tensor.isMatrix ? 0 : N(weightDecay)
    }

    /// r of each tensor.  One ratio for a layer takes the norms over the tensors that are adapted.
    private func ratios<N>(_ layer: [ReferenceTensor<N>], _ rate: N) -> [N] {
        let isAdapted = layer.map {
            adapt == .all || adapt == .matrices && $0.isMatrix || adapt == .decayed && decay($0) > 0
        }
        return layer.indices.map { index in
            if !isAdapted[index] { return 1 }
            return ratio(
                scope == .tensor ? [layer[index]] : layer.indices.filter { isAdapted[$0] }.map { layer[$0] }, rate)
        }
    }

    private func ratio<N>(_ tensors: [ReferenceTensor<N>], _ rate: N) -> N {
        let weights = euclidean(tensors.map { euclidean($0.weights) })
        let gradients = euclidean(tensors.map { euclidean($0.gradients) })
        let decayed = euclidean(
            tensors.map { tensor in
                euclidean(tensor.weights.indices.map { tensor.gradients[$0] + decay(tensor) * tensor.weights[$0] })
            })
        let separate = gradients + euclidean(tensors.map { decay($0) * euclidean($0.weights) })
        let denominator = norm == .decayed ? decayed : separate
        let skips = skipZeroGradient && norm == .separate && gradients == 0
        let isOne = weights == 0 || denominator == 0 || skips
        let r = isOne ? 1 : N(trustCoefficient) * weights / (denominator + N(epsilon))
        return trustClip ? min(r / rate, 1) : r
    }
}

// MARK: - Adam

/// m and v of Adam, and their magnitudes.
private struct Moments<N: BinaryFloatingPoint> {
    let first: [N]
    let firstMagnitudes: [N]
    var second: [N]
    var secondMagnitudes: [N]

    /// Advances a tensor's moments; `share` is the weight of the gradient in m.
    init(
        _ tensor: inout ReferenceTensor<N>, _ gradients: [N], _ magnitudes: [N], beta1: Double, beta2: Double, share: N
    ) {
        let (b1, b2) = (N(beta1), N(beta2))
        let (m, v) = (tensor.state("exp_avg"), tensor.state("exp_avg_sq"))
        first = m.indices.map { b1 * m[$0] + share * gradients[$0] }
        firstMagnitudes = m.indices.map { tensor.magnitude(b1 * m[$0], share * magnitudes[$0]) }
        second = v.indices.map { b2 * v[$0] + (1 - b2) * gradients[$0] * gradients[$0] }
        secondMagnitudes = v.indices.map { tensor.magnitude(b2 * v[$0], (1 - b2) * magnitudes[$0] * magnitudes[$0]) }
        tensor.setState("exp_avg", first, magnitudes: firstMagnitudes)
        tensor.setState("exp_avg_sq", second, magnitudes: secondMagnitudes)
    }

    init(first: [N], firstMagnitudes: [N], second: [N], secondMagnitudes: [N]) {
        self.first = first
        self.firstMagnitudes = firstMagnitudes
        self.second = second
        self.secondMagnitudes = secondMagnitudes
    }

    /// m̂ / (√v̂ + ε), and its magnitude: v's relative error passes through the root, as far as ε lets it.
    func direction(_ correction1: N, _ correction2: N, _ epsilon: Double) -> (values: [N], magnitudes: [N]) {
        let roots = second.map { ($0 / correction2).squareRoot() }
        return (
            first.indices.map { first[$0] / correction1 / (roots[$0] + N(epsilon)) },
            first.indices.map { i in
                let size = firstMagnitudes[i] / correction1 / (roots[i] + N(epsilon))
                if second[i] == 0 { return size }
                let cancelled = secondMagnitudes[i] / second[i] - 1
                return size * (1 + roots[i] / (roots[i] + N(epsilon)) * cancelled)
            }
        )
    }
}

extension Adam {
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let coupled = decoupledWeightDecay ? 0 : N(weightDecay)
        let decoupled = decoupledWeightDecay ? N(weightDecay) : 0
        for index in layer.indices {
            var tensor = layer[index]
            let (w, g) = (tensor.weights, tensor.gradients)
            let t = tensor.steps + 1
            var moments = Moments(
                &tensor, w.indices.map { g[$0] + coupled * w[$0] },
                w.indices.map { tensor.magnitude(g[$0], coupled * w[$0]) }, beta1: beta1, beta2: beta2,
                share: 1 - N(beta1))
            if amsgrad {
                let largest = tensor.state("max_exp_avg_sq")
                let new = moments
                moments.second = w.indices.map { max(largest[$0], new.second[$0]) }
                moments.secondMagnitudes = w.indices.map { max(largest[$0], new.secondMagnitudes[$0]) }
                tensor.setState("max_exp_avg_sq", moments.second, magnitudes: moments.secondMagnitudes)
            }
            let correction: N = 1 - power(beta2, t)
            let direction = moments.direction(
                1 - power(beta1, t), epsilonBeforeCorrection ? 1 : correction, epsilon)
            let own = epsilonBeforeCorrection ? rate * correction.squareRoot() : rate
            tensor.changes = w.indices.map { own * direction.values[$0] + rate * decoupled * w[$0] }
            tensor.changeMagnitudes = w.indices.map {
                tensor.magnitude(own * direction.magnitudes[$0], rate * decoupled * w[$0])
            }
            tensor.subtract()
            tensor.steps = t
            layer[index] = tensor
        }
    }
}

extension AdamW {
    /// AdamW is Adam with the decay apart from the gradient.
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        var adam = Adam(
            lr: learningRate, betas: (beta1, beta2), eps: epsilon, weightDecay: weightDecay, amsgrad: amsgrad,
            decoupledWeightDecay: true)
        adam.epsilonBeforeCorrection = epsilonBeforeCorrection
        adam.step(&layer, scale)
    }
}

// MARK: - LAMB

extension LAMB {
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        var directions: [[N]] = []
        var magnitudes: [[N]] = []
        for index in layer.indices {
            let (u, uMagnitudes) = direction(&layer[index])
            directions.append(u)
            magnitudes.append(uMagnitudes)
        }
        let ratios = self.ratios(layer, directions, rate)
        for index in layer.indices {
            let r = ratios[index]
            let correction: N = biasCorrection == .stepSize ? 1 - power(beta1, layer[index].steps + 1) : 1
            let decoupled = decay == .decoupled ? rate * decayOf(layer[index]) : 0
            var tensor = layer[index]
            tensor.trustRatio = r
            tensor.changes = directions[index].indices.map {
                rate / correction * r * directions[index][$0] + decoupled * tensor.weights[$0]
            }
            tensor.changeMagnitudes = magnitudes[index].indices.map {
                tensor.magnitude(rate / correction * r * magnitudes[index][$0], decoupled * tensor.weights[$0])
            }
            tensor.subtract()
            tensor.steps += 1
            layer[index] = tensor
        }
    }

    private func decayOf<N>(_ tensor: ReferenceTensor<N>) -> N {
        weightDecayExclude1D && !tensor.isMatrix ? 0 : N(weightDecay)
    }

    /// u, and its magnitude.
    private func direction<N>(_ tensor: inout ReferenceTensor<N>) -> ([N], [N]) {
        let (w, g) = (tensor.weights, tensor.gradients)
        let t = tensor.steps + 1
        let own = decayOf(tensor)
        let coupled = decay == .gradient ? own : 0
        let added = decay == .update ? own : 0
        let moments = Moments(
            &tensor, w.indices.map { g[$0] + coupled * w[$0] },
            w.indices.map { tensor.magnitude(g[$0], coupled * w[$0]) }, beta1: beta1, beta2: beta2,
            share: gradAveraging ? 1 - N(beta1) : 1)
        let corrects = biasCorrection == .moments
        let adam = moments.direction(
            corrects ? 1 - power(beta1, t) : 1, corrects ? 1 - power(beta2, t) : 1, epsilon)
        return (
            w.indices.map { adam.values[$0] + added * w[$0] },
            w.indices.map { tensor.magnitude(adam.magnitudes[$0], added * w[$0]) }
        )
    }

    /// r of each tensor.  One ratio for a layer takes the norms over the tensors that are adapted.
    private func ratios<N>(_ layer: [ReferenceTensor<N>], _ directions: [[N]], _ rate: N) -> [N] {
        let isAdapted = layer.map {
            adapt == .all || adapt == .matrices && $0.isMatrix || adapt == .decayed && decayOf($0) > 0
        }
        return layer.indices.map { index in
            if !isAdapted[index] { return 1 }
            let unit = scope == .tensor ? [index] : layer.indices.filter { isAdapted[$0] }
            return ratio(unit.map { layer[$0] }, unit.map { directions[$0] }, rate)
        }
    }

    private func ratio<N>(_ tensors: [ReferenceTensor<N>], _ directions: [[N]], _ rate: N) -> N {
        let remaining = euclidean(
            tensors.map { euclidean($0.weights) * (decay == .decoupled ? 1 - rate * decayOf($0) : 1) })
        let weights = min(remaining, N(weightNormMax))
        let direction = euclidean(directions.map { euclidean($0) })
        if weights == 0 || direction == 0 { return 1 }
        return max(N(ratioMin), min(weights / (direction + (ratioEps ? N(epsilon) : 0)), N(ratioMax)))
    }
}

// MARK: - Fromage

extension Fromage {
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let length = (1 + rate * rate).squareRoot()
        let directions = layer.map { tensor in
            tensor.weights.indices.map { tensor.gradients[$0] + N(weightDecay) * tensor.weights[$0] }
        }
        let weights = layer.map(\.weights)
        func ratio(_ indices: [Int]) -> N {
            let w = max(euclidean(indices.flatMap { weights[$0] }), N(minNorm))
            let d = max(euclidean(indices.flatMap { directions[$0] }), N(minNorm))
            return w == 0 || d == 0 ? 1 : w / d
        }
        for index in layer.indices {
            var tensor = layer[index]
            let (w, g) = (tensor.weights, tensor.gradients)
            let r = ratio(scope == .layer ? Array(layer.indices) : [index])
            tensor.trustRatio = r
            tensor.changes = w.indices.map { w[$0] - (w[$0] - rate * r * directions[index][$0]) / length }
            tensor.changeMagnitudes = w.indices.map { i in
                let direction = tensor.magnitude(g[i], N(weightDecay) * w[i])
                return tensor.magnitude(rate * r * direction / length, (1 - 1 / length) * w[i])
            }
            tensor.subtract()
            tensor.steps += 1
            layer[index] = tensor
        }
    }
}

// MARK: - Lion

extension Lion {
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let decay = N(weightDecay)
        let (b1, b2) = (N(beta1), N(beta2))
        for index in layer.indices {
            var tensor = layer[index]
            let (w, g, m) = (tensor.weights, tensor.gradients, tensor.state("exp_avg"))
            let c = w.indices.map { b1 * m[$0] + (1 - b1) * g[$0] }
            tensor.changes = w.indices.map { rate * (c[$0] > 0 ? 1 : c[$0] < 0 ? -1 : 0) + rate * decay * w[$0] }
            tensor.changeMagnitudes = w.indices.map { i in
                // Where c is lost in the rounding of its terms, either sign is right.
                let terms = tensor.magnitude(b1 * m[i], (1 - b1) * g[i])
                let size = c[i].magnitude <= terms * 4 * tensor.epsilon ? 2 * rate / tensor.epsilon : rate
                return tensor.magnitude(size, rate * decay * w[i])
            }
            tensor.setState(
                "exp_avg", w.indices.map { b2 * m[$0] + (1 - b2) * g[$0] },
                magnitudes: w.indices.map { tensor.magnitude(b2 * m[$0], (1 - b2) * g[$0]) })
            tensor.subtract()
            tensor.steps += 1
            layer[index] = tensor
        }
    }
}

// MARK: - NAdam

extension NAdam {
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let coupled = decoupledWeightDecay ? 0 : N(weightDecay)
        let decoupled = decoupledWeightDecay ? N(weightDecay) : 0
        for index in layer.indices {
            var tensor = layer[index]
            let (w, g) = (tensor.weights, tensor.gradients)
            let t = tensor.steps + 1
            func mu(_ t: Int64) -> N {
                N(momentumSchedule == .rising ? beta1 * (1 - 0.5 * pow(0.96, Double(t) * momentumDecay)) : beta1)
            }
            let product = (tensor.states["mu_product"]?.first ?? 1) * mu(t)
            let gradients = w.indices.map { g[$0] + coupled * w[$0] }
            let magnitudes = w.indices.map { tensor.magnitude(g[$0], coupled * w[$0]) }
            let moments = Moments(
                &tensor, gradients, magnitudes, beta1: beta1, beta2: beta2, share: 1 - N(beta1))
            let gradientShare = (1 - mu(t)) / (1 - product)
            let momentShare =
                momentumSchedule == .constantPresent
                ? mu(t) / (1 - product) : mu(t + 1) / (1 - product * mu(t + 1))
            let direction = Moments(
                first: w.indices.map { momentShare * moments.first[$0] + gradientShare * gradients[$0] },
                firstMagnitudes: w.indices.map {
                    momentShare * moments.firstMagnitudes[$0] + gradientShare * magnitudes[$0]
                }, second: moments.second, secondMagnitudes: moments.secondMagnitudes
            ).direction(1, 1 - power(beta2, t), epsilon)
            tensor.changes = w.indices.map { rate * direction.values[$0] + rate * decoupled * w[$0] }
            tensor.changeMagnitudes = w.indices.map {
                tensor.magnitude(rate * direction.magnitudes[$0], rate * decoupled * w[$0])
            }
            tensor.states["mu_product"] = [product]
            tensor.subtract()
            tensor.steps = t
            layer[index] = tensor
        }
    }
}

// MARK: - Schedule-Free AdamW

extension ScheduleFreeAdamW {
    fileprivate func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        for index in layer.indices {
            var tensor = layer[index]
            let (y, g) = (tensor.weights, tensor.gradients)
            let t = tensor.steps + 1
            let z = tensor.steps == 0 ? y : tensor.state("z")
            let warmup = warmupSteps > 0 && t < warmupSteps ? Double(t) / Double(warmupSteps) : 1
            let rate = N(learningRate) * N(scale) * N(warmup)
            let largest = max(Double(rate), Double(tensor.states["lr_max"]?.first ?? 0))
            let weight = N(pow(Double(t), stepPower) * pow(largest, ratePower))
            let sum = (tensor.states["weight_sum"]?.first ?? 0) + weight
            let c = sum > 0 ? weight / sum : 0
            let v = tensor.state("exp_avg_sq")
            let b2 = N(beta2)
            let second = y.indices.map { b2 * v[$0] + (1 - b2) * g[$0] * g[$0] }
            let secondMagnitudes = y.indices.map { tensor.magnitude(b2 * v[$0], (1 - b2) * g[$0] * g[$0]) }
            tensor.setState("exp_avg_sq", second, magnitudes: secondMagnitudes)
            let direction = Moments(
                first: g, firstMagnitudes: g.map { tensor.magnitude($0) }, second: second,
                secondMagnitudes: secondMagnitudes
            ).direction(1, 1 - power(beta2, t), epsilon)
            let decay = N(weightDecay)
            let q = y.indices.map { rate * direction.values[$0] + rate * decay * y[$0] }
            let sizes = y.indices.map { tensor.magnitude(rate * direction.magnitudes[$0], rate * decay * y[$0]) }
            let share = 1 - N(beta1) * (1 - c)
            tensor.changes = y.indices.map { c * (y[$0] - z[$0]) + share * q[$0] }
            tensor.changeMagnitudes = y.indices.map {
                tensor.magnitude(c * y[$0], c * z[$0], share * sizes[$0])
            }
            tensor.setState(
                "z", y.indices.map { z[$0] - q[$0] }, magnitudes: y.indices.map { tensor.magnitude(z[$0], sizes[$0]) })
            tensor.states["weight_sum"] = [sum]
            tensor.states["lr_max"] = [N(largest)]
            tensor.subtract()
            tensor.steps = t
            layer[index] = tensor
        }
    }
}
