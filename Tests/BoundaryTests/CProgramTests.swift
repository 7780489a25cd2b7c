// SPDX-License-Identifier: Apache-2.0
import Foundation
import XCTest

/// Every program of Tests/C is valid C99, C11 and C++17 without a warning, and passes when it is linked with the shared library.
final class CProgramTests: XCTestCase {
    private static let warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-I", Checkout.path("include")]

    private func sources() throws -> [String] {
        let sources = try FileManager.default.contentsOfDirectory(atPath: Checkout.path("Tests/C"))
            .filter { $0.hasSuffix(".c") }.sorted()
        XCTAssertGreaterThan(sources.count, 5)
        return sources
    }

    /// No code is made here: the optimizer's warnings are those of `testC11`.
    private func check(_ compiler: [String]) throws {
        for source in try sources() {
            let checked = try Checkout.run(
                compiler + Self.warnings + ["-fsyntax-only", Checkout.path("Tests/C/\(source)")])
            XCTAssertEqual(checked.status, 0, "\(compiler.joined(separator: " ")) \(source):\n\(checked.output)")
        }
    }

    func testC99() throws { try check(["gcc", "-std=c99"]) }
    func testCPlusPlus17() throws { try check(["g++", "-std=c++17", "-x", "c++"]) }

    func testC11() throws {
        XCTAssertTrue(
            FileManager.default.fileExists(atPath: Checkout.library), "\(Checkout.library) is missing: run `make build`"
        )
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // The loader looks for the name that the library says it has.
        let library = folder.appendingPathComponent("liblayerwise.so.0")
        try FileManager.default.createSymbolicLink(atPath: library.path, withDestinationPath: Checkout.library)

        for source in try sources() {
            let program = folder.appendingPathComponent(source + ".out").path
            let compiled = try Checkout.run(
                ["gcc", "-std=c11"] + Self.warnings + [Checkout.path("Tests/C/\(source)"), library.path]
                    + ["-Wl,-rpath,\(folder.path)", "-pthread", "-lm", "-o", program])
            XCTAssertEqual(compiled.status, 0, "\(source):\n\(compiled.output)")
            if compiled.status != 0 { continue }
            let ran = try Checkout.run([program])
            XCTAssertEqual(ran.status, 0, "\(source):\n\(ran.output)")
            XCTAssertTrue(ran.output.contains("ok "), "\(source) did not report:\n\(ran.output)")
        }
    }
}
