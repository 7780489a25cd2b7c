// SPDX-License-Identifier: Apache-2.0
import Foundation
import XCTest

/// Every program of Tests/C, compiled as C99, C11 and C++17 against the header, and linked with the shared library and run once.
final class CProgramTests: XCTestCase {
    private static let warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-I", Checkout.path("include")]

    private func sources() throws -> [String] {
        let sources = try FileManager.default.contentsOfDirectory(atPath: Checkout.path("Tests/C"))
            .filter { $0.hasSuffix(".c") }.sorted()
        XCTAssertGreaterThan(sources.count, 5)
        return sources
    }

    /// Its warnings need the optimizer's analysis, but no code.
    private func compile(_ compiler: [String]) throws {
        for source in try sources() {
            let compiled = try Checkout.run(
                compiler + Self.warnings + ["-c", Checkout.path("Tests/C/\(source)"), "-o", "/dev/null"])
            XCTAssertEqual(compiled.status, 0, "\(compiler.joined(separator: " ")) \(source):\n\(compiled.output)")
        }
    }

    func testC99() throws { try compile(["gcc", "-std=c99"]) }
    func testCPlusPlus17() throws { try compile(["g++", "-std=c++17", "-x", "c++"]) }

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
