// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// The call is refused with this code, and with these indices where they are given.
func assertRefused(
    _ code: LayerwiseError.Code, layer: Int? = nil, tensor: Int? = nil, element: Int? = nil, _ label: String = "",
    file: StaticString = #filePath, line: UInt = #line, _ call: () throws -> Void
) {
    XCTAssertThrowsError(try call(), label, file: file, line: line) { error in
        guard let error = error as? LayerwiseError else {
            return XCTFail("\(label): threw \(error)", file: file, line: line)
        }
        XCTAssertEqual(error.code, code, "\(label): \(error)", file: file, line: line)
        XCTAssertEqual(error.layer, layer, "\(label): layer of \(error)", file: file, line: line)
        XCTAssertEqual(error.tensor, tensor, "\(label): tensor of \(error)", file: file, line: line)
        XCTAssertEqual(error.element, element, "\(label): element of \(error)", file: file, line: line)
    }
}

/// The settings are refused with this error.
func assertRefused(
    _ expected: SettingError, file: StaticString = #filePath, line: UInt = #line, _ call: () throws -> Void
) {
    XCTAssertThrowsError(try call(), "\(expected)", file: file, line: line) {
        XCTAssertEqual($0 as? SettingError, expected, "threw \($0)", file: file, line: line)
    }
}

/// The call is refused with this code and message.
func assertRefused(
    _ code: LayerwiseError.Code, message: String, file: StaticString = #filePath, line: UInt = #line,
    _ call: () throws -> Void
) {
    XCTAssertThrowsError(try call(), message, file: file, line: line) { error in
        XCTAssertEqual((error as? LayerwiseError)?.code, code, "\(error)", file: file, line: line)
        XCTAssertEqual("\(error)", message, file: file, line: line)
        XCTAssertFalse(message.contains("\n"), "more than one line", file: file, line: line)
    }
}

/// A call that is to be refused.
struct RefusedCall {
    let code: LayerwiseError.Code
    let message: String
    let call: (Optimizer) throws -> Void

    init(_ code: LayerwiseError.Code, _ message: String, _ call: @escaping (Optimizer) throws -> Void) {
        self.code = code
        self.message = message
        self.call = call
    }
}

/// Makes each call on LAMB over layers "0" (40 and 5 x 7) and "1" (333) with some history: all are refused, and nothing
/// changes.
func assertAllRefused(_ calls: [RefusedCall], file: StaticString = #filePath, line: UInt = #line) throws {
    let model = try Model(LAMB(lr: 0.1), shapes: [[[40], [5, 7]], [[333]]])
    try model.optimizer.set(settings(["telemetry": 1]))
    try model.optimizer.setLayer(1, settings(["weight_decay": 0.25]))
    try model.optimizer.step()
    let before = try model.fullDigest()
    for call in calls {
        assertRefused(call.code, message: call.message, file: file, line: line) { try call.call(model.optimizer) }
        XCTAssertEqual(try model.fullDigest(), before, "\(call.message): something changed", file: file, line: line)
    }
    // It still works, and as if nothing had been.
    let untouched = try Model(LAMB(lr: 0.1), shapes: [[[40], [5, 7]], [[333]]])
    try untouched.optimizer.set(settings(["telemetry": 1]))
    try untouched.optimizer.setLayer(1, settings(["weight_decay": 0.25]))
    try untouched.optimizer.step()
    for model in [model, untouched] { try model.optimizer.step() }
    XCTAssertEqual(try model.fullDigest(), try untouched.fullDigest(), file: file, line: line)
}
