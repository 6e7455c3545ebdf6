// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "two-joint-arm",
  dependencies: [.package(name: "guided-policy-search", path: "../..")],
  targets: [
    .executableTarget(
      name: "two-joint-arm",
      dependencies: [.product(name: "GuidedPolicySearch", package: "guided-policy-search")])
  ]
)
