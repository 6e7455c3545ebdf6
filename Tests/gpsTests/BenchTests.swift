import Foundation
import Testing

/// `gps bench` hands over to the checkout's script; the benchmarks' own tests are in their package.
@Suite struct BenchTests {
  /// A checkout whose script tells its arguments and ends with 7.
  private func checkout() throws -> URL {
    let root = FileManager.default.temporaryDirectory.appendingPathComponent(
      "gps-checkout-\(UUID().uuidString)", isDirectory: true)
    for folder in ["Benchmarks", "scripts", "empty", ".build/release"] {
      try FileManager.default.createDirectory(
        at: root.appendingPathComponent(folder), withIntermediateDirectories: true)
    }
    try Data().write(to: root.appendingPathComponent("Benchmarks/Package.swift"))
    let script = root.appendingPathComponent("scripts/gps")
    try Data("#!/bin/sh\nprintf '%s|' \"$@\"\nexit 7\n".utf8).write(to: script)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: script.path)
    return root
  }

  @Test func argumentsAndExitCodePassThrough() throws {
    let root = try checkout()
    defer { try? FileManager.default.removeItem(at: root) }
    let arguments = ["lqr", "--states", "4", "--help", "two words"]
    let named = try gps(["bench"] + arguments, environment: ["GPS_ROOT": root.path])
    #expect(named.status == 7 && named.errors.isEmpty)
    #expect(named.output == "bench|lqr|--states|4|--help|two words|")

    // The program itself lies in the checkout.
    let copy = root.appendingPathComponent(".build/release/gps").path
    let around = try gps(
      ["bench"] + arguments, environment: ["GPS_ROOT": ""],
      shellPrefix: "cp \"$0\" \(copy) && exec \(copy) \"$@\";")
    #expect(around.status == 7 && around.output == named.output)
  }

  @Test func withoutACheckoutOneSentenceSaysSo() throws {
    let root = try checkout()
    defer { try? FileManager.default.removeItem(at: root) }
    let elsewhere = ["GPS_ROOT": root.appendingPathComponent("empty").path]
    let outcome = try gps(["bench", "lqr"], environment: elsewhere)
    #expect(outcome.status == 64 && outcome.output.isEmpty)
    #expect(
      outcome.errors
        == "gps: the benchmarks are not beside this program; set GPS_ROOT to a checkout of the toolkit\n"
    )
    let help = try gps(["bench", "--help"], environment: elsewhere)
    #expect(help.status == 0 && help.output.contains("package of their own"))
  }
}
