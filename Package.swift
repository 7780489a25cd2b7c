// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A rule's arithmetic is one folder, compiled once per instruction set: the sibling folders are links to it.
// -fno-math-errno turns a square root of lanes into one instruction in place of a libm call per lane.
#if arch(x86_64)
let instructionSets: [(module: String, architecture: String?, define: String?)] = [
    // Every processor of the last ten years runs one of the other copies, so the baseline is made for size.
    ("LayerwiseKernels", nil, "LAYERWISE_BASELINE"),
    ("LayerwiseKernelsAVX2", "x86-64-v3", "LAYERWISE_AVX2"),
    ("LayerwiseKernelsAVX512", "x86-64-v4", "LAYERWISE_AVX512"),
]
#else
let instructionSets: [(module: String, architecture: String?, define: String?)] = [("LayerwiseKernels", nil, nil)]
#endif

// `Layerwise` finds the kernels by the names of their symbols and imports none of these modules, so that all are compiled at once.
// Whatever links `Layerwise` must therefore name them.
let kernels: [Target] = instructionSets.map { module, architecture, define in
    let flags = ["-fno-math-errno"] + (architecture.map { ["-march=\($0)"] } ?? [])
    return .target(
        name: module,
        dependencies: ["LayerwiseRules", "CLayerwiseKernels"],
        swiftSettings: [.unsafeFlags(flags.flatMap { ["-Xcc", $0] })] + (define.map { [.define($0)] } ?? [])
    )
}
let library = ["Layerwise"] + kernels.map(\.name)
let linked = library.map { Target.Dependency.byName(name: $0) }

let package = Package(
    name: "layerwise",
    products: [
        .library(name: "Layerwise", targets: library),
        .library(name: "LayerwiseC", type: .dynamic, targets: ["LayerwiseC"]),
    ],
    targets: kernels + [
        // MARK: - Public API
        .target(
            name: "Layerwise",
            dependencies: ["LayerwiseRules", "CLayerwiseKernels", "LayerwisePlatform"]
        ),
        .target(
            name: "LayerwiseC",
            dependencies: linked + [
                "CLayerwise", "LayerwisePlatform",
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
        // Modules that are compiled side by side, the first two with the folder Support, the last with the fuzzer's Subjects.
        // LayerwiseTests works out few numbers: it is compiled without optimization in a quarter of the time, and runs for some seconds more.
        .testTarget(name: "LayerwiseRulesTests", dependencies: linked + ["LayerwiseRules"]),
        .testTarget(
            name: "LayerwiseTests", dependencies: linked + ["LayerwiseRules"],
            swiftSettings: [.unsafeFlags(["-Onone"])]
        ),
        .testTarget(name: "BoundaryTests", dependencies: linked),
        .testTarget(name: "CorpusTests", dependencies: linked + ["LayerwiseRules"]),
    ],
    swiftLanguageModes: [.v6]
)
