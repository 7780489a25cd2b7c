// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// The loader under libFuzzer and AddressSanitizer: a package of its own, so that the library's package is not rebuilt for it.  It
// compiles the library's sources, of the kernels one copy, which stands for the others.
let watched: [SwiftSetting] = [.unsafeFlags(["-sanitize=fuzzer,address", "-num-threads", "2"])]

let package = Package(
    name: "fuzz",
    targets: [
        .executableTarget(
            name: "fuzz",
            dependencies: [
                "Layerwise", "LayerwiseRules", "LayerwiseKernels", "OtherKernels", "Mutator", "Driver",
            ],
            path: "Target",
            swiftSettings: watched,
            // lld and not gold, which fails.
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]),
        // Neither is looked into: what it does says nothing of the loader.
        .target(name: "Mutator", dependencies: ["Driver"], path: "Mutator"),
        .systemLibrary(name: "Driver", path: "Driver"),

        .target(
            name: "Layerwise",
            dependencies: ["LayerwiseRules", "CLayerwiseKernels", "LayerwisePlatform"],
            path: "Library/Layerwise", swiftSettings: watched),
        .target(
            name: "LayerwiseRules", dependencies: ["CLayerwiseKernels", "LayerwisePlatform"],
            path: "Library/LayerwiseRules"),
        .target(name: "LayerwisePlatform", path: "Library/LayerwisePlatform"),
        .target(
            name: "LayerwiseKernels", dependencies: ["LayerwiseRules", "CLayerwiseKernels"],
            path: "Library/LayerwiseKernels", swiftSettings: [.unsafeFlags(["-Xcc", "-fno-math-errno"])]),
        .target(name: "OtherKernels", dependencies: ["LayerwiseRules", "LayerwiseKernels"], path: "OtherKernels"),
        .target(name: "CLayerwiseKernels", path: "Library/CLayerwiseKernels"),
    ],
    swiftLanguageModes: [.v6]
)
