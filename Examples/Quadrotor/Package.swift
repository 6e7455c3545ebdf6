// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "quadrotor",
  dependencies: [.package(name: "guided-policy-search", path: "../..")],
  targets: [
    .executableTarget(
      name: "quadrotor",
      dependencies: [.product(name: "GuidedPolicySearch", package: "guided-policy-search")])
  ]
)
