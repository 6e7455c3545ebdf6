// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "furuta",
  dependencies: [.package(name: "guided-policy-search", path: "../..")],
  targets: [
    .executableTarget(
      name: "furuta",
      dependencies: [.product(name: "GuidedPolicySearch", package: "guided-policy-search")])
  ]
)
