// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise
import LayerwisePlatform

/// C text that is never freed: every name that the library hands out.  Made once, so that no lock is held when a process
/// forks.
enum InternedCString {
    private nonisolated(unsafe) static let texts: [String: UnsafePointer<CChar>?] = {
        var names: Set<String> = [layerwiseVersion]
        names.formUnion(InstructionSet.allCases.map(\.rawValue))
        names.formUnion(LayerInfo.ScaleSource.allCases.map(\.rawValue))
        names.formUnion(LayerInfo.FrozenBy.allCases.map(\.rawValue))
        names.formUnion(LayerRole.allCases.map(\.rawValue))
        names.formUnion(allRules.map { $0.declaration.name })
        names.formUnion(allPolicies.map { $0.declaration.name })
        names.formUnion(allSchedules.map { $0.declaration.name })
        names.formUnion(allFreezePlans.map { $0.declaration.name })
        names.formUnion(allRules.flatMap { $0.choiceNames } + Settings.choiceNames + layerChoiceNames)
        for code in 0...LW_ERROR_REDUCE.rawValue + 1 { names.insert(errorName(Int32(code))) }
        return Dictionary(uniqueKeysWithValues: names.map { ($0, strdup($0).map { UnsafePointer($0) }) })
    }()

    /// Makes the texts, so that an error can be named when there is no memory any more.
    static func prepare() { _ = texts.count }

    static func of(_ text: String) -> UnsafePointer<CChar>? { texts[text] ?? nil }
}
