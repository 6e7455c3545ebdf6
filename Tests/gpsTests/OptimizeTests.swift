import Foundation
import Testing

@Suite("gps optimize") struct OptimizeTests {
  /// Little sampling of first guesses.
  private static let briefly = [
    "--set", "optimization.sampling={tries: 2, generations: 2, samples: 8}",
  ]

  @Test func writesARunDirectory() throws {
    let run = folder.appendingPathComponent("optimize-run").path
    let result = try gps(["optimize", "two-link-arm", "--output", run] + Self.briefly)
    #expect(result.status == 0, "\(result.output)")
    #expect(result.output.contains(" iterations, cost "))
    #expect(result.output.contains("local controllers: success rate 100 %"))
    let data = try Data(contentsOf: URL(fileURLWithPath: run + "/summary.json"))
    let summary = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    #expect(summary["algorithm"] as? String == "ilqr")
    #expect(summary["outcome"] as? String == "completed")
    let progress = try String(contentsOfFile: run + "/progress.csv", encoding: .utf8)
    let costs = progress.split(separator: "\n").dropFirst().compactMap {
      Double($0.split(separator: ",", omittingEmptySubsequences: false)[2])
    }
    #expect(costs.count >= 3)
    // From the initial controllers' cost down, and never up.
    for (before, after) in zip(costs, costs.dropFirst()) { #expect(after <= before + 1e-9) }
    #expect(try #require(costs.last) < #require(costs.first) - 1)
  }

  @Test func theSameForAnyNumberOfWorkers() throws {
    var all: [String] = []
    for workers in ["1", "3", "9"] {
      let run = folder.appendingPathComponent("optimize-\(workers)").path
      let result = try gps(
        [
          "optimize", "cart-pole", "--workers", workers, "--iterations", "20", "--output", run,
        ] + Self.briefly)
      #expect(result.status == 0, "\(result.output)")
      all.append(try String(contentsOfFile: run + "/trajectories.csv", encoding: .utf8))
    }
    #expect(all[0] == all[1] && all[1] == all[2])
  }

  /// A folder with a model and an experiment about its joint j.
  private func write(_ model: String, _ state: String, _ cost: String, to name: String) throws
    -> URL
  {
    let here = folder.appendingPathComponent(name)
    try FileManager.default.createDirectory(at: here, withIntermediateDirectories: true)
    try model.write(
      to: here.appendingPathComponent("model.xml"), atomically: true, encoding: .utf8)
    try """
    task: t
    system: {mujoco: {model: model.xml, substeps: 2, state: \(state)}}
    horizon: 30
    conditions: {train: [{name: a}]}
    cost:
      - control: {weights: 0.05}
      - state: {entries: [joint_positions.j_rad], target: [0.5]}
      \(cost)
    success: {stateWithin: {entries: [joint_positions.j_rad], target: [0.5], tolerance: 0.1, at: final}}
    initialController: {pd: {positionGains: 1, velocityGains: 0.2, variance: 0.1}}
    """.write(to: here.appendingPathComponent("task.yaml"), atomically: true, encoding: .utf8)
    return here
  }

  private func link(actuator: String, sensor: String = "") -> String {
    """
    <mujoco><option timestep="0.01" gravity="0 0 0"/>
      <worldbody><body name="link"><joint name="j" axis="0 1 0" damping="0.3"/>
        <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/></body></worldbody>
      <actuator>\(actuator)</actuator><sensor>\(sensor)</sensor>
    </mujoco>
    """
  }

  @Test func claimsWhatThePlantMakesOfItsControls() throws {
    // A clock in the state and in the cost: the steps begin when the state says.
    let here = try write(
      link(actuator: "<motor name='m' joint='j'/>", sensor: "<clock name='now'/>"),
      "[jointPositions, jointVelocities, {sensors: [now]}]",
      "- state: {entries: [sensors.now_s], target: [0], weights: [1]}", to: "clock")
    let result = try gps(["optimize", "task.yaml", "--output", "out"], in: here)
    #expect(result.status == 0, "\(result.errors)")
    #expect(!result.errors.contains("rolled out"))
    let claimed = try #require(
      result.output.split(separator: "\n").first { $0.hasPrefix("a: ") }?
        .split(separator: ",").first { $0.hasPrefix(" cost ") })
    #expect(result.output.contains("mean" + claimed), "\(result.output)")
  }

  @Test func refusesWhatTheStateCannotHold() throws {
    let here = try write(
      link(actuator: "<motor name='m' joint='j' delay='0.04' nsample='6'/>"),
      "[jointPositions, jointVelocities]", "", to: "delay")
    let result = try gps(["optimize", "task.yaml", "--output", "out"], in: here)
    #expect(result.status == 64)
    #expect(result.errors.contains("the delayed controls of actuator 'm'"))
    // Rollouts carry it: what is fitted to them has no need to know.
    let run = try gps(
      ["run", "task.yaml", "--output", "run", "--set", "algorithm.iterations=1", "--quiet"],
      in: here)
    #expect(run.status == 0, "\(run.errors)")
  }

  @Test func saysThatActivationsJoinTheState() throws {
    let here = try write(
      link(actuator: "<general name='m' joint='j' dyntype='filter' dynprm='0.1'/>"),
      "[jointPositions, jointVelocities]", "", to: "activation")
    let result = try gps(["optimize", "task.yaml", "--output", "out"], in: here)
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.errors.contains("actuatorActivations"))
    let trajectories = try String(
      contentsOf: here.appendingPathComponent("out/trajectories.csv"), encoding: .utf8)
    #expect(trajectories.prefix { $0 != "\n" }.contains("state.actuator_activations.m"))
  }

  /// The column of a CSV file, row by row; nothing for an empty field.
  private func column(_ name: String, of file: String) throws -> [Double?] {
    let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n")
    let header = try #require(lines.first).split(separator: ",").map(String.init)
    let index = try #require(header.firstIndex(of: name))
    return lines.dropFirst().map {
      Double($0.split(separator: ",", omittingEmptySubsequences: false)[index])
    }
  }

  @Test func samplingIsCountedAndCanBeSwitchedOff() throws {
    var counts: [Double] = []
    for sampling in ["{tries: 0}", "{tries: 1, generations: 1, samples: 16}"] {
      let run = folder.appendingPathComponent("optimize-sampling-\(counts.count)").path
      let result = try gps([
        "optimize", "cart-pole", "--iterations", "1", "--output", run, "--set",
        "optimization.sampling=\(sampling)",
      ])
      #expect(result.status == 0, "\(result.errors)")
      counts.append(
        try #require(try column("model_rollouts", of: run + "/progress.csv").first ?? nil))
    }
    // In each of four conditions 16 samples and the disturbed guess.
    #expect(counts == [0, 68])
    let refused = try gps([
      "optimize", "cart-pole", "--set", "optimization.sampling.samples=1",
    ])
    #expect(refused.status == 64)
    #expect(refused.errors.contains("optimization.sampling.samples"), "\(refused.errors)")
  }

  @Test func aSearchedStartIsLearnedFrom() throws {
    let run = folder.appendingPathComponent("searched-start").path
    let result = try gps([
      "run", "cart-pole", "--iterations", "1", "--samples", "3", "--output", run, "--set",
      "initialController={optimize: {maxIterations: 2, sampling: {tries: 1, generations: 1, samples: 8}}}",
    ])
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.contains("model rollouts"))
    let counts = try column("model_rollouts", of: run + "/progress.csv")
    #expect(counts.count == 1 && (counts[0] ?? 0) >= 40)
  }

  @Test func whatWasOptimisedCanBeDemonstrated() throws {
    let first = folder.appendingPathComponent("demonstrated").path
    #expect(
      try gps(["optimize", "two-link-arm", "--output", first] + Self.briefly).status == 0)
    let second = folder.appendingPathComponent("demonstration").path
    let result = try gps([
      "optimize", "two-link-arm", "--iterations", "1", "--output", second, "--set",
      "initialController={demonstrations: {file: \(first)/trajectories.csv}}", "--set",
      "optimization.sampling.tries=0",
    ])
    #expect(result.status == 0, "\(result.errors)")
    // Its first rollout is the other's last.
    let (end, start) = (
      try column("cost", of: first + "/rollouts.csv"),
      try column("cost", of: second + "/rollouts.csv")
    )
    let conditions = end.count / 2
    for i in 0..<conditions {
      let (a, b) = (try #require(end[conditions + i]), try #require(start[i]))
      #expect(abs(a - b) <= 1e-6 * (1 + abs(a)))
    }
    // The run has a copy, and goes on from it.
    let copy = try String(contentsOfFile: second + "/demonstrations.csv", encoding: .utf8)
    #expect(copy == (try String(contentsOfFile: first + "/trajectories.csv", encoding: .utf8)))
    let experiment = try String(contentsOfFile: second + "/experiment.yaml", encoding: .utf8)
    #expect(experiment.contains("demonstrations.csv") && !experiment.contains(first))
    let damaged = try gps([
      "optimize", "two-link-arm", "--set", "initialController={demonstrations: {file: no.csv}}",
    ])
    #expect(damaged.status == 64)
    #expect(damaged.errors.contains("no such file"), "\(damaged.errors)")
  }
}
