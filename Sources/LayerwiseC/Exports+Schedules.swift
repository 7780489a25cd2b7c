// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

// Policy, schedules and freezing plan of an optimizer, and what they will do.

@_cdecl("lw_optimizer_set_policy") @implementation
public func lw_optimizer_set_policy(
    _ optimizer: OpaquePointer!, _ specs: UnsafePointer<lw_spec>!, _ spec_count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let spec = try LayerwiseC.spec(specs, spec_count)
        optimizer.setPolicy(try recipe("policy") { () throws(SettingError) in try policy(spec) })
    }
}

@_cdecl("lw_optimizer_set_schedule") @implementation
public func lw_optimizer_set_schedule(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ key: UnsafePointer<CChar>!, _ specs: UnsafePointer<lw_spec>!,
    _ spec_count: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let key = try string(key, "key")
        let schedule: (any DeclaredSchedule)? =
            if spec_count == 0 { nil } else {
                try makeSchedule(try LayerwiseC.spec(specs, spec_count), key)
            }
        try optimizer.setSchedule(schedule, for: key, layer: layerOrAll(layer))
    }
}

private func makeSchedule(_ spec: Spec, _ key: String) throws(LayerwiseError) -> any DeclaredSchedule {
    try recipe("schedule of \(key)") { () throws(SettingError) in try schedule(spec) }
}

/// A layer, or nil for -1: all of them.
private func layerOrAll(_ layer: Int64) -> Int? { layer == -1 ? nil : index(layer < -1 ? .max : layer) }

@_cdecl("lw_optimizer_set_freeze_plan") @implementation
public func lw_optimizer_set_freeze_plan(
    _ optimizer: OpaquePointer!, _ specs: UnsafePointer<lw_spec>!, _ spec_count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        if spec_count == 0 { return optimizer.setFreezePlan(nil) }
        let spec = try LayerwiseC.spec(specs, spec_count)
        optimizer.setFreezePlan(try recipe("freezing plan") { () throws(SettingError) in try freezePlan(spec) })
    }
}

@_cdecl("lw_optimizer_report") @implementation
public func lw_optimizer_report(
    _ optimizer: OpaquePointer!, _ metric: Double, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.report(metric)
    }
}

@_cdecl("lw_optimizer_get_schedule_state") @implementation
public func lw_optimizer_get_schedule_state(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ key: UnsafePointer<CChar>!, _ values: UnsafeMutablePointer<Double>!,
    _ capacity: Int64, _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let state = try optimizer.scheduleState(for: try string(key, "key"), layer: layerOrAll(layer))
        needed?.pointee = Int64(state.count)
        if capacity < Int64(state.count) {
            throw LayerwiseError(
                .bufferTooSmall, "the state takes \(state.count) numbers, the buffer has \(capacity)")
        }
        if state.isEmpty { return }
        let values = try require(values, "values")
        for (index, value) in state.enumerated() { values[index] = value }
    }
}

@_cdecl("lw_optimizer_get_measurements") @implementation
public func lw_optimizer_get_measurements(
    _ optimizer: OpaquePointer!, _ values: UnsafeMutablePointer<Double>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let state = try optimizer.measurementState()
        needed?.pointee = Int64(state.count)
        if capacity < Int64(state.count) {
            throw LayerwiseError(
                .bufferTooSmall, "the measurements take \(state.count) numbers, the buffer has \(capacity)")
        }
        if state.isEmpty { return }
        let values = try require(values, "values")
        for (index, value) in state.enumerated() { values[index] = value }
    }
}

@_cdecl("lw_optimizer_set_measurements") @implementation
public func lw_optimizer_set_measurements(
    _ optimizer: OpaquePointer!, _ values: UnsafePointer<Double>!, _ count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.setMeasurementState(try LayerwiseC.values(values, count))
    }
}

@_cdecl("lw_optimizer_restart_measurements") @implementation
public func lw_optimizer_restart_measurements(
    _ optimizer: OpaquePointer!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in try optimizer.restartMeasurements() }
}

@_cdecl("lw_optimizer_set_schedule_state") @implementation
public func lw_optimizer_set_schedule_state(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ key: UnsafePointer<CChar>!, _ values: UnsafePointer<Double>!,
    _ count: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let numbers = try LayerwiseC.values(values, count)
        try optimizer.setScheduleState(numbers, for: try string(key, "key"), layer: layerOrAll(layer))
    }
}

@_cdecl("lw_optimizer_seek") @implementation
public func lw_optimizer_seek(
    _ optimizer: OpaquePointer!, _ step: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.seek(step)
    }
}

@_cdecl("lw_optimizer_set_mode") @implementation
public func lw_optimizer_set_mode(
    _ optimizer: OpaquePointer!, _ mode: Int32, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.setMode(try weightsMode(mode))
    }
}

@_cdecl("lw_optimizer_assume_mode") @implementation
public func lw_optimizer_assume_mode(
    _ optimizer: OpaquePointer!, _ mode: Int32, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.assumeMode(try weightsMode(mode))
    }
}

@_cdecl("lw_optimizer_get_mode") @implementation
public func lw_optimizer_get_mode(
    _ optimizer: OpaquePointer!, _ mode: UnsafeMutablePointer<Int32>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let found = optimizer.mode == .training ? LW_MODE_TRAINING : LW_MODE_EVALUATION
        try require(mode, "mode").pointee = Int32(bitPattern: found.rawValue)
    }
}

@_cdecl("lw_optimizer_explain") @implementation
public func lw_optimizer_explain(
    _ optimizer: OpaquePointer!, _ step: Int64, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try copy(try optimizer.explain(at: step == -1 ? nil : step), text, capacity, needed)
    }
}

@_cdecl("lw_optimizer_explain_json") @implementation
public func lw_optimizer_explain_json(
    _ optimizer: OpaquePointer!, _ step: Int64, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try copy(try optimizer.explainJSON(at: step == -1 ? nil : step), text, capacity, needed)
    }
}

@_cdecl("lw_optimizer_preview") @implementation
public func lw_optimizer_preview(
    _ optimizer: OpaquePointer!, _ first: Int64, _ count: Int64, _ stride: Int64,
    _ rates: UnsafeMutablePointer<Double>!, _ rate_count: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        if rate_count < 0 || (rates == nil && rate_count > 0) {
            throw LayerwiseError(.invalidArgument, "rates is NULL, or rate_count is negative")
        }
        try optimizer.preview(
            from: first == -1 ? optimizer.summary.nextStep : first, count: index(count), stride: stride,
            into: UnsafeMutableBufferPointer(start: rates, count: Int(rate_count)))
    }
}

@_cdecl("lw_optimizer_get_rate_groups") @implementation
public func lw_optimizer_get_rate_groups(
    _ optimizer: OpaquePointer!, _ groups: UnsafeMutablePointer<Int64>!, _ tensor_count: Int64,
    _ group_count: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try checkRoom("groups", groups == nil, tensor_count)
        let found = try optimizer.rateGroups(
            into: UnsafeMutableBufferPointer(start: groups, count: Int(tensor_count)))
        group_count?.pointee = Int64(found)
    }
}

@_cdecl("lw_optimizer_get_driven_values") @implementation
public func lw_optimizer_get_driven_values(
    _ optimizer: OpaquePointer!, _ keys: UnsafePointer<UnsafePointer<CChar>?>!, _ key_count: Int64,
    _ tensors: UnsafePointer<Int64>!, _ tensor_count: Int64, _ first: Int64, _ count: Int64, _ stride: Int64,
    _ values: UnsafeMutablePointer<Double>!, _ value_count: Int64, _ frozen: UnsafeMutablePointer<UInt8>!,
    _ frozen_count: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try checkRoom("keys", keys == nil, key_count)
        try checkRoom("tensors", tensors == nil, tensor_count)
        try checkRoom("values", values == nil, value_count)
        try checkRoom("frozen", frozen == nil, frozen_count)
        if key_count > 64 {
            throw LayerwiseError(.invalidArgument, "key_count must be from 0 to 64, found \(key_count)")
        }
        var names: [String] = []
        for position in 0..<Int(key_count) { names.append(try string(keys[position], "key \(position)")) }
        try optimizer.drivenValues(
            of: names, tensors: UnsafeBufferPointer(start: tensors, count: Int(tensor_count)),
            from: first == -1 ? optimizer.summary.nextStep : first, count: index(count), stride: stride,
            into: UnsafeMutableBufferPointer(start: values, count: Int(value_count)),
            frozen: UnsafeMutableBufferPointer(start: frozen, count: Int(frozen_count)))
    }
}

/// Refuses an array that is missing, or whose count cannot be one.
private func checkRoom(_ name: String, _ isNull: Bool, _ count: Int64) throws(LayerwiseError) {
    if count < 0 || (isNull && count > 0) {
        throw LayerwiseError(.invalidArgument, "\(name) is \(isNull ? "NULL" : "given"), but its count is \(count)")
    }
}

/// A mode from C.
private func weightsMode(_ mode: Int32) throws(LayerwiseError) -> Mode {
    switch UInt32(bitPattern: mode) {
    case LW_MODE_TRAINING.rawValue: .training
    case LW_MODE_EVALUATION.rawValue: .evaluation
    default: throw LayerwiseError(.invalidArgument, "mode must be 0 or 1, found \(mode)")
    }
}
