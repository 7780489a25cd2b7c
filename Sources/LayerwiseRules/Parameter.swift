// SPDX-License-Identifier: Apache-2.0

/// Whether a text holds a control character, or U+2028 or U+2029, which end a line or a paragraph: with one, a message or a
/// table that quotes the text could have more lines than it should, or steer a terminal.
package func holdsControlCharacters(_ text: String) -> Bool {
    text.unicodeScalars.contains {
        $0.value < 0x20 || (0x7f...0x9f).contains($0.value) || $0.value == 0x2028 || $0.value == 0x2029
    }
}

/// One named value of a rule, a policy or an optimizer, declared once: its key, type, range, and how it is read and set.
/// Validation, setting by key, the documentation and the wrappers' checks all read this declaration.
package struct Parameter<Owner>: Sendable {
    /// What a value is.
    package enum Kind: Sendable {
        /// A number.
        case number(ValidRange)
        /// A whole number.
        case integer(ClosedRange<Int>)
        /// 0 or 1.
        case flag
        /// One of these names.
        case choice([String])
        /// Text of at most 255 bytes without control characters and separators of lines, such as a pattern of names.
        case text
    }

    /// Whether a caller must give a value.
    package enum Presence: String, Sendable {
        /// What is not given is at the default.
        case usual
        /// Python's classes have no default for it.  Where the value at the start is not valid, the library has none either.
        case required
        /// What is not given is absent, which the property holds as NaN.
        case optional
    }

    /// The key by which it is set from C, Python and a `Spec`.
    package let key: String
    /// What it is, with its range.
    package let kind: Kind
    /// One line of documentation.
    package let doc: String
    /// The number or the choice that stands for an absent value.  NaN and Python's None stand for it too.
    package let none: Setting.Value?
    /// Whether wrappers demand it.
    package private(set) var presence = Presence.usual
    /// Whether a checkpoint's identity does not say it where it has its default: it is younger than files of version 0.1.0.
    package private(set) var isOmittedAtDefault = false
    /// Reads the value from its owner.
    package let read: @Sendable (Owner) -> Setting.Value
    let write: @Sendable (inout Owner, Setting.Value) -> Void

    private init(
        key: String, kind: Kind, doc: String, none: Setting.Value? = nil,
        read: @escaping @Sendable (Owner) -> Setting.Value,
        write: @escaping @Sendable (inout Owner, Setting.Value) -> Void
    ) {
        self.key = key
        self.kind = kind
        self.doc = doc
        self.none = none
        self.read = read
        guard let none else {
            self.write = write
            return
        }
        self.write = { owner, value in
            if case .number(let x) = value, x.isNaN { write(&owner, none) } else { write(&owner, value) }
        }
    }

    /// A real number in `range`.
    package static func number(
        _ key: String, _ path: WritableKeyPath<Owner, Double> & Sendable, _ range: ValidRange, _ doc: String,
        none: Double? = nil
    ) -> Self {
        Self(
            key: key, kind: .number(range), doc: doc, none: none.map { .number($0) },
            read: { .number($0[keyPath: path]) },
            write: { if case .number(let x) = $1 { $0[keyPath: path] = x } })
    }

    /// A whole number in `range`.
    package static func integer(
        _ key: String, _ path: WritableKeyPath<Owner, Int> & Sendable, _ range: ClosedRange<Int>, _ doc: String
    ) -> Self {
        Self(
            key: key, kind: .integer(range), doc: doc,
            read: { .number(Double($0[keyPath: path])) },
            write: { if case .number(let x) = $1, let n = Int(exactly: x) { $0[keyPath: path] = n } })
    }

    /// 0 or 1.
    package static func flag(
        _ key: String, _ path: WritableKeyPath<Owner, Bool> & Sendable, _ doc: String
    ) -> Self {
        Self(
            key: key, kind: .flag, doc: doc,
            read: { .number($0[keyPath: path] ? 1 : 0) },
            write: { if case .number(let x) = $1 { $0[keyPath: path] = x == 1 } })
    }

    /// One of the names of a `Choice`.
    package static func choice<C: Choice>(
        _ key: String, _ path: WritableKeyPath<Owner, C> & Sendable, _ doc: String, none: C? = nil
    ) -> Self {
        Self(
            key: key, kind: .choice(C.allCases.map(\.rawValue)), doc: doc, none: none.map { .choice($0.rawValue) },
            read: { .choice($0[keyPath: path].rawValue) },
            write: { if case .choice(let name) = $1, let value = C(rawValue: name) { $0[keyPath: path] = value } })
    }

    /// Text.
    package static func text(
        _ key: String, _ path: WritableKeyPath<Owner, String> & Sendable, _ doc: String
    ) -> Self {
        Self(
            key: key, kind: .text, doc: doc,
            read: { .choice($0[keyPath: path]) },
            write: { if case .choice(let text) = $1 { $0[keyPath: path] = text } })
    }

    /// This parameter as one that must be given.
    package var required: Self { with(.required) }

    /// This parameter as one that may be absent.
    package var optional: Self { with(.optional) }

    /// This parameter as one that the identities of checkpoints leave out at its default.
    package var omittedAtDefault: Self {
        var parameter = self
        parameter.isOmittedAtDefault = true
        return parameter
    }

    private func with(_ presence: Presence) -> Self {
        var parameter = self
        parameter.presence = presence
        return parameter
    }

    /// This parameter at a property of `Outer`, so that the settings of a nested value appear on its owner.
    package func lifted<Outer>(_ path: WritableKeyPath<Outer, Owner> & Sendable) -> Parameter<Outer> {
        let (read, write) = (read, write)
        let kind: Parameter<Outer>.Kind =
            switch kind {
            case .number(let range): .number(range)
            case .integer(let range): .integer(range)
            case .flag: .flag
            case .choice(let names): .choice(names)
            case .text: .text
            }
        var lifted = Parameter<Outer>(
            key: key, kind: kind, doc: doc, none: none, read: { read($0[keyPath: path]) },
            write: { write(&$0[keyPath: path], $1) })
        lifted.presence = Parameter<Outer>.Presence(rawValue: presence.rawValue) ?? .usual
        lifted.isOmittedAtDefault = isOmittedAtDefault
        return lifted
    }

    /// Puts a value in place, which `check` has nothing against.
    package func put(_ value: Setting.Value, in owner: inout Owner) { write(&owner, value) }

    /// Refuses the owner's value if it is not valid.  A number that was not given is not judged here: `validate` asks for it.
    package func check(in owner: Owner) throws(SettingError) {
        let value = read(owner)
        if presence != .usual, case .number(let x) = value, x.isNaN { return }
        try check(value)
    }

    /// Refuses a value of the wrong type or outside the range.
    package func check(_ value: Setting.Value) throws(SettingError) {
        if case .number(let x) = value, x.isNaN, none != nil { return }
        switch (kind, value) {
        case (.number(let range), .number(let x)):
            if !range.contains(x) { throw .invalid("\(key) must be in \(range), found \(x)") }
        case (.integer(let range), .number(let x)):
            guard let n = Int(exactly: x), range.contains(n) else {
                throw .invalid(
                    "\(key) must be a whole number from \(range.lowerBound) to \(range.upperBound), found \(x)")
            }
        case (.flag, .number(let x)):
            if x != 0 && x != 1 { throw .invalid("\(key) must be 0 or 1, found \(x)") }
        case (.choice(let names), .choice(let name)):
            if !names.contains(name) {
                throw .unknown(
                    "\(key) must be one of \(names.joined(separator: ", ")), found \"\(name)\""
                        + hint(for: name, among: names))
            }
        case (.text, .choice(let text)):
            if text.utf8.count > 255 { throw .invalid("\(key) must have at most 255 bytes, found \(text.utf8.count)") }
            if holdsControlCharacters(text) {
                throw .invalid("\(key) must not hold control characters")
            }
        case (.text, .number(let x)):
            throw .invalid("\(key) takes text, found \(x)")
        case (.choice(let names), .number):
            throw .invalid("\(key) takes a name, one of \(names.joined(separator: ", "))")
        case (_, .choice(let name)):
            throw .invalid("\(key) takes a number, found \"\(name)\"")
        }
    }
}

/// A type whose values can be read and set by key.
package protocol Configurable: Sendable {
    /// Everything that can be set, in the order of the documentation.
    static var parameters: [Parameter<Self>] { get }

    /// Sets of values with a name, chosen by the key "variant".
    static var presets: [Preset] { get }

    /// Sets one value, without the check of values that exclude each other: `validate()` follows the last.  A requirement, so
    /// that it is compiled for each type: a step that moves a hyperparameter then allocates nothing.
    mutating func assign(_ setting: Setting) throws(SettingError)

    /// Refuses values that exclude each other.
    func validate() throws(SettingError)
}

/// A set of values with a name: what one library or paper does.  It never sets the learning rate.
package struct Preset: Sendable {
    /// The name, as the value of the key `variant`.
    package let name: String
    /// The settings that it stands for.
    package let settings: [Setting]

    /// Creates a preset.
    package init(_ name: String, _ settings: [Setting]) {
        self.name = name
        self.settings = settings
    }
}

extension Configurable {
    package static var presets: [Preset] { [] }
    package func validate() throws(SettingError) {}

    /// The key that names a preset.
    static var presetKey: String { "variant" }

    /// Whether `key` can be set here.
    package static func has(_ key: String) -> Bool {
        parameters.contains { $0.key == key } || isPreset(key)
    }

    /// Whether `key` names a preset, and so stands for other settings.
    package static func isPreset(_ key: String) -> Bool { key == presetKey && !presets.isEmpty }

    package mutating func assign(_ setting: Setting) throws(SettingError) {
        if Self.isPreset(setting.key) {
            for setting in try Self.expanded(setting) { try assign(setting) }
            return
        }
        guard let parameter = Self.parameters.first(where: { $0.key == setting.key }) else {
            throw Self.unknown(setting.key)
        }
        try parameter.check(setting.value)
        parameter.write(&self, setting.value)
    }

    /// The settings that a setting stands for: a preset's for the key "variant", else the setting itself.
    package static func expanded(_ setting: Setting) throws(SettingError) -> [Setting] {
        isPreset(setting.key) ? try preset(setting.value).settings : [setting]
    }

    /// Refuses values outside their range, and values that exclude each other.
    package func check() throws(SettingError) {
        for parameter in Self.parameters { try parameter.check(in: self) }
        try validate()
    }

    /// Whether `key` is a real number.
    package static func isNumber(_ key: String) -> Bool { numberKeys.contains(key) }

    /// The keys of real numbers.
    package static var numberKeys: [String] {
        parameters.compactMap { parameter in
            if case .number = parameter.kind { parameter.key } else { nil }
        }
    }

    /// The value of `key`, or nil if there is none.
    package func value(of key: String) -> Setting.Value? {
        Self.parameters.first { $0.key == key }?.read(self)
    }

    /// The names of all choices.
    package static var choiceNames: [String] {
        parameters.flatMap { parameter in
            if case .choice(let names) = parameter.kind { names } else { [String]() }
        }
    }

    /// The keys that can be set here.
    package static var keys: [String] { parameters.map(\.key) + (presets.isEmpty ? [] : [presetKey]) }

    /// What is said of a key that can be set neither here nor, by the keys `others`, elsewhere.
    package static func unknown(_ key: String, or others: [String] = []) -> SettingError {
        let known = keys + others
        return .unknown(
            "unknown setting \"\(key)\"\(hint(for: key, among: known)), expected one of \(known.joined(separator: ", "))"
        )
    }

    private static func preset(_ value: Setting.Value) throws(SettingError) -> Preset {
        let names = presets.map(\.name).joined(separator: ", ")
        guard case .choice(let name) = value else { throw .invalid("\(presetKey) takes a name, one of \(names)") }
        guard let preset = presets.first(where: { $0.name == name }) else {
            throw .unknown(
                "\(presetKey) must be one of \(names), found \"\(name)\"" + hint(for: name, among: presets.map(\.name)))
        }
        return preset
    }
}
