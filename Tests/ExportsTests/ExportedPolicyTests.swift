import Foundation
import GPSCore
import GPSTestSupport
import GlobalPolicy
import LinearAlgebra
import Statistics
import Testing

@testable import Exports

/// The C header does what `act` does, as a compiler of C sees it.
@Suite struct ExportedPolicyTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var activation: NetworkOptions.Activation
    var hidden: [Int]
    var limits: ControlLimits?
    var testDescription: String {
      "\(activation) \(hidden) \(limits == nil ? "unlimited" : "limited")"
    }
  }

  static let cases = [
    Case(activation: .relu, hidden: [], limits: nil),
    Case(activation: .relu, hidden: [42, 42], limits: ControlLimits(magnitudes: [1, 0.5, 2])),
    Case(
      activation: .tanh, hidden: [7],
      limits: ControlLimits(lower: [-.infinity, -1, 0.25], upper: [0.5, .infinity, 0.25])),
    Case(activation: .softplus, hidden: [5, 9, 4], limits: nil),
    Case(activation: .silu, hidden: [16, 3], limits: ControlLimits.none(3)),
  ]

  /// A policy of 5 observations, of very different sizes or not, and 3 controls.
  static func policy(_ test: Case, isEven: Bool) throws -> NeuralPolicy {
    var options = NetworkOptions()
    (options.hiddenLayers, options.activation) = (test.hidden, test.activation)
    var draws = RandomStream(seed: 3)
    let sizes = [5] + test.hidden + [3]
    let layers = zip(sizes, sizes.dropFirst()).map { inputs, outputs in
      var weights = Matrix(rows: outputs, columns: inputs)
      for i in 0..<inputs {
        for o in 0..<outputs { weights[o, i] = draws.normal() / Double(inputs).squareRoot() }
      }
      return (weights: weights, biases: (0..<outputs).map { _ in 0.3 * draws.normal() })
    }
    let identity = Matrix.identity(3)
    return try NeuralPolicy(
      options: options, layers: layers,
      observationMean: isEven ? [0, 1, -3, 0.1, 2.5] : [0, 1e6, -3, 1e-7, 2.5],
      observationDeviation: isEven ? [1, 2, 7, 0.5, 3] : [1, 0.01, 7, 1e-8, 1 / 3],
      controlMean: [0.1, 0, -0.2],
      controlDeviation: [1, 0.5, 1.25], covariance: identity, covarianceFactor: identity,
      precision: identity)
  }

  /// Observations about where the policy's are, some of them far away.
  static func observations(_ policy: NeuralPolicy, count: Int) -> [[Double]] {
    var draws = RandomStream(seed: 4)
    let whitening = policy.observationWhitening
    return (0..<count).map { sample in
      let reach = sample.isMultiple(of: 10) ? 50.0 : 1
      return (0..<policy.observation).map {
        whitening.mean[$0] + reach * whitening.deviation[$0] * draws.normal()
      }
    }
  }

  /// Each in C; single precision and C++ where most is at stake.
  static let compilations: [(Case, [String])] =
    cases.map { ($0, ["cc", "-std=c99"]) } + [
      (cases[2], ["cc", "-DGPS_SINGLE", "-Wdouble-promotion"]),
      (cases[1], ["c++", "-x", "c++"]),
    ]

  @Test(.slow, arguments: compilations)
  func compiledAndCompared(_ test: Case, _ compiler: [String]) throws {
    // With a large mean, what is whitened in single precision has lost what that hides.
    let isSingle = compiler.contains("-DGPS_SINGLE")
    let policy = try Self.policy(test, isEven: isSingle)
    let exported = ExportedPolicy(
      policy, task: "a */ task /* of \"mine\" ??/\n#error", limits: test.limits,
      controlNames: ["a*/", "b\\", "c"], controlPeriod: 0.05)
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "gps-export-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data(exported.c).write(to: folder.appendingPathComponent("policy.h"))
    try """
    #include "policy.h"
    #include <stdio.h>
    int main(void) {
      double in[GPS_OBSERVATIONS], out[GPS_ACTIONS];
      GPS_REAL observation[GPS_OBSERVATIONS], action[GPS_ACTIONS];
      int i;
      while (fread(in, sizeof in, 1, stdin) == 1) {
        for (i = 0; i < GPS_OBSERVATIONS; i++) observation[i] = (GPS_REAL)in[i];
        act(observation, action);
        for (i = 0; i < GPS_ACTIONS; i++) out[i] = (double)action[i];
        fwrite(out, sizeof out, 1, stdout);
      }
      return 0;
    }
    """.write(to: folder.appendingPathComponent("main.c"), atomically: true, encoding: .utf8)
    let inputs = Self.observations(policy, count: 200)
    try inputs.flatMap { $0 }.withUnsafeBytes { Data($0) }.write(
      to: folder.appendingPathComponent("in"))
    let script = """
      \(compiler.joined(separator: " ")) -O1 -Wall -Wextra -pedantic -Werror main.c -o main -lm && ./main <in >out
      """
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", script]
    process.currentDirectoryURL = folder
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "the compiler refuses it, or it fails")

    let bytes = try Data(contentsOf: folder.appendingPathComponent("out"))
    let outputs = bytes.withUnsafeBytes { Array($0.bindMemory(to: Double.self)) }
    try #require(outputs.count == 3 * inputs.count)
    // Of a control's largest magnitude, as the network wants it: what limits cut off has its roundings too.
    let tolerance = isSingle ? 1e-4 : 1e-6
    let actions = inputs.map { policy.action(for: $0) }
    for i in 0..<3 {
      let scale = max(1, actions.map { abs($0[i]) }.max() ?? 1)
      for (sample, action) in actions.enumerated() {
        let expected = test.limits?.clamped(action[i], i) ?? action[i]
        #expect(abs(outputs[3 * sample + i] - expected) <= tolerance * scale)
      }
    }
  }
}
