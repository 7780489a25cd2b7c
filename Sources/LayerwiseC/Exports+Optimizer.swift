// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

@_cdecl("lw_optimizer_create") @implementation
public func lw_optimizer_create(
    _ out: UnsafeMutablePointer<OpaquePointer?>!, _ rule: UnsafePointer<CChar>!, _ settings: UnsafePointer<lw_setting>!,
    _ setting_count: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    out?.pointee = nil
    return boundary(error) { () throws(LayerwiseError) in
        InternedCString.prepare()
        let out = try require(out, "out")
        let optimizer = try Optimizer(
            rule: try string(rule, "rule"), settings: try LayerwiseC.settings(settings, setting_count))
        guard let handle = HandleTable.optimizers.insert(optimizer) else {
            throw LayerwiseError(.outOfMemory, "there is no handle left")
        }
        out.pointee = handle
    }
}

@_cdecl("lw_optimizer_destroy") @implementation
public func lw_optimizer_destroy(_ optimizer: OpaquePointer!, _ error: UnsafeMutablePointer<lw_error>!) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in try HandleTable.optimizers.remove(optimizer) }
}

@_cdecl("lw_optimizer_set") @implementation
public func lw_optimizer_set(
    _ optimizer: OpaquePointer!, _ settings: UnsafePointer<lw_setting>!, _ setting_count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.set(try LayerwiseC.settings(settings, setting_count))
    }
}

@_cdecl("lw_optimizer_get") @implementation
public func lw_optimizer_get(
    _ optimizer: OpaquePointer!, _ key: UnsafePointer<CChar>!, _ number: UnsafeMutablePointer<Double>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let key = try string(key, "key")
        try require(number, "number").pointee = try LayerwiseC.number(try optimizer.value(of: key), key)
    }
}

@_cdecl("lw_optimizer_get_choice") @implementation
public func lw_optimizer_get_choice(
    _ optimizer: OpaquePointer!, _ key: UnsafePointer<CChar>!, _ choice: UnsafeMutablePointer<UnsafePointer<CChar>?>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let key = try string(key, "key")
        try require(choice, "choice").pointee = try LayerwiseC.choice(try optimizer.value(of: key), key)
    }
}

@_cdecl("lw_optimizer_step") @implementation
public func lw_optimizer_step(
    _ optimizer: OpaquePointer!, _ step: UnsafePointer<lw_step>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        guard let step else { return try optimizer.step() }
        try optimizer.step(try options(step.pointee))
    }
}

@_cdecl("lw_optimizer_set_loss") @implementation
public func lw_optimizer_set_loss(
    _ optimizer: OpaquePointer!, _ loss: Double, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in optimizer.setLoss(loss) }
}

@_cdecl("lw_optimizer_measure_microbatch") @implementation
public func lw_optimizer_measure_microbatch(
    _ optimizer: OpaquePointer!, _ step: UnsafePointer<lw_step>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        guard let step else { return try optimizer.measureMicrobatch() }
        try optimizer.measureMicrobatch(try options(step.pointee))
    }
}

@_cdecl("lw_optimizer_measure_spectra") @implementation
public func lw_optimizer_measure_spectra(
    _ optimizer: OpaquePointer!, _ delay: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.measureSpectra(delay: Int(delay))
    }
}

@_cdecl("lw_optimizer_expect_step") @implementation
public func lw_optimizer_expect_step(_ optimizer: OpaquePointer!, _ error: UnsafeMutablePointer<lw_error>!) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in optimizer.expectStep() }
}

@_cdecl("lw_optimizer_get_memory_size") @implementation
public func lw_optimizer_get_memory_size(
    _ optimizer: OpaquePointer!, _ size: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try require(size, "size").pointee = Int64(try optimizer.memorySize())
    }
}

@_cdecl("lw_optimizer_set_memory") @implementation
public func lw_optimizer_set_memory(
    _ optimizer: OpaquePointer!, _ memory: UnsafeMutableRawPointer!, _ size: Int64,
    _ needed: UnsafeMutablePointer<Int64>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        if size < 0 || (memory == nil && size > 0) {
            throw LayerwiseError(
                .invalidArgument, "memory is \(memory == nil ? "NULL" : "given"), but size is \(size)")
        }
        needed?.pointee = Int64(try optimizer.memorySize())
        try optimizer.setMemory(UnsafeMutableRawBufferPointer(start: memory, count: index(size)))
    }
}

@_cdecl("lw_optimizer_prepare") @implementation
public func lw_optimizer_prepare(_ optimizer: OpaquePointer!, _ error: UnsafeMutablePointer<lw_error>!) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in try optimizer.prepare() }
}

private func options(_ step: lw_step) throws(LayerwiseError) -> StepOptions {
    try check(size: step.struct_size, of: "lw_step", expected: MemoryLayout<lw_step>.size)
    if step.reserved != 0 {
        throw LayerwiseError(.invalidArgument, "lw_step: reserved must be 0, found \(step.reserved)")
    }
    if step.gradient_count < 0 || (step.gradients == nil && step.gradient_count != 0) {
        throw LayerwiseError(
            .invalidArgument,
            "lw_step: gradient_count is \(step.gradient_count), but gradients "
                + (step.gradients == nil ? "is NULL" : "is not"))
    }
    var options = StepOptions(gradientScale: step.gradient_scale)
    if step.layer != -1 { options.layer = index(step.layer < -1 ? -1 : step.layer) }
    if let gradients = step.gradients {
        options.gradients = UnsafeBufferPointer(start: gradients, count: Int(step.gradient_count))
    }
    if let reduce = step.reduce { options.reduce = .function(reduce, context: step.reduce_context) }
    return options
}

@_cdecl("lw_optimizer_get_summary") @implementation
public func lw_optimizer_get_summary(
    _ optimizer: OpaquePointer!, _ summary: UnsafeMutablePointer<lw_summary>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let target = try require(summary, "summary")
        try check(size: target.pointee.struct_size, of: "lw_summary", expected: MemoryLayout<lw_summary>.size)
        let summary = optimizer.summary
        target.pointee.steps = summary.steps
        target.pointee.skipped_steps = summary.skippedSteps
        target.pointee.gradient_norm = summary.gradientNorm
        target.pointee.clip_factor = summary.clipFactor
        target.pointee.next_step = summary.nextStep
    }
}

@_cdecl("lw_optimizer_get_telemetry") @implementation
public func lw_optimizer_get_telemetry(
    _ optimizer: OpaquePointer!, _ rows: UnsafeMutablePointer<lw_telemetry>!, _ row_count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        if row_count != Int64(optimizer.layerCount) {
            throw LayerwiseError(.shape, "expected \(optimizer.layerCount) rows, one a layer, found \(row_count)")
        }
        if row_count == 0 { return }
        let rows = try require(rows, "rows")
        // Rows lie as far apart as the first says, in programs that were compiled with a smaller struct too.
        let size = rows.pointee.struct_size
        try checkTelemetrySize(size)
        func row(_ layer: Int) -> UnsafeMutablePointer<lw_telemetry> {
            (UnsafeMutableRawPointer(rows) + layer * Int(size)).assumingMemoryBound(to: lw_telemetry.self)
        }
        for layer in 0..<optimizer.layerCount {
            try check(size: row(layer).pointee.struct_size, of: "lw_telemetry", expected: Int(size))
        }
        for layer in 0..<optimizer.layerCount { fill(row(layer), try optimizer.telemetry(layer)) }
    }
}
