// SPDX-License-Identifier: Apache-2.0
import Driver
import Glibc
import Mutator

// The loader, what describes a checkpoint, and what reads the text of a run state, under libFuzzer.
//
//     fuzz seeds FOLDER            writes what every optimizer under test would load
//     fuzz [OPTION]... [FOLDER]... runs libFuzzer

func writeSeeds(_ folder: String) {
    mkdir(folder, 0o777)
    for (name, bytes) in seeds() {
        guard let file = fopen("\(folder)/\(name)", "w") else { fail("cannot write into \(folder)") }
        if fwrite(bytes, 1, bytes.count, file) != bytes.count || fclose(file) != 0 { fail("cannot write \(name)") }
    }
}

if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "seeds" {
    writeSeeds(CommandLine.arguments[2])
} else {
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    // libFuzzer does not come back where its time is over.
    atexit { Tally.report() }
    // All optimizers are made before the first input comes.
    _ = seeds()
    exit(
        withUnsafeMutablePointer(to: &arguments) { arguments in
            arguments.withMemoryRebound(to: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?.self, capacity: 1) {
                LLVMFuzzerRunDriver(&count, $0) { bytes, size in
                    offerInput(UnsafeRawBufferPointer(start: bytes, count: size))
                    return 0
                }
            }
        })
}
