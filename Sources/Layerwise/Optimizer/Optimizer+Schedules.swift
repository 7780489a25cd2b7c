// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// Policy, schedules and freezing plan: what can be set, reported and asked.

extension Optimizer {
    /// Changes the policy, which takes effect at the next step.  A measured policy begins to measure then.
    public func setPolicy(_ policy: any Policy) {
        self.policy = policy.implementation.policy
        dropSpectra()
        measurements.removeAll()
        // What an earlier policy watched is not that of this one.
        for index in 0..<tensors.count { tensors.elements[index].restartWatching() }
        scalesAreStale = true
    }

    /// Sets a schedule for a number of the rule, "lr" unless `key` says otherwise, of the whole optimizer or of one layer,
    /// which takes precedence; nil takes it away.  It takes effect at the next step, and asks for the t of that step: a
    /// schedule that is set later does not start at 0.
    public func setSchedule(
        _ schedule: (any Schedule)?, for key: String = "lr", layer: Int? = nil
    ) throws(LayerwiseError) {
        let schedule = schedule?.implementation.schedule
        if let layer { try check(layer: layer) }
        let own = layer.map { entries[$0].rule ?? rule } ?? rule
        guard case .number = own.value(of: key), type(of: own).isNumber(key) else {
            throw LayerwiseError(
                .unknownName,
                "\(type(of: own).declaration.title): no number is called \"\(key)\""
                    + hint(for: key, among: type(of: own).numberKeys) + ", expected one of "
                    + type(of: own).numberKeys.joined(separator: ", "))
        }
        do { try schedule?.checkWhole() } catch { throw LayerwiseError(error, of: "schedule of \(key)", layer: layer) }
        if let layer {
            var changed: [Int: LayerConfiguration] = [:]
            for index in CollectionOfOne(layer) + parts(of: layer) {
                var entry = entries[index]
                entry.schedules[key] = schedule
                changed[index] = entry
            }
            try adopt(changed)
        } else {
            var schedules = schedules
            schedules[key] = schedule
            try adopt(rule, schedules, settings)
        }
    }

    /// The schedule that is set, if there is one.
    public func schedule(for key: String = "lr", layer: Int? = nil) throws(LayerwiseError) -> (any Schedule)? {
        try schedule(of: key, layer)
    }

    private func schedule(of key: String, _ layer: Int?) throws(LayerwiseError) -> (any DeclaredSchedule)? {
        guard let layer else { return schedules[key] }
        try check(layer: layer)
        return entries[layer].schedules[key]
    }

    /// Sets when each layer trains; nil takes the plan away.  It takes effect at the next step, when a measured plan begins to
    /// measure.
    public func setFreezePlan(_ plan: (any FreezePlan)?) {
        freezePlan = plan?.implementation.plan
        freezeMeasurements.removeAll()
        scalesAreStale = true
    }

    /// Tells every schedule that follows a metric, such as a validation loss, the latest one.
    public func report(_ metric: Double) throws(LayerwiseError) {
        let takers = schedules.values.filter(\.takesMetric).count
        let layerTakers = entries.reduce(0) { $0 + $1.schedules.values.filter(\.takesMetric).count }
        if takers + layerTakers == 0 {
            throw LayerwiseError(.notFound, "no schedule takes a metric, as reduce_on_plateau does")
        }
        for key in schedules.keys { schedules[key]?.report(metric) }
        for layer in entries.indices {
            for key in entries[layer].schedules.keys { entries[layer].schedules[key]?.report(metric) }
        }
        timeline.isStale = true
    }

    /// What reports have left behind in a schedule, for a checkpoint.
    public func scheduleState(for key: String = "lr", layer: Int? = nil) throws(LayerwiseError) -> [Double] {
        try existingSchedule(key, layer).state
    }

    /// Restores what `scheduleState` returned.
    public func setScheduleState(
        _ state: [Double], for key: String = "lr", layer: Int? = nil
    ) throws(LayerwiseError) {
        var schedule = try existingSchedule(key, layer)
        if state.count != schedule.state.count {
            throw LayerwiseError(
                .shape, "the schedule of \(key) has \(schedule.state.count) numbers of state, found \(state.count)")
        }
        schedule.state = state
        // A state that a schedule has no use for is not taken, or not all of it.
        if schedule.state != state {
            throw LayerwiseError(.outOfRange, "the schedule of \(key): \(state) is no state that reports leave behind")
        }
        if let layer { entries[layer].schedules[key] = schedule } else { schedules[key] = schedule }
        timeline.isStale = true
    }

    private func existingSchedule(_ key: String, _ layer: Int?) throws(LayerwiseError) -> any DeclaredSchedule {
        if let schedule = try schedule(of: key, layer) { return schedule }
        throw LayerwiseError(.notFound, "\(key) has no schedule\(layer.map { " in \(subject($0))" } ?? "")")
    }

    /// Makes the next step of all layers the one at t = `step`, as a run that is resumed needs it.
    public func seek(_ step: Int64) throws(LayerwiseError) {
        if step < 0 || step > mostSteps {
            throw LayerwiseError(.outOfRange, "the step must be from 0 to \(mostSteps), found \(step)")
        }
        clock.seek(step)
        for layer in 0..<layers.count { layers.elements[layer].round = -1 }
        summary.nextStep = step
    }
}
