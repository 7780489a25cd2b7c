// SPDX-License-Identifier: Apache-2.0
import Layerwise

extension LayerDescriptor {
    /// "layer0", "layer1" ... at these depths.
    static func stack(_ depths: [Int], tower: String = "") -> [LayerDescriptor] {
        depths.enumerated().map { LayerDescriptor(name: "\(tower)layer\($0)", depth: $1, tower: tower) }
    }

    /// A transformer: "embed", "block1" ... "blockN", "norm" and "head", with the roles that they have.
    static func transformer(blocks: Int, norm: Bool = true, head: Bool = true, tower: String = "") -> [LayerDescriptor]
    {
        var places = [LayerDescriptor(name: "\(tower)embed", depth: 0, tower: tower, role: .stem)]
        for block in 1...blocks {
            places.append(LayerDescriptor(name: "\(tower)block\(block)", depth: block, tower: tower, role: .block))
        }
        if norm { places.append(LayerDescriptor(name: "\(tower)norm", depth: blocks + 1, tower: tower, role: .norm)) }
        if head { places.append(LayerDescriptor(name: "\(tower)head", depth: blocks + 2, tower: tower, role: .head)) }
        return places
    }

    /// A layer of tensors with these shapes.
    static func layer(_ name: String, _ tensors: KeyValuePairs<String, [Int]>) -> LayerDescriptor {
        LayerDescriptor(name: name, depth: 0, tensors: tensors.map { TensorDescriptor(name: $0.key, shape: $0.value) })
    }
}

extension DeclaredPolicy {
    /// The scales of the layers, where the policy gives nothing else.
    func scales(of layers: [LayerDescriptor]) throws -> [Double] { try shares(of: layers).map(\.scale) }

    /// The scales of the layers, by name.
    func scalesByName(of layers: [LayerDescriptor]) throws -> [String: Double] {
        Dictionary(uniqueKeysWithValues: zip(layers.map(\.name), try scales(of: layers)))
    }
}

extension Model {
    /// What every layer is and gets, at the next step.
    func infos() throws -> [LayerInfo] { try (0..<optimizer.layerCount).map { try optimizer.info($0) } }
}
