// SPDX-License-Identifier: Apache-2.0

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
    /// See `Stack.opening`.
    let opening: [Int]
    /// See `Stack.closing`.
    let closing: [Int]
}

/// Groups stacks by the module that they stand in.  Of several in one, lists ("blocks", "cls_attn_blocks") follow each other in
/// the order of their labels, because files do not keep that of the model; numbered blocks of different labels alternate
/// ("denseblock1", "transition1", "denseblock2").
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
        Tower(
            name: tower.1, prefix: tower.0, parent: group.parent, blocks: inOrder(group.stacks),
            opening: group.stacks.flatMap(\.opening), closing: group.stacks.flatMap(\.closing))
    }
}

private func inOrder(_ stacks: [Stack]) -> [StackBlock] {
    let lists = stacks.filter(\.key.isList).map { [$0] }
    let numbered = stacks.filter { !$0.key.isList }.sorted { $0.key.label < $1.key.label }
    return (lists + [numbered]).sorted { ($0.first?.key.label ?? "") < ($1.first?.key.label ?? "") }.flatMap { stacks in
        // The stages of stacks that alternate: their first numbers.
        stacks.enumerated().flatMap { order, stack in stack.blocks.map { (order, $0) } }
            .sorted { a, b in
                let first = (a.1.number.prefix(1), b.1.number.prefix(1))
                if !first.0.elementsEqual(first.1) { return first.0.lexicographicallyPrecedes(first.1) }
                if a.0 != b.0 { return a.0 < b.0 }
                return a.1.number.lexicographicallyPrecedes(b.1.number)
            }
            .map(\.1)
    }
}
