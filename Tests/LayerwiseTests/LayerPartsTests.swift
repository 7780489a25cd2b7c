// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// A layer that is registered in parts, since its tensors need different hyperparameters, is one layer to all that goes by
/// layers.
final class LayerPartsTests: XCTestCase {
    /// The memory that optimizers step.
    private var held: [Buffer] = []

    /// "embed" and "head" of a matrix each, then a vector of both, as groups by decay make them.
    private func optimizer(
        _ rule: any DeclaredRule = SGD(lr: 1), policy: any DeclaredPolicy = Uniform(), _ options: Options = [:]
    ) throws -> (optimizer: Optimizer, parameters: [Buffer], gradients: [Buffer]) {
        let optimizer = try Optimizer(rule, policy: policy)
        try optimizer.set(settings(options))
        let parameters = (0..<4).map { _ in Buffer(.float32, [0]) }
        let gradients = (0..<4).map { _ in Buffer(.float32, [1]) }
        held += parameters + gradients
        let layers: [(String, [Setting])] = [
            ("embed", []), ("head", []), ("embed (2)", [Setting("part_of", "embed"), Setting("lr", 0.5)]),
            ("head (2)", [Setting("part_of", "head"), Setting("lr", 0.5)]),
        ]
        for (index, (name, own)) in layers.enumerated() {
            try optimizer.addLayer(
                name, [tensor(parameters[index], gradients[index])], settings: own)
        }
        return (optimizer, parameters, gradients)
    }

    private func tensor(_ parameters: Buffer, _ gradients: Buffer) -> TensorDescription {
        held += [parameters, gradients]
        return TensorDescription(
            "w", parameters: parameters.start, gradients: gradients.start, shape: [1], dtype: .float32)
    }

    private func scales(_ optimizer: Optimizer) throws -> [Double] { try optimizer.infos().map(\.scale) }

    func testPoliciesSeeOneLayer() throws {
        let explicit = try Explicit(["head": 10, "*": 1])
        XCTAssertEqual(try scales(try optimizer(policy: explicit).optimizer), [1, 10, 1, 10])
        XCTAssertEqual(try scales(try optimizer(policy: try LayerDecay(0.5)).optimizer), [0.5, 1, 0.5, 1])
        XCTAssertEqual(try scales(try optimizer(policy: try ULMFiT(factor: 2)).optimizer), [0.5, 1, 0.5, 1])
        let named = try Exclude(names: ["head/w"], maxRank: -1)
        let infos = try optimizer(AdamW(lr: 1, weightDecay: 0.5), policy: named).optimizer.infos()
        XCTAssertEqual(infos.map(\.weightDecay), [0.5, 0, 0.5, 0])
    }

    func testPlaceIsThatOfTheWhole() throws {
        let optimizer = try optimizer().optimizer
        try optimizer.setLayer(1, settings(["depth": 7, "tower": "top", "role": "norm"]))
        let info = try optimizer.info(3)
        XCTAssertEqual([info.name, info.partOf, info.tower], ["head (2)", "head", "top"])
        XCTAssertEqual(info.depth, 7)
        XCTAssertEqual(info.role, .norm)
        for key in ["depth", "tower", "role"] { try optimizer.unsetLayer(1, key: key) }
        XCTAssertEqual([try optimizer.info(3).depth, try optimizer.info(1).depth], [1, 1])
        XCTAssertEqual([try optimizer.info(3).tower, try optimizer.info(1).tower], ["", ""])
        XCTAssertEqual(try optimizer.info(3).role, .head)
        try optimizer.addLayer("last", [tensor(Buffer(.float32, [0]), Buffer(.float32, [0]))])
        XCTAssertEqual(try optimizer.info(4).depth, 2, "parts take no place in the order")
    }

    /// The bias of a frozen layer stays too.
    func testFreezing() throws {
        let cases: [(Optimizer) throws -> Void] = [
            { $0.setFreezePlan(try FreezeAt([FreezeAt.Times("head", freezeAt: 0)])) },
            { $0.setFreezePlan(try FreezeOut(totalSteps: 1, start: 0.1)) },
            { try $0.setFrozen(1, true) },
            { try $0.setLayer(1, settings(["frozen": "yes"])) },
        ]
        for (index, freeze) in cases.enumerated() {
            let (optimizer, parameters, _) = try optimizer()
            try freeze(optimizer)
            try optimizer.step()
            if index != 1 { XCTAssertEqual(parameters.map { $0[0] }, [-1, 0, -0.5, 0], "case \(index)") }
            XCTAssertEqual(try optimizer.infos().map(\.frozen)[1], try optimizer.infos().map(\.frozen)[3])
        }
        let (optimizer, parameters, _) = try optimizer()
        optimizer.setFreezePlan(try GradualUnfreezing(every: 2))
        for _ in 0..<2 { try optimizer.step() }
        XCTAssertEqual(parameters.map { $0[0] }, [0, -2, 0, -1])
        try optimizer.step()
        XCTAssertEqual(parameters.map { $0[0] }, [-1, -3, -0.5, -1.5])
    }

    /// What the whole is given by hand its parts have too, and may then be given otherwise.
    func testSettingsOfTheWhole() throws {
        let (optimizer, parameters, _) = try optimizer()
        try optimizer.setLayer(1, settings(["scale": 3, "lr": 2]))
        XCTAssertEqual(try scales(optimizer), [1, 3, 1, 3])
        try optimizer.setLayer(3, settings(["scale": 4]))
        XCTAssertEqual(try scales(optimizer), [1, 3, 1, 4])
        try optimizer.step()
        XCTAssertEqual(parameters.map { $0[0] }, [-1, -6, -0.5, -2], "rates are each part's own")
        try optimizer.unsetLayer(1, key: "scale")
        XCTAssertEqual(try scales(optimizer), [1, 1, 1, 1])
        try optimizer.setSchedule(try FactorTable([0]), layer: 1)
        try optimizer.step()
        XCTAssertEqual(parameters.map { $0[0] }, [-2, -6, -1, -2])
    }

    func testClippingByLayerNorm() throws {
        for step in 0..<2 {
            let (optimizer, parameters, gradients) = try optimizer(SGD(lr: 1), ["clip_layer_norm": 1])
            gradients[1][0] = 3
            gradients[3][0] = 4
            if step == 0 { try optimizer.step() } else { try optimizer.step(StepOptions(layer: 3)) }
            // ‖(3, 4)‖ = 5; a step of one part clips by its own norm.
            XCTAssertEqual(parameters[1][0], step == 0 ? -0.6 : 0, accuracy: 1e-6)
            XCTAssertEqual(parameters[3][0], step == 0 ? -0.4 : -0.5, accuracy: 1e-6)
        }
    }

    func testDirectionOfALayer() throws {
        let (optimizer, parameters, _) = try optimizer()
        try optimizer.setLayer(1, settings(["maximize": 1]))
        try optimizer.step()
        XCTAssertEqual(parameters.map { $0[0] }, [-1, 1, -0.5, -0.5])
        try optimizer.set(settings(["maximize": 1]))
        try optimizer.setLayer(0, settings(["maximize": 0]))
        try optimizer.step()
        XCTAssertEqual(parameters.map { $0[0] }, [-2, 2, 0, 0])
        XCTAssertEqual(try optimizer.value(of: "maximize", layer: 2), .number(1))
        try optimizer.unsetLayer(0, key: "maximize")
        try optimizer.step()
        XCTAssertEqual(parameters[0][0], -1)
    }

    /// Momentum of 1 and more, as torch takes it.
    func testMomentumOfOneAndMore() throws {
        for momentum in [1.0, 5, 22] {
            let (optimizer, parameters, _) = try optimizer(SGD(lr: 1, momentum: momentum))
            var (velocity, weight) = (0.0, 0.0)
            for _ in 0..<5 {
                try optimizer.step()
                velocity = momentum * velocity + 1
                weight -= velocity
            }
            XCTAssertEqual(parameters[0][0], weight)
        }
    }

    func testCheckpoint() throws {
        let saving = try optimizer(Adam(lr: 1)).optimizer
        try saving.setFrozen(1, true)
        for _ in 0..<3 { try saving.step() }
        let loading = try optimizer(Adam(lr: 1)).optimizer
        try loading.load(saving.exported())
        XCTAssertEqual(try loading.infos().map(\.steps), [3, 0, 3, 0])
        XCTAssertEqual(try loading.infos().map(\.frozen), [false, true, false, true])
    }

    func testRefusals() throws {
        let optimizer = try optimizer().optimizer
        func add(_ own: [Setting]) throws {
            try optimizer.addLayer("more", [tensor(Buffer(.float32, [0]), Buffer(.float32, [0]))], settings: own)
        }
        assertRefused(
            .unknownName, message: "layer \"more\": part_of: no layer is called \"neck\" yet: add the whole first"
        ) { try add([Setting("part_of", "neck")]) }
        assertRefused(
            .invalidArgument,
            message: "layer \"more\": part_of must name a whole layer; \"head (2)\" is itself a part of \"head\""
        ) { try add([Setting("part_of", "head (2)")]) }
        assertRefused(
            .invalidArgument,
            message: "layer \"more\": a part has the depth of its whole, \"head\", and none of its own"
        ) { try add([Setting("part_of", "head"), Setting("depth", 3)]) }
        for key in ["depth", "tower", "role"] {
            assertRefused(.invalidArgument, layer: 3) {
                try optimizer.setLayer(3, [key == "depth" ? Setting(key, 3) : Setting(key, "stem")])
            }
            assertRefused(.invalidArgument, layer: 3) { try optimizer.unsetLayer(3, key: key) }
        }
        XCTAssertEqual(optimizer.layerCount, 4)
    }
}
