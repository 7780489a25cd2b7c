// SPDX-License-Identifier: Apache-2.0

/// Blocks that are numbered alike: "bert.encoder.layer.0", "bert.encoder.layer.1", … or "layer1", "layer2", …
struct Stack {
    /// What the numbers count.
    struct Key: Hashable {
        /// The parts of the path of the module that holds the blocks and what stands beside them.
        let parent: [String]
        /// "layer" for "layer.0" as for "layer1".
        let label: String
        /// Whether the number is a part of its own.
        let isList: Bool
    }

    /// A tensor in a numbered part.
    struct Member {
        let tensor: Int
        /// Where in the name the number is.
        let level: Int
    }

    let key: Key
    /// The parts of the key's path.
    let parent: [NamePart]
    /// By number.
    let blocks: [StackBlock]
    /// Plain modules with numbers below the first block's: a stem that is written into the stack.
    let opening: [Int]
    /// Plain modules with numbers above the last block's, where the stack is all there is, such as a `Sequential`: a head.
    let closing: [Int]
}

/// One of the blocks of a stack.
struct StackBlock {
    /// How many parts of the first tensor's name lead to the block.
    let length: Int
    var tensors: [Int]
    /// Of the stage, where the stack has some, and of the block.
    let number: [Numeral]
    /// Whether only the order of the names tells its place among the blocks of other stacks.
    var isOrderGuessed = false
    /// Whether it took in what stands in its stage and is called nothing that is known.
    var hasUntold = false

    init(length: Int, tensors: [Int], number: [Numeral]) {
        (self.length, self.tensors, self.number) = (length, tensors, number)
    }

    /// This block as one of a stage, with more tensors.
    func inStage(_ stage: Numeral, with more: [Int] = []) -> Self {
        var block = Self(length: length, tensors: tensors + more, number: [stage] + number)
        block.hasUntold = hasUntold
        return block
    }

    init(_ members: [Stack.Member], number: [Numeral]) {
        self.init(length: (members.first?.level ?? -1) + 1, tensors: members.map(\.tensor), number: number)
    }
}

// MARK: - Stacks

/// The stacks of a model: lists of numbered modules that are no plain ones.
///
/// A list is a stack where the part before the numbers is named like blocks, whatever module it hangs in, or where its entries
/// are alike.  Numbered modules in a head belong to it ("decode_head.layers.0"), and so do those in a stem or a projection
/// ("stem.blocks.0"), unless they are as large as blocks are, or stand in a whole model ("patch_encoder", "embedder.model").
///
/// Where there is no such list, the whole model may be in a module that is called like a stem or a head.  Where that does not help
/// either, numbers that a quarter of all tensors share count blocks, if some of these are alike.
func stacks(in names: TensorNames) -> [Stack] {
    let lists = numberedLists(names)
    let found = stacks(names, lists) { list in
        if list.isInHead || list.isPlain(names) { return false }
        // Fewer modules have the branches of a neck, the quantizers of a codec and the like.
        if !list.isNamed { return !list.isInStem && list.isInModule && list.isAlike(names, modules: 4) }
        return !list.isInStem || !list.isPatches && list.isAlike(names, modules: list.isInModel ? 1 : 4)
    }
    if !found.isEmpty { return found }
    let wrapped = stacks(names, lists) { $0.isNamed && !$0.isPlain(names) }
    if !wrapped.isEmpty { return wrapped }
    return stacks(names, lists) { list in
        list.isList && list.members.count >= names.count / 4 && list.hasAlike(names)
    }
}

/// More numbers in one name than blocks in stages in wrappers have; looking at all would make long names slow.
private let mostNumbers = 6

/// Numbered parts in one place, which may count blocks.
private struct NumberedList {
    var members: [Stack.Member] = []
    /// "layers.0", unlike "layer1".
    let isList: Bool
    /// Whether the numbers count parts that are named like blocks.
    let isNamed: Bool
    /// Whether there is a module before the numbers.
    let isInModule: Bool
    /// Whether a part before the numbers is named like a head.
    let isInHead: Bool
    /// Whether a part before the numbers is named like a stem or a projection, and whether it is named like a model, too, or one
    /// between it and the numbers.
    let isInStem: Bool
    let isInModel: Bool
    let isPatches: Bool

    init(_ name: TensorName, _ level: Int) {
        let before = name.parts.prefix(level)
        isList = name.parts[level].isNumber
        let isNamed = isBlockNumber(name.parts, level)
        self.isNamed = isNamed
        isInModule = level > 0
        isInHead = before.contains { $0.meaning == .head }
        // An extractor may be a whole ResNet; its own list of convolutions is not a list of blocks.
        let last = before.lastIndex { $0.meaning == .stem || $0.meaning == .output || !isNamed && $0.meaning != nil }
        isInStem = last != nil
        let inside = before[(last ?? level)...]
        // A ResNet that makes the patches of a ViT is its stem, as in timm.
        isInModel = inside.contains { Vocabulary.containers.has(anyOf: $0.words.suffix(1)) }
        isPatches = inside.dropFirst().first?.text == "backbone"
    }

    func isPlain(_ names: TensorNames) -> Bool {
        members.allSatisfy { names[$0.tensor].isPlain(at: $0.level) }
    }

    /// Whether it has two entries or more, and at least half of those behind the first are like the entry before them.  An
    /// entry of fewer than `modules` modules is like no other.
    func isAlike(_ names: TensorNames, modules: Int) -> Bool {
        let (alike, pairs) = likeness(names, modules: modules)
        return pairs > 0 && 2 * alike >= pairs
    }

    /// Whether it has two entries that are alike and no plain modules.
    func hasAlike(_ names: TensorNames) -> Bool { likeness(names, modules: 1).alike > 0 }

    private func likeness(_ names: TensorNames, modules least: Int) -> (alike: Int, pairs: Int) {
        let entries = Dictionary(grouping: members) { names[$0.tensor].parts[$0.level].numeral ?? Numeral([]) }
            .sorted { $0.key < $1.key }
        let tensors: [Set<String>?] = entries.map { _, members in
            if members.allSatisfy({ names[$0.tensor].isPlain(at: $0.level) }) { return nil }
            let modules = Set(members.map { names[$0.tensor].module(from: $0.level + 1) })
            return modules.count < least ? nil : Set(members.map { names[$0.tensor].pattern(from: $0.level + 1) })
        }
        let alike = zip(tensors, tensors.dropFirst()).count { a, b in
            guard let a, let b else { return false }
            return 2 * a.intersection(b).count >= a.union(b).count
        }
        return (alike, entries.count - 1)
    }
}

private func isBlockNumber(_ parts: [NamePart], _ level: Int) -> Bool {
    let part = parts[level]
    if part.isNumber { return level > 0 && parts[level - 1].namesBlocks }
    return part.numeral != nil && part.namesBlocks
}

private func key(of name: TensorName, _ level: Int) -> Stack.Key {
    let part = name.parts[level]
    let parent = parentLength(part, level)
    return Stack.Key(
        parent: name.parts.prefix(parent).map(\.text),
        label: part.isNumber ? (level > 0 ? name.parts[level - 1].text : "") : part.base, isList: part.isNumber)
}

/// The levels of a name that may number blocks, the outermost first.
private func numberedLevels(_ name: TensorName) -> some Sequence<Int> {
    name.parts.indices.dropLast().lazy.filter { name.parts[$0].isNumber || isBlockNumber(name.parts, $0) }.prefix(
        mostNumbers)
}

private func numberedLists(_ names: TensorNames) -> [Stack.Key: NumberedList] {
    var lists: [Stack.Key: NumberedList] = [:]
    for (tensor, name) in names.enumerated() {
        for level in numberedLevels(name) {
            lists[key(of: name, level), default: NumberedList(name, level)].members.append(
                Stack.Member(tensor: tensor, level: level))
        }
    }
    return lists
}

/// The stacks of the lists that are chosen.  A tensor goes by the outermost one that is named like blocks, and only where there is
/// none by another.
private func stacks(
    _ names: TensorNames, _ lists: [Stack.Key: NumberedList], where isChosen: (NumberedList) -> Bool
) -> [Stack] {
    var chosen = lists.filter { isChosen($0.value) }
    if chosen.isEmpty { return [] }
    // Where a list is named as blocks, other lists do not count as blocks.
    let withNamed = Set(chosen.filter(\.value.isNamed).map(\.key.parent))
    chosen = chosen.filter { $0.value.isNamed || !withNamed.contains($0.key.parent) }
    var members: [Stack.Key: [Stack.Member]] = [:]
    for (tensor, name) in names.enumerated() {
        let found = numberedLevels(name).map { (level: $0, key: key(of: name, $0)) }.filter { chosen[$0.key] != nil }
        guard let best = found.first(where: { chosen[$0.key]?.isNamed == true }) ?? found.first else { continue }
        members[best.key, default: []].append(Stack.Member(tensor: tensor, level: best.level))
    }
    return members.compactMap { key, members in
        let stack = stack(key, of: members, names)
        // One "block8" is a module like others.
        return key.isList || stack.blocks.count > 1 ? stack : nil
    }
}

/// How many parts the path has to the module that holds the blocks with this number.
private func parentLength(_ number: NamePart, _ level: Int) -> Int { number.isNumber ? max(0, level - 1) : level }

private func stack(_ key: Stack.Key, of members: [Stack.Member], _ names: TensorNames) -> Stack {
    let stages = Dictionary(grouping: members) { names[$0.tensor].parts[$0.level].numeral ?? Numeral([]) }
        .sorted { $0.key < $1.key }
    func isPlain(_ member: Stack.Member) -> Bool { names[member.tensor].isPlain(at: member.level) }

    let nested = blocksOfStages(stages.map(\.value), names)
    var blocks: [StackBlock] = []
    var opening: [Int] = []
    var leadingOn: [Int] = []
    // A list that is named like blocks has its head elsewhere: what ends "features" is no classifier.
    let isAll = members.count == names.count && members.allSatisfy { !isBlockNumber(names[$0.tensor].parts, $0.level) }
    let closingStages = isAll ? stages.reversed().prefix { $0.value.allSatisfy(isPlain) }.count : 0
    for (index, (number, members)) in stages.dropLast(closingStages).enumerated() {
        let tensors = members.map(\.tensor)
        if let first = nested[index].first {
            blocks.append(first.inStage(number, with: leadingOn))
            blocks += nested[index].dropFirst().map { $0.inStage(number) }
            leadingOn = []
        } else if blocks.isEmpty, members.allSatisfy(isPlain) {
            opening += tensors
        } else if index > 0, !nested[index - 1].isEmpty, index + 1 < stages.count, !nested[index + 1].isEmpty {
            // torchvision's downsampling, which other libraries keep in the next stage.
            leadingOn = tensors
        } else {
            blocks.append(StackBlock(members, number: [number]))
        }
    }
    let parent = members.first.map { member in
        let parts = names[member.tensor].parts
        return Array(parts.prefix(parentLength(parts[member.level], member.level)))
    }
    return Stack(
        key: key, parent: parent ?? [], blocks: blocks, opening: opening,
        closing: stages.suffix(closingStages).flatMap { $0.value.map(\.tensor) })
}

// MARK: - Stages

/// The blocks that stand in numbered stages, a list for each: "layer1.0", "stages.0.blocks.1", "denseblock1.denselayer2".
/// The list is empty for a stage that has none, and for all where the numbers in numbers count something else: blocks are
/// alike, whereas T5's "block.0.layer.0" and "block.0.layer.1" are the attention and the feed-forward part of one block.
///
/// What stands beside a stage's blocks ("stages.1.downsample") belongs to the first of them, as in timm.  It belongs to the last
/// where it is a norm, or where the first stage has it and the last has not: it leads on to the next stage then, as in the
/// original Swin and Hugging Face's.  Plain modules with numbers above the last block's belong to this one.
///
/// - Parameter stages: the tensors of each, by number.
func blocksOfStages(_ stages: [[Stack.Member]], _ names: TensorNames) -> [[StackBlock]] {
    let none: [[StackBlock]] = stages.map { _ in [] }
    guard let label = commonLabel(stages, names) else { return none }

    var found: [[(number: Numeral, members: [Stack.Member])]] = []
    var beside: [[Stack.Member]] = []
    var after: [[Stack.Member]] = []
    for stage in stages {
        var blocks: [Numeral: [Stack.Member]] = [:]
        var others: [Stack.Member] = []
        var closing: [Stack.Member] = []
        for member in stage {
            if let number = InnerNumber(names[member.tensor], after: member.level), number.label == label {
                blocks[number.value, default: []].append(Stack.Member(tensor: member.tensor, level: number.level))
            } else {
                others.append(member)
            }
        }
        // The norm and the convolution of torchvision's downsampling ("features.2.0", "features.2.1") are no blocks.
        let plain = blocks.filter { $0.value.allSatisfy { names[$0.tensor].isPlain(at: $0.level) } }
        for (number, members) in plain.sorted(by: { $0.key > $1.key }) {
            blocks[number] = nil
            let members = members.map { Stack.Member(tensor: $0.tensor, level: stage.first?.level ?? $0.level) }
            if let last = blocks.keys.max(), last < number { closing += members } else { others += members }
        }
        found.append(blocks.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        beside.append(others)
        after.append(closing)
    }
    if !areAlike(found.map { $0.map(\.members) }, names) { return none }
    // "residual_layer1" and "residual_layer2" are parts of a block that has other parts, too, and nothing tells in which order.
    if label.utf8.last == UInt8(ascii: "#"), 2 * beside.count(where: { !$0.isEmpty }) > beside.count { return none }

    func kinds(_ members: [Stack.Member]?) -> Set<String> {
        Set((members ?? []).compactMap { names[$0.tensor].parts.dropFirst($0.level + 1).first?.text })
    }
    let withBlocks = found.indices.filter { !found[$0].isEmpty }
    let inFirst = kinds(withBlocks.first.map { beside[$0] })
    let inLast = kinds(withBlocks.last.map { beside[$0] })
    return zip(zip(found, after), beside).map { entry, beside in
        let (found, after) = entry
        var blocks = found.map { StackBlock($0.members, number: [$0.number]) }
        guard !blocks.isEmpty else { return [] }
        let end = blocks.flatMap(\.tensors).max() ?? 0
        for member in beside {
            let part = names[member.tensor].parts.dropFirst(member.level + 1).first
            let isAfterBlocks = names.areInOrder ? member.tensor > end : nil
            let place = PlaceInStage(part, inFirst, inLast, isAfterBlocks: isAfterBlocks)
            let isLast = place == .last || place == .open && member.tensor > end
            let block = isLast ? blocks.count - 1 : 0
            blocks[block].tensors.append(member.tensor)
            if place == .open { blocks[block].hasUntold = true }
        }
        blocks[blocks.count - 1].tensors += after.map(\.tensor)
        return blocks
    }
}

/// Whether what stands beside a stage's blocks leads into the first of them, or on from the last.
private enum PlaceInStage {
    case first, last, open

    /// - Parameters:
    ///   - inFirst: what the first stage with blocks has beside them.
    ///   - inLast: what the last has.
    ///   - isAfterBlocks: whether it was made after them, if known.
    init(_ part: NamePart?, _ inFirst: Set<String>, _ inLast: Set<String>, isAfterBlocks: Bool?) {
        guard let part, part.meaning != .stem else {
            self = isAfterBlocks == true ? .open : .first
            return
        }
        if part.meaning == .norm || part.words.contains("transition") {
            self = .last
        } else if inFirst.contains(part.text) != inLast.contains(part.text) {
            self = inFirst.contains(part.text) ? .last : .first
        } else {
            let isTold = Vocabulary.betweenStages.has(anyOf: part.words) || part.numeral != nil
            self = isTold || isAfterBlocks == false ? .first : .open
        }
    }
}

/// A number in a stage: directly after the stage's number ("layer1.0"), below a part that is named like blocks
/// ("stages.0.blocks.1"), or at the end of one ("denseblock1.denselayer2").
private struct InnerNumber {
    let label: String
    let level: Int
    let value: Numeral

    init?(_ name: TensorName, after level: Int) {
        let parts = name.parts
        func number(_ label: String, at level: Int) -> Self? {
            guard level < parts.count - 1, let value = parts[level].numeral else { return nil }
            return Self(label: label, level: level, value: value)
        }
        guard level + 1 < parts.count else { return nil }
        let next = parts[level + 1]
        let found: Self?
        if next.isNumber {
            found = number("", at: level + 1)
        } else if !next.namesBlocks {
            found = nil
        } else if next.numeral != nil {
            found = number(next.base + "#", at: level + 1)
        } else {
            found = level + 2 < parts.count && parts[level + 2].isNumber ? number(next.text, at: level + 2) : nil
        }
        guard let found else { return nil }
        self = found
    }

    private init(label: String, level: Int, value: Numeral) {
        (self.label, self.level, self.value) = (label, level, value)
    }
}

/// Under which label most tensors of the stages are that belong to more than a plain module.
private func commonLabel(_ stages: [[Stack.Member]], _ names: TensorNames) -> String? {
    var counts: [String: Int] = [:]
    for member in stages.joined() {
        let name = names[member.tensor]
        if let number = InnerNumber(name, after: member.level), !name.isPlain(at: number.level) {
            counts[number.label, default: 0] += 1
        }
    }
    return counts.max { ($0.value, $1.key) < ($1.value, $0.key) }?.key
}

/// Whether of the pairs of neighbours in one stage at least half have half of their tensors' names in common.  Where no stage has
/// two, the stages themselves are the blocks.
private func areAlike(_ stages: [[[Stack.Member]]], _ names: TensorNames) -> Bool {
    var pairs = 0
    var alike = 0
    for stage in stages {
        let tensors = stage.map { Set($0.map { names[$0.tensor].rest(from: $0.level + 1) }) }
        for (a, b) in zip(tensors, tensors.dropFirst()) {
            pairs += 1
            if 2 * a.intersection(b).count >= a.union(b).count { alike += 1 }
        }
    }
    return pairs > 0 && 2 * alike >= pairs
}

// MARK: - Towers

/// Stacks that stand in one module, and what goes with them.
struct Tower {
    /// "encoder" of "model.encoder.layers", beside a "model.decoder.layers"; empty where there is one tower.
    let name: String
    /// The beginning of the names of its tensors, in parts, and no other tower's.
    let prefix: [NamePart]
    /// The module that holds the stacks.
    let parent: [NamePart]
    /// From the input on.
    var blocks: [StackBlock]
    /// By the number of the stage, or of the block where there are no stages: the range of its blocks.  Empty where lists that
    /// stand beside the blocks cannot go by these numbers, because several stacks make up the tower.
    let stages: [(number: Numeral, blocks: Range<Int>)]
    let isStaged: Bool
    /// See `Stack.opening`.
    let opening: [Int]
    /// See `Stack.closing`.
    let closing: [Int]
}

/// Groups stacks by the module that they stand in.  Of several in one, numbered blocks of different labels alternate
/// ("denseblock1", "transition1", "denseblock2"), and lists follow each other ("down_blocks", "up_blocks").
func towers(_ stacks: [Stack]) -> [Tower] {
    let groups = Dictionary(grouping: stacks, by: \.key.parent).values
        .compactMap { stacks in stacks.first.map { (parent: $0.parent, stacks: stacks) } }
        .sorted { $0.parent.lexicographicallyPrecedes($1.parent) { $0.text < $1.text } }
    let parents = groups.map(\.parent)
    let common = zip(parents.prefix(1), parents.suffix(1)).map { sharedLength($0, $1) }.first ?? 0
    let prefixes = parents.enumerated().map { index, parent in
        // Sorted, those that share most are neighbours.
        let shared = [index - 1, index + 1].filter(parents.indices.contains).map { sharedLength(parent, parents[$0]) }
        return Array(parent.prefix(parents.count == 1 ? 0 : (shared.max() ?? 0) + 1))
    }
    let names = distinct(prefixes.map { $0.dropFirst(common).map(\.text).joined(separator: ".") })
    return zip(groups, zip(prefixes, names)).map { group, tower in
        let blocks = inOrder(group.stacks)
        return Tower(
            name: tower.1, prefix: tower.0, parent: group.parent, blocks: blocks,
            stages: group.stacks.count == 1 ? stages(of: blocks) : [],
            isStaged: blocks.contains { $0.number.count > 1 },
            opening: group.stacks.flatMap(\.opening), closing: group.stacks.flatMap(\.closing))
    }
}

private func stages(of blocks: [StackBlock]) -> [(number: Numeral, blocks: Range<Int>)] {
    var stages: [(number: Numeral, blocks: Range<Int>)] = []
    for (index, block) in blocks.enumerated() {
        guard let number = block.number.first else { continue }
        if stages.last?.number == number {
            stages[stages.count - 1].blocks = stages[stages.count - 1].blocks.lowerBound..<index + 1
        } else {
            stages.append((number, index..<index + 1))
        }
    }
    return stages
}

private func inOrder(_ stacks: [Stack]) -> [StackBlock] {
    if stacks.count == 1 { return stacks[0].blocks }
    let lists = stacks.filter(\.key.isList).map { [$0] }
    let numbered = stacks.filter { !$0.key.isList }.sorted { $0.key.label < $1.key.label }
    let runs = (lists + [numbered]).filter { !$0.isEmpty }.map { run in
        (
            blocks: alternating(run), words: Set(run.flatMap { NamePart($0.key.label).words }),
            first: run.flatMap { $0.blocks.flatMap(\.tensors) }.min() ?? 0, label: run[0].key.label
        )
    }
    if runs.count == 1 { return runs[0].blocks }
    let ranks = runs.map { run in run.words.compactMap { Vocabulary.orderOfLists[$0] }.max() ?? 0 }
    if Set(ranks).count == ranks.count { return zip(runs, ranks).sorted { $0.1 < $1.1 }.flatMap(\.0.blocks) }
    return runs.sorted { $0.first < $1.first }.enumerated().flatMap { order, run in
        run.blocks.map { block in
            var block = block
            block.isOrderGuessed = true
            return block
        }
    }
}

/// The blocks of stacks of numbered parts in the order of their numbers.  Where one of them has far fewer than another one in the
/// same range ("cell_0" to "cell_17", "reduction_cell_0" and "reduction_cell_1"), these count different things, and the
/// order of the names decides.
private func alternating(_ stacks: [Stack]) -> [StackBlock] {
    let blocks = stacks.enumerated().flatMap { order, stack in stack.blocks.map { (order, $0) } }
    let counts = stacks.map { Set($0.blocks.compactMap(\.number.first)) }
    let isSkewed = counts.indices.contains { a in
        counts.contains { $0.count > 2 * counts[a].count + 1 && !$0.isDisjoint(with: counts[a]) }
    }
    if isSkewed {
        return blocks.map(\.1).sorted { ($0.tensors.min() ?? 0) < ($1.tensors.min() ?? 0) }.map { block in
            var block = block
            block.isOrderGuessed = true
            return block
        }
    }
    return blocks.sorted { a, b in
        let first = (a.1.number.prefix(1), b.1.number.prefix(1))
        if !first.0.elementsEqual(first.1) { return first.0.lexicographicallyPrecedes(first.1) }
        if a.0 != b.0 { return a.0 < b.0 }
        return a.1.number.lexicographicallyPrecedes(b.1.number)
    }
    .map(\.1)
}
