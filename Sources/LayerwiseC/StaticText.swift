// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import Synchronization

/// C text that is never freed: names, of which there are few.
enum StaticText {
    private static let texts = Mutex<[String: Text]>([:])

    private struct Text: @unchecked Sendable {
        let pointer: UnsafePointer<CChar>?
    }

    static func of(_ text: String) -> UnsafePointer<CChar>? {
        texts.withLock { texts in
            if let known = texts[text] { return known }
            let new = Text(pointer: strdup(text).map { UnsafePointer($0) })
            texts[text] = new
            return new
        }.pointer
    }
}
