// SPDX-License-Identifier: Apache-2.0

/// Why a call was refused.  A refused call has changed nothing.
public struct LayerwiseError: Error, Equatable, CustomStringConvertible {
    /// What kind of mistake it is.  The raw values are those of `lw_code` in layerwise.h.
    public enum Code: Int32, Sendable {
        case invalidArgument = 1
        case unknownName = 2
        case outOfRange = 3
        case shape = 4
        case dtype = 5
        case overlap = 6
        case duplicate = 7
        case notFound = 8
        case staleHandle = 9
        case busy = 10
        case nonfinite = 11
        case outOfMemory = 12
        case structSize = 13
        case forked = 14
        case bufferTooSmall = 15
        case io = 16
        case corrupt = 17
        case mismatch = 18
        case reduce = 19
    }

    public var code: Code
    /// One line: names the thing, and says what was expected and what was found.
    public var message: String
    /// The layer at fault, by index.
    public var layer: Int?
    /// The tensor at fault, by its index within the layer.
    public var tensor: Int?
    /// The element at fault, by its index within the tensor.
    public var element: Int?

    public init(_ code: Code, _ message: String, layer: Int? = nil, tensor: Int? = nil, element: Int? = nil) {
        self.code = code
        self.message = message
        self.layer = layer
        self.tensor = tensor
        self.element = element
    }

    public var description: String { message }
}

extension LayerwiseError {
    /// A refused setting, of the thing called `subject`.
    public init(_ error: SettingError, of subject: String, layer: Int? = nil) {
        switch error {
        case .unknown(let text): self.init(.unknownName, "\(subject): \(text)", layer: layer)
        case .duplicate(let text): self.init(.duplicate, "\(subject): \(text)", layer: layer)
        case .invalid(let text): self.init(.outOfRange, "\(subject): \(text)", layer: layer)
        }
    }
}
