// SPDX-License-Identifier: Apache-2.0
import Glibc
import LayerwiseRules

/// How a checkpoint is put back.
public struct LoadOptions: Configurable {
    /// Refuse a checkpoint that differs in anything; else what matches is loaded, and the rest left as it is.
    public var strict: Bool
    /// Take states and parameters of another element type, rounded to nearest.
    public var convert: Bool
    /// Layers that have another name here, by their name in the checkpoint.
    public var renames: [String: String]

    public init(strict: Bool = true, convert: Bool = false, renames: [String: String] = [:]) {
        self.strict = strict
        self.convert = convert
        self.renames = renames
    }

    public static let parameters: [Parameter<Self>] = [
        .flag("strict", \.strict, "refuse a checkpoint that differs in anything"),
        .flag("convert", \.convert, "take states and parameters of another element type"),
    ]
}

/// What a load found.  Keys are "layer/tensor/state", by the names that layers have here.
public struct LoadReport: Sendable, Equatable {
    /// What was put back.
    public var loaded: [String] = []
    /// What is only here.
    public var missing: [String] = []
    /// What is only in the checkpoint.
    public var unexpected: [String] = []
    /// Settings, shapes and types that differ, a line each, which shows the first 1,000 characters of a value.  There are at
    /// most 10,000, and then "and more": a file made on purpose has no end of them.
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
        differences + missing.map { "\($0): not in the checkpoint" }
            + unexpected.map { "\($0): only in the checkpoint" }
    }

    /// As one line of JSON.
    public var json: String {
        func list(_ texts: [String]) -> String { Json.array(texts.map(Json.quoted)) }
        return Json.object([
            ("loaded", list(loaded)), ("missing", list(missing)), ("unexpected", list(unexpected)),
            ("differences", list(differences)),
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

    /// The same from memory, whose bytes need no alignment.
    @discardableResult
    public func load(
        _ bytes: UnsafeRawBufferPointer, _ options: LoadOptions = LoadOptions()
    ) throws(LayerwiseError) -> LoadReport {
        try restore(try Checkpoint(ByteSource(bytes)), options)
    }

    private func restore(
        _ checkpoint: consuming Checkpoint, _ options: LoadOptions
    ) throws(LayerwiseError) -> LoadReport {
        let reserve = try Reserve(header: headerBound)
        defer { reserve.last() }
        loadReport = LoadReport()
        refreshPlaces()
        let renames = try checkRenames(options.renames, checkpoint)
        var report = LoadReport()
        try compareIdentities(checkpoint, renames, options, &report)
        let match = try match(checkpoint.header.entries, renames, options, &report)
        let progress = try readProgress(checkpoint, renames, &report)
        if options.strict && !report.problems.isEmpty {
            report.loaded = []
            loadReport = report
            throw LayerwiseError(.mismatch, "the checkpoint is of another optimizer: \(Self.summary(report.problems))")
        }
        try checkpoint.withTensors { data throws(LayerwiseError) in
            try checkStepCounts(match.transfers, data)
            for transfer in match.transfers + (try addFormerStates(match)) { transfer.run(data) }
        }
        for piece in match.newMasters {
            Self.fillMaster(tensors.elements[layers.elements[piece.layer].firstTensor + piece.tensor])
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
        _ renames: [String: String], _ checkpoint: borrowing Checkpoint
    ) throws(LayerwiseError) -> [String: String] {
        if renames.isEmpty { return renames }
        let saved = Set(checkpoint.header.entries.compactMap { Piece.layer(of: $0.name) })
        var taken: Set<String> = []
        for (from, to) in renames.sorted(by: { $0.key < $1.key }) {
            if !saved.contains(from) {
                throw LayerwiseError(.unknownName, "rename: no layer of the checkpoint is called \"\(from)\"")
            }
            if layerIndex[to] == nil { throw LayerwiseError(.unknownName, "rename: no layer here is called \"\(to)\"") }
            if !taken.insert(to).inserted || (saved.contains(to) && renames[to] == nil) {
                throw LayerwiseError(.duplicate, "rename: two layers of the checkpoint would be called \"\(to)\"")
            }
        }
        return renames
    }

    /// Finds what differs in rule, settings, policy, schedules, freezing plan and layers.
    private func compareIdentities(
        _ checkpoint: borrowing Checkpoint, _ renames: [String: String], _ options: LoadOptions,
        _ report: inout LoadReport
    ) throws(LayerwiseError) {
        let own = identity()
        if renames.isEmpty && checkpoint.header.metadata["identity"] == own { return }
        var header = SafetensorsHeader()
        header.metadata["identity"] = own
        let present: JsonValue
        do throws(JsonError) { present = try Checkpoint.value(of: "identity", header) } catch {
            throw LayerwiseError(.corrupt, "\(error.message)")
        }
        let saved = Self.renamed(try checkpoint.value(of: "identity"), renames)
        Difference.add(to: &report, saved, present, converts: options.convert)
    }

    /// The same with the layers' names as they are here.
    private static func renamed(_ value: JsonValue, _ renames: [String: String]) -> JsonValue {
        guard !renames.isEmpty, case .object(var fields) = value, case .object(let layers) = fields["layers"] else {
            return value
        }
        var renamed: [String: JsonValue] = [:]
        for (name, layer) in layers { renamed[renames[name] ?? name] = layer }
        fields["layers"] = .object(renamed)
        return .object(fields)
    }

    /// Which tensor of the checkpoint goes where.
    private func match(
        _ entries: [SafetensorsHeader.Entry], _ renames: [String: String], _ options: LoadOptions,
        _ report: inout LoadReport
    ) throws(LayerwiseError) -> Match {
        let holdsParameters = entries.contains { $0.name.hasSuffix("/\(Piece.parameters)") }
        let saved = Self.byKeyHere(entries, renames)
        var unused = Set(saved.keys)
        var match = Match()
        for piece in try pieces(parameters: holdsParameters) {
            unused.remove(piece.key)
            guard let entry = saved[piece.key] else {
                if options.convert && piece.state == Self.masterState {
                    match.restoreMaster(piece, saved)
                } else {
                    report.missing.append(piece.key)
                }
                continue
            }
            if entry.shape != piece.shape {
                report.add(
                    difference: "\(piece.key): shape \(entry.shape) in the checkpoint, \(piece.shape) here")
            } else if entry.dtype == piece.dtype {
                match.add(piece, entry)
                report.loaded.append(piece.key)
            } else if options.convert && entry.dtype != .int64 && piece.dtype != .int64 {
                // A master copy knows more than the parameters that were rounded from it.
                let master = piece.state == Piece.parameters ? saved[piece.sibling(Self.masterState)] : nil
                match.add(piece, piece.dtype.size > entry.dtype.size ? piece.suitable(master) ?? entry : entry)
                report.loaded.append(piece.key)
            } else {
                report.add(
                    difference: "\(piece.key): \(entry.dtype.name) in the checkpoint, \(piece.dtype.name) here")
            }
        }
        // A master copy comes and goes with the type of the parameters.
        if options.convert { unused = unused.filter { !$0.hasSuffix("/\(Self.masterState)") } }
        if options.strict { findFormerStates(saved, &match, &unused, &report) }
        report.unexpected = unused.sorted()
        return match
    }

    /// States of the checkpoint that the rule has no need of as it is set, but had: momentum, say, that is 0 by now.  They are
    /// kept, as they were there, since the setting may come back.
    private func findFormerStates(
        _ saved: [String: SafetensorsHeader.Entry], _ match: inout Match, _ unused: inout Set<String>,
        _ report: inout LoadReport
    ) {
        for index in 0..<tensors.count where !unused.isEmpty {
            let record = tensors.elements[index]
            let entry = entries[record.layer]
            let place = entry.tensors[index - entry.firstTensor]
            for (slot, name) in type(of: rule).declaration.states.enumerated() where record.state(slot) == nil {
                let key = Piece.key(entry.name, place.name, name)
                guard let found = saved[key], found.shape == place.part, found.dtype == record.laneType else {
                    continue
                }
                match.formerStates[key] = found
                match.stateCounts[record.layer] = max(match.stateCounts[record.layer] ?? 0, slot + 1)
                unused.remove(key)
                report.loaded.append(key)
            }
        }
    }

    /// Makes room for them.
    private func addFormerStates(_ match: Match) throws(LayerwiseError) -> [Transfer] {
        if match.formerStates.isEmpty { return [] }
        try addStates { layer in match.stateCounts[layer] ?? 0 }
        return try pieces(parameters: false).compactMap { piece in
            match.formerStates[piece.key].map { Transfer(piece: piece, dtype: $0.dtype, range: $0.range) }
        }
    }

    /// The tensors of a checkpoint by the names that their layers have here.
    private static func byKeyHere(
        _ entries: [SafetensorsHeader.Entry], _ renames: [String: String]
    ) -> [String: SafetensorsHeader.Entry] {
        var saved: [String: SafetensorsHeader.Entry] = [:]
        for entry in entries {
            var key = entry.name
            if let layer = Piece.layer(of: key), let name = renames[layer],
                let slash = key.utf8.firstIndex(of: UInt8(ascii: "/"))
            {
                key = Piece.escaped(name) + key[slash...]
            }
            saved[key] = entry
        }
        return saved
    }

    private func checkStepCounts(_ transfers: [Transfer], _ data: UnsafeRawBufferPointer) throws(LayerwiseError) {
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
private struct Match {
    var transfers: [Transfer] = []
    /// Master copies that the checkpoint has nothing for: they are the parameters again, as at registration.
    var newMasters: [Piece] = []
    /// What there is no place for yet, and how many states it takes in each layer.
    var formerStates: [String: SafetensorsHeader.Entry] = [:]
    var stateCounts: [Int: Int] = [:]

    mutating func add(_ piece: Piece, _ entry: SafetensorsHeader.Entry) {
        transfers.append(Transfer(piece: piece, dtype: entry.dtype, range: entry.range))
    }

    /// A master copy that the checkpoint has not: its parameters may be as exact.
    mutating func restoreMaster(_ piece: Piece, _ saved: [String: SafetensorsHeader.Entry]) {
        if let parameters = piece.suitable(saved[piece.sibling(Piece.parameters)]),
            parameters.dtype.size >= piece.dtype.size
        {
            add(piece, parameters)
        } else {
            newMasters.append(piece)
        }
    }
}

extension Piece {
    /// The tensor of a checkpoint, if its numbers can become those of this one.
    fileprivate func suitable(_ entry: SafetensorsHeader.Entry?) -> SafetensorsHeader.Entry? {
        guard let entry, entry.shape == shape, entry.dtype != .int64 else { return nil }
        return entry
    }
}

/// What goes from a checkpoint to where it is kept.
private struct Transfer {
    let piece: Piece
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
