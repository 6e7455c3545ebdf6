public import GPSCore

/// A system written in Swift, reset and stepped.
public struct NativePlant<System: DynamicSystem>: Plant {
  private let system: System
  private let stateEntries: [Int]?
  private let points: [Int]
  private let seesGoal: Bool
  private let timeStep: TimeStep
  /// How many numbers the system itself writes of what a policy sees.
  private let observedCount: Int
  private var goal: [Double] = []
  private var plant: PlantState

  /// A plant at the state zero.
  public init(_ system: System, timeStep: TimeStep, observation: NativeObservation) {
    self.system = system
    self.timeStep = timeStep
    stateEntries = observation.state.map(indices)
    points = indices(observation.points)
    seesGoal = observation.goal
    observedCount = system.observationNames.count
    plant = PlantState(
      state: system.stateCount, control: system.controlCount, points: system.pointNames.count)
  }

  /// Puts the system at `plantState` (n numbers), or where its walls allow.
  public mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    precondition(
      plantState.count == plant.flow.x.count,
      "\(plantState.count) numbers for a state of \(plant.flow.x.count)")
    for i in plant.flow.x.indices { plant.flow.x[i] = plantState[i] }
    goal = condition.goal
    Self.constrain(&plant.flow.x, system)
    if !plant.positions.isEmpty { system.locatePoints(&plant) }
  }

  private static func constrain(_ state: inout [Double], _ system: System) {
    var x = state.mutableSpan
    system.constrain(&x)
  }

  /// Advances by one control period.
  public mutating func step(control: Span<Double>) throws {
    precondition(
      control.count == plant.flow.u.count,
      "\(control.count) controls for \(plant.flow.u.count)")
    system.advance(&plant, under: control, by: timeStep)
  }

  /// Writes x.
  public func readState(into target: inout MutableSpan<Double>) {
    for i in plant.flow.x.indices { target[i] = plant.flow.x[i] }
  }

  /// Writes what the system shows of itself or the chosen entries of its state, then the chosen
  /// points, then the goal.
  public func readObservation(into target: inout MutableSpan<Double>) {
    var next = 0
    if let entries = stateEntries {
      for entry in entries {
        target[next] = plant.flow.x[entry]
        next += 1
      }
    } else {
      next = observedCount
      var observed = target._mutatingExtracting(0..<next)
      system.observe(plant.flow.x.span, goal: goal.span, into: &observed)
    }
    for point in points {
      for axis in 0..<3 {
        target[next] = plant.positions[3 * point + axis]
        next += 1
      }
    }
    if seesGoal {
      for value in goal {
        target[next] = value
        next += 1
      }
    }
  }

  /// Writes the points and their Jacobians.
  public func readPoints(
    positions target: inout MutableSpan<Double>, jacobians derivatives: inout MutableSpan<Double>
  ) {
    for i in plant.positions.indices { target[i] = plant.positions[i] }
    for i in plant.jacobians.indices { derivatives[i] = plant.jacobians[i] }
  }
}
