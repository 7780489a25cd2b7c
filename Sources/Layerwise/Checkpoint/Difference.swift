// SPDX-License-Identifier: Apache-2.0

/// Where two configurations differ.
enum Difference {
    /// A line for each place.  `converts`: element types may differ.
    static func list(_ file: JsonValue, _ present: JsonValue, converts: Bool) -> [String] {
        list([], file, present, converts)
    }

    private static func list(_ path: [String], _ file: JsonValue, _ present: JsonValue, _ converts: Bool) -> [String] {
        if converts && isElementType(path) { return [] }
        let place = path.joined(separator: ".")
        switch (file, present) {
        case (.object(let a), .object(let b)):
            return Set(a.keys).union(b.keys).sorted().flatMap { key -> [String] in
                let place = (path + [key]).joined(separator: ".")
                switch (a[key], b[key]) {
                case (let a?, let b?): return list(path + [key], a, b, converts)
                case (nil, _): return ["\(place): not in the checkpoint"]
                case (_, nil): return ["\(place): only in the checkpoint"]
                }
            }
        case (.array(let a), .array(let b)) where a.count == b.count && path.last == "parts":
            return zip(a, b).enumerated().flatMap { list(path + [String($0)], $1.0, $1.1, converts) }
        default:
            return file == present ? [] : ["\(place): \(text(file)) in the checkpoint, \(text(present)) here"]
        }
    }

    /// Whether this is what `convert` allows to differ: layers.NAME.tensors.NAME.dtype and its like.
    private static func isElementType(_ path: [String]) -> Bool {
        path.count == 5 && path[0] == "layers" && path[2] == "tensors"
            && ["dtype", "gradient_dtype", "master"].contains(path[4])
    }

    private static func text(_ value: JsonValue) -> String {
        switch value {
        case .null: "none"
        case .bool(let flag): flag ? "true" : "false"
        case .number(let x): Int(exactly: x).map { "\($0)" } ?? "\(x)"
        case .string(let text): "\"\(text)\""
        case .array(let items): "[" + items.map(text).joined(separator: ", ") + "]"
        case .object(let fields): "{" + fields.keys.sorted().joined(separator: ", ") + "}"
        }
    }
}
