// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What policies, schedules and freezing plans have in common: a name, settings by key, and for some a list of numbers or
/// parts, all declared once.  A `Spec` says the same in words.
public protocol Recipe: Configurable {
    static var declaration: RecipeDeclaration { get }

    /// Everything at its default.
    init()

    /// The list of numbers, where the declaration has one.
    var values: [Double] { get }

    /// Takes the list of numbers, which are finite.
    mutating func take(values: [Double]) throws(SettingError)

    /// The parts in words, where the declaration has some.
    var parts: [Spec] { get }

    /// Takes the parts.
    mutating func take(parts: [Spec]) throws(SettingError)
}

/// What a policy, a schedule or a freezing plan says of itself.
public struct RecipeDeclaration: Sendable {
    /// The key in C and in checkpoints, such as "cosine".
    public let name: String
    /// One line.
    public let doc: String
    public let equation: String
    /// Paper or library, and which libraries it equals.
    public let source: String
    /// What its list of numbers is; nil if it takes none.
    public let values: String?
    /// What its parts are; nil if it has none.
    public let parts: String?

    init(
        name: String, doc: String, equation: String, source: String, values: String? = nil, parts: String? = nil
    ) {
        self.name = name
        self.doc = doc
        self.equation = equation
        self.source = source
        self.values = values
        self.parts = parts
    }
}

/// Whether what a kind of policy or freezing plan says of a layer depends on the layer's depth.
public enum DepthDependence: String, Sendable {
    case always, never
    /// Where it does for one of its parts.
    case parts
}

extension Recipe {
    public var values: [Double] { [] }
    public var parts: [Spec] { [] }

    public mutating func take(values: [Double]) throws(SettingError) {
        if !values.isEmpty { throw .invalid("takes no list of numbers, found \(values.count)") }
    }

    public mutating func take(parts: [Spec]) throws(SettingError) {
        if !parts.isEmpty { throw .invalid("has no parts, found \(parts.count)") }
    }

    /// The recipe that `spec` describes.
    public init(_ spec: Spec) throws(SettingError) {
        self.init()
        do throws(SettingError) {
            try refuseDuplicates(spec.settings)
            for setting in spec.settings { try assign(setting) }
            for (index, value) in spec.values.enumerated() where !value.isFinite {
                throw .invalid("number \(index) of the list must be finite, found \(value)")
            }
            try take(values: spec.values)
            try take(parts: spec.parts)
            try validate()
        } catch { throw error.within(Self.declaration.name) }
    }

    /// Refuses values that no initialiser would have taken: in Swift they can be changed afterwards.
    func recheck() throws(SettingError) { _ = try Self(spec) }

    /// The serialised form: every setting that has a value.
    public var spec: Spec {
        let start = Self()
        let settings = Self.parameters.compactMap { parameter -> Setting? in
            switch (parameter.read(self), parameter.read(start)) {
            case (.number(let x), .number(let y)) where x.isNaN && y.isNaN: nil
            case (.number(let x), _): Setting(parameter.key, x)
            case (.choice(let text), _): Setting(parameter.key, text)
            }
        }
        return Spec(Self.declaration.name, settings, values: values, parts: parts)
    }
}

/// The kind of recipe called `name` among `kinds`.
func recipe<Kind>(
    _ name: String, among kinds: [Kind], _ what: String, name of: (Kind) -> String
) throws(SettingError) -> Kind {
    if let kind = kinds.first(where: { of($0) == name }) { return kind }
    throw .unknown("no \(what) is called \"\(name)\", expected one of \(kinds.map(of).joined(separator: ", "))")
}

/// Parts of one kind, which has no kinds beside it, from words.  `whole`: what they are parts of, in messages.
func parts<Part: Recipe>(_ specs: [Spec], of whole: String) throws(SettingError) -> [Part] {
    var parts: [Part] = []
    for spec in specs {
        let kind = try recipe(spec.name, among: [Part.self], "part of \(whole)") { $0.declaration.name }
        parts.append(try kind.init(spec))
    }
    return parts
}

/// The largest number of steps that a Double counts exactly.
let mostSteps = 1 << 53
