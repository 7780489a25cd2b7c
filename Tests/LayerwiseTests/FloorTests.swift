// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// What a floor is for layers with different scales, and with a rate of their own.
final class FloorTests: XCTestCase {
    private static let base = 0.1
    private static let low = 0.002
    private static let scales = [1, 0.5, 0.01, 4, 0]
    /// The last layer has a rate of its own.
    private static let ownRate = 0.3

    private func model(_ schedule: any DeclaredSchedule) throws -> Model {
        let model = try Model(SGD(lr: Self.base), sizes: Array(repeating: 1, count: Self.scales.count + 1))
        for (layer, scale) in Self.scales.enumerated() {
            try model.optimizer.setLayer(layer, [Setting("scale", scale)])
        }
        try model.optimizer.setLayer(
            Self.scales.count, [Setting("scale", 0.5), Setting("lr", Self.ownRate)])
        try model.optimizer.setSchedule(schedule)
        return model
    }

    /// The rate of every layer by `formula(base, scale, f)`, where f falls down half a cosine over 50 steps.
    private func assertRates(
        _ schedule: any DeclaredSchedule, line: UInt = #line,
        _ formula: (_ base: Double, _ scale: Double, _ f: Double) -> Double
    ) throws {
        let model = try model(schedule)
        for t: Int64 in [0, 1, 10, 25, 49, 50, 51, 1000] {
            let f = t < 50 ? 0.5 * (1 + cos(.pi * Double(t) / 50)) : 0
            for layer in 0...Self.scales.count {
                let (base, scale) =
                    layer < Self.scales.count ? (Self.base, Self.scales[layer]) : (Self.ownRate, 0.5)
                let info = try model.optimizer.info(layer, at: t)
                XCTAssertEqual(
                    info.effectiveRate, formula(base, scale, f), accuracy: 1e-16, "step \(t), layer \(layer)",
                    line: line)
                XCTAssertEqual(
                    try XCTUnwrap(info.floor), formula(base, scale, 0), accuracy: 1e-17, "floor of layer \(layer)",
                    line: line)
            }
        }
    }

    /// timm, BEiT, MAE: scale·(m + (base − m)·f).
    func testScaledFloor() throws {
        try assertRates(try Cosine(totalSteps: 50, minRate: Self.low)) { base, scale, f in
            scale * (Self.low + (base - Self.low) * f)
        }
    }

    /// torch's eta_min: m + (base·scale − m)·f.
    func testAbsoluteFloor() throws {
        try assertRates(try Cosine(totalSteps: 50, minRate: Self.low, floor: .absolute)) { base, scale, f in
            Self.low + (base * scale - Self.low) * f
        }
    }

    /// Hugging Face: base·scale·(r + (1 − r)·f) with r = m / the optimizer's base rate.
    func testRelativeFloor() throws {
        try assertRates(try Cosine(totalSteps: 50, minRate: Self.low, floor: .relative)) { base, scale, f in
            let r = Self.low / Self.base
            return base * scale * (r + (1 - r) * f)
        }
    }

    func testMinFactor() throws {
        try assertRates(try Cosine(totalSteps: 50, minFactor: 0.25)) { base, scale, f in
            base * scale * (0.25 + 0.75 * f)
        }
    }

    /// A layer whose rate is below an absolute floor rises to it; under the other kinds no rate rises.
    func testOnlyAnAbsoluteFloorRaises() throws {
        for kind in FloorKind.allCases {
            let model = try model(try Cosine(totalSteps: 50, minRate: Self.low, floor: kind))
            let rates = try (0...50).map { try model.optimizer.info(2, at: $0).effectiveRate }
            let rising = zip(rates, rates.dropFirst()).contains { $1 > $0 }
            XCTAssertEqual(rising, kind == .absolute, "\(kind)")
        }
    }

    /// A floor follows a rate that is changed in the middle of a run.
    func testFloorsAfterAChangeOfTheRate() throws {
        let model = try model(try Linear(totalSteps: 10, minRate: Self.low, floor: .relative))
        try model.optimizer.setLearningRate(0.2)
        let r = Self.low / 0.2
        XCTAssertEqual(try model.optimizer.info(1, at: 5).effectiveRate, 0.2 * 0.5 * (r + (1 - r) / 2), accuracy: 1e-17)
        XCTAssertEqual(try model.optimizer.info(1, at: 10).effectiveRate, 0.5 * Self.low, accuracy: 1e-18)
        try model.optimizer.setLearningRate(0)
        XCTAssertEqual(try model.optimizer.info(1, at: 10).effectiveRate, 0, "nothing is relative to 0")
    }

    /// A warm-up multiplies the floor too, for a part that begins above it.
    func testWarmupTimesFloor() throws {
        let cosine = try Cosine(totalSteps: 20, minRate: Self.low, floor: .absolute)
        let model = try model(try Warmup(steps: 4, try Tanh(totalSteps: 20, minRate: Self.low, floor: .absolute)))
        let start = 0.5 * (1 - tanh(-7))
        for (layer, scale) in Self.scales.enumerated() {
            for t: Int64 in 0..<4 {
                let peak = Self.low + (Self.base * scale - Self.low) * start
                XCTAssertEqual(
                    try model.optimizer.info(layer, at: t).effectiveRate, Double(t) / 4 * peak, accuracy: 1e-16)
            }
        }
        try model.optimizer.setSchedule(try Warmup(steps: 4, cosine))
        for t: Int64 in 4..<40 {
            let wanted = cosine.factor(at: t - 4, base: Self.base)
            XCTAssertEqual(
                try model.optimizer.info(1, at: t).effectiveRate,
                wanted.gain * Self.base * 0.5 + wanted.absolute, accuracy: 1e-17)
        }
    }

    /// What a schedule makes of the rate is the same for the whole layer and for a tensor apart.
    func testFloorsOfTensorsApart() throws {
        for kind in FloorKind.allCases {
            let schedule = try Linear(totalSteps: 4, minRate: 0.125, floor: kind)
            let model = try Model(
                SGD(lr: 1), Kind(.float64), shapes: [[[1], [1]]],
                policy: try LoRAPlus(ratio: 4, match: "0/1", vectors: false))
            try model.optimizer.setSchedule(schedule)
            try model.optimizer.seek(2)
            for tensor in 0..<2 {
                model.parameters[0][tensor][0] = 0
                model.gradients[0][tensor][0] = 1
            }
            try model.optimizer.step()
            let factor = schedule.factor(at: 2, base: 1)
            for (tensor, scale) in [1.0, 4].enumerated() {
                XCTAssertEqual(
                    -model.parameters[0][tensor][0], factor.gain * scale + factor.scaled * scale + factor.absolute,
                    "\(kind), tensor \(tensor)")
            }
        }
    }
}
