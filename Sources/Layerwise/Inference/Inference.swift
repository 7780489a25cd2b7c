// SPDX-License-Identifier: Apache-2.0

/// A layer that the names of a model's tensors tell of.
public struct InferredLayer: Sendable, Equatable {
    /// The module's path where the layer is one module ("bert.encoder.layer.3", "bert.embeddings"), otherwise its role ("head"),
    /// behind the tower's name where there are several.  No two layers have the same.
    public let name: String
    /// Within the tower: the stem 0, blocks from 1 on, a final norm after the last block, the head after everything else.
    public let depth: Int
    /// Which of several stacks of blocks the layer goes with, such as "encoder"; empty where there is one.
    public let tower: String
    public let role: LayerRole
    /// Which of the names are the layer's, in ascending order.
    public let tensors: [Int]
    /// What told the layer, in a few words.
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
