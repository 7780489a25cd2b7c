// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// μP, by the arithmetic of microsoft/mup's optimizers, and LoRA+.
final class WidthPolicyTests: XCTestCase {
    private typealias Base = MuP.Base

    /// A model four times as wide as its base, 64: an input layer, a hidden one, an output layer, a convolution.
    private static let places = [
        LayerDescriptor.layer("input", ["weight": [256, 10], "bias": [256]]),
        LayerDescriptor.layer("hidden", ["weight": [512, 256], "bias": [512], "step": []]),
        LayerDescriptor.layer("output", ["weight": [7, 512], "bias": [7]]),
        LayerDescriptor.layer("conv", ["weight": [96, 48, 3, 3]]),
    ]

    private static let bases = [
        Base("input/weight", fanOut: 64), Base("input/bias", fanOut: 64),
        Base("hidden/weight", fanIn: 64, fanOut: 64), Base("hidden/bias", fanOut: 64),
        Base("output/weight", fanIn: 64), Base("conv/weight", fanIn: 16, fanOut: 24),
    ]

    private func shares(_ policy: MuP) throws -> [String: TensorScaling] {
        var all: [String: TensorScaling] = [:]
        for (place, share) in zip(Self.places, try policy.shares(of: Self.places)) {
            XCTAssertEqual([share.scale, share.rate ?? 1], [1, 1])
            for (index, tensor) in place.tensors.enumerated() {
                all["\(place.name)/\(tensor.name)"] =
                    index < share.tensors.count ? share.tensors[index] : TensorScaling()
            }
        }
        return all
    }

    /// MuAdam: `if p.infshape.ninf() == 2: matrix_like_p[p.infshape.width_mult()]`, `lr /= width_mult`, and
    /// `weight_decay *= width_mult` unless `decoupled_wd`; all others stay.
    func testMuAdam() throws {
        for decoupled in [false, true] {
            let found = try shares(try MuP(Self.bases, decoupledDecay: decoupled))
            for (name, share) in found {
                let widthMult: Double =
                    switch name {
                    case "hidden/weight": 256.0 / 64
                    case "conv/weight": 48.0 / 16
                    default: 1
                    }
                XCTAssertEqual(share.scale, 1 / widthMult, name)
                XCTAssertEqual(share.decay, decoupled ? 1 : widthMult, accuracy: 1e-15, name)
                XCTAssertTrue(share.mayAdapt)
            }
        }
    }

    /// MuSGD: one infinite dimension: `lr *= width_mult`, `weight_decay /= width_mult`; two:
    /// `lr /= fanin_fanout_mult_ratio`, `weight_decay *= fanin_fanout_mult_ratio`.
    func testMuSGD() throws {
        for decoupled in [false, true] {
            let found = try shares(try MuP(Self.bases, family: .sgd, decoupledDecay: decoupled))
            let wanted: [String: Double] = [
                "input/weight": 256.0 / 64, "input/bias": 256.0 / 64, "hidden/weight": (512.0 / 64) / (256.0 / 64),
                "hidden/bias": 512.0 / 64, "hidden/step": 1, "output/weight": 512.0 / 64, "output/bias": 1,
                "conv/weight": (96.0 / 24) / (48.0 / 16),
            ]
            XCTAssertEqual(Set(wanted.keys), Set(found.keys))
            for (name, share) in found {
                XCTAssertEqual(share.scale, try XCTUnwrap(wanted[name]), accuracy: 1e-15, name)
                XCTAssertEqual(share.decay, decoupled ? 1 : 1 / share.scale, accuracy: 1e-15, name)
            }
        }
    }

    /// The base itself is stepped as without the policy.
    func testBaseWidthsScaleNothing() throws {
        let bases = [
            Base("input/weight", fanOut: 256), Base("hidden/weight", fanIn: 256, fanOut: 512),
            Base("conv/weight", fanIn: 48, fanOut: 96), Base("*/bias", fanOut: 512),
        ]
        let places = Array(Self.places[1...1]) + Self.places.prefix(1).map { LayerDescriptor(name: $0.name, depth: 0) }
        for family in MuP.Family.allCases {
            let shares = try MuP([bases[1]], family: family).shares(of: places)
            XCTAssertTrue(shares.allSatisfy { $0 == LayerScaling() }, "\(family)")
        }
    }

    /// JAX has (in, out) and (height, width, in, out).
    func testLayouts() throws {
        func scale(_ shape: [Int], _ layout: MuP.Layout, _ base: Base, _ family: MuP.Family) throws -> Double? {
            let place = LayerDescriptor(name: "l", depth: 0, tensors: [TensorDescriptor(name: "w", shape: shape)])
            return try MuP([base], family: family, layout: layout).shares(of: [place])[0].tensors.first?.scale
        }
        let base = Base("l/w", fanIn: 16, fanOut: 8)
        for (torch, jax) in [([32, 64], [64, 32]), ([32, 64, 3, 5], [3, 5, 64, 32]), ([32, 64, 7], [7, 64, 32])] {
            for family in MuP.Family.allCases {
                let wanted: Double = family == .adam ? 16.0 / 64 : (32.0 / 8) / (64.0 / 16)
                XCTAssertEqual(try scale(torch, .outIn, base, family) ?? 1, wanted, "\(torch), \(family)")
                XCTAssertEqual(try scale(jax, .inOut, base, family) ?? 1, wanted, "\(jax), \(family)")
            }
        }
        XCTAssertEqual(try scale([32], .outIn, Base("l/w", fanOut: 8), .sgd), 4)
        XCTAssertEqual(try scale([32], .inOut, Base("l/w", fanOut: 8), .sgd), 4)
    }

    func testRefused() {
        func shares(_ base: Base, _ shape: [Int]) throws {
            let place = LayerDescriptor(name: "l", depth: 0, tensors: [TensorDescriptor(name: "w", shape: shape)])
            _ = try MuP([base]).shares(of: [place])
        }
        assertRefused(.invalid("mup: needs the base widths of some tensors")) { _ = try MuP([]) }
        assertRefused(.invalid("mup: base: \"a\" needs a fan_in or a fan_out of at least 1")) {
            _ = try MuP([Base("a")])
        }
        assertRefused(.duplicate("mup: \"a\" is given twice")) {
            _ = try MuP([Base("a", fanIn: 1), Base("a", fanIn: 2)])
        }
        assertRefused(.invalid("mup: base: fan_in must be a whole number from 0 to 9007199254740992, found -1.0")) {
            _ = try MuP([Base("a", fanIn: -1)])
        }
        assertRefused(.invalid("tensor \"l/w\" of shape [5] has no fan-in")) { try shares(Base("l/w", fanIn: 4), [5]) }
        assertRefused(.invalid("tensor \"l/w\" of shape [] has no width")) { try shares(Base("l/w", fanOut: 4), []) }
        assertRefused(.invalid("tensor \"l/w\" of shape [0, 3] has no width")) {
            try shares(Base("l/w", fanOut: 4), [0, 3])
        }
        assertRefused(.unknown("no name of a tensor matches \"m/*\", expected one of \"l/w\"")) {
            try shares(Base("m/*", fanOut: 4), [5])
        }
        assertRefused(.invalid("more than one pattern matches tensor \"l/w\"")) {
            let place = LayerDescriptor(name: "l", depth: 0, tensors: [TensorDescriptor(name: "w", shape: [4, 4])])
            _ = try MuP([Base("l/*", fanIn: 2), Base("*/w", fanIn: 2)]).shares(of: [place])
        }
    }

    /// A step under the policy is one at the rates and decays that mup would set.
    func testActsOnTheStep() throws {
        let rules: [(any DeclaredRule, MuP.Family, Bool)] = [
            (AdamW(lr: 0.25, weightDecay: 0.125), .adam, false), (AdamW(lr: 0.25, weightDecay: 0.125), .adam, true),
            (Adam(lr: 0.25, weightDecay: 0.125), .adam, false),
            (SGD(lr: 0.25, momentum: 0.5, weightDecay: 0.125), .sgd, false),
        ]
        for (rule, family, decoupled) in rules {
            let policy = try MuP(
                [Base("0/0", fanIn: 4, fanOut: 2), Base("0/1", fanOut: 2)], family: family, decoupledDecay: decoupled)
            let policed = try Model(rule, shapes: [[[8, 8], [8], [3, 3]]], policy: policy)
            let manual = try Model(rule, shapes: [[[8, 8]], [[8]], [[3, 3]]])
            let matrix: Double = family == .adam ? 0.5 : 2
            let vector: Double = family == .adam ? 1 : 4
            try manual.optimizer.setLayer(
                0, [Setting("scale", matrix), Setting("weight_decay", decoupled ? 0.125 : 0.125 / matrix)])
            try manual.optimizer.setLayer(
                1, [Setting("scale", vector), Setting("weight_decay", decoupled ? 0.125 : 0.125 / vector)])
            for _ in 0..<3 { for model in [policed, manual] { try model.optimizer.step() } }
            for tensor in 0..<3 {
                XCTAssertTrue(
                    policed.parameters[0][tensor].startsAlike(manual.parameters[tensor][0], [64, 8, 9][tensor]),
                    "\(rule), tensor \(tensor)")
            }
        }
    }

    // MARK: - LoRA+

    private static let lora = [
        LayerDescriptor.layer(
            "q", ["lora_A.weight": [8, 64], "lora_B.weight": [64, 8], "bias": [64], "magnitude": [64, 1]]),
        LayerDescriptor.layer("mlp", ["weight": [64, 64]]),
    ]

    /// PEFT: `elif "lora_B" in name or param.ndim == 1` has the higher rate.
    func testLoRAPlus() throws {
        let shares = try LoRAPlus(ratio: 16).shares(of: Self.lora)
        XCTAssertEqual(shares[0].tensors.map(\.scale), [1, 16, 16, 1])
        XCTAssertEqual(shares[1], LayerScaling())
        XCTAssertEqual(
            try LoRAPlus(ratio: 16, vectors: false).shares(of: Self.lora)[0].tensors.map(\.scale), [1, 16, 1, 1])
        XCTAssertEqual(
            try LoRAPlus(ratio: 4, match: "q/lora_B\\.\\w+", vectors: false, syntax: .regex).shares(of: Self.lora)[0]
                .tensors.map(\.scale), [1, 4, 1, 1])
        let message =
            "no name of a tensor matches \"*lora_C*\", expected one of \"q/lora_A.weight\", \"q/lora_B.weight\", \"q/bias\", "
            + "\"q/magnitude\", \"mlp/weight\""
        assertRefused(.unknown(message)) {
            _ = try LoRAPlus(ratio: 2, match: "*lora_C*").shares(of: Self.lora)
        }
        assertRefused(.invalid("lora_plus: ratio must be in (0, inf), found 0.0")) { _ = try LoRAPlus(ratio: 0) }
        assertRefused(.invalid("lora_plus: a pattern must not be empty")) { _ = try LoRAPlus(ratio: 2, match: "") }
    }

    /// A moves at the rate, B at ratio times the rate: for ratios above 1 and below.
    func testLoRAPlusActsOnTheStep() throws {
        for ratio in [16, 0.25, 1] {
            let model = try Model(
                SGD(lr: 0.5), Kind(.float64), shapes: [[[2, 3], [3, 2]]],
                policy: try LoRAPlus(ratio: ratio, match: "0/1"))
            for tensor in 0..<2 {
                model.parameters[0][tensor].values = Array(repeating: 0, count: 6)
                model.gradients[0][tensor].values = Array(repeating: 1, count: 6)
            }
            try model.optimizer.step()
            XCTAssertEqual(model.parameters[0][0].values, Array(repeating: -0.5, count: 6), "A, \(ratio)")
            XCTAssertEqual(model.parameters[0][1].values, Array(repeating: -0.5 * ratio, count: 6), "B, \(ratio)")
        }
    }
}
