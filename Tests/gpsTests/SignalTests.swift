import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// Ctrl-C and termination requests, with every core busy.
@Suite struct SignalTests {
  /// Work that takes hours: steps of a million substeps, or a million rollouts.
  private static let endless = [
    "run point-mass --quiet --set system.native.substeps=1000000 --output out",
    "evaluate base --rollouts 100000",
    "optimize point-mass --quiet --set system.native.substeps=1000000 --output out",
  ]

  struct Case: Sendable, CustomTestStringConvertible {
    var command: String
    var workers: Int
    var signal: String
    var testDescription: String {
      "\(command.prefix { $0 != " " }) at \(workers) workers, \(signal)"
    }
  }

  static let cases = [1, 2, 8].flatMap { workers in
    endless.flatMap { command in
      ["INT", "TERM"].map { Case(command: command, workers: workers, signal: $0) }
    }
  }

  /// Waits until the process computes, so that a signal meets work; then sends as many as are said.
  private func script(_ one: Case, signals: Int) -> String {
    """
    "$GPS" \(one.command) --workers \(one.workers) >/dev/null 2>err & pid=$!
    while kill -0 $pid && ! (( 0x$(awk '/SigCgt/ {print $2}' /proc/$pid/status) & 2 )); do sleep 0.02; done
    sleep 0.3
    for i in $(seq \(signals)); do kill -\(one.signal) $pid; sleep 0.3; done
    wait $pid
    """
  }

  @Test(
    "a second signal ends the program, whatever it is at", .slow, .timeLimit(.minutes(10)),
    arguments: cases)
  func second(_ one: Case) throws {
    let here = try testFolder("signals")
    if one.command.hasPrefix("evaluate") {
      #expect(try shell("\"$GPS\" \(tinyRun) --output base", in: here).status == 0)
    }
    let outcome = try shell(script(one, signals: 2), in: here)
    #expect(outcome.status == (one.signal == "INT" ? 130 : 143))
  }

  @Test(
    "one signal ends an evaluation, and an iteration that is too long", .slow,
    .timeLimit(.minutes(10)), arguments: [1, 2, 8])
  func first(_ workers: Int) throws {
    let here = try testFolder("signals")
    #expect(try shell("\"$GPS\" \(tinyRun) --output base", in: here).status == 0)
    let evaluation = Case(command: Self.endless[1], workers: workers, signal: "INT")
    #expect(try shell(script(evaluation, signals: 1), in: here).status == 130)
    // A rollout of half a minute, of which each step is short.
    let long = Case(
      command: "run point-mass --quiet --set system.native.substeps=100000 --set horizon=2000 "
        + "--output out", workers: workers, signal: "TERM")
    #expect(try shell(script(long, signals: 1), in: here).status == 143)
    let summary = try JSONDecoder().decode(
      Summary.self, from: Data(contentsOf: here.appendingPathComponent("out/summary.json")))
    #expect(summary.outcome == .interrupted && summary.iterations == 0)
    let errors = try String(
      contentsOf: here.appendingPathComponent("err"), encoding: .utf8)
    #expect(errors.contains("stopping after this iteration"))
  }
}
