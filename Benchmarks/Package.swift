// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that those who depend on the toolkit do not build it.
let package = Package(
  name: "gps-benchmarks",
  products: [
    .executable(name: "gps-bench", targets: ["gps-bench"]),
    .library(name: "Benchmarks", targets: ["Benchmarks"]),
  ],
  dependencies: [
    .package(name: "guided-policy-search", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
  ],
  targets: [
    .target(
      name: "Benchmarks",
      dependencies: [.product(name: "GuidedPolicySearch", package: "guided-policy-search")]),
    .executableTarget(
      name: "gps-bench",
      dependencies: [
        "Benchmarks",
        .product(name: "GuidedPolicySearch", package: "guided-policy-search"),
        .product(name: "ShippedExperiments", package: "guided-policy-search"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .testTarget(
      name: "BenchmarksTests",
      dependencies: [
        "Benchmarks",
        .product(name: "GuidedPolicySearch", package: "guided-policy-search"),
      ]),
    .testTarget(name: "CommandLineTests", dependencies: ["gps-bench"]),
  ]
)

for target in package.targets {
  target.swiftSettings = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
  ]
}
