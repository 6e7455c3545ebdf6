import LinearAlgebra

/// What a plant showed along a rollout, up to its end or its failure.
struct PlantRecord {
  /// What it showed at one step.
  struct Moment {
    var state: [Double]
    var observation: [Double]
    var positions: [Double]
    var jacobians: [Double]

    var isFinite: Bool {
      [state, observation, positions, jacobians].allSatisfy { $0.allSatisfy(\.isFinite) }
    }
  }

  var moments: [Moment] = []
  var controls: [[Double]] = []

  /// The rollout, if it is complete and finite.
  func trajectory(_ d: Dimensions) -> Trajectory? {
    guard moments.count == d.horizon + 1, moments.allSatisfy(\.isFinite) else { return nil }
    return Trajectory(
      states: Matrix(
        rows: d.state, columns: d.horizon + 1, columnMajor: moments.flatMap(\.state)),
      controls: Matrix(
        rows: d.control, columns: d.horizon, columnMajor: controls.flatMap { $0 }),
      observations: Matrix(
        rows: d.observation, columns: d.horizon + 1, columnMajor: moments.flatMap(\.observation)),
      points: Matrix(
        rows: 3 * d.points, columns: d.horizon + 1, columnMajor: moments.flatMap(\.positions)),
      pointJacobians: MatrixSequence(
        rows: 3 * d.points, columns: d.state, count: d.horizon + 1,
        columnMajor: moments.flatMap(\.jacobians)))
  }
}

/// A plant that is driven as rollouts drive it, and watched while it writes.
struct PlantProbe<Task: ControlTask> {
  private let dimensions: Dimensions
  private let stateNames: [String]
  private let needsPointJacobians: Bool
  private var plant: Task.System

  init(_ task: Task, _ plant: Task.System) {
    dimensions = task.dimensions
    stateNames = task.stateNames
    needsPointJacobians = task.cost.needsPointJacobians
    self.plant = plant
  }

  /// Takes one rollout; a failure ends it and is reported.
  mutating func rollout(
    in condition: Condition, controls: [[Double]], _ report: inout TaskReport
  ) -> PlantRecord {
    var record = PlantRecord()
    report.rollouts += 1
    guard start(in: condition, &record, &report) else { return record }
    for control in controls {
      guard advance(in: condition, control, &record, &report) else { break }
    }
    return record
  }

  /// Takes one rollout while another plant takes another, step by step in turns.
  mutating func rollout(
    in condition: Condition, controls: [[Double]], besides other: inout PlantProbe,
    in otherCondition: Condition, controls otherControls: [[Double]], _ report: inout TaskReport
  ) -> PlantRecord {
    var (record, otherRecord) = (PlantRecord(), PlantRecord())
    report.rollouts += 2
    guard start(in: condition, &record, &report) else { return record }
    var moves = other.start(in: otherCondition, &otherRecord, &report)
    for (control, otherControl) in zip(controls, otherControls) {
      if moves {
        moves = other.advance(in: otherCondition, otherControl, &otherRecord, &report)
      }
      guard advance(in: condition, control, &record, &report) else { break }
    }
    return record
  }

  private mutating func start(
    in condition: Condition, _ record: inout PlantRecord, _ report: inout TaskReport
  ) -> Bool {
    do {
      try plant.reset(to: condition, plantState: condition.initialPlantState.span)
    } catch {
      report.addFirst(.failure, "the plant cannot be reset: \(error)", condition: condition.name)
      return false
    }
    record.moments.append(read(step: 0, in: condition, &report))
    return true
  }

  private mutating func advance(
    in condition: Condition, _ control: [Double], _ record: inout PlantRecord,
    _ report: inout TaskReport
  ) -> Bool {
    let step = record.controls.count
    do {
      try plant.step(control: control.span)
    } catch {
      report.addFirst(
        .failure, "the plant cannot be stepped under \(control): \(error)",
        condition: condition.name, step: step)
      return false
    }
    record.controls.append(control)
    record.moments.append(read(step: step + 1, in: condition, &report))
    return true
  }

  // MARK: - Reading

  /// A NaN that no arithmetic makes: where it is still there, nothing was written.
  private static var blank: Double { Double(nan: 0x2b_1a4e, signaling: false) }
  /// Another background, for a second reading; small enough that what is added to it shows.
  private static var odd: Double { 1234.56789 }

  private func read(
    step: Int, in condition: Condition, _ report: inout TaskReport
  ) -> PlantRecord.Moment {
    let d = dimensions
    func twice(_ read: (Double) -> [Double]) -> ([Double], [Double]) {
      (read(Self.blank), read(Self.odd))
    }
    func check(
      _ numbers: ([Double], [Double]), _ name: (Int) -> String, _ report: inout TaskReport
    ) -> [Double] {
      written(numbers, name, step, condition, &report)
    }
    var moment = PlantRecord.Moment(state: [], observation: [], positions: [], jacobians: [])
    moment.state = check(
      twice { plant.state(d.state, onto: $0) },
      { "state number \($0) (\(stateNames[$0]))" }, &report)
    moment.observation = check(
      twice { plant.observation(d.observation, onto: $0) }, { "observation number \($0)" }, &report)
    if d.points > 0 {
      let (first, second) = (
        plant.points(d.points, state: d.state, onto: Self.blank),
        plant.points(d.points, state: d.state, onto: Self.odd)
      )
      let rows = 3 * d.points
      moment.positions = check(
        (first.positions, second.positions),
        { "coordinate \(["x", "y", "z"][$0 % 3]) of point \($0 / 3)" }, &report)
      // Jacobians that the cost does not read need not be there.
      moment.jacobians =
        needsPointJacobians
        ? check(
          (first.jacobians, second.jacobians),
          {
            "the derivative of coordinate \(["x", "y", "z"][$0 % rows % 3]) of point \($0 % rows / 3) by "
              + stateNames[$0 / rows]
          }, &report)
        : [Double](repeating: 0, count: rows * d.state)
    }
    return moment
  }

  /// What two readings of the same numbers, onto different backgrounds, say.
  ///
  /// - Returns: the numbers as a rollout would have them, onto a background of zeros.
  private func written(
    _ readings: ([Double], [Double]), _ name: (Int) -> String, _ step: Int, _ condition: Condition,
    _ report: inout TaskReport
  ) -> [Double] {
    var numbers = readings.0
    for i in numbers.indices {
      let (first, second) = (numbers[i], readings.1[i])
      if first.bitPattern == Self.blank.bitPattern {
        numbers[i] = 0
        report.add(
          .unwritten,
          second == Self.odd
            ? "\(name(i)) is declared and never written"
            : "\(name(i)) is computed from what stood there before instead of written",
          condition: condition.name, step: step)
      } else if !first.isFinite {
        report.add(.notFinite, "\(name(i)) is \(first)", condition: condition.name, step: step)
      } else if first.bitPattern != second.bitPattern {
        report.addFirst(
          .determinism, "\(name(i)) is \(first) and, read again, \(second)",
          condition: condition.name, step: step)
      }
    }
    return numbers
  }
}

// What a plant writes onto a background.
extension Plant {
  fileprivate func state(_ count: Int, onto background: Double) -> [Double] {
    var numbers = [Double](repeating: background, count: count)
    var target = numbers.mutableSpan
    readState(into: &target)
    return numbers
  }

  fileprivate func observation(_ count: Int, onto background: Double) -> [Double] {
    var numbers = [Double](repeating: background, count: count)
    var target = numbers.mutableSpan
    readObservation(into: &target)
    return numbers
  }

  fileprivate func points(
    _ count: Int, state: Int, onto background: Double
  ) -> (positions: [Double], jacobians: [Double]) {
    var positions = [Double](repeating: background, count: 3 * count)
    var jacobians = [Double](repeating: background, count: 3 * count * state)
    var p = positions.mutableSpan
    var J = jacobians.mutableSpan
    readPoints(positions: &p, jacobians: &J)
    return (positions, jacobians)
  }
}
