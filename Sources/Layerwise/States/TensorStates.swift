// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import LayerwiseRules

// What is kept for a tensor: its step count, the states that its rule declares, the master copy of its parameters.  Nothing
// else in the library knows how a state is allocated, where it lies, or what it starts as.

/// One state of one tensor, where it is kept.
struct KeptState {
    let name: String
    let dtype: DType
    let shape: [Int]
    /// Elements.
    let count: Int
    /// nil for a state without elements, or of a tensor whose memory the caller has not given yet.  A number inside the tensor's record stays where it is until a layer is added.
    let memory: UnsafeMutableRawPointer?
    /// Whether the memory stays where it is as long as the optimizer is there.
    let lasts: Bool
    /// Whether it is one number for all tensors.
    var isShared = false
}

extension Optimizer {
    static let stepState = "step"
    static let masterState = "master"
    static let lastChangeState = "last_change"
    static let lastSignsState = "last_signs"
    static let startWeightsState = "start_weights"
    static let averageState = "average"
    static let averageCountState = "average_count"
    static let parkedState = "training_weights"
    static let slowWeightsState = "slow_weights"

    /// What follows the weights, which is not of the rule.
    static let followingStates: Set<String> = [averageState, averageCountState, parkedState, slowWeightsState]

    /// The states that a layer's rule may keep, in the order of the declaration.
    func declaredStates(of layer: Int) -> [StateDeclaration] {
        type(of: rules[layers.elements[layer].rule]).declaration.states
    }

    /// The numbers that all tensors share, which only the optimizer's own rule may have.
    var sharedStates: [StateDeclaration] { type(of: rule).declaration.states.filter { $0.shape == .shared } }

    /// The states of the tensor of this index: its step count, the declared ones that it has, the master copy.
    func keptStates(_ index: Int) -> [KeptState] {
        let record = tensors.elements + index
        let shape = entries[record.pointee.layer].tensors[index - layers.elements[record.pointee.layer].firstTensor]
            .part
        let count = record.pointee.count
        var states: [KeptState] = []
        withUnsafeMutablePointer(to: &record.pointee.steps) {
            states.append(
                KeptState(
                    name: Self.stepState, dtype: .int64, shape: [], count: 1, memory: UnsafeMutableRawPointer($0),
                    lasts: false))
        }
        for (position, state) in declaredStates(of: record.pointee.layer).enumerated()
        where record.pointee.kept.contains(.state(position)) {
            let (dtype, own) = record.pointee.layout(of: state, shape)
            let memory =
                switch state.shape {
                case .parameter, .strided: record.pointee.state(state.slot)
                case .rows, .rowMeans, .axes: record.pointee.factors(of: state).rows
                case .columns: record.pointee.factors(of: state).columns
                case .scalar:
                    withUnsafeMutablePointer(to: &record.pointee.scalars) {
                        UnsafeMutableRawPointer($0) + state.slot * MemoryLayout<Double>.stride
                    }
                case .shared:
                    UnsafeMutableRawPointer(
                        ruleRecords.elements[layers.elements[record.pointee.layer].rule].sharesByLayer
                            ? layerShared.elements + 2 * record.pointee.layer : shared.elements)
                        + state.slot * MemoryLayout<Double>.stride
                }
            states.append(
                KeptState(
                    name: state.name, dtype: dtype, shape: own, count: record.pointee.elements(of: state),
                    memory: memory,
                    lasts: dtype == record.pointee.laneType && state.shape.isArray, isShared: state.shape == .shared))
        }
        if record.pointee.copies.contains(.master) {
            states.append(
                KeptState(
                    name: Self.masterState, dtype: .float32, shape: shape, count: count, memory: record.pointee.master,
                    lasts: true))
        }
        let lane = record.pointee.laneType
        let watched = [
            (Self.lastChangeState, LaneCopies.lastChange, lane, record.pointee.lastChange),
            (Self.lastSignsState, .lastSigns, .int8, record.pointee.lastSigns),
            (Self.startWeightsState, .startWeights, lane, record.pointee.startWeights),
        ]
        for (name, copy, dtype, memory) in watched where record.pointee.copies.contains(copy) {
            states.append(
                KeptState(name: name, dtype: dtype, shape: shape, count: count, memory: memory, lasts: true))
        }
        return states + followingStates(record, shape)
    }

    /// What follows the weights of a tensor.
    private func followingStates(_ record: UnsafeMutablePointer<TensorStepData>, _ shape: [Int]) -> [KeptState] {
        let following = record.pointee.following
        func state(_ name: String, _ dtype: DType, _ memory: UnsafeMutableRawPointer?) -> KeptState {
            KeptState(
                name: name, dtype: dtype, shape: shape, count: record.pointee.count, memory: memory, lasts: true)
        }
        var states: [KeptState] = []
        let copies = record.pointee.copies
        if copies.contains(.average) {
            states.append(state(Self.averageState, record.pointee.laneType, following.average))
            withUnsafeMutablePointer(to: &record.pointee.following.count) {
                states.append(
                    KeptState(
                        name: Self.averageCountState, dtype: .float64, shape: [], count: 1,
                        memory: UnsafeMutableRawPointer($0), lasts: false))
            }
        }
        if copies.contains(.parked) {
            states.append(state(Self.parkedState, record.pointee.dtype, following.parked))
        }
        if copies.contains(.slow) {
            states.append(state(Self.slowWeightsState, record.pointee.laneType, following.slow))
        }
        return states
    }

    /// Gives all tensors what the policy watches of them, where they lack it.  Refused where there is no memory; what was given
    /// until then stays, and changes no result.
    func reserveWatching() throws(LayerwiseError) {
        guard let watching = policy.measuredPart?.watching, !watching.isEmpty, !settings.dryRun else { return }
        for index in 0..<tensors.count where !tensors.elements[index].watch(watching, &memory) {
            throw noMemory("what the policy watches of \(subject(tensors.elements[index].layer))")
        }
    }

    /// What the numbers start at that a rule keeps for the optimizer or for each layer.
    static func start(ofShared rule: any DeclaredRule) -> SharedScalars {
        var shared = SharedScalars()
        for state in type(of: rule).declaration.states where state.shape == .shared {
            switch state.start {
            case .value(let value): shared[state.slot] = value
            case .setting(let key):
                if case .number(let value) = rule.value(of: key) { shared[state.slot] = value }
            case .parameters: break
            }
        }
        return shared
    }

    /// The states of a layer that its rule keeps by layer.
    func ownSharedStates(of layer: Int) -> [StateDeclaration] {
        ruleRecords.elements[layers.elements[layer].rule].sharesByLayer
            ? declaredStates(of: layer).filter { $0.shape == .shared } : []
    }

    /// Gives every tensor the states that `wanted` says, by tensor, where it lacks them; all or none.
    func addStates(wanted: (_ tensor: Int) -> StateSet) throws(LayerwiseError) {
        try addStates(to: 0..<layers.count, wanted: wanted)
    }

    /// Gives the tensors of some layers the states that `wanted` says, by tensor, where they lack them; all or none.
    func addStates(
        to layers: some Sequence<Int>, wanted: (_ tensor: Int) -> StateSet
    ) throws(LayerwiseError) {
        try checkRoom(for: layers, wanted)
        var added: [(tensor: Int, states: StateSet)] = []
        for layer in layers {
            let own = self.layers.elements[layer]
            let declared = declaredStates(of: layer)
            for index in own.firstTensor..<own.firstTensor + own.tensorCount {
                let record = tensors.elements + index
                let missing = wanted(index).subtracting(record.pointee.kept)
                if missing.isEmpty { continue }
                guard record.pointee.addStates(missing, declared, &memory) else {
                    for (tensor, states) in added {
                        tensors.elements[tensor].removeStates(
                            states, declaredStates(of: tensors.elements[tensor].layer), memory)
                    }
                    throw noMemory("the state of \(subject(layer))", layer: layer)
                }
                added.append((index, missing))
            }
        }
    }
}

extension TensorStepData {
    /// The type and the shape of a state, for a parameter of this shape.
    func layout(of state: StateDeclaration, _ parameter: [Int]) -> (dtype: DType, shape: [Int]) {
        switch state.shape {
        case .parameter: (laneType, parameter)
        case .strided: (laneType, stride == 1 ? parameter : [stridedCount])
        case .rows, .rowMeans: (laneType, parameter.dropLast() + [1])
        case .axes: (laneType, [matrices.axisCount])
        case .columns: (laneType, parameter.dropLast(2) + [1] + parameter.suffix(1))
        case .scalar, .shared: (.float64, [])
        }
    }

    /// How many numbers a state has.
    func elements(of state: StateDeclaration) -> Int {
        switch state.shape {
        case .parameter: count
        case .strided: stridedCount
        case .rows, .rowMeans: matrices.rowCount
        case .columns: matrices.columnCount
        case .axes: matrices.axisCount
        case .scalar, .shared: 1
        }
    }

    /// Allocates and starts these states, which the tensor must not have yet.  Returns false, and changes nothing, if there is
    /// no memory.  States in memory that the caller has promised get none yet.
    mutating func addStates(
        _ states: StateSet, _ declared: [StateDeclaration], _ source: inout MemorySource
    ) -> Bool {
        var added = StateSet()
        for (position, state) in declared.enumerated() where states.contains(.state(position)) {
            if state.shape.isArray {
                let memory = allocate(state, &source)
                if memory == nil && !source.isPromised {
                    removeStates(added, declared, source)
                    return false
                }
                set(state, memory)
            }
            start(state, isZeroed: true)
            added.insert(.state(position))
            kept.insert(.state(position))
        }
        return true
    }

    /// Frees these states, which the tensor must have.
    fileprivate mutating func removeStates(
        _ states: StateSet, _ declared: [StateDeclaration], _ source: MemorySource
    ) {
        for (position, state) in declared.enumerated() where states.contains(.state(position)) {
            if state.shape.isArray {
                source.free(memory(of: state), bytes(of: state))
                set(state, nil, isKept: false)
            }
            kept.remove(.state(position))
        }
    }

    /// Memory for a state that is an array; nil if it could not be allocated.
    private func allocate(_ state: StateDeclaration, _ source: inout MemorySource) -> UnsafeMutableRawPointer? {
        state.shape.hasSlot && elements(of: state) == count
            ? allocateState(state.slot, from: &source) : source.allocateZeroed(bytes(of: state))
    }

    /// Takes memory for all that is kept from another source, and moves there what there is; if it is only counted, nothing changes.
    mutating func layOut(_ declared: [StateDeclaration], in source: inout MemorySource) {
        // The master copy comes first: a state may start as the parameters.
        let hadMaster = master != nil
        layOut(.master, \.master, in: &source) { _, _ in }
        if !hadMaster { fillMaster() }
        for (position, state) in declared.enumerated() where state.shape.isArray && kept.contains(.state(position)) {
            guard let memory = source.allocateZeroed(bytes(of: state)) else { continue }
            let former = self.memory(of: state)
            set(state, memory)
            if let former { memcpy(memory, former, bytes(of: state)) } else { start(state, isZeroed: true) }
        }
        layOut(.lastChange, \.lastChange, in: &source) { _, _ in }
        layOut(.lastSigns, \.lastSigns, in: &source) { _, _ in }
        layOut(.startWeights, \.startWeights, in: &source) { $0.copyParameters(to: $1) }
        layOut(.average, \.following.average, in: &source) { $0.copyParameters(to: $1) }
        layOut(.parked, \.following.parked, in: &source) { _, _ in }
        layOut(.slow, \.following.slow, in: &source) { $0.copyParameters(to: $1) }
    }

    /// Lays out one copy, which `start` makes where there is none yet.
    private mutating func layOut(
        _ copy: LaneCopies, _ place: WritableKeyPath<Self, UnsafeMutableRawPointer?>, in source: inout MemorySource,
        start: (_ tensor: Self, _ memory: UnsafeMutableRawPointer) -> Void
    ) {
        guard copies.contains(copy), let memory = source.allocateZeroed(bytes(of: copy)) else { return }
        if let former = self[keyPath: place] { memcpy(memory, former, bytes(of: copy)) } else { start(self, memory) }
        self[keyPath: place] = memory
    }

    /// The bytes of memory that these states and copies take of the caller's.
    func bytes(of states: StateSet, _ declared: [StateDeclaration], _ copies: LaneCopies = []) -> Int {
        var counted = MemorySource.counted
        for bit in 0..<8 where copies.contains(LaneCopies(rawValue: 1 << bit)) {
            _ = counted.allocateZeroed(bytes(of: LaneCopies(rawValue: 1 << bit)))
        }
        for (position, state) in declared.enumerated() where state.shape.isArray && states.contains(.state(position)) {
            _ = allocate(state, &counted)
        }
        return counted.used
    }

    /// The bytes of one copy, with its padding.
    private func bytes(of copy: LaneCopies) -> Int { copy == .lastSigns ? signBytes : stateBytes }

    /// The memory of a state that is an array.
    private func memory(of state: StateDeclaration) -> UnsafeMutableRawPointer? {
        switch state.shape {
        case .rows, .rowMeans, .axes: factors(of: state).rows
        case .columns: factors(of: state).columns
        default: self.state(state.slot)
        }
    }

    /// The bytes of that memory.
    private func bytes(of state: StateDeclaration) -> Int {
        state.shape.hasSlot && elements(of: state) == count
            ? stateBytes : Self.factorBytes(elements(of: state), laneType)
    }

    /// The bytes of rows or columns, with a group of lanes behind the last that kernels may read.
    private static func factorBytes(_ count: Int, _ lane: DType) -> Int { (count * lane.size + 127) / 64 * 64 }

    private mutating func set(
        _ state: StateDeclaration, _ memory: UnsafeMutableRawPointer?, isKept: Bool = true
    ) {
        var pair = factors(of: state)
        pair.slot = state.slot
        switch state.shape {
        case .rows: (pair.rows, pair.hasRows) = (memory, isKept)
        case .columns: (pair.columns, pair.hasColumns) = (memory, isKept)
        case .rowMeans: (pair.kind, pair.rows, pair.hasRows) = (.means, memory, isKept)
        case .axes:
            (pair.kind, pair.rows, pair.hasRows, pair.hasColumns) = (.least, memory, isKept, isKept)
            pair.columns = memory.map { $0 + max(0, matrices.axisCount - matrices.columns) * laneType.size }
        default: return setState(state.slot, memory)
        }
        if state.pair == 0 { factors.0 = pair } else { factors.1 = pair }
    }

    /// The rows and columns to which a state belongs.
    fileprivate func factors(of state: StateDeclaration) -> FactorPair { state.pair == 0 ? factors.0 : factors.1 }

    /// Resets the step count to 0, every declared state to its start, and the master copy to the parameters.
    mutating func restart(_ declared: [StateDeclaration]) {
        // The master copy comes first: a state may start as the parameters.
        fillMaster()
        restart(kept, declared)
        restartWatching()
        startAverage()
        startSlowWeights()
        steps = 0
    }

    /// Resets the step count and the declared states, and gives back the memory of those that are 0.  The master copy stays.
    /// `givesBack`: false for memory of the caller's, which is only filled with zeros.
    mutating func clear(_ declared: [StateDeclaration], givesBack: Bool) {
        for (position, state) in declared.enumerated() where kept.contains(.state(position)) {
            if givesBack, state.shape.hasSlot, state.start == .value(0), let memory = self.state(state.slot) {
                Memory.clear(memory, bytes(of: state))
            } else {
                start(state, isZeroed: false)
            }
        }
        if let lastChange {
            if givesBack { Memory.clear(lastChange, stateBytes) } else { memset(lastChange, 0, stateBytes) }
        }
        if let lastSigns {
            if givesBack { Memory.clear(lastSigns, signBytes) } else { memset(lastSigns, 0, signBytes) }
        }
        steps = 0
    }

    /// Resets some of the declared states to their start, where the tensor has them.
    mutating func restart(_ states: StateSet, _ declared: [StateDeclaration]) {
        for (position, state) in declared.enumerated()
        where states.contains(.state(position)) && kept.contains(.state(position)) {
            start(state, isZeroed: false)
        }
    }

    /// Gives a state the value that it starts with.  `isZeroed`: its memory holds zeros.
    private mutating func start(_ declaration: StateDeclaration, isZeroed: Bool) {
        switch (declaration.shape, declaration.start) {
        case (.scalar, .value(let value)): scalars[declaration.slot] = value
        // The optimizer starts its own; and no declaration makes a scalar of anything else.
        case (.shared, _), (.scalar, _), (_, .setting), (.rows, .parameters), (.columns, .parameters),
            (.rowMeans, .parameters), (.axes, .parameters):
            break
        case (.rows, .value(let value)), (.columns, .value(let value)), (.rowMeans, .value(let value)),
            (.axes, .value(let value)):
            // All of them start at 0.
            if let memory = memory(of: declaration), !isZeroed, value == 0 { memset(memory, 0, bytes(of: declaration)) }
        case (.parameter, .value(let value)):
            guard let memory = state(declaration.slot) else { return }
            if value == 0 {
                if !isZeroed { memset(memory, 0, stateBytes) }
            } else {
                fill(memory, value)
            }
        case (.strided, .value):
            // All of them start at 0.
            if let memory = state(declaration.slot), !isZeroed { memset(memory, 0, bytes(of: declaration)) }
        case (.parameter, .parameters), (.strided, .parameters):
            if let memory = state(declaration.slot) { copyParameters(to: memory, of: declaration) }
        }
    }

    /// Fills a state with one number; what pads it to whole groups of lanes stays 0.
    private func fill(_ memory: UnsafeMutableRawPointer, _ value: Double) {
        if laneType == .float64 {
            memory.bindMemory(to: Double.self, capacity: count).update(repeating: value, count: count)
        } else {
            memory.bindMemory(to: Float.self, capacity: count).update(repeating: Float(value), count: count)
        }
    }

    /// Starts the states that are copies of the parameters, before the tensor's first step: parameters may have been loaded
    /// since the states were made.
    func copyParameters(_ declared: [StateDeclaration]) {
        for (position, declaration) in declared.enumerated()
        where declaration.start == .parameters && kept.contains(.state(position)) {
            if let memory = state(declaration.slot) { copyParameters(to: memory, of: declaration) }
        }
    }

    /// Copies the parameters to a state, or those of them for which it has numbers.
    private func copyParameters(to memory: UnsafeMutableRawPointer, of state: StateDeclaration) {
        if state.shape == .parameter || stride == 1 { return copyParameters(to: memory) }
        guard let parameters, count > 0 else { return }
        if let master { dtype.kernels(in: InstructionSet.kernels).adopt?(parameters, count, master) }
        let (source, type) = master.map { (UnsafeRawPointer($0), laneType) } ?? (UnsafeRawPointer(parameters), dtype)
        for index in 0..<stridedCount {
            let value = Optimizer.element(source, index * Int(stride), type)
            if laneType == .float64 {
                memory.storeBytes(of: value, toByteOffset: index * 8, as: Double.self)
            } else {
                memory.storeBytes(of: Float(value), toByteOffset: index * 4, as: Float.self)
            }
        }
    }

    /// Copies the parameters, as lanes: the master copy if there is one, which knows them best.
    func copyParameters(to memory: UnsafeMutableRawPointer) {
        guard let parameters, count > 0 else { return }
        if let master {
            dtype.kernels(in: InstructionSet.kernels).adopt?(parameters, count, master)
            memcpy(memory, master, count * laneType.size)
        } else {
            dtype.kernels(in: InstructionSet.kernels).decode(parameters, count, memory)
        }
    }

    /// Makes a float32 copy of the parameters; false if there is no memory.
    mutating func addMaster(_ source: inout MemorySource) -> Bool {
        copies.insert(.master)
        if source.isPromised { return true }
        guard let memory = allocateState(TensorStepData.stateSlots, from: &source) else { return false }
        master = memory
        fillMaster()
        return true
    }

    /// Copies the parameters to their master copy, where there is one.
    func fillMaster() {
        guard let master, let parameters, count > 0 else { return }
        dtype.kernels(in: InstructionSet.kernels).decode(parameters, count, master)
    }

    /// Makes room for what is watched; false if there is no memory.
    mutating func watch(_ watching: Watching, _ source: inout MemorySource) -> Bool {
        let isPromised = source.isPromised
        if watching.keepsLastChange && !copies.contains(.lastChange) {
            lastChange = isPromised ? nil : allocateState(TensorStepData.stateSlots + 1, from: &source)
            if lastChange == nil && !isPromised { return false }
            copies.insert(.lastChange)
        }
        if watching.contains(.signs) && !copies.contains(.lastSigns) {
            lastSigns = isPromised ? nil : source.allocateZeroed(signBytes)
            if lastSigns == nil && !isPromised { return false }
            copies.insert(.lastSigns)
        }
        if watching.keepsStart && !copies.contains(.startWeights) {
            startWeights = isPromised ? nil : allocateState(TensorStepData.stateSlots + 2, from: &source)
            if startWeights == nil && !isPromised { return false }
            copies.insert(.startWeights)
            startWatching()
        }
        return true
    }

    /// There was no change yet, and the weights are those at the start.
    func restartWatching() {
        if let lastChange { memset(lastChange, 0, stateBytes) }
        if let lastSigns { memset(lastSigns, 0, signBytes) }
        startWatching()
    }

    /// The weights are those at the start.
    func startWatching() {
        if let startWeights { copyParameters(to: startWeights) }
    }

    /// Frees all that is kept, in memory of the library.
    func freeStates(_ declared: [StateDeclaration]) {
        Memory.free(lastChange, stateBytes)
        Memory.free(lastSigns, signBytes)
        Memory.free(startWeights, stateBytes)
        freeFollowing()
        for state in declared where state.shape.hasSlot { Memory.free(self.state(state.slot), bytes(of: state)) }
        for pair in [factors.0, factors.1] {
            let places = pair.kind == .least ? matrices.axisCount : matrices.rowCount
            Memory.free(pair.rows, Self.factorBytes(places, laneType))
            if pair.kind == .product { Memory.free(pair.columns, Self.factorBytes(matrices.columnCount, laneType)) }
        }
        Memory.free(master, stateBytes)
    }

    /// The bytes of all states but the step count, without padding.
    func keptBytes(_ declared: [StateDeclaration]) -> Int {
        let lanes = copies.subtracting([.parked, .lastSigns]).rawValue.nonzeroBitCount
        let others = (copies.contains(.parked) ? dtype.size : 0) + (copies.contains(.lastSigns) ? 1 : 0)
        var bytes = count * (lanes * laneType.size + others)
        if copies.contains(.average) { bytes += MemoryLayout<Double>.size }
        for (position, state) in declared.enumerated() where kept.contains(.state(position)) {
            switch state.shape {
            case .parameter, .strided, .rows, .columns, .rowMeans, .axes: bytes += elements(of: state) * laneType.size
            case .scalar: bytes += MemoryLayout<Double>.size
            case .shared: break
            }
        }
        return bytes
    }
}
