// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "pendulum",
  dependencies: [.package(name: "guided-policy-search", path: "../..")],
  targets: [
    .executableTarget(
      name: "pendulum",
      dependencies: [.product(name: "GuidedPolicySearch", package: "guided-policy-search")])
  ]
)
