// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Any JSON, with numbers to the last bit, which JSONSerialization does not have.
enum JSONValue: Decodable, Equatable {
    case null
    case flag(Bool)
    case number(Double)
    case text(String)
    case list([JSONValue])
    case object([String: JSONValue])

    init(parsing text: String) throws { self = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8)) }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let flag = try? container.decode(Bool.self) {
            self = .flag(flag)
        } else if let number = try? container.decode(Double.self) {
            self = .number(number)
        } else if let text = try? container.decode(String.self) {
            self = .text(text)
        } else if let list = try? container.decode([JSONValue].self) {
            self = .list(list)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    /// A number; null where it is none, or is not finite.
    init(_ x: Double?) { self = x.flatMap { $0.isFinite ? .number($0) : nil } ?? .null }

    init(_ text: String?) { self = text.map { .text($0) } ?? .null }

    /// The value of a key; nil if there is no such key, or this is no object.
    subscript(key: String) -> JSONValue? {
        if case .object(let fields) = self { fields[key] } else { nil }
    }

    var keys: Set<String> {
        if case .object(let fields) = self { Set(fields.keys) } else { [] }
    }

    var list: [JSONValue]? {
        if case .list(let list) = self { list } else { nil }
    }
}
