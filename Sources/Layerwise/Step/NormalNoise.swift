// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Normal noise for the gradients of one tensor at one step.
///
/// The numbers of a pair of elements follow from the seed, the tensor's names, its step and their place alone, by a generator that
/// counts (`addNoise`): threads, instruction sets and the order of tensors change nothing, and a resumed run goes on with the same noise.
///
/// Source: Neelakantan et al. 2015 (arXiv:1511.06807).
struct NormalNoise {
    let deviation: Double
    let seed: UInt64
    /// From the names of the layer and the tensor.
    let key: UInt64
    let step: UInt64

    /// A number for a layer's and a tensor's name: the FNV-1a hash of both.
    static func key(of layer: String, _ tensor: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        for byte in layer.utf8 { add(byte) }
        add(0)
        for byte in tensor.utf8 { add(byte) }
        return hash
    }

    /// Adds noise to `count` lanes.  The first is element `offset` of the tensor.
    func add(to lanes: UnsafeMutableRawPointer, _ offset: Int, _ count: Int, _ kernels: SliceKernels) {
        kernels.addNoise(lanes, offset, count, deviation, seed ^ key, step)
    }
}
