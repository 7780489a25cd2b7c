// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

// A step, once, forward: plan → measure → update → commit.  Until the update begins, nothing that a caller could see has
// changed, and from there on nothing can fail but the sums over processes that a trust ratio needs (Reduce.swift).

extension Optimizer {
    /// Takes one step.
    ///
    /// A tensor without a gradient is skipped: value, state and count stay as they are.  Where no tensor of the layers that
    /// train has one, the setting `emptyStep` says what happens; a step in which every layer is frozen is taken all the same.
    ///
    /// In a child that a signal handler forked within this call, it throws `forked` if threads had shared the work: the
    /// optimizer can then only be let go.
    public func step(_ options: StepOptions = StepOptions()) throws(LayerwiseError) {
        if isTorn { throw Self.torn }
        do throws(LayerwiseError) { try takeStep(options) } catch { throw isTorn ? Self.torn : error }
        if isTorn { throw Self.torn }
    }

    static var torn: LayerwiseError {
        LayerwiseError(
            .forked,
            "the process forked while threads were at work in a step of this optimizer, which can only be destroyed here"
        )
    }

    private func takeStep(_ options: StepOptions) throws(LayerwiseError) {
        if settings.dryRun {
            throw LayerwiseError(.invalidArgument, "an optimizer with dry_run has no memory and cannot step")
        }
        try checkMemory()
        if mode == .evaluation { throw stepInEvaluation }
        try refresh()
        let loss = try loss(options)
        let stepped = try plan(options)
        wakesWorkers = isWorthWaking(steppedElements)
        defer { if sharesWork(steppedElements) { lastStepEnd = Self.nanoseconds() } }
        let context = context()
        let measured: Measurement
        switch try measure(context, stepped, options) {
        case .proceed(let measurement): measured = measurement
        case .skip(let norm): return skip(norm)
        }
        try adjustSlices(context, options.reduce)
        try update(context, stepped, options.reduce, loss)
        commit(stepped, measured, options)
    }

    /// Says the loss of the next step, for rules that need it, such as MoMo: the mean over all processes.
    ///
    /// Other rules do not look at it.  It is forgotten once a step was taken or skipped.
    public func setLoss(_ loss: Double) { nextLoss = loss }

    /// The loss of a step; 0 where the rules in force need none.
    private func loss(_ options: StepOptions) throws(LayerwiseError) -> Double {
        guard rulesInForce.needsLoss else { return 0 }
        guard let loss = options.loss ?? nextLoss else {
            throw LayerwiseError(
                .invalidArgument,
                "\(type(of: rule).declaration.title) needs the loss of each step, and none was given")
        }
        if !loss.isFinite { throw LayerwiseError(.outOfRange, "loss must be finite, found \(loss)") }
        return loss
    }

    /// Says that a step will follow within some hundred microseconds: the worker threads wake up meanwhile.
    ///
    /// Never needed, and without effect on any result.  It is for callers that have gradients to gather first.
    public func expectStep() {
        if isWorthWaking(work.elements) { ThreadPool.shared.callWorkers() }
    }

    /// Updates everything that follows from layers, settings and policy, if any of them has changed.
    func refresh() throws(LayerwiseError) {
        if scalesAreStale { try refreshShares() }
        if clock.next >= spectraDue {
            applySpectra()
            try refreshShares()
        }
        if timeline.isStale {
            try refreshTimeline()
            rulesInForce = RulesInForce(ruleRecords)
        }
        if rulesInForce.orthogonalizes && memory.isLibrary { matrixMemory.blas = try BLAS.current() }
        if settings.dryRun { return }
        if work.isStale {
            let records = ruleRecords.elements
            let layers = layers.elements
            let built =
                work.build(tensors.elements, tensors.count, &memory)
                && (!rulesInForce.hasStages
                    || unitList.build(
                        tensors.elements, tensors.count, work.blocks, &memory,
                        keepsDirections: rulesInForce.keepsDirections,
                        unitOf: { records[layers[$0].rule].scope },
                        orthogonalizes: { [tensors = tensors.elements] in
                            tensors[$0].kind.isMatrix && records[layers[tensors[$0].layer].rule].orthogonalizes
                        }))
                && reserveMatrices()
            guard built else { throw noMemory("the step") }
        }
        let hasSlices =
            !GradientAdjustments(settings).concernsSlices
            || work.reserveSlices(tensors.elements, tensors.count, &memory)
        guard hasSlices, growCoefficients(), growScratch(), growMatrixScratch() else { throw noMemory("the step") }
    }

    private func growCoefficients() -> Bool {
        let needed = tensors.count * coefficientBytes
        if coefficients.bytes >= needed && memory.isLibrary { return true }
        return coefficients.reserve(memory.isLibrary ? max(needed, 2 * coefficients.bytes) : needed, from: &memory)
    }

    /// Scratch memory for each thread that a step may use.
    private func growScratch() -> Bool {
        // The caller's memory may be little: it has one thread's, and room for directions only where a rule keeps them.
        let unused = memory.isLibrary || rulesInForce.keepsDirections ? 0 : Scratch.directionBytes
        return scratch.reserve(threadLimit * Scratch.bytes - unused, from: &memory)
    }

    /// The most threads that a step may use.
    var threadLimit: Int {
        if !memory.isLibrary { return 1 }
        return settings.threads > 0 ? settings.threads : Self.machineThreads
    }

    /// Read once: a step has no time to read the cgroup's files.
    private static let machineThreads = availableThreads()

    func context() -> StepContext {
        StepContext(
            optimizer: Unmanaged.passUnretained(self), layers: layers.elements, tensors: tensors.elements,
            rules: ruleRecords.elements, blocks: work.blocks.elements, sums: work.sums.elements,
            items: work.items.elements, units: unitList.units.elements, kernels: InstructionSet.kernelMemory,
            scratch: scratch.start ?? UnsafeMutableRawPointer(tensors.elements), limit: settings.clipValue,
            shared: nextShared, factors: work.factors.elements, adjustments: GradientAdjustments(settings),
            sliceSums: work.sliceSums.elements, slices: work.slices.elements, observes: observes, watching: watching)
    }

    /// Runs a job over `count` items, on as many threads as the work is worth.
    func run(_ job: ThreadPool.Job, _ context: StepContext, count: Int) {
        run(job, context, count: count, isShared: sharesWork(steppedElements), wakes: wakesWorkers)
    }

    /// Runs a job over `count` items, on all threads if it `isShared`.
    func run(_ job: ThreadPool.Job, _ context: StepContext, count: Int, isShared: Bool, wakes: Bool) {
        let threads = isShared ? threadLimit : 1
        let isDone = withUnsafePointer(to: context) { context in
            let context = UnsafeMutableRawPointer(mutating: context)
            if threads == 1 {
                for item in 0..<count { job(context, item, 0) }
                return true
            }
            return ThreadPool.shared.run(job, context, count: count, threads: threads, wakes: wakes)
        }
        if !isDone { isTorn = true }
    }

    /// Whether a step over so many elements gains from other threads that are awake.
    private func sharesWork(_ elements: Int) -> Bool { threadLimit > 1 && elements >= Self.serialElements }

    /// Whether a step over so many elements gains from other threads even if they must be woken, or will be awake for the next
    /// step, since steps follow each other closely.
    private func isWorthWaking(_ elements: Int) -> Bool {
        sharesWork(elements)
            && (elements >= Self.wakingElements || Self.nanoseconds() &- lastStepEnd < Self.closeNanoseconds)
    }

    /// Below this many elements a step stays on the caller's thread.
    static let serialElements = 1 << 17

    /// From this many elements on, workers that sleep are woken.  Measured on two cores of a Zen 3 processor with AdamW, 5 ms
    /// after the last step and right after a matrix product of torch, whose threads go on spinning: waking made a step over
    /// 2¹⁷ elements 1.25 times as long, over 2¹⁹ 1.1 times, over 2²⁰ 0.9 times and over 2²¹ 0.6 to 0.9 times.  In a loop of
    /// nothing but steps, where workers stay awake, two threads take 0.66 of the time of one already for 2¹⁷.
    static let wakingElements = 1 << 20

    /// A step that begins within this time of the end of the last follows closely.
    private static let closeNanoseconds: UInt64 = 200_000

    private static func nanoseconds() -> UInt64 {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(truncatingIfNeeded: now.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: now.tv_nsec)
    }

    private func skip(_ norm: Double) {
        nextLoss = nil
        summary.skippedSteps += 1
        summary.gradientNorm = norm
        summary.clipFactor = 1
    }
}
