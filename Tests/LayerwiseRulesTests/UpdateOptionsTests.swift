// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Cautious changes and corrected decay, for every rule that has these options.
final class UpdateOptionsTests: XCTestCase {
    private static let shapes = [[[40], [5, 7], []], [[181, 97], [1]], [[1, 17003]]]

    /// Every rule with `UpdateOptions`, with a decay apart from the gradient where it can have one.
    private static func rules() throws -> [any AdjustableRule] {
        try allRules.compactMap { type -> (any AdjustableRule)? in
            guard var rule = type.init() as? any AdjustableRule else { return nil }
            try rule.assign(Setting("lr", 0.03))
            if parameterKeys(of: type).contains("decoupled_weight_decay") {
                try rule.assign(Setting("decoupled_weight_decay", 1))
            }
            if rule.decouplesDecay { try rule.assign(Setting("weight_decay", 0.3)) }
            if rule is MARS { try rule.assign(Setting("weight_decay_1d", 0.3)) }
            // With it the step is never clipped, which would shrink the decay too.
            if rule is StableAdamW { try rule.assign(Setting("eps", 1)) }
            return rule
        }
    }

    func testRulesThatHaveThem() throws {
        XCTAssertGreaterThanOrEqual(try Self.rules().count, 17)
    }

    /// Six steps from weights of 0 tell the change apart from the decay, and with it what a cautious rule must do from any
    /// weights.  The tolerance is four roundings of the arithmetic's type, of the weight and of the change.
    func testCautiousRules() throws {
        for plain in try Self.rules() {
            for cautious in [UpdateOptions.Cautious.update, .decay] {
                var rule = plain
                rule.updateOptions.cautious = cautious
                for kind in [Kind(.float64), Kind(.float32), Kind(.bfloat16, master: true)] {
                    try check(rule, plain, kind)
                }
            }
        }
    }

    private func check(_ rule: any AdjustableRule, _ plain: any AdjustableRule, _ kind: Kind) throws {
        let unit = kind.computeType == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
        let model = try Model(rule, kind, shapes: Self.shapes, settings: telemetry)
        let other = try Model(plain, kind, shapes: Self.shapes, copying: model)
        func weights(_ model: Model, _ layer: Int, _ tensor: Int) throws -> [Double] {
            kind.master
                ? try model.state("master", layer: layer, tensor: tensor).values
                : model.parameters[layer][tensor].values
        }
        for step in 0..<6 {
            model.drawGradients()
            for (own, source) in zip(other.gradients.joined(), model.gradients.joined()) {
                own.bytes.copyBytes(from: source.bytes)
            }
            // Adafactor's change depends on the size of the weights.
            let isRelative = type(of: rule).declaration.name == "adafactor"
            if isRelative { try other.optimizer.set([Setting("scale_parameter", 0)]) }
            if isRelative { try model.optimizer.set([Setting("scale_parameter", 0)]) }
            for buffer in other.parameters.joined() { for i in 0..<buffer.count { buffer[i] = 0 } }
            let before = try Self.each { try weights(model, $0, $1) }
            try other.optimizer.step()
            try model.optimizer.step()
            for (index, (layer, tensor)) in Self.places.enumerated() {
                let label = "\(type(of: rule)) \(rule.updateOptions.cautious) \(kind), step \(step), \(layer).\(tensor)"
                let changes = try weights(other, layer, tensor).map { -$0 }
                let gradients = model.gradients[layer][tensor].values
                let decay = Self.decay(rule, step)
                let kept = zip(changes, gradients).map { $0 * $1 > 0 ? 1.0 : 0 }
                let scale = 1 / max(kept.reduce(0, +) / Double(kept.count), 1e-3)
                let found = try weights(model, layer, tensor)
                var moved = false
                for i in found.indices {
                    let w = before[index][i]
                    var change = changes[i]
                    var shrinks = true
                    switch rule.updateOptions.cautious {
                    case .update: change *= scale * kept[i]
                    case .decay: shrinks = change * w >= 0
                    case .none: XCTFail(label)
                    }
                    let wanted = w - change - (shrinks ? decay * w : 0)
                    XCTAssertEqual(found[i], wanted, accuracy: 4 * unit * (w.magnitude + change.magnitude), label)
                    moved = moved || found[i] != w
                }
                // ADOPT's first step changes no weight.
                if kept.contains(1) && decay > 0 { XCTAssertTrue(moved, label) }
            }
        }
    }

    /// What a weight is multiplied by and then decays by.
    private static func decay(_ rule: any AdjustableRule, _ step: Int) -> Double {
        let decay = rule.decouplesDecay ? rule.learningRate * rule.weightDecay : 0
        switch rule {
        case is ADOPT: return step == 0 ? 0 : decay
        case is Adan: return decay / (1 + decay)
        default: return decay
        }
    }

    private var telemetry: Settings {
        var settings = Settings()
        settings.telemetry = true
        return settings
    }

    private static let places = shapes.indices.flatMap { layer in shapes[layer].indices.map { (layer, $0) } }

    private static func each<T>(_ body: (Int, Int) throws -> T) rethrows -> [T] {
        try places.map { try body($0.0, $0.1) }
    }

    /// The same bits with any number of threads, in parts and after a resume; telemetry changes nothing.
    func testBits() throws {
        for plain in try Self.rules() {
            for cautious in [UpdateOptions.Cautious.update, .decay] {
                var rule = plain
                rule.updateOptions.cautious = cautious
                for kind in [Kind(.float32), Kind(.bfloat16)] {
                    var digests: Set<String> = []
                    for options in [["threads": 1], ["threads": 3, "telemetry": 1]] as [Options] {
                        let model = try Model(rule, kind, shapes: Self.shapes)
                        try model.optimizer.set(settings(options))
                        for _ in 0..<3 {
                            model.drawGradients()
                            try model.optimizer.step()
                        }
                        digests.insert("\(try model.digest())")
                    }
                    XCTAssertEqual(digests.count, 1, "\(type(of: rule)) \(cautious) \(kind)")
                    try BitRecord.add("\(type(of: rule)) \(cautious) \(kind)", try Self.digest(rule, kind))
                }
            }
        }
    }

    private static func digest(_ rule: any DeclaredRule, _ kind: Kind) throws -> Digest {
        let model = try Model(rule, kind, shapes: [[[23, 29], [31]]])
        for _ in 0..<10 {
            model.drawGradients()
            try model.optimizer.step()
        }
        return try model.digest()
    }

    /// Two parts of every tensor step as the whole: the share that agrees is that of the whole tensor.
    func testPartsStepAsTheWhole() throws {
        var rule = AdamW(lr: 0.03, weightDecay: 0.3)
        rule.updateOptions.cautious = .update
        let model = try Model(rule, Kind(.float64), shapes: [[[40], [30, 20]]])
        let parts = try (0..<2).map { part in
            try Model(
                rule, Kind(.float64), shapes: [[[part == 0 ? 23 : 17], [part == 0 ? 11 : 19, 20]]],
                wholes: [[[40], [30, 20]]])
        }
        func copy(_ path: (Model) -> [[Buffer]]) {
            for tensor in 0..<2 {
                var offset = 0
                for part in parts {
                    let own = path(part)[0][tensor]
                    for i in 0..<own.count { own[i] = path(model)[0][tensor][offset + i] }
                    offset += own.count
                }
            }
        }
        copy(\.parameters)
        for _ in 0..<10 {
            model.drawGradients()
            copy(\.gradients)
            try model.optimizer.step()
            XCTAssertEqual(stepTogether(parts.map(\.optimizer)).compactMap { $0 }.count, 0)
        }
        for tensor in 0..<2 {
            let found = parts.flatMap { $0.parameters[0][tensor].values }
            for (a, b) in zip(found, model.parameters[0][tensor].values) { XCTAssertEqual(a, b, accuracy: 1e-14) }
        }
    }

    /// The decay is multiplied by the schedule's factor once more.
    func testCorrectedDecay() throws {
        for plain in try Self.rules() where plain.decouplesDecay {
            var rule = plain
            rule.updateOptions.correctsDecay = true
            let schedule = try Linear(totalSteps: 10, minFactor: 0.1)
            let model = try Model(rule, Kind(.float64), shapes: [[[40], [5, 7]]])
            let other = try Model(plain, Kind(.float64), shapes: [[[40], [5, 7]]], copying: model)
            for optimizer in [model.optimizer, other.optimizer] { try optimizer.setSchedule(schedule, for: "lr") }
            for step in 0..<10 {
                model.drawGradients()
                for (own, source) in zip(other.gradients.joined(), model.gradients.joined()) {
                    own.bytes.copyBytes(from: source.bytes)
                }
                let factor = 1 + (0.1 - 1) * Double(step) / 10
                try other.optimizer.set([Setting("weight_decay", plain.weightDecay * factor)])
                if plain is MARS { try other.optimizer.set([Setting("weight_decay_1d", plain.weightDecay * factor)]) }
                try model.optimizer.step()
                try other.optimizer.step()
            }
            for (own, source) in zip(model.parameters.joined(), other.parameters.joined()) {
                for (a, b) in zip(own.values, source.values) {
                    XCTAssertEqual(a, b, accuracy: 1e-13, "\(type(of: rule))")
                }
            }
        }
    }

    /// Where the decay is a part of the gradient, there is none apart from it.
    func testCoupledDecayIsRefused() throws {
        for setting in [
            Setting("cautious", "update"), Setting("cautious", "decay"), Setting("corrected_weight_decay", 1),
        ] {
            let optimizer = try Optimizer(SGD(lr: 0.1, weightDecay: 0.1))
            XCTAssertThrowsError(try optimizer.set([setting])) {
                XCTAssertTrue("\($0)".contains("needs a decay apart from the gradient"), "\($0)")
            }
            XCTAssertNoThrow(try optimizer.set([Setting("decoupled_weight_decay", 1), setting]))
            XCTAssertNoThrow(try Optimizer(SGD(lr: 0.1)).set([setting]))
        }
    }

    /// A checkpoint says these options only where they are in use, so that files of version 0.1.0 do not differ.
    func testIdentity() throws {
        func file(_ rule: AdamW) throws -> [UInt8] {
            try Model(rule, shapes: [[[3]]]).optimizer.exported()
        }
        var cautious = AdamW()
        cautious.updateOptions.cautious = .update
        XCTAssertFalse(String(decoding: try file(AdamW()), as: UTF8.self).contains("cautious"))
        XCTAssertTrue(String(decoding: try file(cautious), as: UTF8.self).contains("cautious"))
        let model = try Model(AdamW(), shapes: [[[3]]])
        XCTAssertThrowsError(try model.optimizer.load(try file(cautious)))
        XCTAssertNoThrow(try model.optimizer.load(try file(AdamW())))
    }

    /// Where no element agrees nothing moves; NaN stays NaN where it is let through.
    func testEdges() throws {
        var rule = SGD(lr: 0.5, momentum: 0.9)
        rule.updateOptions.cautious = .update
        let model = try Model(rule, shapes: [[[4]]])
        let (weights, gradients) = (model.parameters[0][0], model.gradients[0][0])
        for i in 0..<4 {
            weights[i] = 1
            gradients[i] = 1
        }
        try model.optimizer.step()
        XCTAssertEqual(weights.values, [0.5, 0.5, 0.5, 0.5])
        // The momentum still points the other way.
        for i in 0..<4 { gradients[i] = -0.5 }
        try model.optimizer.step()
        XCTAssertEqual(weights.values, [0.5, 0.5, 0.5, 0.5])
        for i in 0..<4 { gradients[i] = 0 }
        try model.optimizer.step()
        XCTAssertEqual(weights.values, [0.5, 0.5, 0.5, 0.5])
        try model.optimizer.set([Setting("nonfinite", "propagate")])
        gradients[1] = .nan
        try model.optimizer.step()
        XCTAssertTrue(weights[1].isNaN)
        XCTAssertEqual(weights[0], 0.5)
    }
}
