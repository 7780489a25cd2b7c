// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise

// References of rules that change each element by itself: every number carries the size of its terms along.

/// A number, and the size that it would have if no two of its terms had opposite signs: what its error is measured against.
private struct Term<N: BinaryFloatingPoint> {
    let value: N
    let size: N

    init(_ value: N, size: N) {
        self.value = value
        self.size = size
    }

    init(_ value: N) { self.init(value, size: value.magnitude) }

    var sign: N { value > 0 ? 1 : value < 0 ? -1 : 0 }

    static func + (a: Self, b: Self) -> Self { Self(a.value + b.value, size: a.size + b.size) }
    static func + (a: Self, b: N) -> Self { Self(a.value + b, size: a.size + b.magnitude) }
    static func - (a: Self, b: Self) -> Self { Self(a.value - b.value, size: a.size + b.size) }
    static func * (a: Self, b: Self) -> Self { Self(a.value * b.value, size: a.size * b.size) }
    static func * (a: N, b: Self) -> Self { Self(a * b.value, size: a.magnitude * b.size) }
    /// A finite number divided by 0 is 0.
    static func / (a: Self, b: Self) -> Self {
        if b.value == 0 { return Self(0, size: a.size) }
        let divisor = b.value.magnitude
        return Self(a.value / b.value, size: a.size / divisor * (b.size / divisor))
    }

    /// The relative error of what is under the root passes through it.
    func squareRoot() -> Self {
        let root = value.squareRoot()
        return Self(root, size: value == 0 ? 0 : root * (size / value))
    }
}

/// One element before a step, and the states that it is to have.
private struct Cell<N: BinaryFloatingPoint> {
    let weight: Term<N>
    let gradient: Term<N>
    /// The least normal number: numbers below it have fewer bits, so that their errors are absolute.
    let floor: N
    let epsilon: N
    /// The names of its states: a list, as a dictionary would take most of a reference's time.
    let names: [String]
    /// In the order of the names.
    var states: [Term<N>]

    /// A state: as it was until it is set.
    subscript(_ name: String) -> Term<N> {
        get { states[place(name)] }
        set { states[place(name)] = newValue }
    }

    private func place(_ name: String) -> Int {
        guard let place = names.firstIndex(of: name) else { fatalError("\(name) is not listed for `stepCells`") }
        return place
    }

    /// A sum whose terms may be subnormal.
    func floored(_ term: Term<N>) -> Term<N> { Term(term.value, size: term.size + floor) }

    /// g + λ·w.
    func decayed(_ decay: Double) -> Term<N> { floored(gradient + N(decay) * weight) }

    /// β·old + (1 − β)·new.
    func mean(_ beta: N, _ old: Term<N>, _ new: Term<N>) -> Term<N> { floored(beta * old + (1 - beta) * new) }

    /// Whether rounding may have given a number the other sign.
    func isAmbiguous(_ term: Term<N>) -> Bool { term.value.magnitude <= term.size * 4 * epsilon }

    /// rate · sign(term); where the term is lost in the rounding of its own terms, either sign is right.
    func signed(_ rate: N, _ term: Term<N>) -> Term<N> {
        Term(rate * term.sign, size: isAmbiguous(term) ? 2 * rate / epsilon : rate)
    }
}

/// One step of every tensor of a layer.  `work` is called with a tensor and its t, and returns what makes δ of an element, and
/// sets the states of these names.
private func stepCells<N>(
    _ layer: inout [ReferenceTensor<N>], _ names: [String],
    _ work: (_ tensor: inout ReferenceTensor<N>, _ t: Int64) -> (_ cell: inout Cell<N>) -> Term<N>
) {
    for index in layer.indices {
        var tensor = layer[index]
        let t = tensor.steps + 1
        let change = work(&tensor, t)
        let old = names.map { tensor.state($0) }
        let epsilon = tensor.epsilon
        var cells = tensor.weights.indices.map { i in
            Cell(
                weight: Term(tensor.weights[i]), gradient: Term(tensor.gradients[i]), floor: tensor.floor,
                epsilon: epsilon, names: names, states: old.map { Term($0[i]) })
        }
        let changes = cells.indices.map { change(&cells[$0]) }
        tensor.changes = changes.map(\.value)
        tensor.changeMagnitudes = changes.map { $0.size + tensor.floor }
        for name in names {
            tensor.setState(
                name, cells.map { $0[name].value }, magnitudes: cells.map { $0[name].size + tensor.floor })
        }
        tensor.subtract()
        tensor.steps = t
        layer[index] = tensor
    }
}

extension RMSprop {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let a = N(alpha)
        let names = ["square_avg"] + (momentum > 0 ? ["momentum_buffer"] : []) + (centered ? ["grad_avg"] : [])
        stepCells(&layer, names) { _, t in
            { cell in
                let g = cell.decayed(weightDecay)
                let s = t == 1 ? Term(N(initialSquare)) : cell["square_avg"]
                cell["square_avg"] = cell.mean(a, s, g * g)
                var variance = cell["square_avg"]
                if centered {
                    cell["grad_avg"] = cell.mean(a, cell["grad_avg"], g)
                    let mean = cell["grad_avg"]
                    variance = Term(
                        max(0, variance.value - mean.value * mean.value), size: variance.size + mean.size * mean.size)
                }
                let e = N(epsilon)
                var direction = g / (epsilonInRoot ? (variance + e).squareRoot() : variance.squareRoot() + e)
                if rateInMomentum { direction = rate * direction }
                if momentum > 0 {
                    cell["momentum_buffer"] = cell.floored(N(momentum) * cell["momentum_buffer"] + direction)
                    direction = cell["momentum_buffer"]
                }
                return rateInMomentum ? direction : rate * direction
            }
        }
    }
}

extension Adagrad {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        stepCells(&layer, ["sum"]) { _, t in
            let rate = N(learningRate) * N(scale) / (1 + N(t - 1) * N(rateDecay))
            return { cell in
                let g = cell.decayed(weightDecay)
                let old = t == 1 ? Term(N(initialSum)) : cell["sum"]
                cell["sum"] = cell.floored(old + g * g)
                return epsilonInRoot
                    ? rate * (g / (cell["sum"] + N(epsilon)).squareRoot())
                    : rate * (g / (cell["sum"].squareRoot() + N(epsilon)))
            }
        }
    }
}

extension Adadelta {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let (decay, e) = (N(rho), N(epsilon))
        stepCells(&layer, ["square_avg", "acc_delta"]) { _, _ in
            { cell in
                let g = cell.decayed(weightDecay)
                cell["square_avg"] = cell.mean(decay, cell["square_avg"], g * g)
                let d = (cell["acc_delta"] + e).squareRoot() * (g / (cell["square_avg"] + e).squareRoot())
                cell["acc_delta"] = cell.mean(decay, cell["acc_delta"], d * d)
                return rate * d
            }
        }
    }
}

extension Adamax {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        stepCells(&layer, ["exp_avg", "exp_inf"]) { _, t in
            let rate = N(learningRate) * N(scale) / (1 - power(beta1, t))
            return { cell in
                let g = cell.decayed(decoupledWeightDecay ? 0 : weightDecay)
                let decay = decoupledWeightDecay ? N(learningRate) * N(scale) * N(weightDecay) : 0
                cell["exp_avg"] = cell.mean(N(beta1), cell["exp_avg"], g)
                let (inner, outer) = epsilonInDenominator ? (0, N(epsilon)) : (N(epsilon), 0)
                let (old, new) = (N(beta2) * cell["exp_inf"], Term(g.value.magnitude, size: g.size) + inner)
                cell["exp_inf"] = cell.floored(Term(max(old.value, new.value), size: max(old.size, new.size)))
                return rate * (cell["exp_avg"] / (cell["exp_inf"] + outer)) + decay * cell.weight
            }
        }
    }
}

extension RAdam {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        stepCells(&layer, ["exp_avg", "exp_avg_sq"]) { _, t in
            let power2: N = power(beta2, t)
            let limit = 2 / (1 - N(beta2)) - 1
            let length = limit - 2 * N(t) * power2 / (1 - power2)
            let stepSize = rate / (1 - power(beta1, t))
            return { cell in
                let g = cell.decayed(decoupledWeightDecay ? 0 : weightDecay)
                let w = cell.weight
                cell["exp_avg"] = cell.mean(N(beta1), cell["exp_avg"], g)
                cell["exp_avg_sq"] = cell.mean(N(beta2), cell["exp_avg_sq"], g * g)
                let decay = decoupledWeightDecay ? rate * N(weightDecay) * w : Term(0)
                if length <= 5 { return stepSize * cell["exp_avg"] + decay }
                let squared = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
                let root = cell["exp_avg_sq"].squareRoot() + N(epsilon)
                return stepSize * (squared * (1 - power2)).squareRoot() * (cell["exp_avg"] / root) + decay
            }
        }
    }
}

extension Rprop {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        stepCells(&layer, ["prev", "step_size"]) { _, t in
            { cell in
                let g = cell.decayed(weightDecay)
                let agreement = g.sign * cell["prev"].sign
                let old = t == 1 ? N(learningRate) * N(scale) : cell["step_size"].value
                let factor = agreement > 0 ? N(growth) : agreement < 0 ? N(shrink) : 1
                let size = min(max(old * factor, N(smallest)), N(largest))
                // Where rounding may have given the gradient another sign, every outcome is right.
                let free = cell.isAmbiguous(g) ? 4 * max(size, old * N(growth)) / cell.epsilon : 0
                let kept = agreement < 0 ? Term(0, size: g.size) : g
                cell["prev"] = kept
                cell["step_size"] = Term(size, size: size + free)
                return Term(size * kept.sign, size: size + free)
            }
        }
    }
}

extension ASGD {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        stepCells(&layer, ["ax"]) { tensor, t in
            let rate = learningRate * scale
            func eta(_ steps: Int64) -> N { N(rate / pow(1 + lambda * rate * Double(steps), alpha)) }
            func mu(_ steps: Int64) -> N { 1 / max(1, N(steps) - N(averagesFrom)) }
            (tensor.states["eta"], tensor.states["mu"]) = ([eta(t)], [mu(t)])
            let (own, share) = (eta(t - 1), mu(t - 1))
            return { cell in
                let change = own * cell.decayed(weightDecay) + own * N(lambda) * cell.weight
                let new = cell.floored(cell.weight - change)
                cell["ax"] = share == 1 ? new : cell["ax"] + share * (new - cell["ax"])
                return change
            }
        }
    }
}

extension Tiger {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        stepCells(&layer, ["exp_avg"]) { _, _ in
            { cell in
                cell["exp_avg"] = cell.mean(N(beta), cell["exp_avg"], cell.gradient)
                return cell.signed(rate, cell["exp_avg"]) + rate * N(weightDecay) * cell.weight
            }
        }
    }
}

extension SignSGD {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        stepCells(&layer, momentum > 0 ? ["momentum_buffer"] : []) { _, _ in
            { cell in
                var direction = cell.gradient
                if momentum > 0 {
                    direction = cell.mean(N(momentum), cell["momentum_buffer"], direction)
                    cell["momentum_buffer"] = direction
                }
                return cell.signed(rate, direction) + rate * N(weightDecay) * cell.weight
            }
        }
    }
}

extension AdaBelief {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let e = N(epsilon)
        stepCells(&layer, ["exp_avg", "exp_avg_var"]) { _, t in
            let (correction1, correction2): (N, N) = (1 - power(beta1, t), 1 - power(beta2, t))
            return { cell in
                let g = cell.decayed(decoupledWeightDecay ? 0 : weightDecay)
                let m = cell.mean(N(beta1), cell["exp_avg"], g)
                let s = cell.mean(N(beta2), cell["exp_avg_var"], (g - m) * (g - m)) + e
                (cell["exp_avg"], cell["exp_avg_var"]) = (m, s)
                let direction = m / ((1 / correction2 * s).squareRoot() + e)
                let decay = decoupledWeightDecay ? rate * N(weightDecay) : 0
                return rate / correction1 * direction + decay * cell.weight
            }
        }
    }
}

extension Yogi {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        stepCells(&layer, ["exp_avg", "exp_avg_sq"]) { _, t in
            let (correction1, correction2): (N, N) = (1 - power(beta1, t), 1 - power(beta2, t))
            return { cell in
                let g = cell.decayed(decoupledWeightDecay ? 0 : weightDecay)
                let start = Term(N(initialAccumulator))
                let m = cell.mean(N(beta1), t == 1 ? start : cell["exp_avg"], g)
                let old = t == 1 ? start : cell["exp_avg_sq"]
                let difference = old - g * g
                var v = cell.floored(old - (1 - N(beta2)) * difference.sign * (g * g))
                if cell.isAmbiguous(difference) {
                    v = Term(v.value, size: v.size + 2 * (1 - N(beta2)) * (g * g).size / cell.epsilon)
                }
                (cell["exp_avg"], cell["exp_avg_sq"]) = (m, v)
                let direction = m / ((1 / correction2 * v).squareRoot() + N(epsilon))
                let decay = decoupledWeightDecay ? rate * N(weightDecay) : 0
                return rate / correction1 * direction + decay * cell.weight
            }
        }
    }
}

extension Adan {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let (b1, b2, b3) = (N(beta1), N(beta2), N(beta3))
        stepCells(&layer, ["exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad"]) { _, t in
            let (correction1, correction2): (N, N) = (1 - power(beta1, t), 1 - power(beta2, t))
            let correction3: N = 1 - power(beta3, t)
            let weight = differenceWeight == .decay ? b2 : 1 - b2
            return { cell in
                let g = cell.gradient
                let d = t == 1 ? Term(0) : g - cell["previous_grad"]
                let ahead = g + weight * d
                cell["exp_avg"] = cell.mean(b1, cell["exp_avg"], g)
                cell["exp_avg_diff"] = cell.mean(b2, cell["exp_avg_diff"], d)
                cell["exp_avg_sq"] = cell.mean(b3, cell["exp_avg_sq"], ahead * ahead)
                cell["previous_grad"] = g
                let sum = 1 / correction1 * cell["exp_avg"] + weight / correction2 * cell["exp_avg_diff"]
                let square = 1 / correction3 * cell["exp_avg_sq"] + N(epsilonInRoot)
                let u = sum / (square.squareRoot() + N(epsilon))
                let decay = rate * N(weightDecay)
                let change = rate * u + decay * cell.weight
                return noProx ? change : 1 / (1 + decay) * change
            }
        }
    }
}

extension ADOPT {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        stepCells(&layer, ["exp_avg", "exp_avg_sq"]) { _, t in
            let limit = clip ? N(pow(Double(t - 1), clipPower)) : .infinity
            return { cell in
                let g = cell.decayed(decoupledWeightDecay ? 0 : weightDecay)
                let v = cell["exp_avg_sq"]
                if t == 1 {
                    cell["exp_avg_sq"] = cell.floored(v + g * g)
                    return Term(0)
                }
                let root = v.squareRoot()
                var u = g / Term(max(root.value, N(epsilon)))
                if u.value.magnitude > limit {
                    let isClear = u.value.magnitude - limit > u.size * 8 * cell.epsilon
                    u = Term(limit * u.sign, size: isClear ? limit : u.size)
                }
                cell["exp_avg"] = cell.mean(N(beta1), cell["exp_avg"], u)
                cell["exp_avg_sq"] = cell.mean(N(beta2), v, g * g)
                let decay = decoupledWeightDecay ? rate * N(weightDecay) : 0
                return rate * cell["exp_avg"] + decay * cell.weight
            }
        }
    }
}

extension AdEMAMix {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        stepCells(&layer, ["exp_avg", "exp_avg_sq", "exp_avg_slow"]) { _, t in
            let (correction1, correction2): (N, N) = (1 - power(beta1, t), 1 - power(beta2, t))
            let slowScale = alphaSteps > 0 ? N(alpha) * min(1, N(t) / N(alphaSteps)) : N(alpha)
            var b3 = Wide(beta3)
            if betaSteps > 0 {
                let progress = Wide(t) / Wide(betaSteps)
                b3 = min(b3, exp(1 / ((1 - progress) / log(Wide(beta1)) + progress / log(b3))))
            }
            let slowShare = N(1 - b3)
            return { cell in
                let g = cell.gradient
                cell["exp_avg"] = cell.mean(N(beta1), cell["exp_avg"], g)
                cell["exp_avg_sq"] = cell.mean(N(beta2), cell["exp_avg_sq"], g * g)
                let slow = cell["exp_avg_slow"]
                cell["exp_avg_slow"] = cell.floored((1 - slowShare) * slow + slowShare * g)
                let sum = 1 / correction1 * cell["exp_avg"] + slowScale * cell["exp_avg_slow"]
                let direction = sum / ((1 / correction2 * cell["exp_avg_sq"]).squareRoot() + N(epsilon))
                return rate * direction + rate * N(weightDecay) * cell.weight
            }
        }
    }
}

extension LaProp {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let b1 = N(beta1)
        stepCells(&layer, ["exp_avg", "exp_avg_sq"]) { tensor, t in
            let correction: N = 1 - power(beta2, t)
            let mean = b1 * (tensor.states["exp_avg_lr_1"]?.first ?? 0) + (1 - b1) * rate
            tensor.states["exp_avg_lr_1"] = [mean]
            let decay = rate * N(weightDecay)
            return { cell in
                let g = cell.gradient
                cell["exp_avg_sq"] = cell.mean(N(beta2), cell["exp_avg_sq"], g * g)
                let quotient = g / ((1 / correction * cell["exp_avg_sq"]).squareRoot() + N(epsilon))
                cell["exp_avg"] = cell.floored(b1 * cell["exp_avg"] + (1 - b1) * rate * quotient)
                return (1 - decay) * (rate / mean) * cell["exp_avg"] + decay * cell.weight
            }
        }
    }
}

extension MADGRAD {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        stepCells(&layer, ["grad_sum_sq", "s", "x0"]) { _, t in
            let weight = rate == 0 ? 0 : (rate + N(epsilon)) * N(t).squareRoot()
            return { cell in
                let g = cell.decayed(decoupledWeightDecay ? 0 : weightDecay)
                if t == 1 { cell["x0"] = cell.weight }
                cell["grad_sum_sq"] = cell.floored(cell["grad_sum_sq"] + weight * (g * g))
                cell["s"] = cell.floored(cell["s"] + weight * g)
                let q = cell["grad_sum_sq"]
                var root = N(cbrt(Double(q.value)))
                for _ in 0..<2 where q.value > 0 { root -= (root - q.value / root / root) / 3 }
                let error = q.value == 0 ? 1 : q.size / q.value
                let step = cell["s"] / (Term(root, size: root * error) + N(epsilon))
                let decay = decoupledWeightDecay ? rate * N(weightDecay) : 0
                return (1 - N(momentum)) * (cell.weight - cell["x0"] + step) + decay * cell.weight
            }
        }
    }
}

extension StableAdamW {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let coupled = decoupledWeightDecay ? 0 : weightDecay
        stepCells(&layer, ["exp_avg", "exp_avg_sq"]) { tensor, t in
            let share1 = (1 - N(beta1)) / (1 - power(beta1, t))
            let share2 = (1 - N(beta2)) / (1 - power(beta2, t))
            let v = tensor.state("exp_avg_sq")
            let directions: [N] = tensor.weights.indices.map { i in
                let g = tensor.gradients[i] + N(coupled) * tensor.weights[i]
                let root = max(((1 - share2) * v[i] + share2 * g * g).squareRoot(), N(epsilon))
                return root == 0 ? 0 : g / root
            }
            let rms = euclidean(directions) / N(directions.count).squareRoot()
            let rate = N(learningRate) * N(scale) / max(1, rms)
            let decay = decoupledWeightDecay ? rate * N(weightDecay) : 0
            return { cell in
                let g = cell.decayed(coupled)
                cell["exp_avg"] = cell.mean(1 - share1, cell["exp_avg"], g)
                cell["exp_avg_sq"] = cell.mean(1 - share2, cell["exp_avg_sq"], g * g)
                let direction = cell["exp_avg"] / (cell["exp_avg_sq"].squareRoot() + N(epsilon))
                return rate * direction + decay * cell.weight
            }
        }
    }
}

extension NovoGrad {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let norms = layer.map { euclidean($0.gradients) }
        let ofLayer = euclidean(norms)
        var own = norms.makeIterator()
        stepCells(&layer, ["exp_avg"]) { tensor, t in
            let norm = own.next().map { scope == .layer ? ofLayer : $0 } ?? 0
            let old = tensor.states["grad_norm"]?.first ?? 0
            let b2 = N(beta2)
            let square = t == 1 && !initZero ? norm * norm : b2 * old * old + (1 - b2) * norm * norm
            tensor.states["grad_norm"] = [square.squareRoot()]
            let corrected = biasCorrection ? square / (1 - power(beta2, t)) : square
            let divisor = (corrected + N(epsilonInRoot)).squareRoot() + N(epsilon)
            let share = gradAveraging && (averageFirst || t > 1) ? 1 - N(beta1) : 1
            let step = biasCorrection ? rate / (1 - power(beta1, t)) : rate
            let coupled = decoupledWeightDecay ? 0 : N(weightDecay)
            let decay = decoupledWeightDecay ? rate * N(weightDecay) : 0
            return { cell in
                let g = moment == .normalized ? cell.gradient / Term(divisor) : cell.gradient
                let d = cell.floored(g + coupled * cell.weight)
                cell["exp_avg"] = cell.floored(N(beta1) * cell["exp_avg"] + share * d)
                let direction = moment == .raw ? cell["exp_avg"] / Term(divisor) : cell["exp_avg"]
                return step * direction + decay * cell.weight
            }
        }
    }
}

extension LANS {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        let (b1, b2) = (N(beta1), N(beta2))
        let share = gradAveraging ? 1 - b1 : 1
        let coupled = decay == .gradient ? N(weightDecay) : 0
        let added = decay == .update ? N(weightDecay) : 0
        func whole(_ norms: [N]) -> [N] { scope == .layer ? norms.map { _ in euclidean(norms) } : norms }
        let divisors = whole(layer.map { euclidean($0.gradients) }).map { norm in
            normalizeGrad && norm > 0 ? norm + (normEps ? N(epsilon) : 0) : 1
        }
        let weights = whole(layer.map { euclidean($0.weights) })
        /// r and c of a tensor, without their sizes.
        func directions(_ index: Int) -> (r: [N], c: [N]) {
            let tensor = layer[index]
            let t = tensor.steps + 1
            let (m, v) = (tensor.state("exp_avg"), tensor.state("exp_avg_sq"))
            let (correction1, correction2): (N, N) =
                biasCorrection ? (1 - power(beta1, t), 1 - power(beta2, t)) : (1, 1)
            let g = tensor.weights.indices.map {
                tensor.gradients[$0] / divisors[index] + coupled * tensor.weights[$0]
            }
            let denominators = g.indices.map {
                ((b2 * v[$0] + (1 - b2) * g[$0] * g[$0]) / correction2).squareRoot() + N(epsilon)
            }
            return (
                g.indices.map {
                    (b1 * m[$0] + share * g[$0]) / correction1 / denominators[$0] + added * tensor.weights[$0]
                }, g.indices.map { g[$0] / denominators[$0] + added * tensor.weights[$0] }
            )
        }
        let own = layer.indices.map(directions)
        let (r, c) = (whole(own.map { euclidean($0.r) }), whole(own.map { euclidean($0.c) }))
        func ratio(_ w: N, _ direction: N) -> N { w == 0 || direction == 0 ? 1 : w / direction }
        let ratios = layer.indices.map { (ratio(weights[$0], r[$0]), ratio(weights[$0], c[$0])) }
        for index in layer.indices { layer[index].trustRatio = ratios[index].0 }
        var next = layer.indices.makeIterator()
        stepCells(&layer, ["exp_avg", "exp_avg_sq"]) { _, t in
            let index = next.next() ?? 0
            let (correction1, correction2): (N, N) =
                biasCorrection ? (1 - power(beta1, t), 1 - power(beta2, t)) : (1, 1)
            return { cell in
                let g = cell.floored(cell.gradient / Term(divisors[index]) + coupled * cell.weight)
                cell["exp_avg"] = cell.floored(b1 * cell["exp_avg"] + share * g)
                cell["exp_avg_sq"] = cell.mean(b2, cell["exp_avg_sq"], g * g)
                let denominator = (1 / correction2 * cell["exp_avg_sq"]).squareRoot() + N(epsilon)
                let r = 1 / correction1 * (cell["exp_avg"] / denominator) + added * cell.weight
                let c = g / denominator + added * cell.weight
                return rate * b1 * ratios[index].0 * r + rate * share * ratios[index].1 * c
            }
        }
    }
}

extension LDoG {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        func whole(_ norms: [N]) -> [N] { scope == .layer ? norms.map { _ in euclidean(norms) } : norms }
        let gradients = whole(
            layer.map { tensor in
                euclidean(tensor.weights.indices.map { tensor.gradients[$0] + N(weightDecay) * tensor.weights[$0] })
            })
        let distances = whole(
            layer.map { tensor in
                let start = tensor.state("init_buffer")
                return euclidean(
                    tensor.weights.indices.map { tensor.weights[$0] - (tensor.steps == 0 ? 0 : start[$0]) })
            })
        var next = layer.indices.makeIterator()
        stepCells(&layer, ["init_buffer"]) { tensor, t in
            let index = next.next() ?? 0
            let (oldDistance, oldSquares) = (tensor.states["rbar"]?.first ?? 0, tensor.states["G"]?.first ?? 0)
            let isFirst = oldSquares == 0
            let square = gradients[index] * gradients[index]
            let first = initEta > 0 ? 0 : N(firstDistance) * (1 + distances[index])
            let distance = max(oldDistance, isFirst ? first : distances[index])
            let squares = isFirst ? N(epsilon) + square : oldSquares + square
            (tensor.states["rbar"], tensor.states["G"]) = ([distance], [squares])
            let rate = N(learningRate) * N(scale)
            let step = initEta > 0 && distance == 0 ? rate * N(initEta) : rate * distance / squares.squareRoot()
            return { cell in
                if t == 1 { cell["init_buffer"] = cell.weight }
                return step * cell.decayed(weightDecay)
            }
        }
    }
}

extension ScheduleFreeSGD {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        stepCells(&layer, ["z"]) { tensor, t in
            let warmup = warmupSteps > 0 && t < warmupSteps ? Double(t) / Double(warmupSteps) : 1
            let rate = N(learningRate) * N(scale) * N(warmup)
            let largest = max(Double(rate), Double(tensor.states["lr_max"]?.first ?? 0))
            let weight = N(pow(Double(t), stepPower) * pow(largest, ratePower))
            let sum = (tensor.states["weight_sum"]?.first ?? 0) + weight
            let c = sum > 0 ? weight / sum : 0
            (tensor.states["weight_sum"], tensor.states["lr_max"]) = ([sum], [N(largest)])
            return { cell in
                let z = t == 1 ? cell.weight : cell["z"]
                let q = rate * cell.decayed(weightDecay)
                cell["z"] = cell.floored(z - q)
                return cell.floored(c * (cell.weight - z) + (1 - N(momentum) * (1 - c)) * q)
            }
        }
    }
}

extension SimplifiedAdEMAMix {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let rate = N(learningRate) * N(scale)
        stepCells(&layer, ["exp_avg", "exp_avg_sq"]) { _, t in
            let correction: N = 1 - power(beta2, t)
            return { cell in
                let g = cell.gradient
                cell["exp_avg"] = cell.floored(N(beta1) * cell["exp_avg"] + g)
                cell["exp_avg_sq"] = cell.mean(N(beta2), cell["exp_avg_sq"], g * g)
                let root = (1 / correction * cell["exp_avg_sq"]).squareRoot() + N(epsilon)
                let direction = cell.floored(cell["exp_avg"] + N(alpha) * g) / root
                return rate * direction + rate * N(weightDecay) * cell.weight
            }
        }
    }
}

extension MARS {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        let names = ["last_grad", "exp_avg", "exp_avg_sq"] + (amsgrad ? ["max_exp_avg_sq"] : [])
        stepCells(&layer, names) { tensor, t in
            let isCorrected = tensor.isMatrix || optimize1D
            let isLion = kind == .lion && isCorrected
            let (b1, b2) = isCorrected ? (beta1, beta2) : (beta1Of1D, beta2Of1D)
            let rate = N(learningRate) * N(scale) * (isCorrected ? 1 : N(rateScale1D))
            let decay = rate * N(isCorrected ? weightDecay : weightDecay1D)
            let isPlain = !isCorrected || (t == 1 && !correctFirst)
            let factor = isPlain ? 0 : N(gamma) * N(b1) / (1 - N(b1))
            let last = tensor.state("last_grad")
            let norm = euclidean(
                last.indices.map { tensor.gradients[$0] + factor * (tensor.gradients[$0] - last[$0]) })
            let divisor = isPlain ? 1 : max(1, norm)
            return { cell in
                let change = cell.floored(cell.gradient - cell["last_grad"])
                let c = cell.floored(1 / divisor * cell.floored(cell.gradient + factor * change))
                cell["last_grad"] = cell.gradient
                cell["exp_avg"] = cell.mean(N(b1), cell["exp_avg"], c)
                if isLion { return cell.signed(rate, cell["exp_avg"]) + decay * cell.weight }
                cell["exp_avg_sq"] = cell.mean(N(b2), cell["exp_avg_sq"], c * c)
                var v = cell["exp_avg_sq"]
                if amsgrad {
                    let old = cell["max_exp_avg_sq"]
                    v = Term(max(old.value, v.value), size: max(old.size, v.size))
                    cell["max_exp_avg_sq"] = v
                }
                let root = (1 / (1 - power(b2, t)) * v).squareRoot() + N(epsilon)
                return rate / (1 - power(b1, t)) * (cell["exp_avg"] / root) + decay * cell.weight
            }
        }
    }
}

extension ScheduleFreeRAdam {
    func step<N>(_ layer: inout [ReferenceTensor<N>], _ scale: Double) {
        stepCells(&layer, ["z", "exp_avg_sq"]) { tensor, t in
            let power2: N = power(beta2, t)
            let limit = 2 / (1 - N(beta2)) - 1
            let length = limit - 2 * N(t) * power2 / (1 - power2)
            let isRectified = length > 4
            let squared = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
            let factor: N = isRectified ? squared.squareRoot() : silentSGDPhase ? 0 : 1
            let rate = N(learningRate) * N(scale) * factor
            let largest = max(Double(rate), Double(tensor.states["lr_max"]?.first ?? 0))
            let weight = N(pow(Double(t), stepPower) * pow(largest, ratePower))
            let sum = (tensor.states["weight_sum"]?.first ?? 0) + weight
            let c = sum > 0 ? weight / sum : 0
            (tensor.states["weight_sum"], tensor.states["lr_max"]) = ([sum], [N(largest)])
            return { cell in
                let z = t == 1 ? cell.weight : cell["z"]
                cell["exp_avg_sq"] = cell.mean(N(beta2), cell["exp_avg_sq"], cell.gradient * cell.gradient)
                let root = (1 / (1 - power2) * cell["exp_avg_sq"]).squareRoot() + N(epsilon)
                let u = isRectified ? cell.gradient / root : cell.gradient
                let q = rate * cell.floored(u + N(weightDecay) * cell.weight)
                cell["z"] = cell.floored(z - q)
                return cell.floored(c * (cell.weight - z) + (1 - N(beta1) * (1 - c)) * q)
            }
        }
    }
}
