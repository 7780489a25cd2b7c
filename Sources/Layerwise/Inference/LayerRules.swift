// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What the user says of some tensors, before the names tell anything.
public struct LayerRule: Sendable {
    /// Which tensors the rule is for.
    public enum Subject: Sendable {
        /// Those whose whole names the pattern matches.
        case pattern(String, PatternSyntax)
        /// Those that a matcher of the caller's has found, one mark for each name; the text stands for it in messages.
        case marks(String, [Bool])
    }

    public var subject: Subject
    /// The layer that the tensors make together; nil leaves each in its own.
    public var layer: String?
    public var depth: Int?
    public var tower: String?
    /// "stem", "block", "norm", "head", or "depth" for what the depth says.
    public var role: String?
    /// The layer's own rate multiplier.
    public var scale: Double?

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

    public init(_ pattern: String, layer: String? = nil, depth: Int? = nil, scale: Double? = nil) {
        self.init(.pattern(pattern, .glob), layer: layer, depth: depth, scale: scale)
    }
}

/// A layer of a model, as the user's rules and the names of its tensors tell.
public struct PlacedLayer: Sendable, Equatable {
    public let name: String
    public let depth: Int
    public let tower: String
    /// As `LayerRule.role`.
    public let role: String
    /// Nil where no rule gives one.
    public let scale: Double?
    /// Which of the names are the layer's, in ascending order.
    public let tensors: [Int]
    public let reason: String
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
