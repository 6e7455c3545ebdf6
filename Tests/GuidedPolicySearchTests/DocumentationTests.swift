import Foundation
import GuidedPolicySearch
import Testing

// The code that the articles of the documentation show, but for the pendulum and the cost of
// CustomPendulumTests. A test below sees to it that every piece of Swift in an article stands in one
// of these files, so what readers copy compiles.

// MARK: - Getting started

private func makePendulumTask() throws -> NativeTask<Pendulum> {
  let task = try NativeTask(
    name: "pendulum", model: Pendulum(), controlPeriod: 0.05, horizon: 40,
    conditions: [-1, 1].map { angle in
      Condition(
        name: "to \(angle) rad", initialPlantState: [0, 0],
        initialPlantStateDeviation: [0.1, 0.1], goal: [angle])
    },
    cost: SumCost([
      .init(weight: 0.002, .control(ControlCost(weights: [1]))),
      .init(weight: 10, .state(StateCost(entries: [0], target: .goal(first: 0)))),
      .init(weight: 0.1, .state(StateCost(entries: [1], target: .numbers([0])))),
    ]),
    success: .stateWithin(
      entries: [0], target: .goal(first: 0), tolerance: [0.1], at: .last(5)))
  return task
}

// MARK: - A custom system

private struct RoundPendulum: ContinuousSystem {
  let stateCount = 2
  let controlCount = 1
  var stateNames: [String] { ["angle_rad", "velocity_rad_per_s"] }
  var actuatedCoordinates: [ActuatedCoordinate] { [.init(control: 0, position: 0, velocity: 1)] }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = x[1]
    rate[1] = u[0] - 0.1 * x[1] - 9.81 * sin(x[0])
  }

  var observationNames: [String] { ["angle_sine", "angle_cosine", "velocity_rad_per_s"] }

  func observe(
    _ x: Span<Double>, goal: Span<Double>, into observation: inout MutableSpan<Double>
  ) {
    observation[0] = sin(x[0])
    observation[1] = cos(x[0])
    observation[2] = x[1]
  }
}

/// A cart-pole whose equations would be too much for the compiler if the entries had no names.
private struct LongEquations: ContinuousSystem {
  let stateCount = 4
  let controlCount = 1

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let (angle, velocity, spin, force) = (x[1], x[2], x[3], u[0])
    let (s, c) = sinCos(angle)
    let (mass, weight) = (1 + 0.1 * s * s, 1.1 * 9.81)
    let pull = force * c + 0.05 * spin * spin * c * s + weight * s
    rate[0] = velocity
    rate[1] = spin
    rate[2] = (force + 0.1 * s * (0.5 * spin * spin + 9.81 * c)) / mass
    rate[3] = -pull / (0.5 * mass)
  }
}

private struct Heater: Plant {
  var temperature = 0.0  // °C above the room

  mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    temperature = plantState[0]
  }

  mutating func step(control: Span<Double>) throws {
    temperature += 0.1 * (control[0] - 0.5 * temperature)
    if temperature > 200 { throw PlantFailure("the heater is at \(temperature) °C") }
  }

  func readState(into state: inout MutableSpan<Double>) { state[0] = temperature }
  func readObservation(into observation: inout MutableSpan<Double>) {
    observation[0] = temperature
  }
}

private struct HeaterTask: ControlTask {
  let name = "heater"
  let dimensions = Dimensions(state: 1, control: 1, observation: 1, horizon: 20)
  let controlPeriod = 1.0
  let stateNames = ["temperature_K"]
  let controlNames = ["power_W"]
  let conditions = [
    Condition(name: "cold", initialPlantState: [0], initialPlantStateDeviation: [1])
  ]
  let cost: any Cost = SumCost(
    .state(StateCost(entries: [0], target: .numbers([20]))),
    .control(ControlCost(weights: [0.01])))

  func makePlant() throws -> Heater { Heater() }
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    abs(trajectory.states[0, trajectory.horizon] - 20) < 2
  }
}

private func heaterController() throws -> LinearGaussianController {
  let T = 20
  let start = try LinearGaussianController(
    gains: MatrixSequence(rows: 1, columns: 1, count: T),
    offsets: Matrix(rows: 1, columns: T, repeating: 5),
    covariances: MatrixSequence(repeating: Matrix([[4]]), count: T))
  return start
}

// MARK: - Costs

private func armCost(shoulder: Int, elbow: Int, hand: Int) -> SumCost {
  let cost = SumCost([
    .init(weight: 1, .control(ControlCost(weights: [0.01, 0.01]))),
    .init(
      weight: 0.01,
      .state(StateCost(entries: [shoulder, elbow], target: .numbers([0, 0])))),
    .init(
      weight: 1,
      .point(
        PointCost(
          points: [hand], target: .goal(first: 0), norm: Norm(l2: 1, log: 0.1, alpha: 1e-3)))),
  ])
  return cost
}

private func swingUpCost(angle: Int, velocity: Int) -> SumCost {
  let swingUp = SumCost([
    .init(weight: 0.001, .control(ControlCost(weights: [1]))),
    .init(
      weight: 1,
      .state(StateCost(entries: [angle], target: .numbers([.pi]), ramp: .quadratic))),
    .init(
      weight: 10,
      .state(
        StateCost(
          entries: [angle, velocity], target: .numbers([.pi, 0]), weights: [1, 0.1],
          ramp: .finalOnly))),
  ])
  return swingUp
}

private func craneSuccess(place: Int, swing: Int, swingRate: Int) -> SuccessCriterion {
  let success = SuccessCriterion.all([
    .stateWithin(entries: [place], target: .goal(first: 0), tolerance: [0.05], at: .last(10)),
    .stateWithin(
      entries: [swing, swingRate], target: .numbers([0, 0]), tolerance: [0.05, 0.1], at: .last(10)),
  ])
  return success
}

// MARK: - Choosing settings

private func swingUpSearch(
  _ task: some ControlTask, from start: InitialController
) throws -> any Learner {
  var settings = SearchSettings()
  settings.iterations = 25
  settings.klStepDecay = 0.9
  settings.minStepMultiplier = 0.1
  settings.modelSamples = 20
  var network = NetworkOptions()
  network.hiddenLayers = [64, 64]
  network.activation = .tanh
  network.deviationFloor = 1
  return try GuidedSearch(task, from: start, settings: settings, network: network)
}

// MARK: - Tests

@Suite struct DocumentationTests {
  @Test("The pendulum of the first article learns, and its policy can be stored, read and asked")
  func gettingStarted() async throws {
    let task = try makePendulumTask()
    var settings = SearchSettings()
    settings.iterations = 12
    settings.workers = 2
    let search = try GuidedSearch(
      task, from: .lqr(.init(gains: [1], variance: [4])), settings: settings)
    let state = try await search.run { report in
      print(report.iteration, report.meanCost, report.policy?.successRate ?? 0)
    }

    let url = try temporaryFolder().appendingPathComponent("policy.safetensors")
    defer { try? FileManager.default.removeItem(at: url.deletingLastPathComponent()) }
    let policy = try #require(state.policy)
    let file = PolicyFile(policy: policy, task: task.name, experiment: "")
    try Data(file.safetensors.encoded()).write(to: url)

    let loaded = try PolicyFile<NeuralPolicy>(contentsOf: url).policy
    let action = loaded.action(for: [0.3, 0, 1])  // angle, velocity, goal
    #expect(loaded == policy)
    let mean = policy.mean(for: Matrix(rows: 3, columns: 1, columnMajor: [0.3, 0, 1]))
    #expect(action.count == 1 && abs(action[0] - mean[0, 0]) < 1e-5 * (1 + abs(mean[0, 0])))

    let judged = try await task.evaluate(loaded, rollouts: 5, workers: 2)
    #expect(judged.successRate == 1)
  }

  @Test("A crane succeeds when it stands at its goal with the load at rest, and only then")
  func successesCombine() {
    let condition = Condition(name: "c", initialPlantState: [0, 0, 0], goal: [1])
    let criterion = craneSuccess(place: 0, swing: 1, swingRate: 2)
    func isSuccess(_ state: [Double]) -> Bool {
      var states = Matrix(rows: 3, columns: 21)
      for t in 11...20 { states.setColumn(t, to: state) }
      return criterion.isSuccess(
        Trajectory(states: states, controls: Matrix(rows: 1, columns: 20), observations: states),
        in: condition)
    }
    #expect(isSuccess([0.96, 0.04, -0.09]))
    #expect(!isSuccess([0.9, 0, 0]) && !isSuccess([1, 0.06, 0]) && !isSuccess([1, 0, 0.2]))
  }

  @Test("The settings and the cost that a swing-up starts from are sound")
  func swingUp() throws {
    #expect(
      try swingUpSearch(makePendulumTask(), from: .lqr(.init(gains: [1]))).iterations == 25)
    // Upright at rest nothing but effort costs; hanging, the last step costs more than the first.
    let cost = swingUpCost(angle: 0, velocity: 1)
    func costs(_ state: [Double]) -> [Double] {
      var states = Matrix(rows: 2, columns: 11)
      for t in 0...10 { states.setColumn(t, to: state) }
      return cost.values(
        along: Trajectory(
          states: states, controls: Matrix(rows: 1, columns: 10), observations: states),
        in: Condition(name: "c", initialPlantState: state))
    }
    #expect(costs([.pi, 0]).allSatisfy { $0 == 0 })
    let hanging = costs([0, 0])
    #expect(abs(hanging[0] - 0.5 * .pi * .pi / 121) < 1e-12)
    #expect(abs(hanging[10] - 0.5 * .pi * .pi * 11) < 1e-12)
  }

  @Test("Known dynamics need no fit, and their trajectory can be optimised alone")
  func knownDynamics() async throws {
    let task = try makePendulumTask()
    let search = try GuidedSearch(task, from: .lqr(.init(gains: [1])), dynamics: .known(.init()))
    #expect(search.local.dynamics == .known(.init()))

    let condition = task.conditions[0]
    let dynamics = NativeDynamics(task.model, timeStep: task.timeStep)
    let solution = try await ILQR().optimize(
      dynamics, cost: task.cost, in: condition, from: condition.initialPlantState,
      controls: Matrix(rows: 1, columns: task.dimensions.horizon),
      limits: ControlLimits(magnitudes: [12]))
    print(solution.status, solution.cost, solution.iterations.count)
    #expect(solution.status == .converged)

    let trajectory = solution.trajectory
    let report = try DynamicsChecker(task).check(dynamics, along: trajectory)
    print(report)
    #expect(report.isCorrect)
    let costReport = CostChecker(task).check(Reach(), along: trajectory, in: condition)
    print(costReport)
    #expect(costReport.isCorrect)
  }

  @Test("A simulator of one's own under a controller of one's own learns")
  func heater() async throws {
    let task = HeaterTask()
    var settings = SearchSettings()
    settings.iterations = 6
    var training = PolicyDistiller.Options()
    training.steps = 500
    let search = try GuidedSearch(
      task, from: [heaterController()], settings: settings, training: training)
    var costs: [Double] = []
    for try await (_, report) in search.iterations() {
      costs.append(try #require(report.policy).meanCost)
    }
    #expect(costs[costs.count - 1] < 0.5 * costs[0], "\(costs)")
  }

  @Test("A search in code writes the same CSV files as the program, and goes on from a checkpoint")
  func runDirectory() async throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let task = HeaterTask()
    var settings = SearchSettings()
    settings.iterations = 2
    var training = PolicyDistiller.Options()
    training.steps = 50
    let search = try GuidedSearch(
      task, from: [heaterController()], settings: settings, training: training)

    let directory = try RunDirectory(
      at: folder.appendingPathComponent("run"), experiment: "",
      signals: .init(task, columns: search.columns), replacing: false)
    for try await (state, report) in search.iterations() {
      try directory.append(report)
      try Checkpoint(state: state, task: task.name).write(
        to: folder.appendingPathComponent("checkpoint.safetensors"))
    }
    let progress = try String(
      contentsOf: directory.url.appendingPathComponent("progress.csv"), encoding: .utf8)
    #expect(progress.split(separator: "\n").count == 3)
    let stored = try Checkpoint<MirrorSearch<HeaterTask>.State>(
      contentsOf: folder.appendingPathComponent("checkpoint.safetensors"))
    #expect(stored.state.iteration == 2)
  }

  @Test("A pendulum observed by sine and cosine learns, and the checker finds nothing wrong")
  func roundPendulum() async throws {
    let task = try NativeTask(
      name: "round", model: RoundPendulum(), controlPeriod: 0.05, horizon: 40,
      conditions: [-1, 1].map { angle in
        Condition(
          name: "to \(angle) rad", initialPlantState: [0, 0],
          initialPlantStateDeviation: [0.1, 0.1], goal: [angle])
      },
      cost: SumCost([
        .init(weight: 0.002, .control(ControlCost(weights: [1]))),
        .init(weight: 10, .state(StateCost(entries: [0], target: .goal(first: 0)))),
        .init(weight: 0.1, .state(StateCost(entries: [1], target: .numbers([0])))),
      ]),
      success: .stateWithin(
        entries: [0], target: .goal(first: 0), tolerance: [0.1], at: .last(5)))
    #expect(task.dimensions.observation == 4)

    let report = TaskChecker(task).check()
    print(report)
    #expect(report.isCorrect)

    var settings = SearchSettings()
    settings.iterations = 12
    // A sine is not linear in the angle over a whole swing, as imagined observations would have it.
    settings.modelSamples = 0
    settings.workers = 2
    let search = try GuidedSearch(
      task, from: .lqr(.init(gains: [1], variance: [4])), settings: settings)
    var rates: [Double] = []
    for try await (_, report) in search.iterations() {
      rates.append(try #require(report.policy).successRate)
    }
    #expect(rates.suffix(3).allSatisfy { $0 == 1 }, "\(rates)")
  }

  @Test("Long equations with named entries are those of the cart-pole")
  func longEquations() {
    // Force balance of cart (1 kg) and pole (0.1 kg at 0.5 m), hanging at angle 0, solved as two
    // equations.
    let (angle, velocity, spin, force) = (0.7, -0.3, 1.4, 2.0)
    let x = [0.1, angle, velocity, spin]
    var rate = [Double](repeating: .nan, count: 4)
    var target = rate.mutableSpan
    LongEquations().derivative(x.span, [force].span, into: &target)
    #expect(rate[0] == velocity && rate[1] == spin)
    // Along the rail: (M + m) a + m l (θ̈ cos θ − θ̇² sin θ) = F; about the pivot: l θ̈ + a cos θ +
    // g sin θ = 0.
    let rail = 1.1 * rate[2] + 0.05 * (rate[3] * cos(angle) - spin * spin * sin(angle))
    let pivot = 0.5 * rate[3] + rate[2] * cos(angle) + 9.81 * sin(angle)
    #expect(abs(rail - force) < 1e-12 && abs(pivot) < 1e-12)
  }

  @Test("The arm's cost has the values of its formula and the derivatives of its values")
  func arm() throws {
    let cost = armCost(shoulder: 2, elbow: 3, hand: 0)
    let condition = Condition(
      name: "one", initialPlantState: [0, 0, 0, 0], goal: [0.5, 0.5, 0])
    let dimensions = Dimensions(state: 4, control: 2, observation: 7, horizon: 50, points: 1)
    _ = try cost.validated(for: dimensions, conditions: [condition])

    // The hand is refused where there is none, and its goal where that is too short.
    var handless = dimensions
    handless.points = 0
    #expect(throws: SimError.self) {
      try cost.validated(for: handless, conditions: [condition])
    }
    var goalless = condition
    goalless.goal = [0.5]
    #expect(throws: SimError.self) {
      try cost.validated(for: dimensions, conditions: [goalless])
    }

    // One step with every term in it; the hand moves with the first two angles.
    let (velocities, torques, hand) = ([0.3, -0.2], [2.0, -1.0], [0.6, 0.1, 0.0])
    let jacobian = Matrix([[-0.1, -0.4, 0, 0], [0.6, 0.2, 0, 0], [0, 0, 0, 0]])
    let trajectory = Trajectory(
      states: Matrix(
        rows: 4, columns: 2,
        columnMajor: [0.2, 0.9] + velocities + [0.2, 0.9] + velocities),
      controls: Matrix(rows: 2, columns: 1, columnMajor: torques),
      observations: Matrix(rows: 0, columns: 2),
      points: Matrix(rows: 3, columns: 2, columnMajor: hand + hand),
      pointJacobians: MatrixSequence(repeating: jacobian, count: 2))
    func squares(_ numbers: [Double]) -> Double { numbers.reduce(0) { $0 + $1 * $1 } }
    let distance = squares(zip(hand, condition.goal).map(-))
    let reach = 0.5 * distance + 0.1 * 0.5 * log(1e-3 + distance)
    let rest = 0.01 * 0.5 * squares(velocities)
    let effort = 0.5 * 0.01 * squares(torques)
    let values = cost.values(along: trajectory, in: condition)
    #expect(abs(values[0] - (reach + rest + effort)) < 1e-12)
    #expect(abs(values[1] - (reach + rest)) < 1e-12)
    var checker = CostChecker(
      stateNames: ["q1", "q2", "v1", "v2"], controlNames: ["u1", "u2"])
    checker.checksHessians = false  // The log norm's is Gauss-Newton's.
    let report = checker.check(cost, along: trajectory, in: condition)
    #expect(report.isCorrect, "\(report)")
  }

  @Test("Every column of the CSV files is explained")
  func columnsAreExplained() throws {
    let article = try String(
      contentsOf: Self.catalogue.appending(path: "ReadingTheCSV.md"), encoding: .utf8)
    let search = try AsynchronousSearch(
      GuidedSearch(makePendulumTask(), from: .lqr(.init(gains: [1]))))
    let tables = [
      "progress.csv": search.columns.progress.map(\.name)
        + search.columns.stages.map { "seconds_" + $0 },
      "conditions.csv": search.columns.conditions.map(\.name),
      "rollouts.csv": RunDirectory.rolloutColumns,
      "trajectories.csv": RunDirectory.trajectoryColumns,
      "workers.csv": RunDirectory.workerColumns,
    ]
    for (file, columns) in tables {
      let section = try #require(
        article.components(separatedBy: "### ").first { $0.hasPrefix(file) })
      // First cells of the rows of the section's table.
      let cells = section.split(separator: "\n").filter { $0.hasPrefix("| `") }
        .map { $0.split(separator: "|")[0] }.joined()
      let explained = Set(cells.split(separator: "`"))
      for column in columns where !explained.contains(Substring(column)) {
        Issue.record("\(column) of \(file) is not explained")
      }
    }
  }

  private static let catalogue = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../../Sources/GuidedPolicySearch/GuidedPolicySearch.docc").standardized

  @Test("Every piece of Swift in the articles is compiled here")
  func articlesAreCompiled() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent()
    let compiled = try ["DocumentationTests", "CustomPendulumTests"].flatMap { name in
      let file = folder.appending(path: "\(name).swift")
      return Self.lines(of: try String(contentsOf: file, encoding: .utf8))
    }
    let articles = try FileManager.default.contentsOfDirectory(
      at: Self.catalogue, includingPropertiesForKeys: nil
    ).filter { $0.pathExtension == "md" }
    #expect(articles.count >= 7)
    var pieces = 0
    for article in articles {
      let text = try String(contentsOf: article, encoding: .utf8)
      for block in text.components(separatedBy: "```swift\n").dropFirst() {
        if block.hasPrefix("// swift-tools-version") { continue }  // a manifest
        let code = Self.lines(of: block.components(separatedBy: "```")[0])
        pieces += 1
        if !compiled.contains(code) {
          Issue.record(
            "\(article.lastPathComponent) shows what is not compiled:\n\(code.joined(separator: "\n"))"
          )
        }
      }
    }
    #expect(pieces >= 8)
  }

  /// Lines without indentation, empty ones and what only a test file needs.
  private static func lines(of text: String) -> [String] {
    text.split(separator: "\n").compactMap { line in
      let line = line.trimmingCharacters(in: .whitespaces)
      return line.isEmpty
        ? nil : line.hasPrefix("private ") ? String(line.dropFirst("private ".count)) : line
    }
  }
}

private func temporaryFolder() throws -> URL {
  let url = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
  try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  return url
}
