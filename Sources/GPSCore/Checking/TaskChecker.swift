public import LinearAlgebra
import Statistics

/// Checks that a control problem does what it says, before anything is trained on it.
///
/// ```swift
/// let report = TaskChecker(task).check()
/// print(report)   // "condition "low", step 0: observation number 2 is never written" …
/// ```
///
/// It rolls the plants out itself, and compares counts, names, conditions, the cost and known
/// dynamics with what they do. What a rollout accepts in silence is found too: a number that is
/// declared and not written trains as 0. An index past an end still ends the process, as it does in
/// a rollout.
///
/// Plants that wait for real time (`Plant.waitsForRealTime`) move for one rollout per condition,
/// and are not asked to repeat it.
public struct TaskChecker<Task: ControlTask>: Sendable {
  /// The task.
  public let task: Task
  /// The controls of the rollouts, m × T; nil draws independent normal numbers.
  public var controls: Matrix?
  /// The controls of each condition's rollouts, training conditions first, m × T each; nil, or none for a condition,
  /// leaves it to `controls`.
  package var controlsByCondition: [Matrix?] = []
  /// Whether known dynamics are checked, if there are any.
  package var checksKnownDynamics = true
  /// Standard deviation of the controls that are drawn, in their own units.
  public var controlDeviation = 1.0
  /// Largest relative error of derivatives that passes, and of known dynamics' steps, beyond what
  /// differences themselves may be off by.
  public var tolerance = 1e-5
  /// Whether the cost's Hessians are compared with differences too, not only for symmetry. Off by
  /// default: a Gauss-Newton approximation is not the Hessian, and no fault.
  public var checksCostHessians = false
  /// At how many steps of a rollout known dynamics are checked, evenly spaced; at least 1.
  public var dynamicsSteps = 5

  /// A checker of a task.
  public init(_ task: Task) { self.task = task }

  /// Checks everything.
  ///
  /// - Returns: the problems in words, each where it showed first.
  public func check() -> TaskReport {
    var report = TaskReport()
    checkDeclarations(&report)
    // Where counts are wrong already, a rollout can only trap.
    guard report.isCorrect else { return report }
    for (index, condition) in conditions.enumerated() {
      guard let trajectory = checkPlants(index, &report),
        !report.problems.contains(where: { $0.kind.isOfPlants })
      else { continue }
      var checker = CostChecker(task)
      (checker.tolerance, checker.checksHessians) = (tolerance, checksCostHessians)
      checker.checkContract(of: task.cost, along: trajectory, in: condition, &report)
      if checksKnownDynamics { checkKnownDynamics(along: trajectory, in: condition, &report) }
      let isSuccess = task.isSuccess(trajectory, in: condition)
      if task.isSuccess(trajectory, in: condition) != isSuccess {
        report.add(
          .success, "the same rollout is judged \(isSuccess) once and \(!isSuccess) the next time",
          condition: condition.name)
      }
    }
    return report
  }

  /// Checks the plants alone.
  package func checkPlants() -> TaskReport {
    var report = TaskReport()
    checkDeclarations(&report)
    guard report.isCorrect else { return report }
    for index in conditions.indices { _ = checkPlants(index, &report) }
    return report
  }

  private var conditions: [Condition] { task.conditions + task.testConditions }

  // MARK: - What the task says

  private func checkDeclarations(_ report: inout TaskReport) {
    let d = task.dimensions
    for (what, count, least) in [
      ("state", d.state, 1), ("control", d.control, 1), ("observation", d.observation, 1),
      ("horizon", d.horizon, 1), ("points", d.points, 0),
    ] where count < least {
      report.add(.dimensions, "dimensions.\(what) is \(count) instead of \(least) or more")
    }
    if !(task.controlPeriod > 0 && task.controlPeriod.isFinite) {
      report.add(
        .controlPeriod, "controlPeriod is \(task.controlPeriod) s instead of a positive time")
    }
    if task.name.isEmpty { report.add(.names, "the task has no name") }
    for (what, names, count) in [
      ("state", task.stateNames, d.state), ("control", task.controlNames, d.control),
    ] {
      if names.count != count {
        report.add(
          .names,
          "\(what)Names has \(names.count) name\(names.count == 1 ? "" : "s"), but "
            + "dimensions.\(what) is \(count)")
      }
      checkNames(names, "\(what)Names", &report)
    }
    if let controls, controls.rows != d.control || controls.columns != d.horizon {
      preconditionFailure(
        "controls of \(controls.rows) × \(controls.columns) for a task of \(d.control) × \(d.horizon)"
      )
    }
    checkConditions(&report)
    for coordinate in task.actuatedCoordinates {
      for (what, index, count) in [
        ("control", coordinate.control, d.control), ("position", coordinate.position, d.state),
        ("velocity", coordinate.velocity, d.state),
      ] as [(String, Int?, Int)] {
        if let index, index < 0 || index >= count {
          report.add(
            .actuatedCoordinates,
            "an actuated coordinate's \(what) is number \(index), but there are \(count), counted from 0"
          )
        }
      }
    }
  }

  private func checkNames(_ names: [String], _ list: String, _ report: inout TaskReport) {
    for (i, name) in names.enumerated() {
      if name.isEmpty {
        report.add(.names, "name number \(i) of \(list) is empty")
      } else if names[..<i].contains(name) {
        report.add(.names, "\"\(name)\" stands more than once in \(list)")
      }
    }
  }

  private func checkConditions(_ report: inout TaskReport) {
    guard let first = task.conditions.first else {
      report.add(.conditions, "there is no training condition")
      return
    }
    checkNames(conditions.map(\.name), "the conditions", &report)
    for condition in conditions {
      let name = condition.name
      if condition.goal.count != first.goal.count {
        report.add(
          .goals,
          "the goal has \(condition.goal.count) numbers, that of \"\(first.name)\" has \(first.goal.count)",
          condition: name)
      }
      let (start, deviation) = (
        condition.initialPlantState, condition.initialPlantStateDeviation
      )
      if start.count != first.initialPlantState.count {
        report.add(
          .initialState,
          "initialPlantState has \(start.count) numbers, that of \"\(first.name)\" has "
            + "\(first.initialPlantState.count)", condition: name)
      }
      let expected = task.initialDeviationCount(of: condition)
      if !deviation.isEmpty && deviation.count != expected {
        report.add(
          .initialState,
          "there are \(deviation.count) initial deviations for \(expected) initial numbers",
          condition: name)
      }
      if let i = deviation.firstIndex(where: { !($0 >= 0 && $0.isFinite) }) {
        report.add(
          .initialState, "initial deviation number \(i) is \(deviation[i]) instead of 0 or more",
          condition: name)
      }
      for (what, numbers) in [("initial", start), ("goal", condition.goal)] {
        if let i = numbers.firstNonFinite {
          report.add(
            what == "goal" ? .goals : .initialState, "\(what) number \(i) is \(numbers[i])",
            condition: name)
        }
      }
      for (body, offset) in condition.bodyOffsets.sorted(by: { $0.key < $1.key })
      where offset.count != 3 || !offset.allSatisfy(\.isFinite) {
        report.add(
          .conditions, "the offset of body \"\(body)\" is \(offset) instead of 3 numbers",
          condition: name)
      }
    }
  }

  // MARK: - What its plants do

  /// Rolls out one condition: on a new plant, on the same plant after another rollout, on a second
  /// plant, and on two plants in turns.
  ///
  /// - Returns: the rollout, if it is complete and finite.
  private func checkPlants(_ index: Int, _ report: inout TaskReport) -> Trajectory? {
    let condition = conditions[index]
    var (usual, other) = (drawnControls(0), drawnControls(1))
    let given = controlsByCondition.indices.contains(index) ? controlsByCondition[index] : nil
    if let controls = given ?? controls {
      usual = (0..<controls.columns).map { controls.column($0) }
      other = usual.reversed()
    }
    do {
      var plant = PlantProbe(task, try task.makePlant())
      let first = plant.rollout(in: condition, controls: usual, &report)
      if !Task.System.waitsForRealTime {
        let elsewhere = conditions[(index + 1) % conditions.count]
        var second = PlantProbe(task, try task.makePlant())
        let twin = second.rollout(in: condition, controls: usual, &report)
        if !report.problems.contains(where: { $0.kind == .determinism }) {
          compare(first, twin, .determinism, "on a second plant", condition, &report)
        }
        _ = plant.rollout(in: elsewhere, controls: other, &report)
        let again = plant.rollout(in: condition, controls: usual, &report)
        if !report.problems.contains(where: { $0.kind == .determinism }) {
          compare(first, again, .memory, "after another rollout", condition, &report)
        }
        let repeats = !report.problems.contains { [.determinism, .memory].contains($0.kind) }
        if repeats {
          let alternating = plant.rollout(
            in: condition, controls: usual, besides: &second, in: elsewhere, controls: other,
            &report)
          compare(
            first, alternating, .independence, "while a second plant moves", condition, &report)
        }
      }
      return first.trajectory(task.dimensions)
    } catch {
      report.addFirst(
        .failure, "no plant could be made: \(error)", condition: condition.name)
      return nil
    }
  }

  private func drawnControls(_ index: UInt64) -> [[Double]] {
    var stream = RandomStream(seed: index)
    return (0..<task.dimensions.horizon).map { _ in
      stream.normals(task.dimensions.control).map { controlDeviation * $0 }
    }
  }

  private func compare(
    _ first: PlantRecord, _ second: PlantRecord, _ kind: TaskReport.Kind, _ circumstance: String,
    _ condition: Condition, _ report: inout TaskReport
  ) {
    for step in 0..<min(first.moments.count, second.moments.count) {
      let (a, b) = (first.moments[step], second.moments[step])
      for (what, x, y) in [
        ("state", a.state, b.state), ("observation", a.observation, b.observation),
        ("point coordinate", a.positions, b.positions),
        ("point Jacobian entry", a.jacobians, b.jacobians),
      ] {
        guard let i = x.indices.first(where: { x[$0].bitPattern != y[$0].bitPattern }) else {
          continue
        }
        let name = what == "state" ? " (\(task.stateNames[i]))" : ""
        report.addFirst(
          kind,
          "\(what) number \(i)\(name) is \(y[i]) \(circumstance), and \(x[i]) on a new one, under the same "
            + "controls", condition: condition.name, step: step)
        return
      }
    }
    if first.moments.count != second.moments.count {
      report.addFirst(
        kind,
        "the rollout ends after \(second.moments.count - 1) steps \(circumstance), and after "
          + "\(first.moments.count - 1) on a new one, under the same controls",
        condition: condition.name)
    }
  }

  // MARK: - Known dynamics

  private func checkKnownDynamics(
    along trajectory: Trajectory, in condition: Condition, _ report: inout TaskReport
  ) {
    do {
      guard let dynamics = try task.knownDynamics(in: condition) else { return }
      try check(dynamics, along: trajectory, in: condition, &report)
    } catch {
      report.addFirst(
        .failure, "known dynamics cannot be evaluated along a rollout: \(error)",
        condition: condition.name)
    }
  }

  private func check<D: KnownDynamics>(
    _ dynamics: D, along trajectory: Trajectory, in condition: Condition,
    _ report: inout TaskReport
  ) throws {
    let d = task.dimensions
    for (what, found, expected) in [
      ("state", dynamics.state, d.state), ("control", dynamics.control, d.control),
      ("points", dynamics.points, d.points),
    ] where found != expected {
      report.add(
        .knownDynamics, "known dynamics' \(what) is \(found), but dimensions.\(what) is \(expected)"
      )
      return
    }
    var checker = DynamicsChecker(task)
    checker.tolerance = tolerance
    let count = min(max(1, dynamicsSteps), d.horizon)
    let steps = (0..<count).map { $0 * d.horizon / count }
    for step in steps {
      let (x, u) = (trajectory.states.column(step), trajectory.controls.column(step))
      // Dynamics that are relaxed do not say where the plant is next.
      let next = dynamics.isRelaxed ? nil : trajectory.states.column(step + 1)
      var found = try checker.check(dynamics, at: [(step, x, u, next)])
      // Differences across a kink, such as the moment of a wall's touch, are those of neither side. A
      // wrong derivative is wrong on both.
      if !found.isCorrect {
        for side in [1.0, -1] {
          let beside = try checker.check(
            dynamics, state: x.map { $0 + side * 5e-3 * max(1, $0.magnitude) }, control: u)
          found.keep { mismatch in
            mismatch.quantity == "next state"
              || beside.mismatches.contains { $0.isSameEntry(as: mismatch) }
          }
        }
      }
      report.add(.knownDynamics, found, condition: condition.name)
    }
    guard d.points > 0 else { return }

    var workspace = try dynamics.makeWorkspace()
    for step in steps {
      var positions = [Double](repeating: .nan, count: 3 * d.points)
      var jacobians = [Double](repeating: .nan, count: 3 * d.points * d.state)
      var target = positions.mutableSpan
      var derivatives = jacobians.mutableSpan
      try dynamics.locatePoints(
        trajectory.states.column(step).span, workspace: &workspace, positions: &target,
        jacobians: &derivatives)
      for (what, found, expected) in [
        ("coordinate", positions, trajectory.points.column(step)),
        ("Jacobian entry", jacobians, trajectory.pointJacobians[step].storage),
      ] where what == "coordinate" || task.cost.needsPointJacobians {
        let scale = expected.reduce(1e-3) { max($0, $1.magnitude) }
        for i in found.indices where !((found[i] - expected[i]).magnitude <= tolerance * scale) {
          report.addFirst(
            .knownDynamics,
            "point \(what) number \(i) of known dynamics is \(found[i]), the plant's \(expected[i])",
            condition: condition.name, step: step)
        }
      }
    }
  }
}
