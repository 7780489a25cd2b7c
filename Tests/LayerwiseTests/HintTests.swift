// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules
import XCTest

/// Names that are nearly the same as one that is known.
final class HintTests: XCTestCase {
    private let known = ["lr", "momentum", "dampening", "weight_decay", "eps", "beta1", "beta2", "head", "neck"]

    func testANameWithASmallMistakeIsFound() {
        for (name, meant) in [
            ("momentm", "momentum"), ("momentumm", "momentum"), ("momemtum", "momentum"), ("moemntum", "momentum"),
            ("weigth_decay", "weight_decay"), ("weightdecay", "weight_decay"), ("Weight_Decay", "weight_decay"),
            ("wieght-decay", "weight_decay"), ("haed", "head"), ("LR", "lr"), ("ep", "eps"), ("beta3", "beta1"),
        ] {
            XCTAssertEqual(hint(for: name, among: known), " (did you mean \"\(meant)\"?)", name)
        }
    }

    func testTheNearestIsMeant() {
        XCTAssertEqual(hint(for: "betta2", among: known), " (did you mean \"beta2\"?)")
        XCTAssertEqual(hint(for: "decay", among: ["delay", "decays", "decay"]), " (did you mean \"decay\"?)")
    }

    func testANameThatIsFarFromAllIsLeftAlone() {
        for name in ["", "l", "x", "wd", "betas", "tail", "decay", "learning_rate", "müßig", "\u{1F600}", "omentumm__"]
        {
            XCTAssertEqual(hint(for: name, among: ["lr", "momentum", "weight_decay", "neck", "0"]), "", name)
        }
        XCTAssertEqual(hint(for: "eps", among: []), "")
        XCTAssertEqual(hint(for: "0", among: ["1", "2"]), "")
    }

    func testALongNameIsNotCompared() {
        let long = String(repeating: "a", count: 65)
        XCTAssertEqual(hint(for: long, among: [long]), "")
        XCTAssertEqual(hint(for: String(long.dropFirst()), among: [long]), "")
    }
}
