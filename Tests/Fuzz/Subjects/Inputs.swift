// SPDX-License-Identifier: Apache-2.0

/// An optimizer each; the first byte of an input chooses, and whether it is offered in memory or in a file.
private nonisolated(unsafe) let underTest: [Case] = {
    do { return try cases() } catch { fail("\(error)") }
}()

/// Those that are offered inputs that go on with "{", which no checkpoint does; the first byte chooses, and how they are taken.
private nonisolated(unsafe) let underText: [TextCase] = {
    do { return try textCases() } catch { fail("\(error)") }
}()

/// What every optimizer under test would load, by the name of a file.
func seeds() -> [(name: String, bytes: [UInt8])] {
    underTest.enumerated().map { ("\($0)", [UInt8($0)] + $1.seed) }
        + underText.enumerated().flatMap { index, item in
            item.seeds.enumerated().map { ("text-\(index)-\($0)", [UInt8(index)] + $1.utf8) }
        }
}

/// Offers an input to the optimizer that it chooses.
func offerInput(_ input: UnsafeRawBufferPointer) {
    guard let first = input.first else { return }
    // A byte further on, so that tensors lie at addresses of every kind.
    let file = UnsafeRawBufferPointer(rebasing: input.dropFirst())
    do {
        if file.first == UInt8(ascii: "{") {
            let (way, choice) = Int(first).quotientAndRemainder(dividingBy: underText.count)
            try underText[choice].subject.offer(text: file, knownOnly: way % 2 == 1)
        } else {
            let (way, choice) = Int(first).quotientAndRemainder(dividingBy: underTest.count)
            try underTest[choice].subject.offer(file, inFile: way % 2 == 1)
        }
    } catch { fail("\(error)") }
}
