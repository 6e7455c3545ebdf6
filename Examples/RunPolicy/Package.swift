// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "run-policy",
  dependencies: [.package(name: "guided-policy-search", path: "../..")],
  targets: [
    .executableTarget(
      name: "run-policy",
      dependencies: [.product(name: "GuidedPolicySearch", package: "guided-policy-search")])
  ]
)
