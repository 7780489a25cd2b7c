// SPDX-License-Identifier: Apache-2.0

/// A rule, a policy, a schedule or a freezing plan: settings by key, and for some a list of numbers or parts.
///
/// Its declaration and its parameters are the only place where its name, its settings, their ranges, defaults and documentation
/// are written.  Setting by key, checks, C, checkpoints, Python's classes and the documentation read them.  In Swift a component
/// is a plain value: its initialiser assigns the properties and checks them.  A `Spec` describes it in words, for C and
/// checkpoints.
package protocol Component: Configurable {
    /// What it says of itself: names, equation, source and states.
    static var declaration: Declaration { get }

    /// Everything at its default.
    init()

    /// The list of numbers, where the declaration has one.
    var values: [Double] { get }

    /// Takes the list of numbers, which are finite.
    mutating func take(values: [Double]) throws(SettingError)

    /// What it is made of, where the declaration has parts.
    var components: [any Component] { get }

    /// Takes the parts, which are in words.
    mutating func take(parts: [Spec]) throws(SettingError)
}

/// What a component says of itself, besides its parameters.
package struct Declaration: Sendable {
    /// The key in C and in checkpoints, such as "adamw" or "layer_decay": the name of the type in lower case, with underscores
    /// between words.
    package let name: String
    /// The keys of former versions, which are still read.
    package let formerNames: [String]
    /// The name in prose, such as "AdamW"; without spaces and signs, the name of the type, and of the class in Python.
    package let title: String
    /// What it is, in a sentence.
    package let summary: String
    /// What a user should know besides, with the equation in the words of the settings; it may be empty.
    package let details: String
    /// The equation in a line.
    package let equation: String
    /// Paper or library, and which libraries it equals.
    package let source: String
    /// What its list of numbers is; nil if it takes none.
    package let values: String?
    /// What its parts are; nil if it has none.
    package let parts: String?
    /// What a class that is not written in words takes in place of the list and the parts.
    package let arguments: [Argument]
    /// The keywords that may also be given without their names, in order.
    package let positional: [String]
    /// Every state that a rule can have, at most 32: at most four of the parameter's shape, rows and columns of one of
    /// these, two scalars and eight shared ones.  Other components have none.
    package let states: [StateDeclaration]
    /// Whether a rule's plan needs t itself; else a state alone shows that a tensor has been stepped.
    package let needsStep: Bool
    /// Whether it does for tensors of rank 2 and more.
    package let matricesNeedStep: Bool

    package init(
        name: String, formerNames: [String] = [], title: String = "", summary: String = "", details: String = "",
        equation: String = "",
        source: String = "", values: String? = nil, parts: String? = nil, arguments: [Argument] = [],
        positional: [String] = [], states: [StateDeclaration] = [], needsStep: Bool = true,
        matricesNeedStep: Bool? = nil
    ) {
        self.name = name
        self.formerNames = formerNames
        self.title = title
        self.summary = summary
        self.details = details
        self.equation = equation
        self.source = source
        self.values = values
        self.parts = parts
        self.arguments = arguments
        self.positional = positional
        self.states = StateDeclaration.slotted(states)
        self.needsStep = needsStep
        self.matricesNeedStep = matricesNeedStep ?? needsStep
    }
}

extension Declaration {
    /// Whether `key` is the name, or one of former versions.
    package func isCalled(_ key: String) -> Bool { key == name || formerNames.contains(key) }
}

/// A keyword of a class that holds a list of numbers, or parts.
package struct Argument: Sendable {
    /// What an argument takes.
    package enum Shape: String, Sendable {
        /// Whole numbers of steps.
        case steps
        /// A number for each step, from the first on.
        case factors
        /// Pairs of a step and a number.
        case points
        /// One part.
        case part
        /// One part or none.
        case optionalPart = "optional_part"
        /// A list of parts.
        case parts
        /// Any number of parts, each an argument of its own.
        case eachPart = "each_part"
        /// A list of patterns, each of which makes a part.
        case patterns
        /// The value, or values, that each pattern has for `keys`; a part for each pattern.
        case byPattern = "by_pattern"
    }

    /// The keyword.
    package let name: String
    /// What it takes.
    package let shape: Shape
    /// What each pattern makes; nil for other shapes.
    package let part: (any Component.Type)?
    /// The settings of such a part that the argument gives.
    package let keys: [String]
    /// One line of documentation.
    package let doc: String

    package init(_ name: String, _ shape: Shape, _ doc: String) {
        self.init(name: name, shape: shape, part: nil, keys: [], doc: doc)
    }

    /// Patterns alone.
    package static func patterns(_ name: String, _ part: any Component.Type, _ doc: String) -> Self {
        Self(name: name, shape: .patterns, part: part, keys: [], doc: doc)
    }

    /// Values by pattern.
    package static func byPattern(
        _ name: String, _ part: any Component.Type, _ keys: [String], _ doc: String
    ) -> Self {
        Self(name: name, shape: .byPattern, part: part, keys: keys, doc: doc)
    }

    private init(name: String, shape: Shape, part: (any Component.Type)?, keys: [String], doc: String) {
        self.name = name
        self.shape = shape
        self.part = part
        self.keys = keys
        self.doc = doc
    }
}

extension Component {
    package var values: [Double] { [] }
    package var components: [any Component] { [] }

    package mutating func take(values: [Double]) throws(SettingError) {
        if !values.isEmpty { throw .invalid("takes no list of numbers, found \(values.count)") }
    }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        if !parts.isEmpty { throw .invalid("has no parts, found \(parts.count)") }
    }

    /// Ends an initialiser that has assigned the other properties: takes the list of numbers, if there is one, and refuses
    /// what `checkWhole` refuses.
    package mutating func settle(values: [Double]? = nil) throws(SettingError) {
        if let values {
            do { try takeFinite(values) } catch { throw error.within(Self.declaration.name) }
        }
        try checkWhole()
    }

    /// Refuses values outside their ranges, a list or parts that are not valid, and values that exclude each other.  The
    /// initialisers do so, and the optimizer again, since properties can be changed in between.  The message begins with
    /// the component's name.
    package func checkWhole() throws(SettingError) {
        do throws(SettingError) {
            for parameter in Self.parameters { try parameter.check(in: self) }
            if Self.declaration.values != nil {
                var copy = self
                try copy.takeFinite(values)
            }
            for (index, part) in components.enumerated() {
                do { try part.checkWhole() } catch {
                    throw Self.declaration.numbersParts ? error.within("part \(index)") : error
                }
            }
            try validate()
        } catch { throw error.within(Self.declaration.name) }
    }

    private mutating func takeFinite(_ values: [Double]) throws(SettingError) {
        for (index, value) in values.enumerated() where !value.isFinite {
            throw .invalid("number \(index) of the list must be finite, found \(value)")
        }
        try take(values: values)
    }

    /// A setting that an initialiser may be given: NaN, which stands for none, is refused as a value.
    package static func given(_ key: String, _ value: Double?) throws(SettingError) -> Double {
        guard let value else { return .nan }
        if value.isNaN, let parameter = parameters.first(where: { $0.key == key }) {
            do { try parameter.check(.number(value)) } catch { throw error.within(declaration.name) }
        }
        return value
    }
}

// MARK: - Words

extension Component {
    /// The component that `spec` describes.
    package init(_ spec: Spec) throws(SettingError) {
        self.init()
        do throws(SettingError) {
            try refuseDuplicates(spec.settings)
            for setting in spec.settings { try assign(setting) }
            try takeFinite(spec.values)
            try take(parts: spec.parts)
            try validate()
        } catch { throw error.within(Self.declaration.name) }
    }

    /// The component in words: every setting that has a value.
    package var spec: Spec {
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

    /// The parts in words.
    package var parts: [Spec] { components.map { $0.spec } }
}

extension Declaration {
    /// Whether messages on parts say which part: patterns speak for themselves.
    fileprivate var numbersParts: Bool { !arguments.contains { $0.part != nil } }
}
