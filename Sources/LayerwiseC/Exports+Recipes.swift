// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

// What kinds of policies, schedules and freezing plans there are, and what a schedule says by itself.

@_cdecl("lw_policy_count") @implementation
public func lw_policy_count() -> Int32 { Int32(allPolicies.count) }

@_cdecl("lw_policy_name") @implementation
public func lw_policy_name(_ index: Int32) -> UnsafePointer<CChar>! {
    componentName(index, of: allPolicies.map { $0.declaration })
}

@_cdecl("lw_policy_describe") @implementation
public func lw_policy_describe(
    _ name: UnsafePointer<CChar>!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    describeComponent("policy", describePolicy, name, text, capacity, needed, error)
}

@_cdecl("lw_schedule_count") @implementation
public func lw_schedule_count() -> Int32 { Int32(allSchedules.count) }

@_cdecl("lw_schedule_name") @implementation
public func lw_schedule_name(_ index: Int32) -> UnsafePointer<CChar>! {
    componentName(index, of: allSchedules.map { $0.declaration })
}

@_cdecl("lw_schedule_describe") @implementation
public func lw_schedule_describe(
    _ name: UnsafePointer<CChar>!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    describeComponent("schedule", describeSchedule, name, text, capacity, needed, error)
}

@_cdecl("lw_freeze_plan_count") @implementation
public func lw_freeze_plan_count() -> Int32 { Int32(allFreezePlans.count) }

@_cdecl("lw_freeze_plan_name") @implementation
public func lw_freeze_plan_name(_ index: Int32) -> UnsafePointer<CChar>! {
    componentName(index, of: allFreezePlans.map { $0.declaration })
}

@_cdecl("lw_freeze_plan_describe") @implementation
public func lw_freeze_plan_describe(
    _ name: UnsafePointer<CChar>!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    describeComponent("freezing plan", describeFreezePlan, name, text, capacity, needed, error)
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

@_cdecl("lw_place_layers") @implementation
public func lw_place_layers(
    _ names: UnsafePointer<UnsafePointer<CChar>?>!, _ count: Int64, _ rules: UnsafePointer<lw_layer_rule>!,
    _ rule_count: Int64, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let names = try strings(names, count)
        let rules = try layerRules(rules, rule_count, names.count)
        let described = try recipe("layers") { () throws(SettingError) in
            try describePlacedLayers(names, rules: rules)
        }
        try copy(described, text, capacity, needed)
    }
}

/// Rules for layers from C.
private func layerRules(
    _ rules: UnsafePointer<lw_layer_rule>?, _ count: Int64, _ nameCount: Int
) throws(LayerwiseError) -> [LayerRule] {
    if count < 0 || count > 1 << 20 {
        throw LayerwiseError(.invalidArgument, "rule_count must be from 0 to 1048576, found \(count)")
    }
    if count == 0 { return [] }
    guard let rules else { throw LayerwiseError(.invalidArgument, "rules is NULL, but rule_count is \(count)") }
    var result: [LayerRule] = []
    for position in 0..<Int(count) {
        let rule = rules[position]
        try check(
            size: rule.struct_size, of: "lw_layer_rule \(position)", expected: MemoryLayout<lw_layer_rule>.size)
        if rule.reserved != 0 {
            throw LayerwiseError(
                .invalidArgument, "lw_layer_rule \(position): reserved must be 0, found \(rule.reserved)")
        }
        func optional(_ text: UnsafePointer<CChar>?, _ what: String) throws(LayerwiseError) -> String? {
            text == nil ? nil : try string(text, "\(what) of rule \(position)")
        }
        let pattern = try string(rule.pattern, "pattern of rule \(position)")
        let subject: LayerRule.Subject
        if let matched = rule.matched {
            subject = .marks(pattern, (0..<nameCount).map { matched[$0] != 0 })
        } else {
            let word = try optional(rule.syntax, "syntax") ?? PatternSyntax.glob.rawValue
            guard let syntax = PatternSyntax(rawValue: word) else {
                throw LayerwiseError(.invalidArgument, "syntax must be exact, glob or regex, found \"\(word)\"")
            }
            subject = .pattern(pattern, syntax)
        }
        result.append(
            LayerRule(
                subject, layer: try optional(rule.layer, "layer"), depth: rule.has_depth != 0 ? index(rule.depth) : nil,
                tower: try optional(rule.tower, "tower"), role: try optional(rule.role, "role"),
                scale: rule.has_scale != 0 ? rule.scale : nil))
    }
    return result
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
