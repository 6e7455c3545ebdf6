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
    "resume stopped --quiet",
  ]

  /// Runs what commands need: `base` to be evaluated, `stopped` to be gone on with, `model.xml`.
  private func prepare(_ here: URL, for command: String) throws {
    if command.hasPrefix("evaluate") {
      #expect(try shell("\"$GPS\" \(tinyRun) --output base", in: here).status == 0)
    }
    if command.hasPrefix("resume") {
      let outcome = try shell(
        """
        "$GPS" run point-mass --quiet --set system.native.substeps=1000000 --set horizon=2000 --output stopped 2>err & pid=$!
        while kill -0 $pid && ! ls stopped/checkpoints/iteration-000000.safetensors; do sleep 0.02; done >/dev/null 2>&1
        kill -KILL $pid; wait $pid; [ -f stopped/checkpoints/iteration-000000.safetensors ]
        """, in: here)
      #expect(outcome.status == 0, "\(outcome.errors)")
    }
    // What takes a minute to compile.
    if command.hasPrefix("init") {
      let many = (0..<3).map { _ in "<replicate count='1000' offset='1 0 0'>" }.joined()
      try """
      <mujoco><worldbody>\(many)<geom size="1"/></replicate></replicate></replicate>
      <body><joint name="j"/><geom size="1"/></body></worldbody><actuator><motor joint="j"/></actuator></mujoco>
      """.write(to: here.appendingPathComponent("model.xml"), atomically: true, encoding: .utf8)
    }
  }

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
    try prepare(here, for: one.command)
    let outcome = try shell(script(one, signals: 2), in: here)
    #expect(outcome.status == (one.signal == "INT" ? 130 : 143))
  }

  /// Commands that keep nothing end with the first signal, and take with them what they have started.
  @Test(
    "one signal ends whatever keeps nothing", .slow, .timeLimit(.minutes(10)),
    arguments: [
      "check point-mass --set system.native.substeps=1000000 --workers 1",
      "check point-mass --set system.native.substeps=1000000 --workers 2",
      "check point-mass --set system.native.substeps=1000000 --workers 8",
      "init model.xml --output out.yaml", "check named.yaml", "plot run", "bench lqr",
    ], ["INT", "TERM"])
  func keepsNothing(_ command: String, _ signal: String) throws {
    let here = try testFolder("signals")
    try prepare(here, for: "init")
    let outcome = try shell(
      """
      cat >named.yaml <<'END'
      task: named
      system: {mujoco: {model: model.xml, state: [jointPositions]}}
      horizon: 5
      conditions: {train: [{name: a}]}
      cost: [{control: {weights: 1}}]
      initialController: {constant: {deviation: 0.3}}
      END
      # Programs that another program becomes.
      mkdir -p scripts Benchmarks; printf '#!/bin/sh\nexec sleep 300\n' >scripts/plot; : >Benchmarks/Package.swift
      cp scripts/plot scripts/gps; chmod 755 scripts/*; export GPS_SCRIPTS=$PWD/scripts GPS_ROOT=$PWD
      # In the background a shell has SIGINT ignored, which what keeps nothing leaves at that.
      env --default-signal=INT,TERM "$GPS" \(command) >/dev/null 2>err & pid=$!
      sleep 1; kill -0 $pid || { cat err; exit 1; }
      children=$(cat /proc/$pid/task/*/children); kill -\(signal) $pid; wait $pid; code=$?
      for i in $(seq 100); do
        left=0; for child in $children; do grep -q '^State:[^Z]*$' /proc/$child/status && left=1; done 2>/dev/null
        [ $left = 0 ] && break; sleep 0.1
      done
      [ $left = 0 ] && [ ! -e out.yaml ] && exit $code
      exit 2
      """, in: here)
    #expect(outcome.status == (signal == "INT" ? 130 : 143), "\(outcome.output)")
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
    // The others that write a run.
    try prepare(here, for: "resume")
    let resumed = Case(command: "resume stopped --quiet", workers: workers, signal: "INT")
    #expect(try shell(script(resumed, signals: 1), in: here).status == 130)
    let optimized = Case(
      command: "optimize point-mass --quiet --set system.native.substeps=500 --set horizon=2000 "
        + "--output optimized", workers: workers, signal: "TERM")
    #expect(try shell(script(optimized, signals: 1), in: here).status == 143)
  }

  @Test(
    "one signal ends a search on known dynamics, whatever it is at, and the run can go on", .slow,
    .timeLimit(.minutes(10)), arguments: [1, 2, 8])
  func search(_ workers: Int) throws {
    let here = try testFolder("signals")
    // A search of a minute before the first rollout; an iteration of hours; one that follows quick ones.
    let commands = [
      "run box-push --quiet --output searched",
      "optimize point-mass --quiet --set system.native.substeps=20000 --set horizon=2000 --output slow",
      "optimize cart-pole --quiet --set optimization.sampling.samples=100000 --output sampled",
    ]
    for (command, signal) in zip(commands, ["INT", "TERM", "INT"]) {
      let one = Case(command: command, workers: workers, signal: signal)
      let name = try #require(command.split(separator: " ").last)
      let code: Int32 = signal == "INT" ? 130 : 143
      #expect(try shell(script(one, signals: 1), in: here).status == code, "\(command)")
      let summary = try JSONDecoder().decode(
        Summary.self, from: Data(contentsOf: here.appendingPathComponent("\(name)/summary.json")))
      #expect(summary.outcome == .interrupted && summary.failure == nil, "\(command)")
      // It goes on, until it is told to end again.
      let verb = command.prefix { $0 != " " }
      let again = Case(
        command: verb == "run" ? "resume \(name) --quiet" : command + " --resume",
        workers: workers, signal: signal)
      #expect(try shell(script(again, signals: 1), in: here).status == code, "\(again.command)")
    }
  }

  @Test("a search that was given up is done again, to the same end", .slow)
  func searchAgain() throws {
    let here = try testFolder("signals")
    let learn =
      "run box-push --iterations 1 --samples 2 --set training.steps=20 --quiet --workers 2 --set "
      + "'initialController={optimize: {maxIterations: 4, sampling: {tries: 0}}}' --output"
    let outcome = try shell(
      """
      "$GPS" \(learn) whole >/dev/null 2>&1 || exit 1
      times=0
      for wait in 0.3 2; do
        rm -rf cut; "$GPS" \(learn) cut >/dev/null 2>&1 & pid=$!
        sleep $wait; kill -INT $pid; wait $pid; code=$?
        [ $code = 130 ] && [ -d cut/checkpoints ] || continue
        times=$((times + 1))
        [ $(wc -l <cut/progress.csv) = 1 ] || exit 2
        "$GPS" resume cut --quiet >/dev/null 2>&1 || exit 3
        cmp whole/policy.safetensors cut/policy.safetensors || exit 4
        for file in rollouts trajectories; do cmp whole/$file.csv cut/$file.csv || exit 5; done
      done
      [ $times -gt 0 ]
      """, in: here)
    #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
  }
}
