// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

extension Optimizer {
    /// Marks the tensors that this step takes, with their gradients and coefficients, and returns the layers it concerns.
    /// What it writes is read by this step only, so a refused step leaves no trace.
    func plan(_ options: StepOptions) throws(LayerwiseError) -> Range<Int> {
        let scale = options.gradientScale
        if !(scale > 0 && scale.isFinite) {
            throw LayerwiseError(.outOfRange, "gradient_scale must be in (0, inf), found \(scale)")
        }
        var stepped = 0..<layers.count
        if let layer = options.layer {
            try check(layer: layer)
            stepped = layer..<layer + 1
            for index in 0..<tensors.count { tensors.elements[index].active = false }
        }
        let given = options.gradients
        if let given { try check(given, stepped) }
        nextShared = shared.elements.pointee
        if let layer = options.layer, ruleRecords.elements[layers.elements[layer].rule].sumsOverOptimizer {
            throw LayerwiseError(
                .invalidArgument,
                "\(subject(layer)): \(type(of: rule).declaration.title) takes sums over all layers, which can only be "
                    + "stepped together", layer: layer)
        }
        if options.reduce != nil { try checkFactors() }
        if rulesInForce.orthogonalizes { try checkMatrices() }
        if options.reduce != nil && GradientAdjustments(settings).concernsSlices { try checkSlices() }
        if rulesInForce.sharesByLayer { beginOwnShared() }
        currentStep = options.layer.map { clock.next(after: layers.elements[$0].round) } ?? clock.next
        try move(to: currentStep)
        var planner = Planner(
            layers: layers.elements, tensors: tensors.elements, factors: timeline.factors.elements,
            coefficients: coefficients.start, given: given, gradientFactor: ScaledNumber(sign: 1, over: scale),
            decayFollows: settings.decayFollows, shared: nextShared)
        // Moved and not copied: a copy would be made once one of the two is written to.
        swap(&planner.powers, &powers)
        var layer = stepped.lowerBound
        while layer < stepped.upperBound {
            // Neighbouring layers that share a rule are planned together.
            let rule = layers.elements[layer].rule
            var end = layer + 1
            while end < stepped.upperBound && layers.elements[end].rule == rule { end += 1 }
            planner.plan(ruleInForce(rule), layer..<end, hasScalars: ruleRecords.elements[rule].hasScalars)
            layer = end
        }
        swap(&planner.powers, &powers)
        steppedElements = planner.elements
        if let layer = planner.overflow {
            throw LayerwiseError(
                .outOfRange, "\(subject(layer)): the effective rate at step \(currentStep) is not finite", layer: layer)
        }
        // Where tensors are spread over processes, another may have the gradients.
        if !planner.hasActive && planner.lacksGradient && settings.emptyStep == .raise && options.reduce == nil {
            throw emptyStep(options.layer)
        }
        return stepped
    }

    /// Tells layers where the numbers are that their rules keep by layer: the list may have moved since the last step.
    private func beginOwnShared() {
        for layer in 0..<layers.count {
            let own = layerShared.elements + 2 * layer
            own[1] = own[0]
            let record = layers.elements + layer
            record.pointee.ownShared = ruleRecords.elements[record.pointee.rule].sharesByLayer ? own : nil
        }
    }

    /// Refuses parts of tensors whose rows, blocks of rows, or axes are spread over processes.
    private func checkFactors() throws(LayerwiseError) {
        for index in 0..<tensors.count {
            let tensor = tensors.elements[index]
            if tensor.isFactored { try checkParts(index, tensor) }
            if tensor.stride != 1 && tensor.matrices.wholeElements != Double(tensor.count) {
                let own = index - layers.elements[tensor.layer].firstTensor
                throw LayerwiseError(
                    .shape,
                    "\(subject(tensor.layer, own)): \(type(of: rules[layers.elements[tensor.layer].rule]).declaration.title) takes "
                        + "every \(tensor.stride) elements of a tensor, which therefore cannot be spread over processes",
                    layer: tensor.layer, tensor: own)
            }
            if tensor.isFactored && tensor.matrices.isCutAcross && tensor.factors.0.kind == .product {
                let own = index - layers.elements[tensor.layer].firstTensor
                throw LayerwiseError(
                    .shape,
                    "\(subject(tensor.layer, own)): \(type(of: rules[layers.elements[tensor.layer].rule]).declaration.title) takes means of rows and columns, for which "
                        + "a tensor may be spread over processes along its first axis only", layer: tensor.layer,
                    tensor: own)
            }
        }
    }

    /// Refuses a part of a tensor whose axes have places in other processes, or that may end inside a block of rows.
    private func checkParts(_ index: Int, _ tensor: TensorStepData) throws(LayerwiseError) {
        let matrices = tensor.matrices
        if tensor.factors.0.kind == .product || matrices.wholeElements == Double(tensor.count) { return }
        let rule = rules[layers.elements[tensor.layer].rule]
        let title = type(of: rule).declaration.title
        let own = index - layers.elements[tensor.layer].firstTensor
        var problem: String?
        if tensor.factors.0.kind == .least {
            problem = "takes the largest numbers along all axes, so that a tensor cannot be spread over processes"
        } else {
            let rows = rule.factorAverage(0, StepInput(learningRate: 0, decayRate: 0, step: 1, tensor: tensor.kind))
                .rows
            let isWhole = !matrices.isCutAcross && (rows == 0 || matrices.rowCount % rows == 0)
            if !isWhole && rows > 0 {
                problem = "takes blocks of \(rows) rows, of which each process must hold whole ones"
            }
        }
        guard let problem else { return }
        throw LayerwiseError(
            .shape, "\(subject(tensor.layer, own)): \(title) \(problem)", layer: tensor.layer, tensor: own)
    }

    /// Refuses parts of matrices whose directions are to be made orthogonal.
    private func checkMatrices() throws(LayerwiseError) {
        for index in 0..<tensors.count {
            let tensor = tensors.elements + index
            let rule = layers.elements[tensor.pointee.layer].rule
            if !tensor.pointee.kind.isMatrix || !ruleRecords.elements[rule].orthogonalizes { continue }
            if tensor.pointee.matrices.wholeElements == Double(tensor.pointee.count) { continue }
            let layer = tensor.pointee.layer
            let own = index - layers.elements[layer].firstTensor
            throw LayerwiseError(
                .shape,
                "\(subject(layer, own)): \(type(of: rules[rule]).declaration.title) takes whole matrices, and this is a part of "
                    + "one that is spread over processes", layer: layer, tensor: own)
        }
    }

    /// Why a step is refused in which no layer that trains has a gradient.
    private func emptyStep(_ layer: Int?) -> LayerwiseError {
        let what = layer.map { "\(subject($0)): no tensor has a gradient" } ?? "no layer that trains has a gradient"
        return LayerwiseError(
            .invalidArgument, "\(what); with the setting empty_step = allow such a step counts and trains nothing",
            layer: layer)
    }

    /// Refuses gradients given with the step that are too few, too many, or share bytes with parameters.
    private func check(
        _ given: UnsafeBufferPointer<UnsafeRawPointer?>, _ stepped: Range<Int>
    ) throws(LayerwiseError) {
        let expected = stepped.reduce(0) { $0 + layers.elements[$1].tensorCount }
        if given.count != expected {
            throw LayerwiseError(
                .shape,
                "expected \(expected) gradients, one for each tensor of the layers stepped, found \(given.count)")
        }
        var position = 0
        for layer in stepped {
            let record = layers.elements[layer]
            for tensor in 0..<record.tensorCount {
                let gradient = given[position]
                position += 1
                if gradient == nil { continue }
                let own = tensors.elements[record.firstTensor + tensor]
                do throws(LayerwiseError) {
                    try Self.checkAlignment(gradient, own.gradientDType, "\(subject(layer, tensor)): the gradient")
                } catch { throw error.at(layer: layer, tensor: tensor) }
                guard
                    let bytes = IntervalSet.interval(
                        gradient, own.count * own.gradientDType.size, layer: layer, tensor: tensor)
                else {
                    throw LayerwiseError(
                        .overlap, "\(subject(layer, tensor)): the gradient runs past the end of the address space",
                        layer: layer, tensor: tensor)
                }
                if let other = parameterIntervals.firstSharing(bytes) {
                    throw LayerwiseError(
                        .overlap,
                        "\(subject(layer, tensor)): the gradient shares bytes with \(label("the parameters", other, layer))",
                        layer: layer, tensor: tensor)
                }
            }
        }
    }
}

/// Plans layers one after another.
private struct Planner {
    let layers: UnsafeMutablePointer<LayerStepData>
    let tensors: UnsafeMutablePointer<TensorStepData>
    /// What each track says at this step.
    let factors: UnsafeMutablePointer<Factor>
    /// Room for the coefficients of each tensor.
    let coefficients: UnsafeMutableRawPointer?
    /// Gradients in place of the bound ones.
    let given: UnsafeBufferPointer<UnsafeRawPointer?>?
    let gradientFactor: ScaledNumber
    let decayFollows: DecayFollows
    let shared: SharedScalars
    var powers = BiasCorrectionCache()
    /// The first layer whose rate overflowed.
    var overflow: Int?
    /// The elements of the tensors that are active.
    var elements = 0
    /// Whether a tensor is stepped.
    var hasActive = false
    /// Whether a tensor that has elements, in a layer that is not frozen, has no gradient.
    var lacksGradient = false
    private var position = 0

    init(
        layers: UnsafeMutablePointer<LayerStepData>, tensors: UnsafeMutablePointer<TensorStepData>,
        factors: UnsafeMutablePointer<Factor>, coefficients: UnsafeMutableRawPointer?,
        given: UnsafeBufferPointer<UnsafeRawPointer?>?, gradientFactor: ScaledNumber, decayFollows: DecayFollows,
        shared: SharedScalars
    ) {
        self.layers = layers
        self.tensors = tensors
        self.factors = factors
        self.coefficients = coefficients
        self.given = given
        self.gradientFactor = gradientFactor
        self.decayFollows = decayFollows
        self.shared = shared
    }

    /// Marks the tensors of `range`, whose layers all have the rule `rule`.
    mutating func plan(_ rule: some DeclaredRule, _ range: Range<Int>, hasScalars: Bool) {
        let ruleRate = rule.learningRate
        let options = rule.updateOptions
        for layer in range {
            let record = layers + layer
            let track = record.pointee.track
            let factor = track < 0 ? Optimizer.unscheduled : factors[track]
            let rates = LayerRates(
                factor, base: record.pointee.base(ruleRate), scale: record.pointee.scale,
                annealing: record.pointee.annealing, decayFollows)
            let isFinite = rates.learningRate.isFinite && rates.decayRate.isFinite
            if !isFinite && !record.pointee.frozen && overflow == nil { overflow = layer }
            record.pointee.effectiveRate = rates.learningRate
            record.pointee.baseRate = factor.rate(base: ruleRate, scale: 1, annealing: 1)
            record.pointee.decayRate = rates.decayRate
            record.pointee.plainRate = record.pointee.base(ruleRate) * record.pointee.share
            record.pointee.clipFactor = ScaledNumber(1)
            var signedFactor = gradientFactor
            if record.pointee.ascends { signedFactor.value = -signedFactor.value }
            // Tensors of a layer that are alike and at the same step share their coefficients.
            var shared: Int?
            for index in record.pointee.firstTensor..<record.pointee.firstTensor + record.pointee.tensorCount {
                let tensor = tensors + index
                let gradient = given.map { $0[position] } ?? tensor.pointee.boundGradient
                position += 1
                tensor.pointee.gradient = gradient
                tensor.pointee.active = gradient != nil && !record.pointee.frozen
                if !tensor.pointee.active {
                    if gradient == nil && tensor.pointee.count > 0 && !record.pointee.frozen { lacksGradient = true }
                    continue
                }
                hasActive = true
                elements &+= tensor.pointee.count
                tensor.pointee.factor = signedFactor
                tensor.pointee.numbers = StageNumbers(repeating: 1)
                if let shared, tensor.pointee.sharesPlan(with: tensors[shared]) {
                    tensor.pointee.coefficients = tensors[shared].coefficients
                    tensor.pointee.learningRate = tensors[shared].learningRate
                    tensor.pointee.decayRate = tensors[shared].decayRate
                    tensor.pointee.separateDecay = tensors[shared].separateDecay
                    tensor.pointee.nextScalars = tensors[shared].nextScalars
                    continue
                }
                guard let coefficients else { continue }
                tensor.pointee.learningRate = rates.learningRate(tensor.pointee.scale)
                tensor.pointee.decayRate = rates.decayRate(tensor.pointee.scale)
                if options.correctsDecay && ruleRate > 0 {
                    tensor.pointee.decayRate *= record.pointee.baseRate / ruleRate
                }
                tensor.pointee.coefficients = coefficients + index * coefficientBytes
                var moment = tensor.pointee.moment(record.pointee, self.shared)
                if hasScalars {
                    moment.scalars = rule.advance(tensor.pointee.scalars, moment)
                    tensor.pointee.nextScalars = moment.scalars
                }
                if options.cautious != .none { tensor.pointee.separateDecay = rule.separateDecay(moment) }
                rule.plan(moment, powers: &powers, into: coefficients + index * coefficientBytes)
                shared = index
            }
        }
    }
}

extension TensorStepData {
    /// Whether the rule plans both alike.
    fileprivate func sharesPlan(with other: TensorStepData) -> Bool {
        steps == other.steps && scale == other.scale && kind == other.kind && scalars == other.scalars
    }
}

/// The rates of one layer at a step, and of its tensors.
struct LayerRates {
    let learningRate: Double
    let decayRate: Double
    private let factor: Factor
    private let base: Double
    private let scale: Double
    private let annealing: Double
    private let followsLayer: Bool

    @inline(__always)
    init(_ factor: Factor, base: Double, scale: Double, annealing: Double, _ decayFollows: DecayFollows) {
        self.factor = factor
        self.base = base
        self.scale = scale
        self.annealing = annealing
        followsLayer = decayFollows == .layerLR
        learningRate = factor.rate(base: base, scale: scale, annealing: annealing)
        switch decayFollows {
        case .layerLR: decayRate = learningRate
        case .baseLR: decayRate = factor.rate(base: base, scale: 1, annealing: annealing)
        case .independent:
            decayRate =
                base > 0 ? factor.rate(base: base, scale: 1, annealing: annealing) / base : factor.gain * annealing
        }
    }

    /// `tensorScale`: what the policy multiplies the tensor's rate by, on top of its layer's scale.
    @inline(__always)
    func learningRate(_ tensorScale: Double) -> Double {
        tensorScale == 1
            ? learningRate : factor.rate(base: base, scale: scale * tensorScale, annealing: annealing)
    }

    @inline(__always)
    func decayRate(_ tensorScale: Double) -> Double { followsLayer ? learningRate(tensorScale) : decayRate }
}
