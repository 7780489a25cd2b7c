// SPDX-License-Identifier: Apache-2.0

/// The blocks that stand in numbered stages, a list for each: "layer1.0", "stages.0.blocks.1", "denseblock1.denselayer2".
/// The list is empty for a stage that has none, and for all where the numbers in numbers count something else: blocks are
/// alike, whereas T5's "block.0.layer.0" and "block.0.layer.1" are the attention and the feed-forward part of one block.
///
/// What stands beside a stage's blocks ("stages.1.downsample") belongs to the first of them, as in timm.  It belongs to the last
/// where it is a norm, or where the first stage has it and the last has not: it leads on to the next stage then, as in the
/// original Swin and Hugging Face's.
///
/// - Parameter stages: the tensors of each, by number.
func blocksOfStages(_ stages: [[Stack.Member]], _ names: [TensorName]) -> [[StackBlock]] {
    let none: [[StackBlock]] = stages.map { _ in [] }
    guard let label = commonLabel(stages, names) else { return none }

    var found: [[(number: Numeral, members: [Stack.Member])]] = []
    var beside: [[Stack.Member]] = []
    for stage in stages {
        var blocks: [Numeral: [Stack.Member]] = [:]
        var others: [Stack.Member] = []
        for member in stage {
            if let number = InnerNumber(names[member.tensor], after: member.level), number.label == label {
                blocks[number.value, default: []].append(Stack.Member(tensor: member.tensor, level: number.level))
            } else {
                others.append(member)
            }
        }
        // The norm and the convolution of torchvision's downsampling ("features.2.0", "features.2.1") are no blocks.
        let plain = blocks.filter { $0.value.allSatisfy { names[$0.tensor].isPlain(at: $0.level) } }
        for (number, members) in plain {
            others += members.map { Stack.Member(tensor: $0.tensor, level: stage.first?.level ?? $0.level) }
            blocks[number] = nil
        }
        found.append(blocks.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        beside.append(others)
    }
    if !areAlike(found.map { $0.map(\.members) }, names) { return none }

    func kinds(_ members: [Stack.Member]?) -> Set<String> {
        Set((members ?? []).compactMap { names[$0.tensor].parts.dropFirst($0.level + 1).first?.text })
    }
    let withBlocks = found.indices.filter { !found[$0].isEmpty }
    let leadOn = kinds(withBlocks.first.map { beside[$0] }).subtracting(kinds(withBlocks.last.map { beside[$0] }))
    return zip(found, beside).map { found, beside in
        var blocks = found.map { StackBlock($0.members, number: [$0.number]) }
        guard !blocks.isEmpty else { return [] }
        for member in beside {
            let part = names[member.tensor].parts.dropFirst(member.level + 1).first
            let isLast = part.map { $0.meaning == .norm || leadOn.contains($0.text) } ?? false
            blocks[isLast ? blocks.count - 1 : 0].tensors.append(member.tensor)
        }
        return blocks
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
private func commonLabel(_ stages: [[Stack.Member]], _ names: [TensorName]) -> String? {
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
private func areAlike(_ stages: [[[Stack.Member]]], _ names: [TensorName]) -> Bool {
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
