// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Where two configurations differ.
enum ConfigurationDifference {
    /// A line in the report for each place.  `converts`: element types may differ.
    static func add(to report: inout LoadReport, _ file: JsonValue, _ present: JsonValue, converts: Bool) {
        add(&report, [], file, present, converts)
    }

    private static func add(
        _ report: inout LoadReport, _ path: [String], _ file: JsonValue, _ present: JsonValue, _ converts: Bool
    ) {
        if converts && isElementType(path) { return }
        func place(_ path: [String]) -> String { path.joined(separator: ".") }
        switch (file, present) {
        case (.object(let a), .object(let b)):
            let keys = Array(b.keys) + a.keys.filter { b[$0] == nil }
            for key in keys.sorted() {
                let path = path + [key.text]
                switch (a[key], b[key]) {
                case (let a?, let b?): add(&report, path, a, b, converts)
                case (nil, _): report.add(difference: "\(place(path)): not in the checkpoint")
                case (_, nil): report.add(difference: "\(place(path)): only in the checkpoint")
                }
            }
        case (.array(let a), .array(let b)) where a.count == b.count && path.last == "parts":
            for (index, (a, b)) in zip(a, b).enumerated() { add(&report, path + [String(index)], a, b, converts) }
        default:
            if file == present { return }
            report.add(difference: "\(place(path)): \(text(file)) in the checkpoint, \(text(present)) here")
        }
    }

    /// Whether this is what `convert` allows to differ: layers.NAME.tensors.NAME.dtype and its like.
    private static func isElementType(_ path: [String]) -> Bool {
        path.count == 5 && path[0] == "layers" && path[2] == "tensors"
            && ["dtype", "gradient_dtype", "master"].contains(path[4])
    }

    /// Longer values are truncated, so that a crafted list cannot inflate the report.
    private static let longest = 1000

    private static func text(_ value: JsonValue) -> String {
        var text = ""
        append(value, to: &text)
        return text.utf8.count > longest ? "\(text.prefix(longest)) …" : text
    }

    private static func append(_ value: JsonValue, to text: inout String) {
        switch value {
        case .null: text += "none"
        case .bool(let flag): text += flag ? "true" : "false"
        case .number(let x): text += Int(exactly: x).map { "\($0)" } ?? "\(x)"
        case .string(let string): text += "\"\(string)\""
        case .array(let items):
            text += "["
            for (index, item) in items.enumerated() where text.utf8.count <= longest {
                if index > 0 { text += ", " }
                append(item, to: &text)
            }
            text += "]"
        case .object(let fields):
            text += "{"
            for (index, key) in fields.keys.sorted().enumerated() where text.utf8.count <= longest {
                if index > 0 { text += ", " }
                text += key.text
            }
            text += "}"
        }
    }
}
