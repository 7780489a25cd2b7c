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

    init(length: Int, tensors: [Int], number: [Numeral]) {
        (self.length, self.tensors, self.number) = (length, tensors, number)
    }

    init(_ members: [Stack.Member], number: [Numeral]) {
        self.init(length: (members.first?.level ?? -1) + 1, tensors: members.map(\.tensor), number: number)
    }
}

/// The stacks of a model: numbers below a part that is named like blocks; without such names, numbers that a quarter of all
/// tensors share.  Numbered modules that all are plain (a classifier's `Sequential`) are no stack.
func stacks(in names: [TensorName]) -> [Stack] {
    let levels: [(TensorName) -> Int?] = [
        { levelOfBlocks($0, outsideOf: [.stem, .head]) },
        // A wrapper may be called "embedder" with a whole model in it.
        { levelOfBlocks($0, outsideOf: []) },
        levelOfCommonNumber(names),
    ]
    for level in levels {
        let found = stacks(in: names, level)
        if !found.isEmpty { return found }
    }
    return []
}

/// Which part is the number of a block: the outermost that counts parts named like blocks.
private func levelOfBlocks(_ name: TensorName, outsideOf meanings: Set<Meaning>) -> Int? {
    for (level, part) in name.parts.enumerated().dropLast() {
        if let meaning = part.meaning, meanings.contains(meaning) { return nil }
        if isBlockNumber(name.parts, level) { return level }
    }
    return nil
}

private func isBlockNumber(_ parts: [NamePart], _ level: Int) -> Bool {
    let part = parts[level]
    if part.isNumber { return level > 0 && parts[level - 1].namesBlocks }
    return part.numeral != nil && part.namesBlocks
}

/// Which part is the outermost number that stands where a quarter of all tensors have numbers, two or more.
private func levelOfCommonNumber(_ names: [TensorName]) -> (TensorName) -> Int? {
    // Three are more than blocks in stages in a wrapper need, and looking at all would make long names slow.
    func levels(_ name: TensorName) -> some Sequence<Int> {
        name.parts.indices.dropLast().lazy.filter { name.parts[$0].isNumber }.prefix(3)
    }
    var counts: [String: (tensors: Int, numbers: Set<Numeral>)] = [:]
    for name in names {
        for level in levels(name) {
            guard let number = name.parts[level].numeral else { continue }
            counts[name.path(level), default: (0, [])].tensors += 1
            counts[name.path(level), default: (0, [])].numbers.insert(number)
        }
    }
    let common = counts.filter { $0.value.numbers.count > 1 && $0.value.tensors >= names.count / 4 }
    return { name in levels(name).first { common[name.path($0)] != nil } }
}

private func stacks(in names: [TensorName], _ level: (TensorName) -> Int?) -> [Stack] {
    var members: [Stack.Key: [Stack.Member]] = [:]
    for (tensor, name) in names.enumerated() {
        guard let level = level(name) else { continue }
        let part = name.parts[level]
        let container = level > 0 ? name.parts[level - 1].text : ""
        let key = Stack.Key(
            parent: name.parts.prefix(parentLength(part, level)).map(\.text),
            label: part.isNumber ? container : part.base, isList: part.isNumber)
        members[key, default: []].append(Stack.Member(tensor: tensor, level: level))
    }
    return members.compactMap { key, members in
        if members.allSatisfy({ names[$0.tensor].isPlain(at: $0.level) }) { return nil }
        let stack = stack(key, of: members, names)
        // One "block8" is a module like others.
        return key.isList || stack.blocks.count > 1 ? stack : nil
    }
}

/// How many parts the path has to the module that holds the blocks with this number.
private func parentLength(_ number: NamePart, _ level: Int) -> Int { number.isNumber ? max(0, level - 1) : level }

private func stack(_ key: Stack.Key, of members: [Stack.Member], _ names: [TensorName]) -> Stack {
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
            blocks.append(
                StackBlock(length: first.length, tensors: first.tensors + leadingOn, number: [number] + first.number))
            blocks += nested[index].dropFirst().map {
                StackBlock(length: $0.length, tensors: $0.tensors, number: [number] + $0.number)
            }
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
