// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A rule's arithmetic is one folder, compiled once per instruction set: the sibling folders are links to it.
// -fno-math-errno turns a square root of lanes into one instruction in place of a libm call per lane.
#if arch(x86_64)
let instructionSets = [
    ("LayerwiseKernels", []), ("LayerwiseKernelsAVX2", ["x86-64-v3"]), ("LayerwiseKernelsAVX512", ["x86-64-v4"]),
]
#else
let instructionSets: [(String, [String])] = [("LayerwiseKernels", [])]
#endif

let kernels: [Target] = instructionSets.map { name, architecture in
    let flags = ["-fno-math-errno"] + architecture.map { "-march=\($0)" }
    // Every processor of the last ten years runs one of the other copies, so the baseline is made for size.
    let isBaseline = instructionSets.count > 1 && architecture.isEmpty
    return .target(
        name: name,
        dependencies: ["LayerwiseRules", "CLayerwiseKernels"],
        swiftSettings: [.unsafeFlags(flags.flatMap { ["-Xcc", $0] })]
            + (isBaseline ? [.define("LAYERWISE_BASELINE")] : [])
    )
}

let package = Package(
    name: "layerwise",
    products: [
        .library(name: "Layerwise", targets: ["Layerwise"]),
        .library(name: "LayerwiseC", type: .dynamic, targets: ["LayerwiseC"]),
    ],
    targets: kernels + [
        // MARK: - Public API
        .target(
            name: "Layerwise",
            dependencies: ["LayerwiseRules", "CLayerwiseKernels", "LayerwisePlatform"]
                + instructionSets.map { .byName(name: $0.0) }
        ),
        .target(
            name: "LayerwiseC",
            dependencies: [
                "Layerwise", "CLayerwise", "LayerwisePlatform",
                .target(name: "CLayerwiseGlibc", condition: .when(platforms: [.linux])),
            ],
            exclude: ["exports.map", "discard.ld"],
            linkerSettings: [
                // lld and not gold: it drops what is not reached, and lists no hidden symbol among the dynamic ones.
                // The Swift runtime is part of it: at the link alone, so that the objects serve the tests as well.
                .unsafeFlags(
                    ["-static-stdlib", "-use-ld=lld"]
                        + [
                            "--gc-sections", "-s",
                            // The threads of a step outlive it, so the library's code must outlive dlclose().
                            "-z", "nodelete",
                            "-soname", "liblayerwise.so.0",
                            "--script=\(Context.packageDirectory)/Sources/LayerwiseC/discard.ld",
                            "--version-script=\(Context.packageDirectory)/Sources/LayerwiseC/exports.map",
                        ].flatMap { ["-Xlinker", $0] },
                    .when(platforms: [.linux])
                )
            ]
        ),

        // MARK: - Implementation details
        .systemLibrary(name: "CLayerwise", path: "include"),
        .target(name: "CLayerwiseKernels"),
        .target(name: "CLayerwiseGlibc"),
        .target(name: "LayerwisePlatform"),
        .target(name: "LayerwiseRules", dependencies: ["CLayerwiseKernels", "LayerwisePlatform"]),

        // MARK: - Tests
        // It takes as long to compile as the library, so two threads do.
        .testTarget(
            name: "LayerwiseTests", dependencies: ["Layerwise", "LayerwiseRules"],
            swiftSettings: [.unsafeFlags(["-num-threads", "2"])]),
        .testTarget(name: "BoundaryTests", dependencies: ["Layerwise"]),
    ],
    swiftLanguageModes: [.v6]
)
