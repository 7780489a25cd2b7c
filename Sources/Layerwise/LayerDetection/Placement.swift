// SPDX-License-Identifier: Apache-2.0

/// The layers of a model with blocks.
func layersOfTowers(_ towers: [Tower], _ names: TensorNames) -> [LayerDraft] {
    var surroundings = Surroundings(towers, names)
    surroundings.placeBesideStages()
    surroundings.placeByName()
    surroundings.placeByOrder()
    return surroundings.layers()
}

/// What stands around the blocks, and with which tower.
///
/// What is placed is a unit: a module (or a bare tensor) that stands beside the blocks or beside a module that holds them, with
/// all its tensors.  So a projector is in one place, whatever its parts are called.
private struct Surroundings {
    /// Why a tensor is where it is.
    enum Evidence {
        /// This part of its name tells.
        case word(String)
        /// It has a number below or above that of the blocks' module, or of the stage that it goes with.
        case number
        /// This part of its name tells its role, and its order its tower; or only some of its module's names tell.
        case doubtful(String)
        /// Nothing but its place in the order given.
        case place
    }

    struct Unit {
        /// The part of the names that the unit begins with.
        let part: NamePart
        /// How many parts are before it, and their path.
        let level: Int
        let parent: String
        /// The towers that stand in the module that the unit stands in.
        let towers: Range<Int>
        var tensors: [Int]
    }

    /// Where a unit stands, and how it begins.
    private struct Place: Hashable {
        let parent: String
        let text: String
    }

    private let names: TensorNames
    private var towers: [Tower]
    /// For every tower, what is in no block.
    private var around: [[LayerRole: [(tensor: Int, evidence: Evidence)]]]
    /// For every tower, the blocks that took in tensors by their place.
    private var grown: [Set<Int>]
    /// For every tower, its blocks' tensors in ascending order, each with its block.
    private let inBlocks: [[(tensor: Int, block: Int)]]
    /// For every tower, whether the names are in the order in which its modules were made.
    private let isInOrder: [Bool]
    /// In the order of their first tensors.
    private var open: [Unit] = []
    /// Which towers words speak of.
    private let towersOfWord: [String: Set<Int>]
    /// The towers that see or hear.
    private let senses: Set<Int>
    /// The paths of the modules in which units stand whose names tell nothing.
    private var untold: Set<String> = []
    /// The towers with a head that makes text.
    private var writing: Set<Int> = []
    /// For every tower, how many norms stand around its blocks whose names do not say that they are the last, and how many
    /// projections directly beside them.
    private var norms: [Int]
    private var projections: [Int]
    /// Where units stand whose names tell something of what stands beside them.
    private var beside: Set<Place> = []

    init(_ towers: [Tower], _ names: TensorNames) {
        self.names = names
        self.towers = towers
        around = towers.map { tower in
            [LayerRole.stem: tower.opening, .head: tower.closing].filter { !$0.value.isEmpty }
                .mapValues { $0.map { ($0, .number) } }
        }
        grown = towers.map { _ in [] }
        norms = towers.map { _ in 0 }
        projections = towers.map { _ in 0 }
        let inBlocks = towers.map { tower in
            tower.blocks.enumerated().flatMap { block, contents in
                contents.tensors.map { (tensor: $0, block: block) }
            }
            .sorted { $0.tensor < $1.tensor }
        }
        self.inBlocks = inBlocks
        isInOrder = towers.indices.map { tower in
            names.areInOrder && towers[tower].blocks.count > 1
                && zip(inBlocks[tower], inBlocks[tower].dropFirst()).allSatisfy { $0.block <= $1.block }
        }
        var towersOfWord: [String: Set<Int>] = [:]
        for (tower, contents) in towers.enumerated() {
            for word in contents.prefix.flatMap(\.words) {
                towersOfWord[Vocabulary.unified(word), default: []].insert(tower)
            }
        }
        self.towersOfWord = towersOfWord
        senses = Vocabulary.senses.reduce(into: []) { $0.formUnion(towersOfWord[$1] ?? []) }
        open = units()
        beside = Set(
            open.map { Place(parent: $0.parent, text: $0.part.text) }.filter { Vocabulary.siblings.contains($0.text) })
    }

    /// What is in no block, in units.
    private func units() -> [Unit] {
        // Towers are sorted by the module that holds their blocks, so those in one module are neighbours.
        var inside: [String: Range<Int>] = ["": towers.indices]
        // What stands directly beside the blocks of a tower is of this one, even if a module beside it holds another one.
        var directly: [String: Range<Int>] = [:]
        for (index, tower) in towers.enumerated() {
            guard let name = tower.blocks.first?.tensors.first.map({ names[$0] }) else { continue }
            for length in tower.parent.indices.map({ $0 + 1 }) {
                let path = name.path(length)
                inside[path] = (inside[path]?.lowerBound ?? index)..<index + 1
            }
            directly[name.path(tower.parent.count)] = index..<index + 1
        }
        let placed = Set(towers.flatMap { $0.opening + $0.closing + $0.blocks.flatMap(\.tensors) })
        var units: [Unit] = []
        var known: [Place: Int] = [:]
        for (tensor, name) in names.enumerated() where !placed.contains(tensor) {
            var level = 0
            while level < name.parts.count - 1, inside[name.path(level + 1)] != nil { level += 1 }
            let (parent, part) = (name.path(level), name.parts[level])
            let place = Place(parent: parent, text: part.text)
            if let unit = known[place] {
                units[unit].tensors.append(tensor)
            } else {
                known[place] = units.count
                units.append(
                    Unit(
                        part: part, level: level, parent: parent,
                        towers: directly[parent] ?? inside[parent] ?? towers.indices, tensors: [tensor]))
            }
        }
        return withNormsOfConvolutions(units, known)
    }

    /// A norm goes with the convolution of its number: the "bn2" beside "conv2" is no final norm.
    private func withNormsOfConvolutions(_ units: [Unit], _ known: [Place: Int]) -> [Unit] {
        var units = units
        for (index, unit) in units.enumerated() where unit.part.base == "bn" || unit.part.base == "norm" {
            guard let number = unit.part.numeral,
                let convolution = known[Place(parent: unit.parent, text: "conv\(number)")]
            else { continue }
            units[convolution].tensors += unit.tensors
            units[index].tensors = []
        }
        return units.filter { !$0.tensors.isEmpty }
    }

    // MARK: - By number

    /// Places lists that go with the stages of a stack, an entry for each: the patch embeddings before the stages of PVT, the norms
    /// after those of Swin, the adapters of the blocks.
    mutating func placeBesideStages() {
        var lists: [Place: [(number: Numeral, unit: Int, tensors: [Int])]] = [:]
        for (index, unit) in open.enumerated() where unit.towers.count == 1 {
            let next = unit.level + 1
            if unit.tensors.allSatisfy({ names[$0].parts.count > next && names[$0].parts[next].isNumber }) {
                let entries = Dictionary(grouping: unit.tensors) { names[$0].parts[next].numeral ?? Numeral([]) }
                lists[Place(parent: unit.parent, text: "\(unit.part.text)."), default: []] += entries.map {
                    ($0, index, $1)
                }
            } else if let number = unit.part.numeral, !unit.part.isNumber {
                lists[Place(parent: unit.parent, text: unit.part.base), default: []].append(
                    (number, index, unit.tensors))
            }
        }
        var placed: Set<Int> = []
        for (list, entries) in lists {
            let entries = entries.sorted { $0.number < $1.number }
            guard let first = entries.first, entries.count > 1 else { continue }
            let unit = open[first.unit]
            let isList = list.text.utf8.last == UInt8(ascii: ".")
            let part = isList ? unit.part : NamePart(unit.part.base)
            let numbers = entries.map(\.number)
            guard let stages = stages(of: unit.towers.lowerBound, besides: part, isList, numbers) else { continue }
            for (entry, stage) in zip(entries, stages) {
                place(entry.tensors, beside: stage, of: unit.towers.lowerBound, part)
                placed.insert(entry.unit)
            }
        }
        open = open.indices.filter { !placed.contains($0) }.map { open[$0] }
    }

    /// Which stage each entry of a list goes with, if the list goes by stages.
    private func stages(of tower: Int, besides part: NamePart, _ isList: Bool, _ numbers: [Numeral]) -> [Int]? {
        let stages = towers[tower].stages
        // "bn1" and "bn2" are those of a stem and of a last convolution.
        guard stages.count > 1, part.text != "bn" else { return nil }
        let leadsOn = Vocabulary.betweenStages.has(anyOf: part.words)
        switch part.meaning {
        case .opening, .extractor, .head: return nil
        case .output where !leadsOn: return nil
        case nil where Vocabulary.outputs.has(anyOf: part.words): return nil
        // "stem.0" and "stem.1" follow each other, "patch_embeds.0" and "patch_embeds.1" do not.
        case .stem where !towers[tower].isStaged: return nil
        case .stem where isList && part.words.last?.hasSuffix("s") != true && !isBlock(part): return nil
        default: break
        }
        // Two of something beside two blocks are no pairs.
        if !towers[tower].isStaged, !isList || numbers.count < 3 { return nil }
        if numbers.count == stages.count { return Array(stages.indices) }
        guard towers[tower].isStaged, numbers.count == stages.count - 1 else { return nil }
        if leadsOn { return Array(1..<stages.count) }
        let byNumber = numbers.map { number in stages.firstIndex { $0.number == number } }
        return byNumber.contains(nil) ? nil : byNumber.compactMap(\.self)
    }

    /// "pos_block"
    private func isBlock(_ part: NamePart) -> Bool { Vocabulary.blocks.has(anyOf: part.words.suffix(1)) }

    private mutating func place(_ tensors: [Int], beside stage: Int, of tower: Int, _ part: NamePart) {
        let stages = towers[tower].stages
        let blocks = stages[stage].blocks
        let leadsIn = part.meaning == .stem && !isBlock(part) || Vocabulary.betweenStages.has(anyOf: part.words)
        if leadsIn, stage == 0 {
            around[tower][.stem, default: []] += tensors.map { ($0, .number) }
        } else if part.meaning == .norm, stage == stages.count - 1, towers[tower].isStaged {
            around[tower][.norm, default: []] += tensors.map { ($0, .number) }
        } else {
            let block = part.meaning == .norm ? blocks.upperBound - 1 : blocks.lowerBound
            towers[tower].blocks[block].tensors += tensors
            // Where blocks are in no stages, or the list's name says nothing, an equal count may be chance.
            let isTold = leadsIn || part.meaning != nil
            if !towers[tower].isStaged || !isTold { grown[tower].insert(block) }
        }
    }

    // MARK: - By name

    mutating func placeByName() {
        for unit in open where unit.towers.count == 1 {
            let tower = unit.towers.lowerBound
            if isNorm(unit), !isFinal(unit) { norms[tower] += 1 }
            if isDirect(unit), isProjection(unit) { projections[tower] += 1 }
            if unit.part.meaning == .head, unit.part.words.contains("lm") { writing.insert(tower) }
        }
        untold = Set(open.filter { $0.part.meaning == nil }.map(\.parent))
        var stillOpen: [Unit] = []
        var ofSeveral: [(unit: Unit, told: Told)] = []
        for unit in open {
            guard let told = told(unit) else {
                stillOpen.append(unit)
                continue
            }
            if unit.towers.count == 1 {
                place(unit, told, in: unit.towers.lowerBound, isCertain: true)
            } else {
                ofSeveral.append((unit, told))
            }
        }
        open = stillOpen
        let having = around.map { Set($0.keys) }
        for (unit, told) in ofSeveral {
            let (tower, isCertain) = tower(of: unit, told, having: having)
            // Beside a tower that sees and has a stem of its own, "embed_vision" embeds what leaves it, and
            // "shared_image_embedding" does not.
            let embedsOutput =
                told.role == .stem && senses.contains(tower) && having[tower].contains(.stem)
                && unit.level < towers[tower].parent.count && !isBare(unit) && !unit.part.words.contains("shared")
            if embedsOutput {
                place(unit, Told(role: .head, word: told.word), in: tower, isCertain: false)
            } else {
                // What predicts durations is made, and works, between an encoder and a decoder.
                let isBetween = told.role == .head && isBefore(unit, tower)
                place(unit, told, in: tower, isCertain: isCertain && !isBetween)
            }
        }
    }

    private mutating func place(_ unit: Unit, _ told: Told, in tower: Int, isCertain: Bool) {
        let evidence: Evidence =
            told.isNumber ? .number : told.isCertain && isCertain ? .word(told.word) : .doubtful(told.word)
        around[tower][told.role, default: []] += unit.tensors.map { ($0, evidence) }
    }

    /// What the names of a unit tell.
    private struct Told {
        let role: LayerRole
        var word = ""
        var isNumber = false
        /// Whether it leads on to something else, and is no head by its name.
        var isOutput = false
        var isCertain = true
    }

    /// The meaning of the part that the unit begins with or, if it has none, of the parts inside.
    private func told(_ unit: Unit) -> Told? {
        if unit.part.isNumber, let number = unit.part.numeral {
            let numbers = unit.towers.compactMap { towers[$0].parent.dropFirst(unit.level).first?.numeral }
            if numbers.count == unit.towers.count {
                if numbers.allSatisfy({ number < $0 }) { return Told(role: .stem, isNumber: true) }
                if numbers.allSatisfy({ number > $0 }) { return Told(role: .head, isNumber: true) }
            }
        }
        let word = unit.part.text
        if let sibling = Vocabulary.stemsBeside[word], beside.contains(Place(parent: unit.parent, text: sibling)) {
            return Told(role: .stem, word: word)
        }
        switch unit.part.meaning {
        case .opening where unit.part.words.contains("pre") && unit.towers.contains { towers[$0].isStaged }:
            // ConvNeXt's, before the head; a ViT has one before its blocks.
            return Told(role: .norm, word: word, isCertain: false)
        case .opening where isAfterBlocks(unit) && !Vocabulary.before.has(anyOf: unit.part.words):
            return Told(role: .head, word: word, isCertain: false)
        case .extractor
        where unit.tensors.allSatisfy({ names[$0].parts.count <= unit.level + 2 }) && word.hasSuffix("r"):
            // What makes features for a head, as one linear map.
            return nil
        case .opening
        where word == "conv2" && untold.contains(unit.parent) && unit.tensors.allSatisfy { isInside($0, unit) }:
            // DAC's is after the blocks, and so is the activation that stands beside it.
            return Told(role: .stem, word: word, isCertain: false)
        case .stem
        where Vocabulary.normsOfEmbeddings[word].map { !beside.contains(Place(parent: unit.parent, text: $0)) } ?? false:
            return toldOfOnlyNorm(word)
        case .stem where entersLater(unit): return Told(role: .stem, word: word, isCertain: false)
        case .stem where Vocabulary.ofEitherSide.contains(unit.part.words.suffix(2).joined(separator: " ")):
            return Told(role: .head, word: word, isCertain: false)
        case .stem, .opening, .extractor: return Told(role: .stem, word: word)
        case .head: return Told(role: .head, word: word, isCertain: !(isDirect(unit) && isBeforeBlocks(unit)))
        case .output where isBeforeBlocks(unit) && (isDirect(unit) || isProjection(unit)):
            let isEnd = Vocabulary.ends.has(anyOf: unit.part.words)
            return Told(role: isEnd ? .head : .stem, word: word, isCertain: false)
        case .output:
            // A module that is called "proj" and nothing else may lead in as well as out, and so may one of several projections
            // beside the blocks.
            let isOneOfSeveral = isDirect(unit) && isProjection(unit) && projections[unit.towers.lowerBound] > 1
            let isOfEither = Vocabulary.ofEitherEnd.contains(word) || isOneOfSeveral
            return Told(role: .head, word: word, isOutput: true, isCertain: isBare(unit) || !isOfEither)
        case .norm:
            // Several in a list may norm what several blocks make.
            let isList = unit.tensors.contains {
                names[$0].parts.dropFirst(unit.level + 1).dropLast().first?.isNumber == true
            }
            // A norm is before the blocks or after them where wav2vec 2.0's encoder has it, as its configuration says.
            let isOfEither =
                Vocabulary.normsOfEither[word].map { beside.contains(Place(parent: unit.parent, text: $0)) } ?? false
            let isOrdered = unit.towers.allSatisfy { towers[$0].blocks.first?.isOrderGuessed != true }
            // Of several norms around the blocks one is the last, and one that is made before the blocks may lead in.
            let isLast =
                unit.towers.count > 1 || isFinal(unit) || !Vocabulary.norms.has(anyOf: unit.part.words)
                || isAfterBlocks(unit) && unit.part.words.allSatisfy(Vocabulary.wordsOfNorms.contains)
                || norms[unit.towers.lowerBound] <= 1
                    && (word == "norm" && isNorm(unit) || !isInOrder[unit.towers.lowerBound] || isAfterBlocks(unit))
            return Told(role: .norm, word: word, isCertain: !isList && !isOfEither && isOrdered && isLast)
        case nil: break
        }
        let inside = unit.tensors.map { tensor -> NamePart? in
            let parts = names[tensor].parts.dropFirst(unit.level + 1)
            return parts.first { [.stem, .extractor, .head].contains($0.meaning) }
                ?? parts.first { $0.meaning == .output }
        }
        let told = inside.compactMap(\.self)
        let roles = Set(told.map { $0.meaning == .head || $0.meaning == .output ? LayerRole.head : .stem })
        guard roles.count == 1, let role = roles.first, let part = told.first else { return nil }
        let isOutput = told.allSatisfy { $0.meaning == .output }
        let isCertain = told.count == inside.count && !told.contains(where: Self.areOfTheMiddle)
        return Told(role: role, word: part.text, isOutput: isOutput, isCertain: isCertain)
    }

    /// "ln_post", "norm_f", "norm_out"
    private func isFinal(_ unit: Unit) -> Bool {
        Vocabulary.after.has(anyOf: unit.part.words)
            || Vocabulary.outputs.has(anyOf: unit.part.words) && !isBeforeBlocks(unit)
    }

    /// What "layernorm_embedding" is where no other norm stands beside the blocks: BART's and that of others norms embeddings, and
    /// BigBird-Pegasus's what the blocks make.  The attention of an encoder tells whose it is; a decoder alone does not.
    private func toldOfOnlyNorm(_ word: String) -> Told {
        let isBigBird = names.contains { name in
            zip(name.parts, name.parts.dropFirst()).contains { $0.text == "self_attn" && $1.text == "self" }
        }
        if isBigBird { return Told(role: .norm, word: word) }
        let isDecoder = towers.count == 1 && names.contains { $0.parts.contains { $0.text == "encoder_attn" } }
        return Told(role: .stem, word: word, isCertain: !isDecoder)
    }

    /// Whether positions may enter behind some blocks: those that say so, as YOLOS's "mid_position_embeddings", and VOLO's, which stand
    /// beside the stages of its "network" and which the second of these reads.  Those of PiT, beside stages too, enter before them.
    private func entersLater(_ unit: Unit) -> Bool {
        if Self.areOfTheMiddle(unit.part) { return true }
        return isBare(unit) && unit.part.numeral == nil && Vocabulary.positions.has(anyOf: unit.part.words)
            && unit.towers.contains { tower in
                guard towers[tower].isStaged, let first = towers[tower].blocks.first?.tensors.first else {
                    return false
                }
                return names[first].parts.dropFirst(towers[tower].parent.count).first?.text == "network"
            }
    }

    /// Whether these are positions that enter in the middle, as they say.
    private static func areOfTheMiddle(_ part: NamePart) -> Bool {
        Vocabulary.positions.has(anyOf: part.words) && part.words.first.flatMap { Vocabulary.orderOfLists[$0] } == 1
    }

    /// A norm, and not "conv_head", which is counted to them, or a module of some.
    private func isNorm(_ unit: Unit) -> Bool {
        unit.part.meaning == .norm && Vocabulary.norms.has(anyOf: unit.part.words)
            && unit.tensors.allSatisfy { names[$0].parts.count <= unit.level + 2 }
    }

    /// Whether a unit stands directly beside the blocks, and not beside a module that holds them.
    private func isDirect(_ unit: Unit) -> Bool {
        unit.towers.count == 1 && unit.level == towers[unit.towers.lowerBound].parent.count
    }

    private func isProjection(_ unit: Unit) -> Bool {
        unit.part.meaning == .output && Vocabulary.projections.has(anyOf: unit.part.words)
    }

    /// Whether a tensor has the unit's own path, and is not a norm's that went with a convolution.
    private func isInside(_ tensor: Int, _ unit: Unit) -> Bool {
        names[tensor].parts[unit.level].text == unit.part.text
    }

    /// A tensor, and no module.
    private func isBare(_ unit: Unit) -> Bool {
        unit.tensors.allSatisfy { names[$0].parts.count == unit.level + 1 }
    }

    /// Whether a module is made before the blocks.  A bare tensor may be last and is made before all modules.
    private func isBeforeBlocks(_ unit: Unit) -> Bool {
        unit.towers.count == 1 && isBefore(unit, unit.towers.lowerBound)
    }

    private func isBefore(_ unit: Unit, _ tower: Int) -> Bool {
        guard isInOrder[tower], !isBare(unit), let last = unit.tensors.max(), let first = inBlocks[tower].first
        else { return false }
        return last < first.tensor
    }

    private func isAfterBlocks(_ unit: Unit) -> Bool {
        guard unit.towers.count == 1, isInOrder[unit.towers.lowerBound], let first = unit.tensors.min(),
            let last = inBlocks[unit.towers.lowerBound].last
        else { return false }
        return first > last.tensor
    }

    /// The tower that a unit goes with which stands beside several, and whether more than their order tells: the one that its name
    /// speaks of ("visual_projection"), or the only one that can have it.  What reads or writes text ("lm_head") is of no
    /// tower that sees or hears.  What says nothing is the encoder's stem or the decoder's head.
    private func tower(of unit: Unit, _ told: Told, having: [Set<LayerRole>]) -> (tower: Int, isCertain: Bool) {
        let role = told.role
        // "prompt_encoder" is an encoder itself and speaks of no other.
        let isContainer = Vocabulary.containers.has(anyOf: unit.part.words.suffix(1))
        let spoken = (isContainer ? unit.part.words.dropLast() : unit.part.words).compactMap {
            towersOfWord[Vocabulary.unified($0)]?.filter(unit.towers.contains)
        }
        .filter { !$0.isEmpty }
        let alone = spoken.filter { $0.count == 1 }.flatMap(\.self)
        if let tower = alone.last {
            // What is projected into a language model is called after it, too: "language_projection".
            let leadsIn = told.isOutput && (writing.contains(tower) || unit.part.words.contains("language"))
            if !leadsIn { return (tower, Set(alone).count == 1) }
        }
        let isSpoken = alone.isEmpty && spoken.last.map { $0.count < unit.towers.count } ?? false
        var candidates = isSpoken ? spoken.last?.sorted() ?? [] : unit.towers.filter { !senses.contains($0) }
        if candidates.isEmpty { candidates = Array(unit.towers) }
        if !isSpoken, candidates.count < unit.towers.count, !Vocabulary.speaksOfText(unit.part) || !alone.isEmpty {
            // What leads on from a tower that sees or hears is its output.
            let sensing = unit.towers.filter(senses.contains)
            if told.isOutput {
                let tower = sensing.last { !having[$0].contains(.head) } ?? sensing.last ?? 0
                return (tower, sensing.count == 1 && alone.isEmpty)
            }
            if candidates.count == 1 {
                // "ln_final" beside a tower that has a norm of its own.
                let isLacking =
                    !having[candidates[0]].contains(role) && sensing.allSatisfy { having[$0].contains(role) }
                return (candidates[0], isContainer || isLacking)
            }
        }
        if candidates.count == 1 { return (candidates[0], alone.isEmpty) }
        for word in role == .stem ? ["encoder"] : ["decoder", "text"] {
            let found = candidates.filter { towersOfWord[word]?.contains($0) == true }
            if let tower = found.first(where: { !having[$0].contains(role) }) ?? found.first {
                // An embedding of something else than words may lead into the decoder.
                let isPlain = role != .stem || unit.part.words.allSatisfy { Vocabulary.wordEmbeddings.contains($0) }
                return (tower, found.count == 1 && isPlain && alone.isEmpty)
            }
        }
        let lacking = candidates.filter { !having[$0].contains(role) }
        let rest = lacking.isEmpty ? candidates : lacking
        return ((role == .stem ? rest.first : rest.last) ?? 0, false)
    }

    // MARK: - By order

    mutating func placeByOrder() {
        let all = towers.indices.flatMap { tower in inBlocks[tower].map { (tensor: $0.tensor, tower: tower) } }
            .sorted { $0.tensor < $1.tensor }
        let having = around.map { Set($0.keys) }
        for unit in open {
            guard let first = unit.tensors.min() else { continue }
            let before = all.prefix(below: first, by: \.tensor)
            let last = before.last.map(\.tower)
            if unit.towers.count == 1 {
                place(unit.tensors, at: first, in: unit.towers.lowerBound)
            } else if before.count < all.count, let last, unit.towers.contains(last) {
                place(unit.tensors, at: first, in: last)
            } else {
                let role: LayerRole = before.isEmpty ? .stem : .head
                around[tower(of: unit, Told(role: role), having: having).tower][role, default: []] += unit.tensors.map {
                    ($0, .place)
                }
            }
        }
        open = []
    }

    /// Between blocks, a unit goes with the one before it, as timm's `MATCH_PREV_GROUP`.
    private mutating func place(_ tensors: [Int], at first: Int, in tower: Int) {
        let before = inBlocks[tower].prefix(below: first, by: \.tensor)
        if let last = before.last, before.count < inBlocks[tower].count {
            towers[tower].blocks[last.block].tensors += tensors
            grown[tower].insert(last.block)
        } else {
            around[tower][before.isEmpty ? .stem : .head, default: []] += tensors.map { ($0, .place) }
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
            + (block.hasUntold ? "; some tensors by their place in its stage" : "")
            + (block.isOrderGuessed ? "; by its place among the blocks of several lists" : "")
        return LayerDraft(
            name: name?.path(block.length) ?? "", depth: depth, tower: towers[tower].name, role: .block,
            tensors: block.tensors, reason: reason, isGuess: isGrown || block.isOrderGuessed || block.hasUntold)
    }

    private func layer(_ role: LayerRole, depth: Int, of tower: Int) -> LayerDraft? {
        guard let placed = around[tower][role] else { return nil }
        var word: String?
        var hasNumber = false
        var byPlace = 0
        var isDoubtful = false
        for (_, evidence) in placed {
            switch evidence {
            case .word(let part): word = word ?? part
            case .doubtful(let part):
                word = word ?? part
                isDoubtful = true
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
            isGuess: byPlace > 0 || isDoubtful)
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
