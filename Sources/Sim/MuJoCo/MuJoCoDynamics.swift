public import GPSCore

/// A MuJoCo model over one control period, as known dynamics under one condition.
///
/// The state must hold all joint positions and velocities, of hinges and slides alone: then it says
/// where the simulation starts. Whatever else is in it (sites, sensors, the goal) follows from them:
/// their columns of F are zero, their rows are not.
///
/// A state of joint positions, joint velocities and the goal alone is linearised by MuJoCo's own
/// finite differences (`mjd_transitionFD`), chained over the steps of a control period; any other, or
/// one under the Runge-Kutta integrator, by central differences of the whole plant. Every step starts
/// from a reset simulation, without the contact solver's memory of the step before.
public struct MuJoCoDynamics: KnownDynamics {
  /// How the model is seen and driven.
  public let interface: MuJoCoInterface
  /// What bodies are displaced by, and the goal.
  public let condition: Condition
  /// For each joint position, then each joint velocity: its column in the state.
  private let columns: [Int]
  /// Whether MuJoCo's finite differences give the whole of F.
  let usesTransitionDifferences: Bool

  /// n.
  public var state: Int { interface.layout.state.count }
  /// m.
  public var control: Int { interface.model.controlCount }

  /// The dynamics under a condition.
  ///
  /// - Throws: `MuJoCoError` when the state does not say where the simulation starts.
  public init(_ interface: MuJoCoInterface, in condition: Condition) throws(MuJoCoError) {
    try interface.validate(condition)
    let model = interface.model
    if let joint = model.joints.first(where: \.isQuaternion) {
      throw .invalidValue(
        of: "known dynamics", value: "asked of a model with joint '\(joint.name)', a quaternion",
        allowed: "a model of hinges and slides alone")
    }
    guard model.activationCount == 0 else {
      throw .invalidValue(
        of: "known dynamics", value: "asked of a model with actuator activations",
        allowed: "a model whose actuators have no state of their own")
    }
    let nq = model.jointPositionCount
    var columns = [Int?](repeating: nil, count: nq + model.jointVelocityCount)
    var isDirect = model.canTransitionByDifferences
    for (i, column) in interface.layout.state.enumerated() {
      switch column.source {
      case .position: columns[column.index] = i
      case .velocity: columns[nq + column.index] = i
      case .goal: break
      default: isDirect = false
      }
    }
    var complete: [Int] = []
    for (i, column) in columns.enumerated() {
      guard let column else {
        let joint = model.joints.first {
          i < nq ? $0.positions ~= i : $0.velocities ~= i - nq
        }
        throw .invalidValue(
          of: "known dynamics",
          value: "asked of a state without the \(i < nq ? "position" : "velocity") of joint "
            + "'\(joint?.name ?? "?")'",
          allowed: "a state of all joint positions and velocities")
      }
      complete.append(column)
    }
    self.interface = interface
    self.condition = condition
    self.columns = complete
    usesTransitionDifferences = isDirect
  }

  /// A plant, and scratch.
  public struct Workspace {
    fileprivate let plant: MuJoCoPlant
    fileprivate var plantState: [Double]
    fileprivate var control: [Double]
    fileprivate var next: [Double]
    /// [A B] over joint positions and velocities, row-major: A first.
    fileprivate var transition: [Double]
    fileprivate var scratch: [Double]
  }

  /// A plant, and scratch.
  ///
  /// - Throws: `MuJoCoError` when MuJoCo cannot make the model's data.
  public func makeWorkspace() throws -> Workspace {
    let (s, m) = (columns.count, control)
    // What a keyframe says beside positions and velocities holds at every step.
    return Workspace(
      plant: try interface.makePlant(), plantState: condition.initialPlantState,
      control: [Double](repeating: 0, count: m), next: [Double](repeating: 0, count: state),
      transition: [Double](repeating: 0, count: s * (s + m)),
      scratch: [Double](repeating: 0, count: s * (2 * s + m)))
  }

  /// Writes f(x, u).
  public func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Workspace,
    into next: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    try reset(x, &workspace)
    try Self.attempt { try workspace.plant.step(control: u) }
    workspace.plant.readState(into: &next)
  }

  /// Writes f(x, u) and F = [A B].
  public func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Workspace,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    let (n, m, s) = (state, control, columns.count)
    for i in 0..<n * (n + m) { jacobian[i] = 0 }
    if usesTransitionDifferences {
      try reset(x, &workspace)
      try workspace.plant.transition(
        control: u, into: &workspace.transition, scratch: &workspace.scratch)
      workspace.plant.readState(into: &next)
      for (i, row) in columns.enumerated() {
        for (j, column) in columns.enumerated() {
          jacobian[row + n * column] = workspace.transition[s * i + j]
        }
        for j in 0..<m { jacobian[row + n * (n + j)] = workspace.transition[s * s + m * i + j] }
      }
      return
    }
    for j in 0..<s + m {
      let column = j < s ? columns[j] : n + j - s
      let y = j < s ? x[column] : u[j - s]
      let h = 1e-6 * max(1, y.magnitude)
      for sign in [1.0, -1.0] {
        for i in 0..<s { workspace.plantState[i] = x[columns[i]] + (i == j ? sign * h : 0) }
        for i in 0..<m { workspace.control[i] = u[i] + (s + i == j ? sign * h : 0) }
        try Self.run(workspace.plant, condition, workspace.plantState, workspace.control)
        Self.read(workspace.plant, &workspace.next)
        for i in 0..<n {
          let end = workspace.next[i]
          jacobian[i + n * column] =
            sign > 0 ? end : (jacobian[i + n * column] - end) / (2 * h)
        }
      }
    }
    try step(x, u, workspace: &workspace, into: &next)
  }

  /// P.
  public var points: Int { interface.points.count }

  /// Writes the positions of the points in state x and their derivatives by the state.
  public func locatePoints(
    _ x: Span<Double>, workspace: inout Workspace, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    try reset(x, &workspace)
    workspace.plant.readPoints(positions: &positions, jacobians: &jacobians)
  }

  private func reset(_ x: Span<Double>, _ workspace: inout Workspace) throws(PlantFailure) {
    precondition(x.count == state, "\(x.count) numbers for a state of \(state)")
    for i in columns.indices { workspace.plantState[i] = x[columns[i]] }
    try Self.reset(workspace.plant, condition, workspace.plantState)
  }

  private static func reset(
    _ plant: MuJoCoPlant, _ condition: Condition, _ plantState: [Double]
  ) throws(PlantFailure) {
    try attempt { try plant.reset(to: condition, plantState: plantState.span) }
  }

  private static func run(
    _ plant: MuJoCoPlant, _ condition: Condition, _ plantState: [Double], _ control: [Double]
  ) throws(PlantFailure) {
    try reset(plant, condition, plantState)
    try attempt { try plant.step(control: control.span) }
  }

  private static func read(_ plant: MuJoCoPlant, _ state: inout [Double]) {
    var target = state.mutableSpan
    plant.readState(into: &target)
  }

  private static func attempt(_ body: () throws -> Void) throws(PlantFailure) {
    do {
      try body()
    } catch let failure as PlantFailure {
      throw failure
    } catch {
      throw PlantFailure("\(error)")
    }
  }
}
