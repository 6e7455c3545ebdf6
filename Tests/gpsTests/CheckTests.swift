import Foundation
import GuidedPolicySearch
import Testing

/// `gps check`: what an experiment comes to, before anything is learned.
@Suite("Checked experiments") struct CheckTests {
  /// A pendulum, whose experiment is the given text.
  private func project(_ yaml: String, mjcf: String = pendulum) throws -> URL {
    let project = try InitTests.project(mjcf)
    try yaml.write(
      to: project.appendingPathComponent("task.yaml"), atomically: true, encoding: .utf8)
    return project
  }

  private static let pendulum = """
    <mujoco>
      <worldbody>
        <body><joint name="hinge" axis="0 1 0" damping="0.5"/><geom size="0.05" fromto="0 0 0 0 0 -0.5" type="capsule"/></body>
      </worldbody>
      <actuator><motor name="m" joint="hinge" ctrllimited="true" ctrlrange="-2 2"/></actuator>
    </mujoco>
    """

  private func experiment(
    state: String = "[jointPositions, jointVelocities]", variance: String = "0.01",
    cost: String = "[{state: {entries: [jointPositions], target: 0.5}}, {control: {weights: 0.1}}]",
    tolerance: String = "0.1", train: String = "[{name: a, jointPositions: [0.2]}]",
    horizon: Int = 20, more: String = ""
  ) -> String {
    """
    task: checked
    system: {mujoco: {model: models/robot.xml, state: \(state), stateLimit: 1000}}
    horizon: \(horizon)
    conditions: {train: \(train)}
    cost: \(cost)
    success: {stateWithin: {entries: [jointPositions], target: 0.5, tolerance: \(tolerance), at: final}}
    initialController: {pd: {positionGains: 1, velocityGains: 0.1, variance: \(variance)}}
    \(more)
    """
  }

  @Test("Shipped experiments can run", arguments: ["point-mass", "cart-pole", "peg-insertion"])
  func shipped(_ name: String) throws {
    let check = try gps(["check", name])
    #expect(check.status == 0, "\(check.errors)")
    #expect(check.output.contains("it can run") && !check.output.contains("warning"))
    #expect(check.errors.isEmpty)
    // Tables stand on lines of their own, a gap before each.
    #expect(check.output.contains("\n\ncontrols, with") && !check.output.contains("\\u{"))
  }

  @Test("Names, limits, starts and the cost's terms are those of the task")
  func tables() async throws {
    let project = try project(experiment())
    let outcome = try gps(["check", "task.yaml"], in: project)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains("2 states, 1 control, 2 observations, 0 points"))
    let loaded = try Experiment.load(project.appendingPathComponent("task.yaml"))
    let check = try await loaded.check()
    let state = try #require(check.tables.first { $0.columns[0] == "state" })
    #expect(state.rows.map { $0[0] } == loaded.task.stateNames)
    #expect(state.rows.map { $0[1] } == ["0.2", "0"])
    // u = −K_p (q − q_0): nothing at the start, with a deviation of √0.01.
    let controls = try #require(check.tables.first { $0.columns[0] == "control" })
    #expect(controls.rows.map { Array($0[1...]) } == [["-2", "2", "0", "0.1"]])
    let cost = try #require(check.tables.last)
    let numbers = cost.rows[0].compactMap(Double.init)
    #expect(numbers.count == 3)
    #expect(abs(numbers[0] - numbers[1] - numbers[2]) <= 1e-3 * numbers[0])
    #expect(try await loaded.check(workers: 2).tables.map(\.rows) == check.tables.map(\.rows))
    #expect(!FileManager.default.fileExists(atPath: project.appendingPathComponent("runs").path))
  }

  @Test(
    "Terms are told apart in experiments that can end, too, and a memory does not repeat all names")
  func endsAndMemory() async throws {
    let more = """
      termination: {when: {stateAbove: {entries: [jointPositions], target: 0.1}}, cost: 3}
      memory: {history: 2, lastAction: true}
      """
    let project = try project(experiment(more: more))
    let loaded = try Experiment.load(project.appendingPathComponent("task.yaml"))
    let check = try await loaded.check()
    let cost = try #require(check.tables.first { $0.columns.contains("cost") })
    #expect(cost.columns.suffix(3) == ["0. state", "1. control", "2. termination"])
    // It starts beyond the threshold: all 21 steps cost the price.
    #expect(cost.rows[0].suffix(3) == ["0", "0", "63"] && cost.rows[0][1] == "63")
    let seen = try #require(check.tables.first { $0.columns[0] == "observation" })
    #expect(seen.rows.count == 4 && seen.rows[2][0] == "the same, 1 to 2 steps before")
    #expect(seen.rows[3][0] == "last_action.m")
  }

  @Test("What may not be meant is said, and it can run all the same")
  func warnings() throws {
    for (yaml, sentence) in [
      (
        experiment(state: "[jointPositions]", more: "").replacingOccurrences(
          of: "pd: {positionGains: 1, velocityGains: 0.1, variance: 0.01}",
          with: "constant: {mean: 0}"), "the state leaves out the velocities of hinge"
      ),
      (experiment(variance: "100"), "are at its limits"),
      (experiment(tolerance: "10"), "succeeds in all conditions already"),
      (
        experiment(
          cost: "[{control: {weights: 0.1}}, {state: {entries: [jointPositions], weights: 0}}]"),
        "term 1 of the cost, state, is 0"
      ),
      (
        experiment(train: "[{name: a, goal: [1]}, {name: b, goal: [2]}]"),
        "the network sees the same at the start of \"a\" and \"b\""
      ),
      (experiment(horizon: 3), "the horizon is 3 steps"),
    ] {
      let outcome = try gps(["check", "task.yaml"], in: project(yaml))
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.output.contains("warning: "))
      #expect(outcome.output.contains(sentence), "\(sentence): \(outcome.output)")
    }
  }

  @Test("What cannot run is told with the reason, and the exit code says so")
  func problems() throws {
    // A start beyond the limit of the state, and one that goes beyond it at once.
    let beyond = experiment(train: "[{name: a, jointVelocities: [2000]}]")
    let refused = try gps(["check", "task.yaml"], in: project(beyond))
    #expect(refused.status == 64)
    #expect(refused.errors.contains("condition \"a\": velocity of joint 'hinge' is 2000"))
    let fast = experiment(train: "[{name: a, jointPositions: [999.5], jointVelocities: [900]}]")
    let outcome = try gps(["check", "task.yaml"], in: project(fast))
    #expect(outcome.status == 64)
    #expect(
      outcome.errors.hasPrefix(
        "gps: task.yaml cannot run: condition \"a\": every rollout of the first iteration fails"))
    #expect(outcome.errors.contains("position of joint 'hinge' is 100"))
    #expect(!outcome.output.contains("it can run"))
    let nonsense = try gps(["check", "task.yaml"], in: project("task: x"))
    #expect(nonsense.status == 64 && nonsense.errors.hasPrefix("gps: task.yaml:"))
  }
}
