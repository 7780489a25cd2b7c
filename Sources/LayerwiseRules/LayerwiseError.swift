// SPDX-License-Identifier: Apache-2.0

/// Why a call was refused: the only error that the library throws.  A refused call has changed nothing.
public struct LayerwiseError: Error, Equatable, CustomStringConvertible {
    /// What kind of mistake it is.  The raw values are those of `lw_code` in layerwise.h.
    public enum Code: Int32, Sendable {
        /// NULL where a value is needed, or arguments that do not go together.
        case invalidArgument = 1
        /// No rule, policy, schedule, plan, key or choice has this name.
        case unknownName = 2
        /// A number outside its range, or settings that exclude each other.
        case outOfRange = 3
        /// Sizes that do not fit.
        case shape = 4
        /// An element type that is not supported here.
        case dtype = 5
        /// Buffers that share memory.
        case overlap = 6
        /// A name or key that is given twice.
        case duplicate = 7
        /// No layer, tensor or state is there.
        case notFound = 8
        /// A handle of what has been destroyed.
        case staleHandle = 9
        /// Another thread is inside the optimizer.
        case busy = 10
        /// A gradient is infinite or NaN.
        case nonfinite = 11
        /// Memory could not be allocated.
        case outOfMemory = 12
        /// A struct of C whose size is unknown.
        case structSize = 13
        /// A child process was forked within a step.
        case forked = 14
        /// The result does not fit in the buffer.
        case bufferTooSmall = 15
        /// The operating system refused to read or write a file.
        case io = 16
        /// A checkpoint is damaged, or the file is none.
        case corrupt = 17
        /// A checkpoint of another model or other settings.
        case mismatch = 18
        /// The sum over processes failed.
        case reduce = 19
    }

    /// What kind of mistake it is.
    public var code: Code
    /// One line: names the thing, and says what was expected and what was found.
    public var message: String
    /// The layer at fault, by index.
    public var layer: Int?
    /// The tensor at fault, by its index within the layer.
    public var tensor: Int?
    /// The element at fault, by its index within the tensor.
    public var element: Int?

    /// Creates an error; the library throws its own.
    public init(_ code: Code, _ message: String, layer: Int? = nil, tensor: Int? = nil, element: Int? = nil) {
        self.code = code
        self.message = message
        self.layer = layer
        self.tensor = tensor
        self.element = element
    }

    /// The message.
    public var description: String { message }
}

// MARK: - Settings

/// The error of a setting: a `LayerwiseError` that names no layer, of the code `unknownName`, `duplicate` or `outOfRange`.
public typealias SettingError = LayerwiseError

extension LayerwiseError {
    /// No such key, or no such choice.
    package static func unknown(_ message: String) -> Self { Self(.unknownName, message) }

    /// A key given twice.
    package static func duplicate(_ message: String) -> Self { Self(.duplicate, message) }

    /// A value outside its range, a number where a choice is expected or the reverse, or values that exclude each other.
    package static func invalid(_ message: String) -> Self { Self(.outOfRange, message) }

    /// This error with the name of its subject in front of the message.
    package func within(_ subject: String) -> Self { Self(self, of: subject, layer: layer) }

    /// A refused setting, of the thing called `subject`.
    package init(_ error: SettingError, of subject: String, layer: Int? = nil) {
        self = error
        message = "\(subject): \(error.message)"
        self.layer = layer
    }
}
