// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

@_cdecl("lw_optimizer_add_layer") @implementation
public func lw_optimizer_add_layer(
    _ optimizer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ tensors: UnsafePointer<lw_tensor>!,
    _ tensor_count: Int64, _ settings: UnsafePointer<lw_setting>!, _ setting_count: Int64,
    _ layer: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let name = try string(name, "name")
        let added = try optimizer.addLayer(
            name, try LayerwiseC.tensors(tensors, tensor_count, of: name),
            settings: try LayerwiseC.settings(settings, setting_count))
        layer?.pointee = Int64(added)
    }
}

@_cdecl("lw_optimizer_layer_count") @implementation
public func lw_optimizer_layer_count(
    _ optimizer: OpaquePointer!, _ count: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try require(count, "count").pointee = Int64(optimizer.layerCount)
    }
}

@_cdecl("lw_optimizer_find_layer") @implementation
public func lw_optimizer_find_layer(
    _ optimizer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ layer: UnsafeMutablePointer<Int64>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let found = try optimizer.layer(named: try string(name, "name"))
        try require(layer, "layer").pointee = Int64(found)
    }
}

@_cdecl("lw_layer_set") @implementation
public func lw_layer_set(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ settings: UnsafePointer<lw_setting>!, _ setting_count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.setLayer(index(layer), try LayerwiseC.settings(settings, setting_count))
    }
}

@_cdecl("lw_optimizer_set_layers") @implementation
public func lw_optimizer_set_layers(
    _ optimizer: OpaquePointer!, _ layers: UnsafePointer<Int64>!, _ settings: UnsafePointer<lw_setting>!,
    _ count: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let settings = try LayerwiseC.settings(settings, count)
        if settings.isEmpty { return }
        guard let layers else { throw LayerwiseError(.invalidArgument, "layers is NULL") }
        var changes: [(layer: Int, settings: [Setting])] = []
        for (position, setting) in settings.enumerated() {
            let layer = index(layers[position])
            if changes.last?.layer == layer {
                changes[changes.count - 1].settings.append(setting)
            } else {
                changes.append((layer, [setting]))
            }
        }
        try optimizer.setLayers(changes)
    }
}

@_cdecl("lw_optimizer_set_rates") @implementation
public func lw_optimizer_set_rates(
    _ optimizer: OpaquePointer!, _ rates: UnsafePointer<Double>!, _ count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        if count < 0 || (rates == nil && count > 0) {
            throw LayerwiseError(
                .invalidArgument, "rates is \(rates == nil ? "NULL" : "given"), but count is \(count)")
        }
        try optimizer.setRates(UnsafeBufferPointer(start: rates, count: index(count)))
    }
}

@_cdecl("lw_layer_unset") @implementation
public func lw_layer_unset(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ key: UnsafePointer<CChar>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.unsetLayer(index(layer), key: try string(key, "key"))
    }
}

@_cdecl("lw_layer_get") @implementation
public func lw_layer_get(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ key: UnsafePointer<CChar>!, _ number: UnsafeMutablePointer<Double>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let key = try string(key, "key")
        let value = try optimizer.value(of: key, layer: index(layer))
        try require(number, "number").pointee = try LayerwiseC.number(value, key)
    }
}

@_cdecl("lw_layer_get_choice") @implementation
public func lw_layer_get_choice(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ key: UnsafePointer<CChar>!,
    _ choice: UnsafeMutablePointer<UnsafePointer<CChar>?>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let key = try string(key, "key")
        let value = try optimizer.value(of: key, layer: index(layer))
        try require(choice, "choice").pointee = try LayerwiseC.choice(value, key)
    }
}

@_cdecl("lw_layer_get_text") @implementation
public func lw_layer_get_text(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ key: UnsafePointer<CChar>!, _ text: UnsafeMutablePointer<CChar>!,
    _ capacity: Int64, _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let key = try string(key, "key")
        if key != "tower" && key != "part_of" {
            throw LayerwiseError(.unknownName, "no text is called \"\(key)\", expected tower or part_of")
        }
        guard case .choice(let value) = try optimizer.value(of: key, layer: index(layer)) else { return }
        try copy(value, text, capacity, needed)
    }
}

@_cdecl("lw_layer_freeze") @implementation
public func lw_layer_freeze(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.setFrozen(index(layer), true)
    }
}

@_cdecl("lw_layer_unfreeze") @implementation
public func lw_layer_unfreeze(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.setFrozen(index(layer), false)
    }
}

@_cdecl("lw_layer_reset") @implementation
public func lw_layer_reset(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.reset(index(layer))
    }
}

@_cdecl("lw_layer_get_name") @implementation
public func lw_layer_get_name(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try copy(try optimizer.layerName(index(layer)), text, capacity, needed)
    }
}

@_cdecl("lw_layer_get_info") @implementation
public func lw_layer_get_info(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ info: UnsafeMutablePointer<lw_layer_info>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let target = try require(info, "info")
        if target.pointee.struct_size != formerLayerInfoSize {
            try check(size: target.pointee.struct_size, of: "lw_layer_info", expected: MemoryLayout<lw_layer_info>.size)
        }
        let info = try optimizer.info(index(layer))
        target.pointee.frozen = info.frozen ? 1 : 0
        target.pointee.depth = Int64(info.depth)
        target.pointee.tensor_count = Int64(info.tensorCount)
        target.pointee.parameter_count = Int64(info.parameterCount)
        target.pointee.state_bytes = Int64(info.stateBytes)
        target.pointee.steps = info.steps
        target.pointee.scale = info.scale
        target.pointee.effective_lr = info.effectiveRate
        target.pointee.weight_decay = info.weightDecay
        target.pointee.scale_source = InternedCString.of(info.scaleSource.rawValue)
        target.pointee.role = InternedCString.of(info.role.rawValue)
        target.pointee.frozen_by = InternedCString.of(info.frozenBy.rawValue)
        target.pointee.changes_at = info.changesAt ?? -1
        target.pointee.schedule_factor = info.factor
        if target.pointee.struct_size == formerLayerInfoSize { return }
        target.pointee.measured_value = info.measuredValue
        target.pointee.measured_target = info.measuredTarget
        target.pointee.measured_scale = info.measuredScale
    }
}

/// The size that `lw_layer_info` had before `measured_value`, in programs that were compiled then.
private let formerLayerInfoSize = UInt32(MemoryLayout<lw_layer_info>.offset(of: \.measured_value) ?? 0)

@_cdecl("lw_layer_get_telemetry") @implementation
public func lw_layer_get_telemetry(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ telemetry: UnsafeMutablePointer<lw_telemetry>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let target = try require(telemetry, "telemetry")
        try checkTelemetrySize(target.pointee.struct_size)
        fill(target, try optimizer.telemetry(index(layer)))
    }
}

/// The size that `lw_telemetry` had before `lost_count`, in programs that were compiled then.
private let formerTelemetrySize = MemoryLayout<lw_telemetry>.offset(of: \.lost_count) ?? 0

func checkTelemetrySize(_ size: UInt32) throws(LayerwiseError) {
    if size == formerTelemetrySize { return }
    try check(size: size, of: "lw_telemetry", expected: MemoryLayout<lw_telemetry>.size)
}

/// Fills the members that the struct has by its own `struct_size`.
func fill(_ target: UnsafeMutablePointer<lw_telemetry>, _ telemetry: LayerTelemetry) {
    if target.pointee.struct_size != formerTelemetrySize { target.pointee.lost_count = Int64(telemetry.lostCount) }
    target.pointee.gradient_norm = telemetry.gradientNorm
    target.pointee.weight_norm = telemetry.weightNorm
    target.pointee.update_norm = telemetry.updateNorm
    target.pointee.update_ratio = telemetry.updateRatio
    target.pointee.trust_ratio = telemetry.trustRatio
    target.pointee.clip_factor = telemetry.clipFactor
    target.pointee.effective_lr = telemetry.effectiveRate
    target.pointee.nonfinite_count = Int64(telemetry.nonfiniteCount)
}
