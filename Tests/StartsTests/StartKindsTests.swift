import Differentiation
import Foundation
import GPSCore
import GPSTestSupport
import LQR
import LinearAlgebra
import Sim
import Statistics
import Testing

@testable import Starts

/// A mass on a slide that only a tendon pulls, a motor at a site, and a servo that a keyframe holds away from 0.
private let model = """
  <mujoco>
    <option timestep="0.01" integrator="implicitfast"/>
    <worldbody>
      <body name="block" pos="0 0 1">
        <joint name="slide" type="slide" axis="1 0 0" damping="1"/>
        <geom type="box" size="0.1 0.1 0.1" mass="1"/>
        <site name="tip" pos="0.1 0 0"/>
      </body>
      <body name="arm" pos="0 1 1">
        <joint name="elbow" axis="0 1 0" damping="1"/>
        <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/>
      </body>
    </worldbody>
    <tendon><fixed name="cable"><joint joint="slide" coef="0.5"/></fixed></tendon>
    <actuator>
      <motor name="pull" tendon="cable" ctrlrange="-4 8" ctrllimited="true"/>
      <motor name="jet" site="tip" gear="1 0 0 0 0 0"/>
      <position name="servo" joint="elbow" kp="500" ctrlrange="-2 2" ctrllimited="true"/>
    </actuator>
    <keyframe><key name="bent" qpos="0 -0.7" ctrl="0 0 -0.7"/></keyframe>
  </mujoco>
  """

@Suite("Kinds of starts") struct StartKindsTests {
  private func task(horizon: Int = 40) throws -> MuJoCoTask {
    let interface = try MuJoCoInterface(
      model: MuJoCoModel(mjcf: model), state: [.jointPositions(), .jointVelocities()])
    return try MuJoCoTask(
      name: "t", interface: interface, horizon: horizon,
      conditions: [
        Condition(name: "c", initialPlantState: try interface.model.plantState(keyframe: "bent"))
      ], cost: SumCost(.control(ControlCost(weights: [1]))), success: SuccessCriterion.all([]))
  }

  @Test(
    "A constant start asks nothing of the actuators, and a servo stays where its keyframe holds it")
  func constant() async throws {
    let task = try task()
    let controller = try InitialController.constant(.init(variance: [1e-12])).controller(
      for: task, in: task.conditions[0])
    #expect(controller.action(step: 7, state: [9, 9, 9, 9]) == [0, 0, -0.7])
    let batch = try await collectRollouts(
      of: task, in: task.conditions, under: [controller],
      plan: RolloutPlan(iteration: 0, samples: 1, noise: nil, workers: 1),
      stream: RandomStream(seed: 1))
    let end = batch[0].trajectories[0].states.column(40)
    // A kilogram on 0.2 m sags by 1.96 N m / 500 N m.
    #expect(abs(end[1] + 0.7) < 0.01 && abs(end[0]) < 1e-9)
  }

  @Test("Its noise is a share of half the range, or a variance of its own")
  func exploration() throws {
    let limited = Start(
      dimensions: Dimensions(state: 2, control: 2, observation: 2, horizon: 3), controlPeriod: 0.1,
      coordinates: [], stateNames: ["q", "v"], controlNames: ["a", "b"],
      limits: ControlLimits(lower: [-4, -.infinity], upper: [8, 1]), state: [1, 2])
    func variances(_ options: InitialController.ConstantOptions) throws -> [Double] {
      let controller = try options.controller(limited)
      return [controller.covariances[2][0, 0], controller.covariances[2][1, 1]]
    }
    let byRange = try variances(.init(deviation: [0.5, 0.2]))
    #expect(abs(byRange[0] - 9) < 1e-12 && abs(byRange[1] - 0.04) < 1e-12)
    #expect(try variances(.init(variance: [2])) == [2, 2])
    // The mean is brought within the limits.
    let mean = try InitialController.ConstantOptions(mean: [-9, 3]).controller(limited)
    #expect(mean.action(step: 0, state: [5, 5]) == [-4, 1])
  }

  @Test("Feedback by names is u = ū + K (x − x_0)")
  func gains() throws {
    let task = try task()
    let controller = try InitialController.constant(
      .init(
        mean: [1, 0, 0],
        gains: ["pull": ["joint_positions.slide_m": -3, "joint_velocities.elbow_rad_per_s": 2]])
    ).controller(for: task, in: task.conditions[0])
    // The start is (0, −0.7, 0, 0).
    let u = controller.action(step: 0, state: [0.5, 4, 1, 0.25])
    #expect(abs(u[0] - (1 - 1.5 + 0.5)) < 1e-12 && u[1] == 0 && u[2] == 0)
    for (gains, word) in [
      (["pul": ["joint_positions.slide_m": 1.0]], "pull"),
      (["pull": ["slide": 1.0]], "joint_positions.slide_m"),
    ] {
      do {
        _ = try InitialController.constant(.init(gains: gains)).controller(
          for: task, in: task.conditions[0])
        Issue.record("unknown names in \(gains) were taken")
      } catch { #expect("\(error)".contains(word), "\(error)") }
    }
  }

  @Test("Options out of range are named by their keys in files")
  func refusals() throws {
    let task = try task()
    for (start, key) in [
      (InitialController.constant(.init(mean: [1, 2])), "constant.mean"),
      (.constant(.init(deviation: [0])), "constant.deviation"),
      (.constant(.init(variance: [1, 1])), "constant.variance"),
      (.linearized(.init(stateWeights: [-1])), "linearized.stateWeights"),
      (.linearized(.init(controlWeights: [1, 2])), "linearized.controlWeights"),
      (.optimize(.init(deviation: [-1])), "optimize.deviation"),
    ] {
      do {
        _ = try start.controller(for: task, in: task.conditions[0])
        Issue.record("\(key) was taken")
      } catch { #expect("\(error)".contains(key), "\(error)") }
    }
  }

  // MARK: - Linearised

  /// θ'' = 10 sin θ + u for a pole whose angle 0 is up, and a third entry that nothing moves.
  struct Pole: ContinuousSystem {
    var hasMotor = true
    let stateCount = 3
    let controlCount = 1
    func derivative<S: DifferentiableScalar>(
      _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
    ) {
      rate[0] = x[1]
      rate[1] = 10 * sin(x[0]) + (hasMotor ? u[0] : 0 * u[0])
      rate[2] = 0 * x[2]
    }
  }

  private func pole(from state: [Double], hasMotor: Bool = true) throws -> NativeTask<Pole> {
    try NativeTask(
      name: "pole", model: Pole(hasMotor: hasMotor), controlPeriod: 0.05, horizon: 60,
      conditions: [Condition(name: "c", initialPlantState: state)],
      cost: SumCost(
        .control(ControlCost(weights: [0.1])),
        .state(StateCost(entries: [0, 1, 2], target: .numbers([0]), weights: [1, 0.1, 1]))))
  }

  @Test("A pole that leans falls under a constant start and stands under a linearised one")
  func balances() async throws {
    for lean in [0.2, -0.1, 0] {
      let task = try pole(from: [lean, 0.3, 4])
      func end(_ start: InitialController) async throws -> [Double] {
        let batch = try await collectRollouts(
          of: task, in: task.conditions,
          under: [try start.controller(for: task, in: task.conditions[0])],
          plan: RolloutPlan(iteration: 0, samples: 1, noise: nil, workers: 1),
          stream: RandomStream(seed: 1))
        return batch[0].trajectories[0].states.column(60)
      }
      #expect(abs(try await end(.constant())[0]) > 1)
      let held = try await end(.linearized())
      #expect(abs(held[1]) < 0.02, "\(held)")
      #expect(abs(held[0]) < 0.25, "\(held)")
    }
  }

  @Test("The gains are those of the discounted Riccati equation about the held start")
  func riccati() throws {
    let task = try pole(from: [0.2, 0, 4])
    let controller = try InitialController.linearized(
      .init(stateWeights: [2, 0.5, 1], controlWeights: [0.3])
    ).controller(for: task, in: task.conditions[0])
    // u = −10 sin 0.2 holds the start.
    let held = controller.action(step: 0, state: [0.2, 0, 4])
    // As near as 1e-7 of the state, over a period of 0.05 s.
    #expect(abs(held[0] + 10 * sin(0.2)) < 1e-5)
    let dynamics = try #require(task.knownDynamics(in: task.conditions[0]))
    let F = try jacobian(dynamics, held)
    let discount = 1 - 1.0 / 61
    let (A, B) = (discount * F[0..<3, 0..<3], discount * F[0..<3, 3..<4])
    let Q = Matrix(diagonal: [2, 0.5, 1])
    var X = Q
    var K = Matrix(rows: 1, columns: 3)
    for _ in 0..<2000 {
      let curvature = 0.3 + (B.transposed * X * B)[0, 0]
      K = (-1 / curvature) * (B.transposed * X * A)
      X = (Q + A.transposed * X * (A + B * K)).symmetrized
    }
    #expect((controller.gains[30] - K).largestMagnitude < 1e-4 * K.largestMagnitude)
  }

  private func jacobian<D: KnownDynamics>(_ dynamics: D, _ control: [Double]) throws -> Matrix {
    var workspace = try dynamics.makeWorkspace()
    var (next, F) = ([0.0, 0, 0], [Double](repeating: 0, count: 12))
    var nextSpan = next.mutableSpan
    var entries = F.mutableSpan
    try dynamics.linearize(
      [0.2, 0, 4].span, control.span, workspace: &workspace, into: &nextSpan, jacobian: &entries)
    return Matrix(rows: 3, columns: 4, columnMajor: F)
  }

  @Test("What no control reaches is named")
  func unreachable() throws {
    let task = try pole(from: [0.1, 0, 0], hasMotor: false)
    do {
      _ = try InitialController.linearized().controller(for: task, in: task.conditions[0])
      Issue.record("a pole without a motor was held")
    } catch let error as StartError {
      // √10 per second over 0.05 s: e^0.158.
      #expect(error.kind == "linearized" && error.reason.contains("no control reaches it"))
      #expect(error.reason.contains("1.17"), "\(error)")
    }
  }

  // MARK: - Searched

  /// A pendulum that hangs and whose motor cannot lift it at once; angle 0 is down.
  struct WeakPendulum: ContinuousSystem {
    var torque = 6.0
    let stateCount = 2
    let controlCount = 1
    func derivative<S: DifferentiableScalar>(
      _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
    ) {
      rate[0] = x[1]
      rate[1] = -9.81 * sin(x[0]) - 0.1 * x[1] + u[0]
    }
    var controlLimits: ControlLimits? { ControlLimits(magnitudes: [torque]) }
  }

  private func swingUp() throws -> NativeTask<WeakPendulum> {
    try NativeTask(
      name: "swing-up", model: WeakPendulum(), controlPeriod: 0.05, horizon: 100,
      conditions: [0, 0.3].map { Condition(name: "\($0)", initialPlantState: [$0, 0]) },
      cost: SumCost(
        .control(ControlCost(weights: [0.01])),
        .state(
          StateCost(
            entries: [0, 1], target: .numbers([.pi, 0]), weights: [50, 5], ramp: .finalOnly)),
        .state(
          StateCost(entries: [0], target: .numbers([.pi]), weights: [1], ramp: .quadratic))))
  }

  @Test(
    "From nothing it finds a swing-up within the limits, the same for any number of workers", .slow)
  func searches() async throws {
    let task = try swingUp()
    let start = InitialController.optimize()
    #expect(start.takesSearch && !InitialController.constant().takesSearch)
    var all: [[SearchedStart]] = []
    for workers in [1, 3, 7] {
      all.append(
        try #require(
          try await start.searched(for: task, stream: RandomStream(seed: 5), workers: workers)))
    }
    #expect(all[0] == all[1] && all[0] == all[2])
    // 3 tries of up to 30 × 64, the start and its disturbed twin, and what iterative LQR tried.
    #expect(all[0][0].modelRollouts > 200 && all[0].allSatisfy { $0.modelRollouts < 12_000 })
    let batches = try await collectRollouts(
      of: task, in: task.conditions, under: all[0].map(\.controller),
      plan: RolloutPlan(iteration: 0, samples: 4, workers: 1), stream: RandomStream(seed: 2))
    for batch in batches {
      #expect(batch.trajectories.count == 4)
      for trajectory in batch.trajectories {
        // It stands, under noise and within the limits.
        #expect(abs(abs(trajectory.states[0, 100]) - .pi) < 0.3)
        #expect(trajectory.controls.largestMagnitude <= 6)
      }
    }
    // The gains act on saturated steps too.
    let gains = all[0][0].controller.gains
    #expect((0..<90).allSatisfy { gains[$0].largestMagnitude > 0 })
  }

  // MARK: - Demonstrated

  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
    "starts-\(UUID().uuidString)", isDirectory: true)

  private func start(from text: String, _ name: String = "demo.csv") throws -> InitialController {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let url = folder.appendingPathComponent(name)
    try text.write(to: url, atomically: true, encoding: .utf8)
    return .demonstrations(.init(file: url.path))
  }

  private func demonstrations() throws -> NativeTask<WeakPendulum> {
    try NativeTask(
      name: "two", model: WeakPendulum(), controlPeriod: 0.05, horizon: 2,
      conditions: ["left", "right, too"].map { Condition(name: $0, initialPlantState: [0, 0]) },
      cost: SumCost(.control(ControlCost(weights: [1]))))
  }

  @Test("Demonstrations are averaged by condition, of the last iteration in the file")
  func csv() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let task = try demonstrations()
    var options = InitialController.DemonstrationOptions(
      file: "", gains: ["u0": ["x0": -2]])
    options.file = try #require(
      try start(
        from: """
          iteration,condition,sample,kind,step,state.x1,state.x0,control.u0
          0,left,0,training,0,0,0,9
          0,left,0,training,1,0,0,9
          0,left,0,training,2,0,0,
          1,left,0,training,0,0,1,1
          1,left,0,training,1,0,2,2
          1,left,0,training,2,0,3,
          1,left,1,training,0,0,3,2
          1,left,1,training,1,0,4,99
          1,left,1,training,2,0,5,
          1,"right, too",0,training,0,0,0,-1.5e0
          1,"right, too",0,training,1,0,0,0.5

          """
      ).file)
    let left = try InitialController.demonstrations(options).controller(
      for: task, in: task.conditions[0])
    // Means: x̄ = (2, 3), ū = (1.5, 50.5 → the limit 6).
    #expect(left.action(step: 0, state: [2, 7]) == [1.5])
    #expect(left.action(step: 0, state: [3, 7]) == [-0.5])
    #expect(left.action(step: 1, state: [3, 7]) == [6])
    let right = try InitialController.demonstrations(options).controller(
      for: task, in: task.conditions[1])
    #expect((0...1).map { right.action(step: $0, state: [0, 0])[0] } == [-1.5, 0.5])
  }

  @Test("A file is read once, whatever becomes of it between two conditions")
  func readOnce() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let task = try demonstrations()
    let header = "state.x0,state.x1,control.u0\n"
    let start = try start(from: header + "0,0,1\n0,0,1\n").loaded()
    _ = try self.start(from: header + "0,0,2\n0,0,2\n")
    for condition in task.conditions {
      #expect(try start.controller(for: task, in: condition).offsets[0, 0] == 1)
    }
  }

  @Test("The same demonstrations as safetensors, for all conditions or for one")
  func safetensors() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let task = try demonstrations()
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let url = folder.appendingPathComponent("demo.safetensors")
    func write(_ tensors: [String: Safetensors.Tensor]) throws {
      try Data(Safetensors(tensors: tensors).encoded()).write(to: url)
    }
    let start = InitialController.demonstrations(.init(file: url.path))
    try write([
      "states": .init([0.0, 0, 1, 0, 2, 0], shape: [3, 2]),
      "controls": .init([0.5, -0.5] as [Float], shape: [2, 1]),
      "left.states": .init([0.0, 0, 1, 0, 2, 0, 2, 0, 3, 0, 4, 0], shape: [2, 3, 2]),
      "left.controls": .init([1.0, 2, 3, 4], shape: [2, 2, 1]),
    ])
    func actions(_ condition: Int) throws -> [Double] {
      let controller = try start.controller(for: task, in: task.conditions[condition])
      return (0...1).map { controller.action(step: $0, state: [0, 0])[0] }
    }
    #expect(try actions(0) == [2, 3])
    #expect(try actions(1) == [0.5, -0.5])
    for (tensors, words) in [
      (["states": Safetensors.Tensor([0.0, 0], shape: [1, 2])], ["states", "[1, 2]", "[2, 2]"]),
      (["controls": .init([0.0, 0], shape: [2, 1])], ["no array \"states\"", "controls"]),
      (
        [
          "states": .init([0.0, 0, 0, .nan], shape: [2, 2]),
          "controls": .init([0.0, 0], shape: [2, 1]),
        ], ["states", "number 1 of step 1", "not finite"]
      ),
    ] {
      try write(tensors)
      do {
        _ = try actions(1)
        Issue.record("\(words) was taken")
      } catch {
        for word in words + ["demo.safetensors"] { #expect("\(error)".contains(word), "\(error)") }
      }
    }
  }

  @Test("A damaged file is refused with line and column")
  func damaged() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let task = try demonstrations()
    let header = "condition,step,state.x0,state.x1,control.u0\n"
    for (text, words) in [
      ("", ["is empty"]),
      ("state.x0,state.x,control.u0\n1,2,3\n", ["line 1", "state.x1"]),
      (header + "left,0,1,2,3\nleft,1,1,oops,3\n", ["line 3", "state.x1", "oops"]),
      (header + "left,0,1,2,3\nleft,1,1,nan,3\n", ["line 3", "state.x1", "nan"]),
      (header + "left,0,1,2,3\nleft,1,1,2\n", ["line 3", "4 cells", "5"]),
      (header + "left,0,1,2,3\nleft,1,1,2,\n", ["line 2", "1 controls", "horizon is 2"]),
      (header + "middle,0,1,2,3\nmiddle,1,1,2,3\n", ["condition left", "middle"]),
      (header, ["no demonstration"]),
      (header + "left,0,1e999,2,3\nleft,1,1,2,3\n", ["line 2", "state.x0", "1e999"]),
    ] {
      do {
        _ = try start(from: text).controller(for: task, in: task.conditions[0])
        Issue.record("\(text) was taken")
      } catch let error as StartError {
        for word in words + ["demo.csv"] { #expect(error.reason.contains(word), "\(error)") }
      }
    }
    #expect(throws: StartError.self) {
      try InitialController.demonstrations(.init(file: folder.path + "/no/such.csv")).controller(
        for: task, in: task.conditions[0])
    }
    let latin = folder.appendingPathComponent("demo.csv")
    try (Data((header + "le").utf8) + Data([0xFF]) + Data("ft,0,1,2,3\n".utf8)).write(to: latin)
    #expect {
      try InitialController.demonstrations(.init(file: latin.path)).controller(
        for: task, in: task.conditions[0])
    } throws: {
      "\($0)".contains("demo.csv, line 2, column 3: not UTF-8 text")
    }
    // Its size is on record alone.
    let sparse = folder.appendingPathComponent("sparse.csv")
    #expect(FileManager.default.createFile(atPath: sparse.path, contents: nil))
    #expect(truncate(sparse.path, 1 << 40) == 0)
    #expect {
      try InitialController.demonstrations(.init(file: sparse.path)).controller(
        for: task, in: task.conditions[0])
    } throws: {
      "\($0)".contains("bytes are too many (at most 268435456)")
    }
    // A pipe would never end, a device might not.
    let pipe = FileManager.default.temporaryDirectory.appendingPathComponent(
      "demonstrations-\(UUID().uuidString)")
    #expect(mkfifo(pipe.path, 0o600) == 0)
    defer { try? FileManager.default.removeItem(at: pipe) }
    for (file, kind) in [(pipe.path, "pipe"), ("/dev/zero", "device")] {
      #expect {
        try InitialController.demonstrations(.init(file: file)).controller(
          for: task, in: task.conditions[0])
      } throws: {
        "\($0)".contains("\(file) cannot be read: it is a \(kind)")
      }
    }
  }
}
