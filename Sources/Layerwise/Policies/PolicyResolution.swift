// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What the policy says, put into the records that a step reads.

extension Optimizer {
    /// Asks policy and freezing plan again.
    func refreshShares() throws(LayerwiseError) {
        refreshPlaces()
        let shares: [LayerScaling]
        do throws(SettingError) {
            try policy.checkWhole()
            shares = try policy.shares(of: places)
        } catch {
            throw LayerwiseError(error, of: "policy \(type(of: policy).declaration.name)")
        }
        for (layer, share) in shares.enumerated() {
            if !(share.scale.isFinite && share.tensors.allSatisfy { $0.scale.isFinite && $0.decay.isFinite }) {
                throw LayerwiseError(
                    .outOfRange, "\(subject(layer)): the policy's scale must be finite, found \(share.scale)",
                    layer: layer)
            }
        }
        try refreshActivities()
        try reserveMeasurements()
        for (layer, share) in shares.enumerated() { put(share, layer) }
        scalesAreStale = false
    }

    /// Depths, towers and roles, if layers or their settings have changed.
    func refreshPlaces() {
        if !placesAreStale { return }
        places = makePlaces()
        placesAreStale = false
    }

    private func put(_ share: LayerScaling, _ layer: Int) {
        let entry = entries[layer]
        let ownScale = entry.settings.scale
        let record = layers.elements + layer
        let measured = measurements.count > 0 ? measuredScale(layer) : 1
        let scalesDecay = measurements.count > 0 && measuredPolicy?.scalesDecay ?? false
        // Where all tensors have a share of the scale in common, it is the layer's.
        let common = share.tensors.map(\.scale).max() ?? 1
        record.pointee.share = ownScale.isNaN ? share.scale * common : ownScale
        record.pointee.isMeasured = ownScale.isNaN && measurements.count > 0 && !scalesDecay
        record.pointee.scale = record.pointee.share * (record.pointee.isMeasured ? measured : 1)
        record.pointee.ownRate = entry.rate.isNaN ? share.rate ?? .nan : entry.rate
        entries[layer].origin = ownScale.isNaN ? share.origin : "layer"
        for tensor in 0..<record.pointee.tensorCount {
            let own = tensor < share.tensors.count ? share.tensors[tensor] : TensorScaling()
            let target = tensors.elements + record.pointee.firstTensor + tensor
            target.pointee.scale = !ownScale.isNaN || common == 0 ? 1 : own.scale / common
            target.pointee.kind = TensorTraits(
                isMatrix: target.pointee.kind.isMatrix, decayScale: own.decay * (scalesDecay ? measured : 1),
                mayAdapt: own.mayAdapt,
                epsilon: target.pointee.kind.epsilon)
        }
    }

    /// What policies and freezing plans see of the layers.
    private func makePlaces() -> [LayerDescriptor] {
        var counts: [NameKey: Int] = [:]
        var lowest: [NameKey: Int] = [:]
        var highest: [NameKey: Int] = [:]
        let depths = entries.enumerated().map { layer, entry -> Int in
            // A part is where its whole is, which makes no place of its own.
            if layers.elements[layer].whole != layer { return -1 }
            let tower = NameKey(entry.settings.tower)
            let order = counts[tower, default: 0]
            counts[tower] = order + 1
            let depth = entry.settings.depth >= 0 ? entry.settings.depth : order
            lowest[tower] = min(lowest[tower] ?? depth, depth)
            highest[tower] = max(highest[tower] ?? depth, depth)
            return depth
        }
        return entries.indices.map { layer in
            let entry = entries[layer]
            let whole = layers.elements[layer].whole
            let depth = depths[whole]
            let tower = NameKey(entry.settings.tower)
            let role: LayerRole =
                switch entry.settings.role {
                case .stem: .stem
                case .block: .block
                case .norm: .norm
                case .head: .head
                case .depth where depth == highest[tower]: .head
                case .depth where depth == lowest[tower]: .stem
                case .depth: .block
                }
            return LayerDescriptor(
                name: entries[whole].name, depth: depth, tower: tower.text, role: role, tensors: entry.tensors)
        }
    }
}
