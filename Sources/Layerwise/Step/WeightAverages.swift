// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import LayerwiseRules

// Weights that follow those of the rule: an average, which evaluation may use, and the slow weights of Lookahead.  Both are
// changed behind the rule, block by block, while the weights are in the cache.

extension Settings {
    /// Whether weights are averaged.
    var averages: Bool { average != .none }
    /// Whether slow weights follow.
    var looksAhead: Bool { lookaheadPeriod > 0 }

    /// Whether averages take the weights in after so many steps.
    func isAveraged(after steps: Int64) -> Bool {
        averages && steps >= averageStart && (steps - Int64(averageStart)) % Int64(averagePeriod) == 0
    }

    /// The share that the weights get of an average that has taken in `count` before.
    func averageShare(count: Double) -> Double {
        // Any bits may have been written to a state.
        let n = count >= 1 && count < .infinity ? count : 0
        if n == 0 { return 1 }
        return switch average {
        case .none: 0
        case .ema: 1 - (averageWarmup ? min(averageDecay, (1 + n) / (10 + n)) : averageDecay)
        case .polynomial: (averageGamma + 1) / (averageGamma + n + 1)
        }
    }

    /// The share that the weights get of the slow weights after so many steps; 0 where these stay.
    func slowShare(after steps: Int64) -> Double {
        looksAhead && steps % Int64(lookaheadPeriod) == 0 ? lookaheadRate : 0
    }
}

/// What follows the weights of one tensor.
struct FollowingWeights: BitwiseCopyable {
    /// The average, in lanes.  While the optimizer evaluates it is in the parameters, and here are the weights for training, where
    /// neither a master copy nor `parked` has them.
    var average: UnsafeMutableRawPointer?
    /// Room for weights of 16 bits without a master copy while the optimizer evaluates.
    var parked: UnsafeMutableRawPointer?
    /// The slow weights of Lookahead, in lanes.
    var slow: UnsafeMutableRawPointer?
    /// How many times the average has taken the weights in.
    var count = 0.0

    // For the step under way: the share that the weights get of the average and of the slow weights; 0 where these stay.
    var averageShare = 0.0
    var slowShare = 0.0

    /// Whether something follows in the step under way.
    var isDue: Bool { averageShare > 0 || slowShare > 0 }
}

extension Optimizer {
    /// Says for every tensor what follows its weights in this step.  Returns whether this concerns a tensor that does not step: an
    /// average goes on towards weights that rest, once they have moved.
    func planFollowing(_ stepped: Range<Int>) -> Bool {
        if !settings.averages && !settings.looksAhead && !hasFollowed { return false }
        hasFollowed = settings.averages || settings.looksAhead
        let steps = currentStep == .max ? .max : currentStep + 1
        let isAveraged = settings.isAveraged(after: steps)
        let slowShare = settings.slowShare(after: steps)
        var concernsResting = false
        for index in 0..<tensors.count {
            let tensor = tensors.elements + index
            let isStepped = stepped.contains(tensor.pointee.layer)
            let active = tensor.pointee.active && isStepped
            if active && tensor.pointee.steps == 0 { tensor.pointee.startSlowWeights() }
            let moves = isStepped && (active || tensor.pointee.following.count > 0)
            tensor.pointee.following.averageShare =
                isAveraged && moves ? settings.averageShare(count: tensor.pointee.following.count) : 0
            tensor.pointee.following.slowShare = active ? slowShare : 0
            if !active && tensor.pointee.following.averageShare > 0 { concernsResting = true }
        }
        return concernsResting
    }

    /// Lets the averages of tensors that do not step follow.
    func followResting(_ context: StepContext) {
        var context = context
        context.items = UnsafePointer(work.items.elements)
        run(followItem, context, count: work.items.count)
    }

    /// Counts what the averages have taken in.
    func countFollowing() {
        if !hasFollowed { return }
        for index in 0..<tensors.count where tensors.elements[index].following.averageShare > 0 {
            tensors.elements[index].following.count += 1
        }
    }

    /// Gives all tensors what the settings say that follows them, where they lack it; all or none.  An average that is not in
    /// force yet begins as the weights.
    func reserveFollowing(_ settings: Settings) throws(LayerwiseError) {
        if mode == .evaluation && self.settings.average != settings.average {
            throw LayerwiseError(
                .invalidArgument,
                "average cannot be changed while the parameters hold the weights for evaluation: set the mode to training "
                    + "first")
        }
        if settings.dryRun { return }
        for index in 0..<tensors.count where !tensors.elements[index].follow(settings, &memory) {
            throw noMemory(
                "the average or the slow weights of \(subject(tensors.elements[index].layer))",
                layer: tensors.elements[index].layer)
        }
        for index in 0..<tensors.count {
            if settings.averages && !self.settings.averages { tensors.elements[index].startAverage() }
            if settings.looksAhead && !self.settings.looksAhead { tensors.elements[index].startSlowWeights() }
        }
    }
}

extension TensorStepData {
    /// Makes room for what follows the weights; false if there is no memory.
    mutating func follow(_ settings: Settings, _ source: inout MemorySource) -> Bool {
        let isPromised = source.isPromised
        let missing = missing(settings)
        if missing.contains(.average) {
            following.average = isPromised ? nil : allocateState(TensorStepData.stateSlots + 3, from: &source)
            if following.average == nil && !isPromised { return false }
            copies.insert(.average)
            startAverage()
        }
        if missing.contains(.parked) {
            following.parked = isPromised ? nil : source.allocateZeroed(stateBytes)
            if following.parked == nil && !isPromised { return false }
            copies.insert(.parked)
        }
        if missing.contains(.slow) {
            following.slow = isPromised ? nil : allocateState(TensorStepData.stateSlots + 4, from: &source)
            if following.slow == nil && !isPromised { return false }
            copies.insert(.slow)
            startSlowWeights()
        }
        return true
    }

    /// What of it the tensor lacks.  Weights of 16 bits without a master copy need room while the parameters hold the average.
    func missing(_ settings: Settings) -> LaneCopies {
        var wanted = LaneCopies()
        if settings.averages { wanted.insert(.average) }
        if settings.averages && !copies.contains(.master) && dtype != laneType { wanted.insert(.parked) }
        if settings.looksAhead { wanted.insert(.slow) }
        return wanted.subtracting(copies)
    }

    /// The average is the weights, of which it has taken in none.
    mutating func startAverage() {
        if let average = following.average { copyParameters(to: average) }
        following.count = 0
    }

    /// The slow weights are the weights.
    func startSlowWeights() {
        if let slow = following.slow { copyParameters(to: slow) }
    }

    /// Frees what follows the weights.
    func freeFollowing() {
        Memory.free(following.average, stateBytes)
        Memory.free(following.parked, stateBytes)
        Memory.free(following.slow, stateBytes)
    }
}

/// Lets the averages of one item's tensors follow where these do not step.
private let followItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    let scratch = context.scratch(slot)
    for index in item.first..<item.end {
        let block = context.blocks[index]
        let tensor = context.tensors + block.tensor
        if tensor.pointee.active { continue }
        follow(block, tensor, context, scratch)
    }
}

/// Lets the average and the slow weights of a block follow its weights.
///
/// Lookahead (Zhang et al. 2019, algorithm 1): φ ← φ + α·(θ − φ), θ ← φ.  Averages: a ← a + share·(θ − a).
@inline(never)
func follow(
    _ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ context: StepContext, _ scratch: Scratch
) {
    let following = tensor.pointee.following
    guard following.isDue, let parameters = tensor.pointee.parameters else { return }
    let (dtype, lane) = (tensor.pointee.dtype, tensor.pointee.laneType)
    let stored = dtype.kernels(in: context.table)
    let lanes = lane.kernels(in: context.table)
    let group = 64 / lane.size
    let tileCount = Scratch.tileBytes / lane.size
    let end = block.start + block.count
    var offset = block.start
    while offset < end {
        let target = parameters + offset * dtype.size
        let master = tensor.pointee.master.map { $0 + offset * lane.size }
        var count = end - offset
        var weights: UnsafeRawPointer
        if let master {
            weights = UnsafeRawPointer(master)
        } else if dtype == lane && count >= group {
            // Only whole groups of lanes may be read where the weights lie.
            count -= count % group
            weights = UnsafeRawPointer(target)
        } else {
            count = min(count, tileCount)
            stored.decode(target, count, scratch.weights)
            weights = UnsafeRawPointer(scratch.weights)
        }
        if following.slowShare > 0, let slow = following.slow {
            let own = slow + offset * lane.size
            if following.slowShare == 1 {
                lanes.decode(weights, count, own)
            } else {
                lanes.blend(weights, count, following.slowShare, own)
            }
            if let master { lanes.decode(own, count, master) }
            stored.encodeFinite(own, count, target)
            if master == nil && dtype != lane {
                // What is averaged are the weights as they are stored.
                stored.decode(target, count, scratch.weights)
            } else {
                weights = UnsafeRawPointer(own)
            }
        }
        if following.averageShare > 0, let average = following.average {
            let own = average + offset * lane.size
            if following.averageShare == 1 {
                lanes.decode(weights, count, own)
            } else {
                lanes.blend(weights, count, following.averageShare, own)
            }
        }
        offset += count
    }
}

/// Puts the averages of one item's tensors into the parameters, or the weights for training back: `numbers[0]` is 1 for the
/// averages, else 0.
let exchangeItem: ThreadPool.Job = { memory, item, _ in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    for index in item.first..<item.end {
        let block = context.blocks[index]
        let tensor = context.tensors + block.tensor
        guard tensor.pointee.active, let parameters = tensor.pointee.parameters,
            let average = tensor.pointee.following.average
        else { continue }
        let (dtype, lane) = (tensor.pointee.dtype, tensor.pointee.laneType)
        let evaluates = tensor.pointee.numbers[0] == 1
        let target = parameters + block.start * dtype.size
        let own = average + block.start * lane.size
        let bytes = block.count * dtype.size
        let kernels = dtype.kernels(in: context.table)
        if let master = tensor.pointee.master {
            let lanes = master + block.start * lane.size
            if evaluates { kernels.adopt?(target, block.count, lanes) }
            kernels.encodeFinite(evaluates ? own : lanes, block.count, target)
        } else if let parked = tensor.pointee.following.parked {
            let room = parked + block.start * dtype.size
            if evaluates {
                memcpy(room, target, bytes)
                kernels.encodeFinite(own, block.count, target)
            } else {
                memcpy(target, room, bytes)
            }
        } else {
            exchange(target, own, bytes)
        }
    }
}

/// Exchanges the bytes of two buffers.
private func exchange(_ a: UnsafeMutableRawPointer, _ b: UnsafeMutableRawPointer, _ count: Int) {
    var offset = 0
    while offset + 64 <= count {
        let own = a.loadUnaligned(fromByteOffset: offset, as: SIMD64<UInt8>.self)
        let other = b.loadUnaligned(fromByteOffset: offset, as: SIMD64<UInt8>.self)
        a.storeBytes(of: other, toByteOffset: offset, as: SIMD64<UInt8>.self)
        b.storeBytes(of: own, toByteOffset: offset, as: SIMD64<UInt8>.self)
        offset += 64
    }
    while offset < count {
        let own = a.load(fromByteOffset: offset, as: UInt8.self)
        a.storeBytes(of: b.load(fromByteOffset: offset, as: UInt8.self), toByteOffset: offset, as: UInt8.self)
        b.storeBytes(of: own, toByteOffset: offset, as: UInt8.self)
        offset += 1
    }
}
