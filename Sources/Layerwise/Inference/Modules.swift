// SPDX-License-Identifier: Apache-2.0

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
