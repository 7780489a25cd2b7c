// SPDX-License-Identifier: Apache-2.0
import CLayerwise

// A program in Swift with a runtime of its own and liblayerwise.a, which has another: each finds its own types.

protocol Named {
    var name: String { get }
}

struct Pear: Named, Hashable, CustomStringConvertible {
    let name: String
    var description: String { "pear \(name)" }
}

func expect(_ condition: Bool, _ what: String) {
    if !condition { fatalError(what) }
}

let things: [Any] = [Pear(name: "conference"), 3, "text"]
expect(things.compactMap { $0 as? Named }.map(\.name) == ["conference"], "own protocols")
expect(things.compactMap { ($0 as? AnyHashable)?.description } == ["pear conference", "3", "text"], "hashing")
expect(Mirror(reflecting: Pear(name: "x")).children.first?.label == "name", "reflection")
expect("abc123".firstMatch(of: try Regex("[0-9]+"))?.output[0].substring == "123", "patterns")

var weights: [Float] = [1, 2, 3, 4]
var gradients: [Float] = [1, 1, 1, 1]
var shape: [Int64] = [4]
var optimizer: OpaquePointer?
var error = lw_error()
error.struct_size = UInt32(MemoryLayout<lw_error>.size)
expect(lw_optimizer_create(&optimizer, "adamw", nil, 0, &error) == 0, "create")
weights.withUnsafeMutableBufferPointer { weights in
    gradients.withUnsafeMutableBufferPointer { gradients in
        shape.withUnsafeMutableBufferPointer { shape in
            "weight".withCString { name in
                var tensor = lw_tensor()
                tensor.struct_size = UInt32(MemoryLayout<lw_tensor>.size)
                tensor.dtype = 1
                tensor.name = name
                tensor.parameters = UnsafeMutableRawPointer(weights.baseAddress)
                tensor.gradients = UnsafeRawPointer(gradients.baseAddress)
                tensor.shape = UnsafePointer(shape.baseAddress)
                tensor.rank = 1
                expect(lw_optimizer_add_layer(optimizer, "head", &tensor, 1, nil, 0, nil, &error) == 0, "layer")
            }
        }
    }
    expect(lw_optimizer_step(optimizer, nil, &error) == 0, "step")
    // Patterns, text and JSON go through much of the library's own runtime.
    var matched: UInt8 = 0
    "head.weight".withCString { name in
        var names: [UnsafePointer<CChar>?] = [name]
        expect(lw_match_names("h.*t", "regex", &names, 1, &matched, &error) == 0, "match")
    }
    expect(matched == 1, "matched")
    var needed: Int64 = 0
    expect(
        lw_optimizer_explain_json(optimizer, -1, nil, 0, &needed, &error) == LW_ERROR_BUFFER_TOO_SMALL.rawValue,
        "explain")
    expect(needed > 100, "needed")
}
expect(weights[0] < 1, "weights")
expect(lw_optimizer_destroy(optimizer, &error) == 0, "destroy")
print("ok beside")
