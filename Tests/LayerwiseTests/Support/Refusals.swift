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
