// SPDX-License-Identifier: Apache-2.0
import Foundation
import XCTest

/// Every program of Tests/C, compiled as C99, C11 and C++17 against the header and the shared library, and run.
final class CProgramTests: XCTestCase {
    private static let warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic"]

    func testC99() throws { try runPrograms(["gcc", "-std=c99"]) }
    func testC11() throws { try runPrograms(["gcc", "-std=c11"]) }
    func testCPlusPlus17() throws { try runPrograms(["g++", "-std=c++17", "-x", "c++"]) }

    private func runPrograms(_ compiler: [String]) throws {
        XCTAssertTrue(
            FileManager.default.fileExists(atPath: Checkout.library), "\(Checkout.library) is missing: run `make build`"
        )
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // The loader looks for the name that the library says it has.
        let library = folder.appendingPathComponent("liblayerwise.so.0")
        try FileManager.default.createSymbolicLink(atPath: library.path, withDestinationPath: Checkout.library)

        let sources = try FileManager.default.contentsOfDirectory(atPath: Checkout.path("Tests/C"))
            .filter { $0.hasSuffix(".c") }.sorted()
        XCTAssertGreaterThan(sources.count, 5)
        for source in sources {
            let program = folder.appendingPathComponent(source + ".out").path
            let compiled = try Checkout.run(
                compiler + Self.warnings + ["-O1", "-I", Checkout.path("include")]
                    + [Checkout.path("Tests/C/\(source)"), "-x", "none", library.path]
                    + ["-Wl,-rpath,\(folder.path)", "-pthread", "-lm", "-o", program])
            XCTAssertEqual(compiled.status, 0, "\(compiler.joined(separator: " ")) \(source):\n\(compiled.output)")
            if compiled.status != 0 { continue }
            let ran = try Checkout.run([program])
            XCTAssertEqual(ran.status, 0, "\(source) as \(compiler[1]):\n\(ran.output)")
            XCTAssertTrue(ran.output.contains("ok "), "\(source) as \(compiler[1]) did not report:\n\(ran.output)")
        }
    }
}
