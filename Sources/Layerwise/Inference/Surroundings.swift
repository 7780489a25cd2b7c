// SPDX-License-Identifier: Apache-2.0

/// The layers of a model with blocks.
func layersOfTowers(_ towers: [Tower], _ names: [TensorName]) -> [LayerDraft] {
    var surroundings = Surroundings(towers, names)
    surroundings.placeByName()
    surroundings.placeByOrder()
    return surroundings.layers()
}

/// What stands around the blocks, and with which tower.
private struct Surroundings {
    /// Why a tensor is where it is.
    enum Evidence {
        /// This part of its name tells.
        case word(String)
        /// It is of a plain module with a number below the first block's or above the last one's.
        case number
        /// Nothing but its place in the order given.
        case place
    }

    private let names: [TensorName]
    private var towers: [Tower]
    /// For every tower, what is in no block.
    private var around: [[LayerRole: [(tensor: Int, evidence: Evidence)]]]
    /// For every tower, the blocks that took in tensors by their place.
    private var grown: [Set<Int>]
    /// For every tower, its blocks' tensors in ascending order, each with its block.
    private let inBlocks: [[(tensor: Int, block: Int)]]
    /// Tensors in no block, each with the tower whose names begin alike.
    private var open: [(tensor: Int, tower: Int?)]

    /// What the names of all towers have in common at their beginning.
    private let common: [NamePart]
    /// Which tower a word speaks of, where it is only one.
    private let towerOfWord: [String: Int]
    /// The paths of modules that hold DeBERTa's embeddings of relative positions.
    private let relative: Set<String>

    init(_ towers: [Tower], _ names: [TensorName]) {
        self.names = names
        self.towers = towers
        around = towers.map { tower in
            [LayerRole.stem: tower.opening, .head: tower.closing].filter { !$0.value.isEmpty }
                .mapValues { $0.map { ($0, .number) } }
        }
        grown = towers.map { _ in [] }
        inBlocks = towers.map { tower in
            tower.blocks.enumerated().flatMap { block, contents in contents.tensors.map { ($0, block) } }
                .sorted { $0.tensor < $1.tensor }
        }
        common =
            towers.first.map { first in
                Array(first.parent.prefix(towers.map { sharedLength(first.parent, $0.parent) }.min() ?? 0))
            } ?? []
        let words = towers.enumerated().flatMap { tower, contents in
            Set(contents.prefix.flatMap(\.words).map(Vocabulary.unified)).map { ($0, tower) }
        }
        towerOfWord = Dictionary(grouping: words, by: \.0).compactMapValues { $0.count == 1 ? $0.first?.1 : nil }
        relative = Set(
            names.flatMap { name in
                name.parts.indices.filter { name.parts[$0].text == "rel_embeddings" }.map { name.path($0) }
            })

        let placed = Set(towers.flatMap { $0.opening + $0.closing + $0.blocks.flatMap(\.tensors) })
        let prefixes = Dictionary(
            towers.enumerated().map { ($1.prefix.map(\.text), $0) }, uniquingKeysWith: { first, _ in first })
        let lengths = Set(towers.map(\.prefix.count)).sorted(by: >)
        open = names.indices.filter { !placed.contains($0) }.map { tensor in
            let texts = names[tensor].parts.map(\.text)
            return (tensor, lengths.lazy.compactMap { prefixes[Array(texts.prefix($0))] }.first)
        }
    }

    // MARK: - By name

    mutating func placeByName() {
        var untold: [(tensor: Int, tower: Int?)] = []
        var ofNone: [(tensor: Int, role: LayerRole, part: NamePart)] = []
        for (tensor, tower) in open {
            let beside = tower.map { towers[$0].parent } ?? common
            guard let (role, part) = told(names[tensor], beside: beside) else {
                untold.append((tensor, tower))
                continue
            }
            if let tower {
                around[tower][role, default: []].append((tensor, .word(part.text)))
            } else {
                ofNone.append((tensor, role, part))
            }
        }
        open = untold
        let towerOfRole = Dictionary(uniqueKeysWithValues: LayerRole.allCases.map { ($0, tower(for: $0)) })
        for (tensor, role, part) in ofNone {
            let spoken = Set(part.words.compactMap { towerOfWord[Vocabulary.unified($0)] })
            let tower = (spoken.count == 1 ? spoken.first : nil) ?? towerOfRole[role] ?? 0
            around[tower][role, default: []].append((tensor, .word(part.text)))
        }
    }

    /// What a name tells, and which part of it.
    ///
    /// - Parameter parent: the module of the blocks.  Parts that may mean anything deep in a module ("norm", "conv1") tell only
    ///   directly in this one or in one that holds it.
    private func told(_ name: TensorName, beside parent: [NamePart]) -> (role: LayerRole, part: NamePart)? {
        let parts = name.parts
        let near = parts.prefix(sharedLength(parts, parent) + 1).count
        for (index, part) in parts.enumerated() {
            switch part.meaning {
            case .stem, .extractor: return (.stem, part)
            case .opening where index < near: return (.stem, part)
            case .head: return (.head, part)
            default: continue
            }
        }
        if let index = parts.prefix(near).firstIndex(where: { $0.meaning == .norm }) {
            // DeBERTa's encoder norms its relative embeddings, not what leaves it.
            let isOfStem = parts[index].text == "LayerNorm" && relative.contains(name.path(index))
            return (isOfStem ? .stem : .norm, parts[index])
        }
        return parts.first { $0.meaning == .output }.map { (.head, $0) }
    }

    /// Where a tensor goes that no tower's names begin like ("shared", "lm_head"): to a tower that has none of its kind yet,
    /// rather to an encoder with a stem and to a decoder with a head.
    private func tower(for role: LayerRole) -> Int {
        let lacking = towers.indices.filter { around[$0][role] == nil }
        let candidates = lacking.isEmpty ? Array(towers.indices) : lacking
        let preferred = role == .stem ? ["encoder"] : ["decoder", "language", "text"]
        for word in preferred {
            let found = candidates.first { towers[$0].prefix.contains { $0.words.contains(word) } }
            if let found { return found }
        }
        return (role == .stem ? candidates.first : candidates.last) ?? 0
    }

    // MARK: - By order

    mutating func placeByOrder() {
        let all = towers.indices.flatMap { tower in inBlocks[tower].map { (tensor: $0.tensor, tower: tower) } }
            .sorted { $0.tensor < $1.tensor }
        let (stem, head) = (tower(for: .stem), tower(for: .head))
        for (tensor, tower) in open {
            let before = all.prefix(below: tensor, by: \.tensor)
            if let tower = tower ?? (before.count == all.count ? nil : before.last?.tower) {
                place(tensor, in: tower)
            } else if before.isEmpty {
                around[stem][.stem, default: []].append((tensor, .place))
            } else {
                around[head][.head, default: []].append((tensor, .place))
            }
        }
        open = []
    }

    /// Between blocks, a tensor goes with the one before it, as timm's `MATCH_PREV_GROUP`.
    private mutating func place(_ tensor: Int, in tower: Int) {
        let before = inBlocks[tower].prefix(below: tensor, by: \.tensor)
        guard let last = before.last else {
            around[tower][.stem, default: []].append((tensor, .place))
            return
        }
        if before.count == inBlocks[tower].count {
            around[tower][.head, default: []].append((tensor, .place))
        } else {
            towers[tower].blocks[last.block].tensors.append(tensor)
            grown[tower].insert(last.block)
        }
    }

    // MARK: - Layers

    func layers() -> [LayerDraft] {
        towers.indices.map(layers(of:)).sorted { a, b in
            (a.compactMap { $0.tensors.min() }.min() ?? 0) < (b.compactMap { $0.tensors.min() }.min() ?? 0)
        }
        .flatMap(\.self)
    }

    private func layers(of tower: Int) -> [LayerDraft] {
        let blocks = towers[tower].blocks.enumerated().map { index, block in
            layer(of: block, depth: index + 1, tower: tower, isGrown: grown[tower].contains(index))
        }
        let norm = layer(.norm, depth: blocks.count + 1, of: tower)
        let head = layer(.head, depth: blocks.count + (norm == nil ? 1 : 2), of: tower)
        return [layer(.stem, depth: 0, of: tower)].compactMap(\.self) + blocks + [norm, head].compactMap(\.self)
    }

    private func layer(of block: StackBlock, depth: Int, tower: Int, isGrown: Bool) -> LayerDraft {
        let name = block.tensors.first.map { names[$0] }
        let number = name?.parts.prefix(block.length).last
        let container = [name?.path(block.length - 1) ?? "", number?.base ?? ""].filter { !$0.isEmpty }
        let reason =
            "block \(number?.numeral?.description ?? "")"
            + (container.isEmpty ? "" : " of \(container.joined(separator: "."))")
            + (isGrown ? "; some tensors by their place after it" : "")
        return LayerDraft(
            name: name?.path(block.length) ?? "", depth: depth, tower: towers[tower].name, role: .block,
            tensors: block.tensors, reason: reason, isGuess: isGrown)
    }

    private func layer(_ role: LayerRole, depth: Int, of tower: Int) -> LayerDraft? {
        guard let placed = around[tower][role] else { return nil }
        var word: String?
        var hasNumber = false
        var byPlace = 0
        for (_, evidence) in placed {
            switch evidence {
            case .word(let part): word = word ?? part
            case .number: hasNumber = true
            case .place: byPlace += 1
            }
        }
        let place = role == .stem ? "before the first block" : "after the last block"
        let reason =
            word.map { "named like a \(role == .norm ? "final norm" : role.rawValue): \($0)" }
            ?? (hasNumber
                ? "plain modules numbered \(role == .stem ? "below the first" : "above the last") block" : place)
        return LayerDraft(
            name: layerName(
                role, of: placed.map { names[$0.tensor] }, tower: towers[tower].name,
                beside: towers[tower].blocks.first?.tensors.first.map { names[$0] }),
            depth: depth, tower: towers[tower].name, role: role, tensors: placed.map(\.tensor),
            reason: byPlace > 0 && byPlace < placed.count ? "\(reason); some tensors \(place)" : reason,
            isGuess: byPlace > 0)
    }
}

extension Array {
    /// The elements of a sorted array whose number is lower.
    fileprivate func prefix(below number: Int, by key: (Element) -> Int) -> ArraySlice<Element> {
        var range = indices
        while let middle = range.isEmpty ? nil : range.lowerBound + range.count / 2 {
            range = key(self[middle]) < number ? middle + 1..<range.upperBound : range.lowerBound..<middle
        }
        return prefix(range.lowerBound)
    }
}
