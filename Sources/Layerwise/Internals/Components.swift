// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// Parts of components from words.

/// Whether what a kind of policy or freezing plan says of a layer depends on the layer's depth.
package enum DepthDependence: String, Sendable {
    case always, never
    /// Where it does for one of its parts.
    case parts
}

/// The kind of component called `name` among `kinds`.
func component<Kind>(
    _ name: String, among kinds: [Kind], _ what: String, declaration of: (Kind) -> Declaration
) throws(SettingError) -> Kind {
    if let kind = kinds.first(where: { of($0).isCalled(name) }) { return kind }
    let known = kinds.map { of($0).name }
    throw .unknown(
        "no \(what) is called \"\(name)\"\(hint(for: name, among: known)), expected one of "
            + known.joined(separator: ", "))
}

/// Parts of one kind, which has no kinds beside it, from words.  `whole`: what they are parts of, in messages.
func parts<Part: Component>(_ specs: [Spec], of whole: String) throws(SettingError) -> [Part] {
    var parts: [Part] = []
    for spec in specs {
        let kind = try component(spec.name, among: [Part.self], "part of \(whole)") { $0.declaration }
        parts.append(try kind.init(spec))
    }
    return parts
}

/// The largest number of steps that a Double counts exactly.
let mostSteps = 1 << 53
