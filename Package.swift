// swift-tools-version: 6.2
import PackageDescription

/// One row of the target table below.
struct Row {
  let name: String
  let dependencies: [Target.Dependency]

  init(_ name: String, _ dependencies: Target.Dependency...) {
    self.name = name
    self.dependencies = dependencies
  }
}

// Data flows down this table: a target knows only those above it (see README, "Map").
let libraries: [Row] = [
  Row("Configuration", .product(name: "Yams", package: "Yams")),
  Row("Differentiation", "CMatrixKernels"),
  Row("LinearAlgebra", "COpenBLAS", "CLAPACKE", "CBLASKernels", "CMatrixKernels"),
  Row("Statistics", "Configuration", "LinearAlgebra", "CMatrixKernels"),
  Row("GPSCore", "Configuration", "LinearAlgebra", "Statistics"),
  Row(
    "Sim", "Configuration", "Differentiation", "GPSCore", "LinearAlgebra", "Statistics", "CMuJoCo",
    "CMuJoCoGuard"),
  Row("Dynamics", "Configuration", "GPSCore", "LinearAlgebra", "Statistics"),
  Row("LQR", "Configuration", "GPSCore", "LinearAlgebra", "Statistics", "CMatrixKernels"),
  Row(
    "Starts", "Configuration", "GPSCore", "LinearAlgebra", "Statistics", "Sim", "LQR"),
  Row("PathIntegral", "Configuration", "GPSCore", "LinearAlgebra", "Statistics"),
  Row(
    "Networks", "Configuration", "Differentiation", "LinearAlgebra", "Statistics", "CNeuralKernels"),
  Row(
    "GlobalPolicy", "Configuration", "Differentiation", "GPSCore", "LinearAlgebra", "Networks",
    "Statistics", "CNeuralKernels"),
  Row(
    "SearchParts", "Configuration", "LinearAlgebra", "Statistics", "GPSCore", "Dynamics", "LQR",
    "PathIntegral", "GlobalPolicy"),
  Row(
    "PolicySearch", "Configuration", "LinearAlgebra", "Statistics", "GPSCore", "Sim", "Starts",
    "Dynamics", "LQR", "GlobalPolicy", "SearchParts"),
  Row(
    "Distributed", "Configuration", "LinearAlgebra", "Statistics", "GPSCore", "Sim", "Starts",
    "GlobalPolicy", "SearchParts", "PolicySearch"),
  Row("TrajectoryOptimization", "LinearAlgebra", "Statistics", "GPSCore", "Sim", "LQR"),
  Row(
    "Runs", "Configuration", "GPSCore", "LinearAlgebra",
    .product(name: "Logging", package: "swift-log")),
  Row(
    "Experiments", "Configuration", "LinearAlgebra", "Statistics", "GPSCore", "Sim", "Starts",
    "Dynamics", "LQR", "PathIntegral", "GlobalPolicy", "SearchParts", "PolicySearch",
    "Distributed", "TrajectoryOptimization", "Runs"),
  Row("Pictures"),
  Row(
    "Exports", "Configuration", "GPSCore", "LinearAlgebra", "Networks", "GlobalPolicy", "Pictures",
    "Runs"),
  Row(
    "Films", "Configuration", "GPSCore", "LinearAlgebra", "Statistics", "Sim", "Pictures", "Runs",
    "Experiments", "CMuJoCo", "CMuJoCoGuard", "COffscreen"),
  Row("Reports", "Configuration", "GPSCore", "Runs", "Experiments"),
  Row(
    "GuidedPolicySearch", "Configuration", "Differentiation", "LinearAlgebra", "Statistics",
    "GPSCore", "Sim", "Starts", "Dynamics", "LQR", "PathIntegral", "GlobalPolicy",
    "SearchParts", "PolicySearch", "Distributed", "TrajectoryOptimization", "Runs", "Experiments",
    "Exports", "Films", "Reports"),
]

/// All of them, for who imports the umbrella: what depends on that alone is not compiled anew when a library below it
/// changes, and ends in a crash.
let libraryNames = libraries.map { Target.Dependency.byName(name: $0.name) }

/// Libraries whose tests stand with those of a library above them.
let untested: Set = [
  "SearchParts", "PolicySearch", "Distributed", "TrajectoryOptimization", "Runs",
]

/// The folders below Experiments.
let experiments = [
  "point-mass", "two-link-arm", "cart-pole", "reacher", "peg-insertion", "peg-insertion-blind",
  "quadrotor", "muscle-arm", "box-push",
]

let package = Package(
  name: "guided-policy-search",
  products: [
    // One import brings all, but all are named: a package that uses this one is compiled anew when any of them has
    // changed, and the umbrella's own module, which is a list of names, never does.
    .library(name: "GuidedPolicySearch", targets: libraries.map(\.name)),
    .library(name: "ShippedExperiments", targets: ["ShippedExperiments"]),
    .executable(name: "gps", targets: ["gps"]),
    // For callers in other languages: scripts/wheel puts it into a Python package.
    .library(name: "GuidedPolicySearchC", type: .dynamic, targets: ["CInterface"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
  ],
  targets: [
    .systemLibrary(
      name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(
      name: "CLAPACKE", pkgConfig: "lapacke", providers: [.apt(["liblapacke-dev"])]),
    // MuJoCo comes from its official wheel: `scripts/setup` installs it with a mujoco.pc.
    .systemLibrary(name: "CMuJoCo", pkgConfig: "mujoco"),
    .target(name: "CBLASKernels", dependencies: ["COpenBLAS"]),
    .target(name: "CMatrixKernels"),
    .target(name: "CMuJoCoGuard", dependencies: ["CMuJoCo"]),
    .target(name: "CNeuralKernels"),
    .target(name: "COffscreen", dependencies: ["CMuJoCo"]),
    .target(name: "CProgramStart"),
    .executableTarget(
      name: "gps",
      dependencies: libraryNames + [
        "ShippedExperiments", "CProgramStart",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .target(
      name: "CInterface", dependencies: libraryNames,
      exclude: ["README.md"]),
    .target(
      name: "ShippedExperiments", path: "Experiments", sources: ["ShippedExperiments.swift"],
      resources: experiments.map { .copy($0) }),
    .target(
      name: "GPSTestSupport",
      dependencies: ["LinearAlgebra", "Statistics", "GPSCore"],
      path: "Tests/GPSTestSupport"),
    // Replaces malloc and its kin by functions that count; linked into the tests alone.
    .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter"),
    .testTarget(
      name: "AllocationTests",
      dependencies: [
        "CAllocationCounter", "LinearAlgebra", "Statistics", "GPSCore", "Sim", "Dynamics", "LQR",
        "Networks", "GlobalPolicy", "GPSTestSupport",
      ]),
    .testTarget(
      name: "gpsTests",
      dependencies: libraryNames + ["gps", "ShippedExperiments", "GPSTestSupport"]),
  ]
    + libraries.map {
      .target(name: $0.name, dependencies: $0.dependencies, exclude: ["README.md"])
    }
    + libraries.filter { !untested.contains($0.name) }.map {
      .testTarget(
        name: $0.name + "Tests",
        // Initial controllers are tried on Sim's own tasks.
        dependencies: $0.dependencies + [.byName(name: $0.name), "GPSTestSupport"]
          + ($0.name == "Sim" ? ["Starts"] : []) + ($0.name == "Starts" ? ["Differentiation"] : []),
        exclude: [])
    }
)

// Some of the tests, where the environment says which: sanitizers build all anew.
if let chosen = Context.environment["GPS_TEST_TARGETS"]?.split(separator: " ").map(String.init) {
  package.targets.removeAll { $0.type == .test && !chosen.contains($0.name) }
}

for target in package.targets where target.type != .system {
  target.swiftSettings = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
  ]
}
