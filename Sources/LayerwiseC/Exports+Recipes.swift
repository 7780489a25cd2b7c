// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

// What kinds of policies, schedules and freezing plans there are, and what a schedule says by itself.

@_cdecl("lw_policy_count") @implementation
public func lw_policy_count() -> Int32 { Int32(allPolicies.count) }

@_cdecl("lw_policy_name") @implementation
public func lw_policy_name(_ index: Int32) -> UnsafePointer<CChar>! {
    allPolicies.indices.contains(Int(index)) ? StaticText.of(allPolicies[Int(index)].declaration.name) : nil
}

@_cdecl("lw_policy_describe") @implementation
public func lw_policy_describe(
    _ name: UnsafePointer<CChar>!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let name = try string(name, "name")
        guard let description = describePolicy(name) else {
            throw LayerwiseError(.unknownName, "no policy is called \"\(name)\"")
        }
        try copy(description, text, capacity, needed)
    }
}

@_cdecl("lw_schedule_count") @implementation
public func lw_schedule_count() -> Int32 { Int32(allSchedules.count) }

@_cdecl("lw_schedule_name") @implementation
public func lw_schedule_name(_ index: Int32) -> UnsafePointer<CChar>! {
    allSchedules.indices.contains(Int(index)) ? StaticText.of(allSchedules[Int(index)].declaration.name) : nil
}

@_cdecl("lw_schedule_describe") @implementation
public func lw_schedule_describe(
    _ name: UnsafePointer<CChar>!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let name = try string(name, "name")
        guard let description = describeSchedule(name) else {
            throw LayerwiseError(.unknownName, "no schedule is called \"\(name)\"")
        }
        try copy(description, text, capacity, needed)
    }
}

@_cdecl("lw_freeze_plan_count") @implementation
public func lw_freeze_plan_count() -> Int32 { Int32(allFreezePlans.count) }

@_cdecl("lw_freeze_plan_name") @implementation
public func lw_freeze_plan_name(_ index: Int32) -> UnsafePointer<CChar>! {
    allFreezePlans.indices.contains(Int(index)) ? StaticText.of(allFreezePlans[Int(index)].declaration.name) : nil
}

@_cdecl("lw_freeze_plan_describe") @implementation
public func lw_freeze_plan_describe(
    _ name: UnsafePointer<CChar>!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let name = try string(name, "name")
        guard let description = describeFreezePlan(name) else {
            throw LayerwiseError(.unknownName, "no freezing plan is called \"\(name)\"")
        }
        try copy(description, text, capacity, needed)
    }
}

@_cdecl("lw_schedule_evaluate") @implementation
public func lw_schedule_evaluate(
    _ specs: UnsafePointer<lw_spec>!, _ spec_count: Int64, _ base: Double, _ first: Int64, _ count: Int64,
    _ stride: Int64, _ values: UnsafeMutablePointer<Double>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let spec = try LayerwiseC.spec(specs, spec_count)
        let schedule = try recipe("schedule") { () throws(SettingError) in try Layerwise.schedule(spec) }
        if first < 0 || count < 0 || stride < 1 || first > 1 << 53 || count > 1 << 53 || stride > 1 << 53
            || count.multipliedReportingOverflow(by: stride).partialValue > 1 << 53
            || count.multipliedReportingOverflow(by: stride).overflow
        {
            throw LayerwiseError(
                .outOfRange,
                "first must be at least 0, count at least 0, stride at least 1 and the last step at most 2^53, found "
                    + "\(first), \(count) and \(stride)")
        }
        if !(base >= 0 && base < .infinity) {
            throw LayerwiseError(.outOfRange, "base must be in [0, inf), found \(base)")
        }
        if count == 0 { return }
        let values = try require(values, "values")
        for index in 0..<Int(count) { values[index] = schedule.value(at: first + Int64(index) * stride, base: base) }
    }
}

@_cdecl("lw_infer_layers") @implementation
public func lw_infer_layers(
    _ names: UnsafePointer<UnsafePointer<CChar>?>!, _ count: Int64, _ text: UnsafeMutablePointer<CChar>!,
    _ capacity: Int64, _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        try copy(describeLayers(try strings(names, count)), text, capacity, needed)
    }
}

@_cdecl("lw_match_names") @implementation
public func lw_match_names(
    _ pattern: UnsafePointer<CChar>!, _ syntax: UnsafePointer<CChar>!, _ names: UnsafePointer<UnsafePointer<CChar>?>!,
    _ count: Int64, _ matched: UnsafeMutablePointer<UInt8>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let (pattern, word) = (try string(pattern, "pattern"), try string(syntax, "syntax"))
        guard let syntax = PatternSyntax(rawValue: word) else {
            throw LayerwiseError(.invalidArgument, "syntax must be exact, glob or regex, found \"\(word)\"")
        }
        let names = try strings(names, count)
        let found = try recipe("pattern") { () throws(SettingError) in try matchNames(pattern, syntax, names) }
        if found.isEmpty { return }
        guard let matched else { throw LayerwiseError(.invalidArgument, "matched is NULL") }
        for (index, isMatch) in found.enumerated() { matched[index] = isMatch ? 1 : 0 }
    }
}

/// Names from C.
private func strings(
    _ names: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int64
) throws(LayerwiseError) -> [String] {
    if count < 0 || count > 1 << 24 {
        throw LayerwiseError(.invalidArgument, "count must be from 0 to 16777216, found \(count)")
    }
    var texts: [String] = []
    if count > 0 {
        guard let names else { throw LayerwiseError(.invalidArgument, "names is NULL") }
        for index in 0..<Int(count) { texts.append(try string(names[index], "name \(index)")) }
    }
    return texts
}
