// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A layer that the names of a model's tensors tell of.
public struct InferredLayer: Sendable, Equatable {
    /// The module's path where the layer is one module ("bert.encoder.layer.3", "bert.embeddings"), otherwise its role ("head"),
    /// behind the tower's name where there are several.  No two layers have the same.
    public let name: String
    /// Within the tower: the stem 0, blocks from 1 on, a final norm after the last block, the head after everything else.
    public let depth: Int
    /// Which of several stacks of blocks the layer goes with, such as "encoder"; empty where there is one.
    public let tower: String
    /// Whether it is a stem, a block, a norm or a head.
    public let role: LayerRole
    /// Which of the names are the layer's, in ascending order.
    public let tensors: [Int]
    /// Why the tensors form this layer, in a few words.
    public let reason: String
    /// Whether names leave the place of the layer, or of some of its tensors, open, so that their order decided.
    public let isGuess: Bool
}

/// Derives layers from the names of a model's tensors.
///
/// Where blocks are numbered, they are towers, whatever the modules around them are called.  A module beside the blocks stays
/// together and is placed by what the words in `Vocabulary` tell of its own name; a list with an entry for each stage goes with
/// the stages.  The order of the names matters only for what that leaves open, which is a guess.  Where no blocks are
/// numbered, every module is a layer, in the order given.
///
/// These are the groups that timm 1.0's `group_parameters` makes, with the final norm counted to the last block, for its ViT,
/// DeiT, BEiT, EVA, Swin, ConvNeXt, ResNet, RegNet and EfficientNet.  Others differ: PVT, CoAtNet and MaxViT, where timm takes
/// a stage for one group, and DenseNet, whose transitions timm counts to the blocks before them.
///
/// - Returns: layers by tower in order of first appearance, then by depth.  Every tensor is in exactly one.
/// - Complexity: O(*n* log *n*) for *n* names of bounded length.
public func inferLayers(_ names: [String]) -> [InferredLayer] {
    let names = TensorNames(names)
    let found = towers(stacks(in: names))
    let drafts = found.isEmpty ? layersOfModules(names) : layersOfTowers(found, names)
    return zip(drafts, distinct(drafts.map(\.name))).map { draft, name in
        InferredLayer(
            name: name, depth: draft.depth, tower: draft.tower, role: draft.role, tensors: draft.tensors.sorted(),
            reason: draft.reason, isGuess: draft.isGuess)
    }
}

/// A layer that may share its name with another one.
struct LayerDraft {
    let name: String
    let depth: Int
    let tower: String
    let role: LayerRole
    let tensors: [Int]
    let reason: String
    let isGuess: Bool
}

/// The path that all modules of a layer have in common, unless blocks have it, too.
func layerName(_ role: LayerRole, of names: [TensorName], tower: String, beside block: TensorName?) -> String {
    guard let first = names.first else { return role.rawValue }
    let module = first.parts.prefix(first.moduleLength)
    let shared = names.map { sharedLength(module, $0.parts.prefix($0.moduleLength)) }.min() ?? 0
    let path = first.path(shared)
    if !path.isEmpty, sharedLength(module.prefix(shared), block?.parts ?? []) < shared { return path }
    if names.count == 1, !first.text.isEmpty { return first.text }
    return tower.isEmpty ? role.rawValue : "\(tower).\(role.rawValue)"
}

/// The same names, with a number behind each that was there before.
func distinct(_ names: [String]) -> [String] {
    var taken = Set(names)
    var seen: Set<String> = []
    var copies: [String: Int] = [:]
    return names.map { name in
        if seen.insert(name).inserted { return name }
        var numbered = name
        repeat {
            let copy = copies[name, default: 1] + 1
            copies[name] = copy
            numbered = "\(name) (\(copy))"
        } while !taken.insert(numbered).inserted
        return numbered
    }
}

// MARK: - Layers by rules of the user's

/// What the user says of some tensors, before the names tell anything.
public struct LayerRule: Sendable {
    /// Which tensors the rule is for.
    public enum Subject: Sendable {
        /// Those whose whole names the pattern matches.
        case pattern(String, PatternSyntax)
        /// Those that a matcher of the caller's has found, one mark for each name; the text stands for it in messages.
        case marks(String, [Bool])
    }

    /// What it applies to.
    public var subject: Subject
    /// The layer that the tensors make together; nil leaves each in its own.
    public var layer: String?
    /// The position from the input.
    public var depth: Int?
    /// The tower.
    public var tower: String?
    /// "stem", "block", "norm", "head", or "depth" for what the depth says.
    public var role: String?
    /// The layer's own rate multiplier.
    public var scale: Double?

    /// Creates a rule.
    public init(
        _ subject: Subject, layer: String? = nil, depth: Int? = nil, tower: String? = nil, role: String? = nil,
        scale: Double? = nil
    ) {
        self.subject = subject
        self.layer = layer
        self.depth = depth
        self.tower = tower
        self.role = role
        self.scale = scale
    }

    /// Creates a rule for names that match a glob.
    public init(_ pattern: String, layer: String? = nil, depth: Int? = nil, scale: Double? = nil) {
        self.init(.pattern(pattern, .glob), layer: layer, depth: depth, scale: scale)
    }
}

/// A layer of a model, as the user's rules and the names of its tensors tell.
public struct PlacedLayer: Sendable, Equatable {
    /// The name.
    public let name: String
    /// The position from the input.
    public let depth: Int
    /// The tower.
    public let tower: String
    /// As `LayerRule.role`.
    public let role: String
    /// Nil where no rule gives one.
    public let scale: Double?
    /// Which of the names are the layer's, in ascending order.
    public let tensors: [Int]
    /// Why the layer is where it is, in words.
    public let reason: String
    /// Whether the place is a guess.
    public let isGuess: Bool
}

/// Derives layers from the names of a model's tensors, where rules go before what the names tell.
///
/// The first rule that matches a tensor counts.  Tensors that a rule calls one layer have one place: that of the inferred layer
/// of this name, or else the lowest of theirs.  Where a rule moves a part of a layer elsewhere, the layer becomes several,
/// whose names end in numbers.
///
/// - Returns: layers by tower, then by depth.  Every tensor is in exactly one.
public func placeLayers(_ names: [String], rules: [LayerRule]) throws(SettingError) -> [PlacedLayer] {
    let inferred = inferLayers(names)
    var placements = [Placement?](repeating: nil, count: names.count)
    var named: [NameKey: Placement] = [:]
    for layer in inferred {
        let placement = Placement(
            layer: layer.name, depth: layer.depth, tower: layer.tower, role: layer.role.rawValue, scale: nil,
            reason: layer.reason, isGuess: layer.isGuess)
        named[NameKey(layer.name)] = placement
        for tensor in layer.tensors { placements[tensor] = placement }
    }
    var isFree = [Bool](repeating: true, count: names.count)
    for rule in rules {
        try rule.check()
        let matched = try rule.matched(names)
        let free = matched.filter { isFree[$0] }
        var together: Placement?
        if let name = rule.layer {
            let lowest = free.compactMap { placements[$0] }.min { $0.depth < $1.depth }
            together = named[NameKey(name)] ?? lowest
            together?.layer = name
        }
        for tensor in free {
            isFree[tensor] = false
            guard var placement = together ?? placements[tensor] else { continue }
            placement.take(rule)
            placements[tensor] = placement
        }
    }
    return layers(of: placements)
}

/// Where a tensor belongs.
private struct Placement {
    var layer: String
    var depth: Int
    var tower: String
    var role: String
    var scale: Double?
    var reason: String
    var isGuess: Bool

    mutating func take(_ rule: LayerRule) {
        depth = rule.depth ?? depth
        tower = rule.tower ?? tower
        role = rule.role ?? role
        scale = rule.scale ?? scale
        reason = "by a rule"
        isGuess = false
    }

    func hasPlace(of other: Placement) -> Bool {
        depth == other.depth && NameKey(tower) == NameKey(other.tower) && role == other.role && scale == other.scale
    }
}

/// The layers of placed tensors, with names of their own where one name has several places.
private func layers(of placements: [Placement?]) -> [PlacedLayer] {
    var drafts: [(placement: Placement, tensors: [Int])] = []
    var known: [NameKey: [Int]] = [:]
    for (tensor, placement) in placements.enumerated() {
        guard let placement else { continue }
        let key = NameKey(placement.layer)
        if let draft = known[key]?.first(where: { drafts[$0].placement.hasPlace(of: placement) }) {
            drafts[draft].tensors.append(tensor)
        } else {
            known[key, default: []].append(drafts.count)
            drafts.append((placement, [tensor]))
        }
    }
    let order = drafts.indices.sorted { one, other in
        let (one, other) = (drafts[one].placement, drafts[other].placement)
        return (one.tower, one.depth) < (other.tower, other.depth)
    }
    // Numbers go by the order of the tensors, and the layers by that of their places.
    let names = distinct(drafts.map(\.placement.layer))
    return order.map { index in
        let (placement, tensors) = drafts[index]
        return PlacedLayer(
            name: names[index], depth: placement.depth, tower: placement.tower, role: placement.role,
            scale: placement.scale, tensors: tensors, reason: placement.reason, isGuess: placement.isGuess)
    }
}

extension LayerRule {
    fileprivate static let roles = ["stem", "block", "norm", "head", "depth"]

    fileprivate var text: String {
        switch subject {
        case .pattern(let text, _), .marks(let text, _): text
        }
    }

    fileprivate func check() throws(SettingError) {
        if let depth, depth < 0 { throw .invalid("\"\(text)\": depth must be 0, 1, 2 ..., found \(depth)") }
        if let role, !Self.roles.contains(role) {
            throw .unknown(
                "\"\(text)\": role must be one of \(Self.roles.joined(separator: ", ")), found \"\(role)\"")
        }
        if let scale, !(scale >= 0 && scale.isFinite) {
            throw .invalid("\"\(text)\": scale must be in [0, inf), found \(scale)")
        }
        if let layer, layer.isEmpty { throw .invalid("\"\(text)\": the name of a layer must not be empty") }
    }

    fileprivate func matched(_ names: [String]) throws(SettingError) -> [Int] {
        let marks =
            switch subject {
            case .pattern(let text, let syntax): try matchNames(text, syntax, names)
            case .marks(_, let marks): marks
            }
        let matched = names.indices.filter { $0 < marks.count && marks[$0] }
        if matched.isEmpty {
            throw .unknown(
                "no parameter matches \"\(text)\"" + (names.first.map { "; the first is called \"\($0)\"" } ?? ""))
        }
        return matched
    }
}

// MARK: - Layers of a model without blocks

/// The layers of a model without blocks, such as a perceptron: every module is one, in order of first appearance.  Modules whose
/// names differ in numbers only ("0", "2", "10"; "fc1", "fc2") are in the order of these.
///
/// Modules named like a stem make up the first layer, those named like a head the last one.  Where no name says so, these are the
/// first module and the last.
func layersOfModules(_ names: TensorNames) -> [LayerDraft] {
    let modules = modules(of: names)
    let stem = modules.filter { $0.role == .stem }
    let head = modules.filter { $0.role == .head }
    var others = inOrderOfNumbers(modules.filter { $0.role == nil })[...]
    let isNumbered = Set(others.map(\.pattern)).count == 1 && others.first?.numbers.isEmpty == false
    let order = modules.count == 1 ? "the only module" : isNumbered ? "by its number" : "by its place"

    var layers: [(role: LayerRole, modules: [Module], word: String?)] = []
    let last = head.isEmpty ? others.popLast().map { [$0] } ?? [] : head
    let first = stem.isEmpty ? others.popFirst().map { [$0] } ?? [] : stem
    if !first.isEmpty { layers.append((.stem, first, stem.first?.word)) }
    layers += others.map { (.block, [$0], nil) }
    if !last.isEmpty { layers.append((.head, last, head.first?.word)) }

    return layers.enumerated().map { depth, layer in
        let tensors = layer.modules.flatMap(\.tensors)
        return LayerDraft(
            name: layer.modules.count == 1
                ? layer.modules[0].path : layerName(layer.role, of: tensors.map { names[$0] }, tower: "", beside: nil),
            depth: depth, tower: "", role: layer.role, tensors: tensors,
            reason: layer.word.map { "named like a \(layer.role.rawValue): \($0)" } ?? order,
            isGuess: layer.word == nil && !isNumbered && modules.count > 1)
    }
}

private struct Module {
    /// "model" where tensors are called "weight" and "bias" and nothing else.
    let path: String
    let role: LayerRole?
    /// The part of the path that tells the role.
    let word: String?
    /// The path with "#" for every number, and the numbers.
    let pattern: String
    let numbers: [Numeral]
    var tensors: [Int]

    init(_ name: TensorName) {
        let isBare = name.parts.count == 1 && name.parts.first?.namesPlainTensor == true
        let module = isBare ? "" : name.path(name.moduleLength)
        path = module.isEmpty ? "model" : module
        let told = name.parts.prefix(name.moduleLength).first { $0.meaning == .stem || $0.meaning == .head }
        role = told.map { $0.meaning == .stem ? .stem : .head }
        word = told?.text

        var pattern: [UInt8] = []
        var numbers: [[UInt8]] = []
        var isInNumber = false
        for byte in path.utf8 {
            let isDigit = UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
            if !isDigit {
                pattern.append(byte)
            } else if isInNumber {
                numbers[numbers.count - 1].append(byte)
            } else {
                pattern.append(UInt8(ascii: "#"))
                numbers.append([byte])
            }
            isInNumber = isDigit
        }
        self.pattern = String(decoding: pattern, as: UTF8.self)
        self.numbers = numbers.map { Numeral($0) }
        tensors = []
    }
}

/// In order of first appearance.
private func modules(of names: TensorNames) -> [Module] {
    var modules: [Module] = []
    var known: [String: Int] = [:]
    for (tensor, name) in names.enumerated() {
        let module = Module(name)
        let index = known[module.path] ?? modules.count
        if index == modules.count {
            known[module.path] = index
            modules.append(module)
        }
        modules[index].tensors.append(tensor)
    }
    return modules
}

/// Puts modules that differ in numbers only in the order of these, in the places that they hold together.
private func inOrderOfNumbers(_ modules: [Module]) -> [Module] {
    var result = modules
    for places in Dictionary(grouping: modules.indices, by: { modules[$0].pattern }).values {
        let ordered = places.sorted {
            modules[$0].numbers == modules[$1].numbers
                ? $0 < $1 : modules[$0].numbers.lexicographicallyPrecedes(modules[$1].numbers)
        }
        for (place, module) in zip(places, ordered) { result[place] = modules[module] }
    }
    return result
}
