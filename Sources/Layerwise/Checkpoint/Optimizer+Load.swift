// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// How a checkpoint is put back.
public struct LoadOptions: Configurable {
    /// Refuse a checkpoint that differs in anything; else what matches is loaded, and the rest left as it is.
    public var strict: Bool
    /// Take states and parameters of another element type, rounded to nearest.
    public var convert: Bool
    /// Names here by names in the checkpoint.
    private(set) var renames: [NameKey: NameKey] = [:]

    /// `renames`: layers that have another name here, by their name in the checkpoint.
    public init(strict: Bool = true, convert: Bool = false, renames: [String: String] = [:]) {
        self.strict = strict
        self.convert = convert
        for (from, to) in renames { _ = rename(from, to: to) }
    }

    /// The layer that the checkpoint calls `from` is called `to` here.  False if a name was given for it before.
    public mutating func rename(_ from: String, to: String) -> Bool {
        renames.updateValue(NameKey(to), forKey: NameKey(from)) == nil
    }

    package static let parameters: [Parameter<Self>] = [
        .flag("strict", \.strict, "refuse a checkpoint that differs in anything"),
        .flag("convert", \.convert, "take states and parameters of another element type"),
    ]
}

/// What a load found.  Keys are "layer/tensor/state", by the names that layers have here.
public struct LoadReport: Sendable, Equatable {
    /// What was put back.
    public var loaded: [String] = []
    /// What is here and was not put back: it is not in the checkpoint, has another shape or type there, or would be a part only
    /// of what is loaded as a whole.  Where a strict load is refused, only what is not in the checkpoint.
    public var missing: [String] = []
    /// What of `missing` is not in the checkpoint.
    public var absent: [String] = []
    /// What is only in the checkpoint.
    public var unexpected: [String] = []
    /// Settings, shapes and types that differ, and what was left as it is since it would have been a part only, a line each,
    /// which shows the first 1,000 characters of a value.  There are at most 10,000, and then "and more": a forged file may have
    /// any number of them.
    public private(set) var differences: [String] = []

    mutating func add(difference: @autoclosure () -> String) {
        let most = 10_000
        if differences.count < most {
            differences.append(difference())
        } else if differences.count == most {
            differences.append("and more")
        }
    }

    /// Everything that a strict load refuses, a line each.
    public var problems: [String] {
        differences + absent.map { "\($0): not in the checkpoint" }
            + unexpected.map { "\($0): only in the checkpoint" }
    }

    /// As one line of JSON.
    package var json: String {
        func list(_ texts: [String]) -> String { JSON.array(texts.map(JSON.quoted)) }
        return JSON.object([
            ("loaded", list(loaded)), ("missing", list(missing)), ("absent", list(absent)),
            ("unexpected", list(unexpected)), ("differences", list(differences)),
        ])
    }
}

// Everything is read, verified and compared first, and then put in place, where nothing can fail.

extension Optimizer {
    /// Puts a checkpoint back into an optimizer that was set up as the one that saved it.
    @discardableResult
    public func load(from path: String, _ options: LoadOptions = LoadOptions()) throws(LayerwiseError) -> LoadReport {
        try restore(try Checkpoint(try ByteSource(path: path)), options)
    }

    /// Loads a checkpoint from memory, whose bytes need no alignment.
    @discardableResult
    public func load(
        _ bytes: UnsafeRawBufferPointer, _ options: LoadOptions = LoadOptions()
    ) throws(LayerwiseError) -> LoadReport {
        try restore(try Checkpoint(ByteSource(bytes)), options)
    }

    private func restore(
        _ checkpoint: consuming Checkpoint, _ options: LoadOptions
    ) throws(LayerwiseError) -> LoadReport {
        try requireMemory()
        loadReport = LoadReport()
        refreshPlaces()
        let renames = try checkRenames(options.renames, checkpoint)
        var report = LoadReport()
        try compareIdentities(checkpoint, renames, options, &report)
        let match = try match(checkpoint.header.entries, renames, options, &report)
        let progress = try readProgress(checkpoint, renames, &report)
        if settings.average != .none && (mode == .evaluation || progress.mode == .evaluation)
            && (!options.strict || options.convert)
        {
            throw LayerwiseError(
                .mismatch,
                "a checkpoint of an optimizer that evaluates, or that is loaded into one, is loaded strictly and without "
                    + "conversion where an average of the weights is kept: set the mode to training first")
        }
        if options.strict && !report.problems.isEmpty {
            report.loaded = []
            loadReport = report
            throw LayerwiseError(.mismatch, "the checkpoint is of another optimizer: \(Self.summary(report.problems))")
        }
        try checkpoint.withTensors { data throws(LayerwiseError) in
            // What the tensors took may have been the last.
            try requireMemory()
            try prepare(for: progress)
            try checkStepCounts(match.transfers, data)
            for transfer in match.transfers + (try addFormerStates(match)) { transfer.run(data) }
        }
        for piece in match.newMasters {
            tensors.elements[layers.elements[piece.layer].firstTensor + piece.tensor].fillMaster()
        }
        for piece in match.newFollowers {
            let tensor = tensors.elements + layers.elements[piece.layer].firstTensor + piece.tensor
            if piece.state == Self.slowWeightsState {
                tensor.pointee.startSlowWeights()
            } else {
                tensor.pointee.startAverage()
            }
        }
        adopt(progress)
        loadReport = report
        return report
    }

    /// The first problems, as many as a message holds.
    private static func summary(_ problems: [String]) -> String {
        var text = problems[0]
        var told = 1
        for problem in problems.dropFirst() {
            if text.utf8.count + problem.utf8.count > 360 { break }
            text += "; " + problem
            told += 1
        }
        return told < problems.count ? "\(text); and \(problems.count - told) more" : text
    }

    /// Refuses a mapping that names a layer that is not there, or gives two the same name.
    private func checkRenames(
        _ renames: [NameKey: NameKey], _ checkpoint: borrowing Checkpoint
    ) throws(LayerwiseError) -> [NameKey: NameKey] {
        if renames.isEmpty { return renames }
        let saved = Set(checkpoint.header.entries.compactMap { CheckpointEntry.layer(of: $0.name).map { NameKey($0) } })
        var taken: Set<NameKey> = []
        for (from, to) in renames.sorted(by: { $0.key < $1.key }) {
            if !saved.contains(from) {
                throw LayerwiseError(.unknownName, "rename: no layer of the checkpoint is called \"\(from.text)\"")
            }
            if layerIndex[to] == nil {
                throw LayerwiseError(.unknownName, "rename: no layer here is called \"\(to.text)\"")
            }
            if !taken.insert(to).inserted || (saved.contains(to) && renames[to] == nil) {
                throw LayerwiseError(.duplicate, "rename: two layers of the checkpoint would be called \"\(to.text)\"")
            }
        }
        return renames
    }

    /// Finds what differs in rule, settings, policy, schedules, freezing plan and layers.
    private func compareIdentities(
        _ checkpoint: borrowing Checkpoint, _ renames: [NameKey: NameKey], _ options: LoadOptions,
        _ report: inout LoadReport
    ) throws(LayerwiseError) {
        let own = identity()
        if renames.isEmpty, let text = checkpoint.header.metadata["identity"], NameKey(text) == NameKey(own) { return }
        var header = SafetensorsHeader()
        header.metadata["identity"] = own
        let present: JsonValue
        do throws(JSONError) { present = try Checkpoint.value(of: "identity", header) } catch {
            throw LayerwiseError(.corrupt, "\(error.message)")
        }
        let identity = try checkpoint.value(of: "identity").withPresentNames()
        var saved = Self.renamed(identity.withPresetsExpanded() ?? identity, renames)
        if !goesByDepth { saved = saved.withoutDepths() }
        ConfigurationDifference.add(to: &report, saved, present, converts: options.convert)
    }

    /// The identity of a checkpoint with the names that its layers have in this optimizer.
    private static func renamed(_ value: JsonValue, _ renames: [NameKey: NameKey]) -> JsonValue {
        guard !renames.isEmpty, case .object(var fields) = value, case .object(let layers) = fields["layers"] else {
            return value
        }
        var renamed: [NameKey: JsonValue] = [:]
        for (name, layer) in layers { renamed[renames[name] ?? name] = layer }
        fields["layers"] = .object(renamed)
        return .object(fields)
    }

    /// Which tensor of the checkpoint goes where.
    ///
    /// A tensor's state, which is its step count and its moments, is loaded as a whole or stays as it is: a step count without
    /// the moments would make the bias corrections wrong.  Of the weights, a master copy does not come without the parameters
    /// where the checkpoint has parameters, and parameters whose master copy does not come become the master copy: the next step
    /// would bring the old weights back.
    private func match(
        _ entries: [SafetensorsHeader.Entry], _ renames: [NameKey: NameKey], _ options: LoadOptions,
        _ report: inout LoadReport
    ) throws(LayerwiseError) -> LoadPlan {
        let holdsParameters = entries.contains { $0.name.hasUTF8Suffix("/\(CheckpointEntry.parameters)") }
        let saved = Self.byKeyHere(entries, renames)
        var unused = Set(saved.keys)
        var match = LoadPlan()
        let pieces = try pieces(parameters: holdsParameters)
        let fits = pieces.map { fit($0, saved, options) }
        // What of each tensor does not fit, if anything: of its state, and of its weights.
        var stateLacks = [Substring?](repeating: nil, count: tensors.count)
        var parametersLack = [Substring?](repeating: nil, count: tensors.count)
        for (piece, fit) in zip(pieces, fits) where !fit.isLoaded {
            let tensor = layers.elements[piece.layer].firstTensor + piece.tensor
            if piece.state == CheckpointEntry.parameters {
                parametersLack[tensor] = piece.state
            } else if piece.state != Self.masterState && !Self.followingStates.contains(String(piece.state))
                && stateLacks[tensor] == nil
            {
                stateLacks[tensor] = piece.state
            }
        }
        for (piece, fit) in zip(pieces, fits) {
            if !fit.isLoaded && Self.followingStates.contains(String(piece.state)) { match.newFollowers.append(piece) }
            unused.remove(NameKey(piece.key))
            let tensor = layers.elements[piece.layer].firstTensor + piece.tensor
            let lack: Substring? =
                if piece.state == Self.masterState {
                    parametersLack[tensor]
                } else if piece.state == CheckpointEntry.parameters
                    || Self.followingStates.contains(String(piece.state))
                {
                    // They are of use without a master copy or the rule's states.
                    nil
                } else {
                    stateLacks[tensor]
                }
            switch fit {
            case .loads(let entry) where options.strict || lack == nil:
                match.add(piece, entry)
                report.loaded.append(piece.key)
            case .loads:
                report.add(difference: "\(piece.key): in the checkpoint, but not loaded without \(lack ?? "")")
                report.missing.append(piece.key)
            case .isMade(let entry):
                if let entry { match.add(piece, entry) } else { match.newMasters.append(piece) }
            case .isAbsent:
                report.missing.append(piece.key)
                report.absent.append(piece.key)
            case .differs(let difference):
                report.add(difference: "\(piece.key): \(difference)")
                if !options.strict { report.missing.append(piece.key) }
            }
            if piece.state == Self.masterState && !fit.isLoaded && holdsParameters && parametersLack[tensor] == nil {
                match.newMasters.append(piece)
            }
        }
        // A master copy and room for weights come and go with the type of the parameters.
        if options.convert {
            unused = unused.filter {
                !$0.text.hasUTF8Suffix("/\(Self.masterState)") && !$0.text.hasUTF8Suffix("/\(Self.parkedState)")
            }
        }
        if options.strict { findFormerStates(saved, &match, &unused, &report) }
        report.unexpected = unused.sorted().map(\.text)
        return match
    }

    /// What the checkpoint has for one state of a tensor, or for its parameters.
    private func fit(
        _ piece: CheckpointEntry, _ saved: [NameKey: SafetensorsHeader.Entry], _ options: LoadOptions
    ) -> Fit {
        guard let entry = saved[NameKey(piece.key)] else {
            if options.convert && piece.state == Self.parkedState { return .isMade(nil) }
            if !options.convert || piece.state != Self.masterState { return .isAbsent }
            // Its parameters may be as exact.
            let parameters = piece.suitable(saved[NameKey(piece.sibling(CheckpointEntry.parameters))])
            return .isMade(parameters.flatMap { $0.dtype.size >= piece.dtype.size ? $0 : nil })
        }
        if entry.shape != piece.shape {
            return .differs("shape \(entry.shape) in the checkpoint, \(piece.shape) here")
        }
        if entry.dtype == piece.dtype { return .loads(entry) }
        if options.convert && entry.dtype.isFloatingPoint && piece.dtype.isFloatingPoint {
            // A master copy knows more than the parameters that were rounded from it.
            let master =
                piece.state == CheckpointEntry.parameters ? saved[NameKey(piece.sibling(Self.masterState))] : nil
            return .loads(piece.dtype.size > entry.dtype.size ? piece.suitable(master) ?? entry : entry)
        }
        return .differs("\(entry.dtype.name) in the checkpoint, \(piece.dtype.name) here")
    }

    /// States of the checkpoint that the rule has no need of as it is set, but had: momentum, say, that is 0 by now.  They are
    /// kept, as they were there, since the setting may come back.
    private func findFormerStates(
        _ saved: [NameKey: SafetensorsHeader.Entry], _ match: inout LoadPlan, _ unused: inout Set<NameKey>,
        _ report: inout LoadReport
    ) {
        for index in 0..<tensors.count where !unused.isEmpty {
            let record = tensors.elements[index]
            let entry = entries[record.layer]
            let place = entry.tensors[index - entry.firstTensor]
            for (position, state) in declaredStates(of: record.layer).enumerated()
            where !record.kept.contains(.state(position)) {
                let key = CheckpointEntry.key(entry.name, place.name, state.name)
                let (dtype, shape) = record.layout(of: state, place.part)
                guard let found = saved[NameKey(key)], found.shape == shape, found.dtype == dtype else { continue }
                match.formerStates[NameKey(key)] = found
                match.formerSets[index, default: []].insert(.state(position))
                unused.remove(NameKey(key))
                report.loaded.append(key)
            }
        }
    }

    /// Makes room for them.
    private func addFormerStates(_ match: LoadPlan) throws(LayerwiseError) -> [TensorCopy] {
        if match.formerStates.isEmpty { return [] }
        try addStates { tensor in match.formerSets[tensor] ?? [] }
        return try pieces(parameters: false).compactMap { piece in
            match.formerStates[NameKey(piece.key)].map { TensorCopy(piece: piece, dtype: $0.dtype, range: $0.range) }
        }
    }

    /// The tensors of a checkpoint by the names that their layers have here.
    private static func byKeyHere(
        _ entries: [SafetensorsHeader.Entry], _ renames: [NameKey: NameKey]
    ) -> [NameKey: SafetensorsHeader.Entry] {
        var saved: [NameKey: SafetensorsHeader.Entry] = [:]
        for entry in entries {
            var key = entry.name
            if let layer = CheckpointEntry.layer(of: key), let name = renames[NameKey(layer)],
                let slash = key.utf8.firstIndex(of: UInt8(ascii: "/"))
            {
                key = CheckpointEntry.escaped(name.text) + key[slash...]
            }
            saved[NameKey(key)] = entry
        }
        return saved
    }

    private func checkStepCounts(_ transfers: [TensorCopy], _ data: UnsafeRawBufferPointer) throws(LayerwiseError) {
        for transfer in transfers where transfer.dtype == .int64 {
            let count = data.loadUnaligned(fromByteOffset: transfer.range.lowerBound, as: Int64.self)
            if count < 0 {
                throw LayerwiseError(
                    .corrupt, "\(transfer.piece.key): a step count must not be negative, found \(count)")
            }
        }
    }
}

/// What a load will do.
private struct LoadPlan {
    var transfers: [TensorCopy] = []
    /// Master copies that the checkpoint has nothing for: they are the parameters again, as at registration.
    var newMasters: [CheckpointEntry] = []
    /// Averages and slow weights that the checkpoint has nothing for, which begin as the weights.
    var newFollowers: [CheckpointEntry] = []
    /// What there is no place for yet, and the states of each tensor that it takes.
    var formerStates: [NameKey: SafetensorsHeader.Entry] = [:]
    var formerSets: [Int: StateSet] = [:]

    mutating func add(_ piece: CheckpointEntry, _ entry: SafetensorsHeader.Entry) {
        transfers.append(TensorCopy(piece: piece, dtype: entry.dtype, range: entry.range))
    }
}

/// What a checkpoint has for a state, or for parameters.
private enum Fit {
    /// Numbers that can be loaded.
    case loads(SafetensorsHeader.Entry)
    /// A master copy that the checkpoint lacks and that is made of parameters: of the checkpoint's, or else of those here.
    case isMade(SafetensorsHeader.Entry?)
    case isAbsent
    /// Numbers of another shape or type.
    case differs(String)

    var isLoaded: Bool {
        switch self {
        case .loads, .isMade: true
        case .isAbsent, .differs: false
        }
    }
}

extension CheckpointEntry {
    /// The tensor of a checkpoint, if its numbers can become those of this one.
    fileprivate func suitable(_ entry: SafetensorsHeader.Entry?) -> SafetensorsHeader.Entry? {
        guard let entry, entry.shape == shape, entry.dtype.isFloatingPoint else { return nil }
        return entry
    }
}

/// What goes from a checkpoint to where it is kept.
private struct TensorCopy {
    let piece: CheckpointEntry
    /// As it is in the checkpoint.
    let dtype: DType
    let range: Range<Int>

    func run(_ data: UnsafeRawBufferPointer) {
        guard piece.count > 0, let start = data.baseAddress else { return }
        let source = start + range.lowerBound
        if dtype == piece.dtype {
            memcpy(piece.start, source, range.count)
        } else {
            convert(source)
        }
    }

    /// Element by element, through float32 where the wider of both is float32.
    private func convert(_ source: UnsafeRawPointer) {
        let storage = piece.dtype.kernels(in: InstructionSet.kernels)
        for index in 0..<piece.count {
            let value = Optimizer.element(source, index, dtype)
            let target = piece.start + index * piece.dtype.size
            if piece.dtype == .float64 {
                target.storeBytes(of: value, as: Double.self)
            } else {
                withUnsafePointer(to: Float(value)) { storage.encode($0, 1, target) }
            }
        }
    }
}
