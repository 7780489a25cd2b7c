// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import LayerwiseRules

/// An optimizer that is offered checkpoints, and must be none the worse for it.
final class Subject {
    private let optimizer: Optimizer
    private let options: LoadOptions
    /// Its own checkpoint, to which it goes back after each that it takes.
    private let start: [UInt8]

    /// `saver`: whose checkpoints it is meant for; its own, if nil.
    init(_ optimizer: Optimizer, _ options: LoadOptions = LoadOptions()) throws {
        self.optimizer = optimizer
        self.options = options
        // What is put back by mistake should make a difference.
        for _ in 0..<2 { try optimizer.step() }
        start = try Self.state(of: optimizer)
    }

    /// Everything that can be saved of an optimizer.
    static func state(of optimizer: Optimizer) throws(LayerwiseError) -> [UInt8] {
        // Larger than what any takes: to ask for the size first would take as long again.
        var bytes = [UInt8](repeating: 0, count: 1 << 14)
        let result = bytes.withUnsafeMutableBytes { target -> Result<Int, LayerwiseError> in
            do throws(LayerwiseError) {
                return .success(try optimizer.export(into: target, SaveOptions(parameters: true)))
            } catch { return .failure(error) }
        }
        let size = try result.get()
        require(size <= bytes.count, "an optimizer under test is too large")
        return Array(bytes.prefix(size))
    }

    /// Offers bytes, which it takes and works on with, or refuses and is unchanged; `inFile`: by the path of a file.
    func offer(_ bytes: UnsafeRawBufferPointer, inFile: Bool) throws(LayerwiseError) {
        UnnamedFile.fill(bytes)
        let description = Description(of: UnnamedFile.path)
        do throws(LayerwiseError) {
            if inFile {
                try optimizer.load(from: UnnamedFile.path, options)
            } else {
                try optimizer.load(bytes, options)
            }
        } catch {
            description.check(error)
            Tally.refused[error.code, default: 0] += 1
            require(
                [.corrupt, .mismatch, .unknownName, .duplicate].contains(error.code) && !error.message.isEmpty,
                "refused with \(error.code): \(error.message)")
            require(try Self.state(of: optimizer) == start, "a refused load has changed something: \(error.message)")
            return
        }
        description.check(nil)
        Tally.taken += 1
        try checkTaken()
        try load(start)
        require(try Self.state(of: optimizer) == start, "a load has left something behind")
    }

    /// Offers a text of a run state, which it takes and works on with, or refuses and is unchanged.
    func offer(text: UnsafeRawBufferPointer, knownOnly: Bool) throws(LayerwiseError) {
        var checked: LayerwiseError?
        var options = RunStateOptions(knownOnly: knownOnly, checkOnly: true)
        do throws(LayerwiseError) { try optimizer.setRunState(text, options, steps: 5) } catch { checked = error }
        require(try Self.state(of: optimizer) == start, "a check has changed something")
        options.checkOnly = false
        do throws(LayerwiseError) { try optimizer.setRunState(text, options, steps: 5) } catch {
            Tally.refused[error.code, default: 0] += 1
            require(checked == error, "a check says \(checked.map { $0.message } ?? "nothing"), not \(error.message)")
            require(
                error.code == .invalidArgument && !error.message.isEmpty,
                "refused with \(error.code): \(error.message)")
            require(try Self.state(of: optimizer) == start, "a refused text has changed something: \(error.message)")
            return
        }
        require(checked == nil, "taken, but a check says \(checked.map { $0.message } ?? "")")
        Tally.taken += 1
        let own = optimizer.runStateText()
        let taken = try Self.state(of: optimizer)
        var again = own
        let failure = again.withUTF8 { utf8 -> LayerwiseError? in
            do throws(LayerwiseError) {
                try optimizer.setRunState(UnsafeRawBufferPointer(utf8), steps: 0)
                return nil
            } catch { return error }
        }
        require(failure == nil, "its own text is refused: \(failure.map { $0.message } ?? "")")
        require(try Self.state(of: optimizer) == taken && optimizer.runStateText() == own, "its own text differs")
        try checkTaken()
        try load(start)
        require(try Self.state(of: optimizer) == start, "a load has left something behind")
    }

    /// What was taken can be saved, loaded and stepped on with.
    private func checkTaken() throws(LayerwiseError) {
        let taken = try Self.state(of: optimizer)
        try load(taken)
        require(try Self.state(of: optimizer) == taken, "a checkpoint is not what was loaded from it")
        do throws(LayerwiseError) { try optimizer.step() } catch {
            // A rate as large as 1e308, times a scale, has no float32.  Where weights are those for evaluation, none steps.
            require(
                error.code == .outOfRange || (error.code == .invalidArgument && optimizer.mode == .evaluation),
                "no step after a load: \(error.message)")
            require(try Self.state(of: optimizer) == taken, "a refused step has changed something: \(error.message)")
        }
    }

    private func load(_ own: [UInt8]) throws(LayerwiseError) {
        let result = own.withUnsafeBytes { bytes -> Result<LoadReport, LayerwiseError> in
            do throws(LayerwiseError) { return .success(try optimizer.load(bytes)) } catch { return .failure(error) }
        }
        let report = try result.get()
        require(report.problems.isEmpty, "its own checkpoint differs: \(report.problems)")
    }
}

/// How far inputs come: where nearly all are refused as damaged, little is tested.
enum Tally {
    /// The name of the input in work, where it has one.
    nonisolated(unsafe) static var input = ""
    nonisolated(unsafe) static var described = 0
    nonisolated(unsafe) static var taken = 0
    nonisolated(unsafe) static var refused: [LayerwiseError.Code: Int] = [:]

    static func report() {
        let codes = refused.sorted { $0.value > $1.value }.map { "\($0.value) refused as \($0.key)" }
        say("loads: \((["\(taken) taken"] + codes).joined(separator: ", ")); \(described) described")
    }
}

/// Ends the program, as a find, where the condition does not hold.
func require(_ condition: @autoclosure () throws(LayerwiseError) -> Bool, _ what: @autoclosure () -> String) {
    let holds: Bool
    do throws(LayerwiseError) { holds = try condition() } catch { fail("\(error)") }
    if !holds { fail(what()) }
}

func fail(_ what: String) -> Never {
    say("FOUND: \(what)" + (Tally.input.isEmpty ? "" : ", for the input \(Tally.input)"))
    abort()
}

private func say(_ text: String) {
    let line = Array("\(text)\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
}
