// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Schedules and freezing plan, made ready for the steps.
///
/// A track is a schedule that begins at a step.  Tracks of one schedule and base lie side by side, so that a step asks each
/// schedule once for all of them.
struct Timeline: ~Copyable {
    /// Whether schedules, layers or rules have changed.
    var isStale = true
    /// Each schedule in force once for each base.
    var sources: [Source] = []
    /// The step at which each track begins.
    var starts: [Int64] = []
    /// Where each track stands at the step under way, and what its schedule says there.
    var places = UnsafeArray<Int64>()
    var factors = UnsafeArray<Factor>()
    /// Hyperparameters under a schedule.
    var movements: [Movement] = []
    /// The rules with their hyperparameters as they are at the step under way, changed in place; empty where none is moved.
    var movedRules: [any DeclaredRule] = []
    /// When each layer trains; empty without a freezing plan.
    var activities: [Activity] = []
    /// Whether any of them anneals.
    var anneals = false
    /// Whether states begin again where the plan freezes a layer.
    var clearsStates = false
    /// The steps for which the layers' frozen marks hold.
    var window: Range<Int64> = 0..<0

    init() {}

    /// Where a track stands at a step: one that begins later stands at its schedule's first step until then.
    static func place(_ start: Int64, at step: Int64) -> Int64 { max(0, step - start) }

    /// The source of a track; nil for -1, which is none.
    func source(of track: Int) -> Source? {
        // Tracks lie in the order of their sources.
        var low = 0
        var high = sources.count
        while low < high {
            let middle = (low + high) / 2
            if sources[middle].tracks.upperBound <= track { low = middle + 1 } else { high = middle }
        }
        return low < sources.count && sources[low].tracks.contains(track) ? sources[low] : nil
    }

    /// What a track says at a step.
    func factor(of track: Int, at step: Int64, learningRate: Double) -> Factor {
        guard let source = source(of: track) else { return Optimizer.unscheduled }
        return source.schedule.factor(
            at: Self.place(starts[track], at: step), base: source.base ?? learningRate)
    }

    /// Asks every schedule.
    func fillFactors(at step: Int64, learningRate: Double) {
        for track in starts.indices { places.elements[track] = Self.place(starts[track], at: step) }
        for source in sources {
            source.schedule.factors(
                at: places.elements + source.tracks.lowerBound, count: source.tracks.count,
                base: source.base ?? learningRate, into: factors.elements + source.tracks.lowerBound)
        }
    }
}

/// A schedule in force.
struct Source {
    let schedule: any DeclaredSchedule
    /// The base of the hyperparameter it moves; nil is the optimizer's learning rate.
    let base: Double?
    /// Its tracks.
    var tracks: Range<Int>
}

/// A hyperparameter of a rule that follows a track.
struct Movement {
    /// Which of the optimizer's rules.
    let rule: Int
    let key: String
    let track: Int
    let base: Double
}

extension Optimizer {
    /// The factor of a layer without a schedule.
    static let unscheduled = Factor(1)

    /// Creates the tracks again.
    func refreshTimeline() throws(LayerwiseError) {
        var builder = TrackBuilder()
        let rateTracks = entries.map { entry -> TrackBuilder.Place? in
            guard let schedule = entry.schedules["lr"] ?? schedules["lr"] else { return nil }
            return builder.place(schedule, Int64(entry.settings.start), base: nil)
        }
        var movements: [(TrackBuilder.Place, Int, String, Double)] = []
        addMovements(schedules, 0, start: 0, &builder, &movements)
        for (layer, entry) in entries.enumerated() where layers.elements[layer].rule > 0 {
            let own = schedules.merging(entry.schedules) { _, own in own }
            addMovements(own, layers.elements[layer].rule, start: Int64(entry.settings.start), &builder, &movements)
        }
        let (sources, starts) = builder.tracks()
        guard timeline.factors.reserve(starts.count), timeline.places.reserve(starts.count) else {
            throw .outOfMemory("schedules")
        }
        timeline.factors.removeAll()
        timeline.places.removeAll()
        for _ in starts {
            timeline.factors.append(Self.unscheduled)
            timeline.places.append(0)
        }
        timeline.sources = sources
        timeline.starts = starts
        for (layer, place) in rateTracks.enumerated() {
            layers.elements[layer].track = place.map { sources[$0.source].tracks.lowerBound + $0.offset } ?? -1
        }
        timeline.movements = movements.map { place, rule, key, base in
            Movement(rule: rule, key: key, track: sources[place.source].tracks.lowerBound + place.offset, base: base)
        }
        timeline.movedRules = timeline.movements.isEmpty ? [] : rules
        timeline.isStale = false
    }

    private func addMovements(
        _ schedules: [String: any DeclaredSchedule], _ rule: Int, start: Int64, _ builder: inout TrackBuilder,
        _ movements: inout [(TrackBuilder.Place, Int, String, Double)]
    ) {
        for (key, schedule) in schedules.sorted(by: { $0.key < $1.key }) where key != "lr" {
            guard case .number(let base) = rules[rule].value(of: key) else { continue }
            movements.append((builder.place(schedule, start, base: base), rule, key, base))
        }
    }

    /// Asks the freezing plan again.
    func refreshActivities() throws(LayerwiseError) {
        timeline.window = 0..<0
        timeline.anneals = false
        timeline.clearsStates = freezePlan?.clearsStates ?? false
        guard let freezePlan else { return timeline.activities = [] }
        do throws(SettingError) {
            try freezePlan.checkWhole()
            timeline.activities = try freezePlan.activities(of: places)
        } catch {
            throw LayerwiseError(error, of: "freezing plan")
        }
        timeline.anneals = timeline.activities.contains { $0.anneals }
    }

    /// Sets what schedules and freezing plan say of step t.
    func move(to step: Int64) throws(LayerwiseError) {
        if !timeline.window.contains(step) { markFrozen(at: step) }
        if !timeline.sources.isEmpty { timeline.fillFactors(at: step, learningRate: rule.learningRate) }
        if !timeline.movements.isEmpty {
            try moveRules(to: step)
        }
        if timeline.anneals {
            let layers = layers.elements
            for layer in 0..<self.layers.count { layers[layer].annealing = annealing(layer, at: step) }
        }
    }

    /// Marks the layers that are frozen at a step, and until when the marks hold.
    private func markFrozen(at step: Int64) {
        var end = Int64.max
        for layer in 0..<layers.count {
            layers.elements[layer].frozen = frozenBy(layer, at: step) != .nobody
            layers.elements[layer].annealing = 1
            if layer < timeline.activities.count, let change = timeline.activities[layer].holds(after: step) {
                end = min(end, change)
            }
        }
        timeline.window = step..<end
    }

    /// Whether the plan or a call has frozen a layer at step t, or neither.
    func frozenBy(_ layer: Int, at step: Int64) -> LayerInfo.FrozenBy {
        switch entries[layer].settings.frozen {
        case .yes: return .layer
        case .no: return .nobody
        case .plan:
            if isFrozenByMeasurement(layer) { return .plan }
            let isActive = layer >= timeline.activities.count || timeline.activities[layer].isActive(at: step)
            return isActive ? .nobody : .plan
        }
    }

    /// Moves the rules in force to step t, in place: a step allocates nothing.
    private func moveRules(to step: Int64) throws(LayerwiseError) {
        for movement in timeline.movements {
            try Self.move(
                &timeline.movedRules[movement.rule], movement, timeline.factors.elements[movement.track], step)
        }
        try checkMoved(timeline.movedRules, step)
    }

    /// The rules with their hyperparameters as they are at step t, where `factor` says what each track does.
    func movedRules(at step: Int64, _ factor: (Int) -> Factor) throws(LayerwiseError) -> [any DeclaredRule] {
        var moved = rules
        for movement in timeline.movements {
            try Self.move(&moved[movement.rule], movement, factor(movement.track), step)
        }
        try checkMoved(moved, step)
        return moved
    }

    private static func move(
        _ rule: inout any DeclaredRule, _ movement: Movement, _ factor: Factor, _ step: Int64
    ) throws(LayerwiseError) {
        let value = Setting(movement.key, factor.rate(base: movement.base, scale: 1))
        do { try rule.assign(value) } catch {
            throw LayerwiseError(error, of: "the schedule of \(movement.key) at step \(step)")
        }
    }

    /// Values that bound each other may move together, so they are judged when all are in place.
    private func checkMoved(_ moved: [any DeclaredRule], _ step: Int64) throws(LayerwiseError) {
        for movement in timeline.movements {
            do { try moved[movement.rule].validate() } catch {
                throw LayerwiseError(error, of: "the schedules at step \(step)")
            }
            if !rules[movement.rule].states.isSuperset(of: moved[movement.rule].states) {
                throw LayerwiseError(
                    .outOfRange,
                    "the schedule of \(movement.key) at step \(step): \(movement.key) must not be 0 to begin with, since "
                        + "a tensor's state is made for the value that is set")
            }
        }
    }

    /// What the freezing plan multiplies a layer's rate by at step t; 1 where the layer does not follow it.
    func annealing(_ layer: Int, at step: Int64) -> Double {
        guard layer < timeline.activities.count, entries[layer].settings.frozen == .plan else { return 1 }
        return timeline.activities[layer].annealing(at: step)
    }

    /// The rule in force for a layer at the step under way.
    func ruleInForce(_ index: Int) -> any DeclaredRule {
        timeline.movedRules.isEmpty ? rules[index] : timeline.movedRules[index]
    }
}

/// Gathers schedules, one for each distinct schedule and base, and the steps at which each begins.
private struct TrackBuilder {
    private struct Key: Hashable {
        let spec: Spec
        let state: [Double]
        let base: Double?
    }

    /// A track, before it has a number.
    struct Place {
        let source: Int
        let offset: Int
    }

    private var schedules: [(schedule: any DeclaredSchedule, base: Double?)] = []
    private var starts: [[Int64]] = []
    private var sources: [Key: Int] = [:]
    private var offsets: [[Int64: Int]] = []

    mutating func place(_ schedule: any DeclaredSchedule, _ start: Int64, base: Double?) -> Place {
        let key = Key(spec: schedule.spec, state: schedule.state, base: base)
        let source = sources[key] ?? schedules.count
        if source == schedules.count {
            sources[key] = source
            schedules.append((schedule, base))
            starts.append([])
            offsets.append([:])
        }
        let offset = offsets[source][start] ?? starts[source].count
        if offset == starts[source].count {
            offsets[source][start] = offset
            starts[source].append(start)
        }
        return Place(source: source, offset: offset)
    }

    func tracks() -> ([Source], [Int64]) {
        var result: [Source] = []
        var count = 0
        for (own, begins) in zip(schedules, starts) {
            result.append(Source(schedule: own.schedule, base: own.base, tracks: count..<count + begins.count))
            count += begins.count
        }
        return (result, starts.flatMap { $0 })
    }
}
