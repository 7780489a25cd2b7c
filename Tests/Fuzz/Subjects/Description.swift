// SPDX-License-Identifier: Apache-2.0
import Layerwise

/// What describing an input came to, and what that says of a load of the same bytes.
///
/// Both read the header by the same rules and verify all checksums, so a description is refused where there is no load, and in
/// the same words if it is for the header.  A load asks for more: what only an optimizer can judge.
struct Description {
    /// Why there is none.
    private let refusal: LayerwiseError?

    init(of path: String) {
        var told = 0
        var all: Int?
        do throws(LayerwiseError) {
            let text = try describeCheckpoint(at: path) { done, total in
                require(done > told && done <= total && all ?? total == total, "progress goes from \(told) to \(done)")
                (told, all) = (done, total)
            }
            require(told == all ?? 0, "progress ends at \(told) of \(all ?? 0)")
            require(!text.utf8.contains { $0 < 0x20 }, "a description is one line: \(text)")
            refusal = nil
        } catch {
            require(error.code == .corrupt && !error.message.isEmpty, "no description: \(error.code), \(error.message)")
            refusal = error
        }
        Tally.described += refusal == nil ? 1 : 0
    }

    /// Compares it with why the load was refused, or nil where the checkpoint was taken.
    func check(_ load: LayerwiseError?) {
        guard let refusal else {
            guard let load, load.code == .corrupt else { return }
            let reason = Self.reason(load)
            require(
                reason.hasPrefix("progress: ") || reason.contains("a step count must not be negative"),
                "described, but not loaded: \(load.message)")
            return
        }
        guard let load else { fail("loaded, but not described: \(refusal.message)") }
        let reason = Self.reason(refusal)
        if reason.hasSuffix("of the header)") || reason.hasSuffix("too few for a checkpoint")
            || reason.hasPrefix("a header of ") || reason.hasPrefix("not a safetensors file")
        {
            require(
                load.code == .corrupt && Self.reason(load) == reason,
                "a load says \"\(load.message)\", a description \"\(refusal.message)\"")
        }
    }

    /// A message without what was read.
    private static func reason(_ error: LayerwiseError) -> Substring {
        for name in [UnnamedFile.path, "the checkpoint"] where error.message.hasPrefix("\(name): ") {
            return error.message.dropFirst(name.count + 2)
        }
        return error.message[...]
    }
}
