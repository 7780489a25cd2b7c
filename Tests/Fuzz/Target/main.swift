// SPDX-License-Identifier: Apache-2.0
import Driver
import Glibc
import Mutator

// The loader, what describes a checkpoint, and what reads the text of a run state, under libFuzzer.
//
//     fuzz seeds FOLDER            writes what every optimizer under test would load
//     fuzz [OPTION]... [FOLDER]... runs libFuzzer

/// An optimizer each; the first byte of an input chooses, and whether it is offered in memory or in a file.
nonisolated(unsafe) let underTest: [Case] = {
    do { return try cases() } catch { fail("\(error)") }
}()

/// Those that are offered inputs that go on with "{", which no checkpoint does; the first byte chooses, and how they are taken.
nonisolated(unsafe) let underText: [TextCase] = {
    do { return try textCases() } catch { fail("\(error)") }
}()

func offer(_ bytes: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    guard let bytes, size > 0 else { return 0 }
    // A byte further on, so that tensors lie at addresses of every kind.
    let file = UnsafeRawBufferPointer(start: bytes + 1, count: size - 1)
    if file.first == UInt8(ascii: "{") {
        let (way, choice) = Int(bytes[0]).quotientAndRemainder(dividingBy: underText.count)
        do { try underText[choice].subject.offer(text: file, knownOnly: way % 2 == 1) } catch { fail("\(error)") }
        return 0
    }
    let (way, choice) = Int(bytes[0]).quotientAndRemainder(dividingBy: underTest.count)
    do { try underTest[choice].subject.offer(file, inFile: way % 2 == 1) } catch { fail("\(error)") }
    return 0
}

func writeSeeds(_ folder: String) {
    mkdir(folder, 0o777)
    func write(_ bytes: [UInt8], _ name: String) {
        guard let file = fopen("\(folder)/\(name)", "w") else { fail("cannot write into \(folder)") }
        if fwrite(bytes, 1, bytes.count, file) != bytes.count || fclose(file) != 0 { fail("cannot write \(name)") }
    }
    for (index, item) in underTest.enumerated() { write([UInt8(index)] + item.seed, "\(index)") }
    for (index, item) in underText.enumerated() {
        for (which, seed) in item.seeds.enumerated() { write([UInt8(index)] + seed.utf8, "text-\(index)-\(which)") }
    }
}

if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "seeds" {
    writeSeeds(CommandLine.arguments[2])
} else {
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    // libFuzzer does not come back where its time is over.
    atexit { Tally.report() }
    _ = underTest.count + underText.count
    exit(
        withUnsafeMutablePointer(to: &arguments) { arguments in
            arguments.withMemoryRebound(to: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?.self, capacity: 1) {
                LLVMFuzzerRunDriver(&count, $0) { offer($0, $1) }
            }
        })
}
