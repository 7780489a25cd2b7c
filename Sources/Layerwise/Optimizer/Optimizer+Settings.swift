// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// Reading and changing settings.  Each change is made on copies of what it concerns and checked, and then put in place; a
// change of one layer costs as much with many layers as with one.

extension Optimizer {
    /// Changes the rule's hyperparameters and the optimizer's settings, all or none.  They take effect at the next step;
    /// layers with a value of their own keep it.
    public func set(_ changes: [Setting]) throws(LayerwiseError) {
        var rule = rule
        var settings = settings
        try Self.assign(changes, &rule, &settings)
        if changes.allSatisfy({ $0.key == "lr" }) { return setCheckedRate(rule.learningRate) }
        if settings.dryRun != self.settings.dryRun && !entries.isEmpty {
            throw LayerwiseError(.invalidArgument, "dry_run cannot be changed once there are layers")
        }
        let changesMemory = settings.memory != self.settings.memory
        if changesMemory && !entries.isEmpty {
            throw LayerwiseError(.invalidArgument, "memory cannot be changed once there are layers")
        }
        try adopt(rule, schedules, settings)
        if changesMemory { memory = settings.memory == .caller ? .promised : .library }
    }

    /// γ, the base learning rate.
    public var learningRate: Double { rule.learningRate }

    /// Changes γ, as an outside schedule does at every step.  Layers with a rate of their own keep it.
    public func setLearningRate(_ rate: Double) throws(LayerwiseError) { try set([Setting("lr", rate)]) }

    /// Puts a rate in force that was checked.  No other value depends on it.
    func setCheckedRate(_ rate: Double) {
        rule.learningRate = rate
        for index in rules.indices {
            let owner = ruleOwners[index]
            if owner >= 0 && entries[owner].rule != nil { continue }
            rules[index].learningRate = rate
            // The rules in force, where a schedule moves hyperparameters, are kept from step to step.
            if timeline.movedRules.indices.contains(index) { timeline.movedRules[index].learningRate = rate }
        }
    }

    /// The value of one of the rule's hyperparameters or the optimizer's settings.
    public func value(of key: String) throws(LayerwiseError) -> Setting.Value {
        if let value = rule.value(of: key) ?? settings.value(of: key) { return value }
        let nearest = hint(for: key, among: type(of: rule).keys + Settings.keys)
        throw LayerwiseError(.unknownName, "unknown setting \"\(key)\"\(nearest)")
    }

    /// Gives one layer values of its own, all or none: hyperparameters of the rule, "scale" and "depth".
    public func setLayer(_ layer: Int, _ changes: [Setting]) throws(LayerwiseError) {
        try setLayers([(layer, changes)])
    }

    /// Gives several layers values of their own, all or none.
    public func setLayers(_ changes: [(layer: Int, settings: [Setting])]) throws(LayerwiseError) {
        var changed: [Int: LayerConfiguration] = [:]
        for change in try withParts(changes) {
            let entry = changed[change.layer] ?? entries[change.layer]
            changed[change.layer] = try assign(change.settings, to: entry, layer: change.layer)
        }
        try adopt(changed)
        placesAreStale = true
        scalesAreStale = true
    }

    /// Gives every layer a base rate of its own, in order of registration, as an outside schedule does at every step; NaN
    /// takes one back.
    package func setRates(_ rates: UnsafeBufferPointer<Double>) throws(LayerwiseError) {
        if rates.count != entries.count {
            throw LayerwiseError(.shape, "expected \(entries.count) rates, one for each layer, found \(rates.count)")
        }
        for (layer, rate) in rates.enumerated() where !(rate >= 0 && rate < .infinity) && !rate.isNaN {
            throw LayerwiseError(.outOfRange, "\(subject(layer)): lr must be in [0, inf), found \(rate)", layer: layer)
        }
        for (layer, rate) in rates.enumerated() {
            // What the policy says in its place is not known here.
            if rate.isNaN && !entries[layer].rate.isNaN { scalesAreStale = true }
            entries[layer].rate = rate
            if !rate.isNaN { layers.elements[layer].ownRate = rate }
        }
    }

    /// Takes a layer's own value back: it follows the optimizer, or the policy, again.
    public func unsetLayer(_ layer: Int, key: String) throws(LayerwiseError) {
        try check(layer: layer)
        try refuseForPart(layer, [key])
        var changed = [layer: try entry(of: layer, without: key)]
        if Self.isShared(key) { for part in parts(of: layer) { changed[part] = try entry(of: part, without: key) } }
        try adopt(changed)
        placesAreStale = true
        scalesAreStale = true
    }

    /// A layer's entry with one value of its own taken back.
    private func entry(of layer: Int, without key: String) throws(LayerwiseError) -> LayerConfiguration {
        var entry = entries[layer]
        if LayerSettings.has(key) {
            entry.settings.unset(key)
        } else if key == "lr" {
            entry.rate = .nan
        } else if key == Self.ruleKey {
            throw LayerwiseError(
                .invalidArgument, "\(subject(layer)): the rule of a layer stays as it was when the layer was added",
                layer: layer)
        } else if type(of: entry.rule ?? rule).isPreset(key) {
            throw LayerwiseError(
                .invalidArgument,
                "\(subject(layer)): \(key) stands for several settings, which are taken back one by one", layer: layer)
        } else if type(of: entry.rule ?? rule).has(key) {
            entry.overrides.removeAll { $0.key == key }
        } else {
            throw unknownKey(key, layer: layer)
        }
        return entry
    }

    /// The value in force for one layer: its own or the optimizer's.
    public func value(of key: String, layer: Int) throws(LayerwiseError) -> Setting.Value {
        try check(layer: layer)
        switch key {
        case "scale":
            try refresh()
            return .number(layers.elements[layer].scale)
        case "depth":
            refreshPlaces()
            return .number(Double(places[layer].depth))
        case "maximize":
            return .number(layers.elements[layer].ascends ? 1 : 0)
        case "lr":
            let own = entries[layer]
            return .number(own.rate.isNaN ? (own.rule ?? rule).learningRate : own.rate)
        case Self.ruleKey:
            return .choice(type(of: rules[layers.elements[layer].rule]).declaration.name)
        default:
            if let value = entries[layer].settings.value(of: key) { return value }
            if let value = rules[layers.elements[layer].rule].value(of: key) { return value }
            throw unknownKey(key, layer: layer)
        }
    }

    /// The refusal of a key that a layer has no value for.
    private func unknownKey(_ key: String, layer: Int) -> LayerwiseError {
        let known = type(of: entries[layer].rule ?? rule).keys + LayerSettings.keys + [Self.ruleKey]
        return LayerwiseError(
            .unknownName, "\(subject(layer)): unknown setting \"\(key)\"\(hint(for: key, among: known))", layer: layer)
    }

    // MARK: - Implementation

    /// Applies settings to a rule and to the optimizer's own, each to whom it belongs.
    static func assign(
        _ changes: [Setting], _ rule: inout any DeclaredRule, _ settings: inout Settings
    ) throws(LayerwiseError) {
        do {
            try refuseDuplicates(changes)
            for change in changes {
                if Settings.has(change.key) {
                    try settings.assign(change)
                } else {
                    try assign(change, &rule, or: Settings.keys)
                }
            }
            try rule.validate()
            try settings.validate()
            try check(settings, [rule])
        } catch { throw LayerwiseError(error, of: type(of: rule).declaration.title) }
    }

    /// The key of a layer's rule.
    static let ruleKey = "rule"

    /// A layer's entry with changes applied, checked against its rule.
    func assign(
        _ changes: [Setting], to entry: LayerConfiguration, layer: Int
    ) throws(LayerwiseError) -> LayerConfiguration {
        var entry = entry
        do {
            try refuseDuplicates(changes)
            // The rule comes first: the other keys are its own.
            var named: (any DeclaredRule)?
            if let change = changes.first(where: { $0.key == Self.ruleKey }) {
                named = try ruleToAdd(change, entry, layer)
            }
            if let named { entry.rule = named }
            for change in changes where change.key != Self.ruleKey {
                if LayerSettings.has(change.key) {
                    try entry.settings.assign(change)
                } else if var own = entry.rule, named != nil {
                    try Self.assign(change, &own, or: LayerSettings.keys + [Self.ruleKey])
                    entry.rule = own
                } else {
                    var rule = entry.rule ?? rule
                    try Self.assign(change, &rule, or: LayerSettings.keys + [Self.ruleKey])
                    if change.key == "lr" {
                        entry.rate = rule.learningRate
                        continue
                    }
                    // Kept as the settings that a preset stands for, so that none depends on the order of the others.
                    for setting in try type(of: rule).expanded(change) {
                        entry.overrides.removeAll { $0.key == setting.key }
                        entry.overrides.append(setting)
                    }
                }
            }
            try entry.settings.validate()
            try Self.check(settings, [try rule(of: entry)])
        } catch { throw LayerwiseError(error, of: "layer \"\(entry.name)\"", layer: layer) }
        return entry
    }

    /// The rule of a name, with its defaults, for a layer that is being added; nil where the layer has it already.
    private func ruleToAdd(
        _ change: Setting, _ entry: LayerConfiguration, _ layer: Int
    ) throws(SettingError) -> (any DeclaredRule)? {
        guard case .choice(let name) = change.value else { throw .invalid("rule must be a name, found a number") }
        if layer < entries.count {
            if name == type(of: entry.rule ?? rule).declaration.name { return nil }
            throw .invalid("the rule of a layer stays as it was when the layer was added")
        }
        guard let type = allRules.first(where: { $0.declaration.name == name }) else {
            throw .unknown(Self.noRule(name))
        }
        return type.init()
    }

    /// What is said of a name that no rule has.
    static func noRule(_ name: String) -> String {
        let names = allRules.map { $0.declaration.name }
        return "no rule is called \"\(name)\"\(hint(for: name, among: names)), expected one of "
            + names.joined(separator: ", ")
    }

    /// The rule that steps a layer: its own or the optimizer's, with the layer's own values.
    func rule(of entry: LayerConfiguration) throws(SettingError) -> any DeclaredRule { try rule(of: entry, rule) }

    /// The rule that steps a layer if the optimizer's rule is `common`.
    private func rule(of entry: LayerConfiguration, _ common: any DeclaredRule) throws(SettingError) -> any DeclaredRule
    {
        var own = entry.rule ?? common
        for setting in entry.overrides { try own.assign(setting) }
        try own.validate()
        let declaration = type(of: own).declaration
        let isCommon = declaration.name == type(of: common).declaration.name
        if isCommon && own.sharesByLayer != common.sharesByLayer {
            throw .invalid("estimate_scope is that of the optimizer's rule, and no layer can have another")
        }
        if !isCommon && own.stages.contains(where: { $0.scope == .optimizer }) {
            throw .invalid(
                "\(declaration.title) takes sums over all its layers: it must be the optimizer's rule, and layers may have "
                    + "other rules")
        }
        return own
    }

    /// Refuses settings that these rules cannot follow.
    static func check(_ settings: Settings, _ rules: [any DeclaredRule]) throws(SettingError) {
        if settings.decayFollows != .layerLR, let rule = rules.first(where: { !$0.decouplesDecay }) {
            throw .invalid(
                "decay_follows must be layer_lr where the decay is not decoupled, found "
                    + "\(settings.decayFollows.rawValue) with \(type(of: rule).declaration.title)")
        }
        if settings.averages || settings.looksAhead, rules.contains(where: { $0.evaluation != nil }) {
            throw .invalid(
                "the rule has weights for evaluation of its own: average must be none and lookahead_period 0, found "
                    + "average \(settings.average.rawValue) and lookahead_period "
                    + "\(settings.lookaheadPeriod)")
        }
    }

    /// Whether a layer needs a rule apart from the optimizer's.
    static func needsOwnRule(_ entry: LayerConfiguration, _ schedules: [String: any DeclaredSchedule]) -> Bool {
        let isMovedApart = entry.settings.start > 0 && schedules.keys.contains { $0 != "lr" }
        return entry.rule != nil || !entry.overrides.isEmpty || entry.schedules.keys.contains { $0 != "lr" }
            || isMovedApart
    }

    /// Puts the optimizer's rule, schedules and settings in force: the rules of all layers, and the states that they need.
    func adopt(
        _ rule: any DeclaredRule, _ schedules: [String: any DeclaredSchedule], _ settings: Settings
    ) throws(LayerwiseError) {
        var rules = [rule]
        var owners = [-1]
        var ruleOfLayer = [Int](repeating: 0, count: entries.count)
        for (layer, entry) in entries.enumerated() {
            guard let own = try ownRule(of: entry, layer, rule, schedules, settings) else { continue }
            ruleOfLayer[layer] = rules.count
            rules.append(own)
            owners.append(layer)
        }
        if !entries.isEmpty && rule.sharesByLayer != self.rule.sharesByLayer {
            throw LayerwiseError(
                .invalidArgument, "estimate_scope cannot change once there are layers; create another optimizer")
        }
        for layer in entries.indices {
            try checkEvaluation(rules[ruleOfLayer[layer]], layer)
            try checkStride(rules[ruleOfLayer[layer]], layer)
        }
        guard ruleRecords.reserve(rules.count) else { throw .outOfMemory("kernel table") }
        if !settings.dryRun {
            let wanted = { [tensors = tensors.elements] (tensor: Int) in
                rules[ruleOfLayer[tensors[tensor].layer]].states(of: tensors[tensor].kind)
            }
            try checkRoom(for: 0..<layers.count, following: settings, wanted)
            try addStates(wanted: wanted)
        }
        try reserveFollowing(settings)

        let former = (0..<layers.count).map { self.rules[layers.elements[$0].rule] }
        self.rule = rule
        self.rules = rules
        ruleOwners = owners
        self.schedules = schedules
        self.settings = settings
        timeline.isStale = true
        timeline.window = 0..<0
        ruleRecords.removeAll()
        for rule in rules { ruleRecords.append(RuleRecord(rule)) }
        for layer in 0..<layers.count {
            if Self.needsOtherWork(rules[ruleOfLayer[layer]], than: former[layer]) { work.isStale = true }
            layers.elements[layer].rule = ruleOfLayer[layer]
            layers.elements[layer].ascends = Self.ascends(entries[layer], settings)
        }
    }

    /// Puts other entries of some layers in force.
    func adopt(_ changed: [Int: LayerConfiguration]) throws(LayerwiseError) {
        var ownRules: [Int: any DeclaredRule] = [:]
        for (layer, entry) in changed.sorted(by: { $0.key < $1.key }) {
            ownRules[layer] = try ownRule(of: entry, layer, rule, schedules, settings)
        }
        for layer in changed.keys.sorted() {
            try checkEvaluation(ownRules[layer] ?? rule, layer)
            try checkStride(ownRules[layer] ?? rule, layer)
        }
        guard ruleRecords.reserve(rules.count + ownRules.count) else { throw .outOfMemory("kernel table") }
        if !settings.dryRun {
            try addStates(to: changed.keys) { [tensors = tensors.elements] tensor in
                (ownRules[tensors[tensor].layer] ?? rule).states(of: tensors[tensor].kind)
            }
        }

        timeline.isStale = true
        timeline.window = 0..<0
        for (layer, entry) in changed {
            let former = rules[layers.elements[layer].rule]
            entries[layer] = entry
            layers.elements[layer].ascends = Self.ascends(entry, settings)
            if let own = ownRules[layer] { giveOwnRule(own, to: layer) } else { takeOwnRule(from: layer) }
            if Self.needsOtherWork(rules[layers.elements[layer].rule], than: former) { work.isStale = true }
        }
    }

    /// Whether a step by this rule needs other lists or memory than by the rule before it.
    private static func needsOtherWork(_ rule: any DeclaredRule, than former: any DeclaredRule) -> Bool {
        rule.stagesInForce != former.stagesInForce
            || rule.orthogonalization?.precision != former.orthogonalization?.precision
    }

    /// Refuses a rule whose strided states are for other elements than those of a layer's tensors.
    private func checkStride(_ rule: any DeclaredRule, _ layer: Int) throws(LayerwiseError) {
        let own = layers.elements[layer]
        guard own.tensorCount > 0, let key = declaredStates(of: layer).lazy.compactMap(\.strideKey).first else {
            return
        }
        let stride = Int(tensors.elements[own.firstTensor].stride)
        if stride == rule.stateStride { return }
        throw LayerwiseError(
            .invalidArgument,
            "\(subject(layer)): \(key) is \(stride) where there are states, and cannot become \(rule.stateStride); create another "
                + "optimizer", layer: layer)
    }

    /// The rule that a layer needs apart from the optimizer's, checked; nil where it needs none.
    private func ownRule(
        of entry: LayerConfiguration, _ layer: Int, _ rule: any DeclaredRule,
        _ schedules: [String: any DeclaredSchedule],
        _ settings: Settings
    ) throws(LayerwiseError) -> (any DeclaredRule)? {
        if !Self.needsOwnRule(entry, schedules) { return nil }
        do throws(SettingError) {
            let own = try self.rule(of: entry, rule)
            try Self.check(settings, [own])
            return own
        } catch { throw LayerwiseError(error, of: subject(layer), layer: layer) }
    }

    /// Gives a layer a rule of its own; there is room for one more in the kernel table.
    func giveOwnRule(_ own: any DeclaredRule, to layer: Int) {
        let record = RuleRecord(own)
        let index = layers.elements[layer].rule
        if index > 0 {
            rules[index] = own
            ruleRecords.elements[index] = record
        } else {
            layers.elements[layer].rule = rules.count
            rules.append(own)
            ruleOwners.append(layer)
            ruleRecords.append(record)
        }
    }

    /// Lets a layer follow the optimizer's rule; the last rule moves to the place of its own.
    private func takeOwnRule(from layer: Int) {
        let index = layers.elements[layer].rule
        if index == 0 { return }
        layers.elements[layer].rule = 0
        let (last, owner) = (rules.removeLast(), ruleOwners.removeLast())
        let lastRecord = ruleRecords.elements[rules.count]
        ruleRecords.removeLast()
        if index == rules.count { return }
        rules[index] = last
        ruleOwners[index] = owner
        ruleRecords.elements[index] = lastRecord
        layers.elements[owner].rule = index
    }

    /// Applies a setting to a rule.  Where it has none of that key, the message names its keys and `others`.
    static func assign(
        _ change: Setting, _ rule: inout any DeclaredRule, or others: @autoclosure () -> [String]
    ) throws(SettingError) {
        let type = type(of: rule)
        if !type.has(change.key) {
            throw type.unknown(change.key, or: others())
        }
        try rule.assign(change)
    }

    func check(layer: Int) throws(LayerwiseError) {
        if layer < 0 || layer >= entries.count {
            throw LayerwiseError(.notFound, "no layer has index \(layer), expected 0 to \(entries.count - 1)")
        }
    }

    func check(layer: Int, tensor: Int) throws(LayerwiseError) {
        try check(layer: layer)
        let count = entries[layer].tensors.count
        if tensor < 0 || tensor >= count {
            throw LayerwiseError(
                .notFound, "\(subject(layer)): no tensor has index \(tensor), expected 0 to \(count - 1)", layer: layer)
        }
    }

    /// How messages name a layer.
    func subject(_ layer: Int) -> String { "layer \"\(entries[layer].name)\"" }

    /// How messages name a tensor.
    func subject(_ layer: Int, _ tensor: Int) -> String {
        "layer \"\(entries[layer].name)\": tensor \"\(entries[layer].tensors[tensor].name)\""
    }
}
