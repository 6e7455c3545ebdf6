public import GPSCore
import Statistics

/// A MuJoCo model over one control period, as known dynamics under one condition.
///
/// The state must hold all joint positions and velocities, and the activations of actuators that have
/// them: then it says where the simulation starts. Joints that stand still whatever the controls are, such as those
/// that put a target somewhere, may be left out; a few rollouts tell. A clock among the sensors in the state says when.
/// Whatever else is in it (sites, other sensors, the goal) follows from them: their columns of F are
/// zero, their rows are not. A model that remembers more than a state can hold, such as one with
/// delayed controls, is refused.
///
/// A state of joint positions, joint velocities, activations and the goal alone is linearised by
/// MuJoCo's own finite differences (`mjd_transitionFD`), chained over the steps of a control period; any
/// other, or one under the Runge-Kutta integrator, by central differences of the whole plant, one-sided
/// at a control's limit. So is every model with controlled mocap bodies. Every step starts from a reset simulation, without the contact solver's memory
/// of the step before.
///
/// Orientations of free and ball joints are rotation vectors r with q = q_ref exp(r). MuJoCo
/// differentiates by small rotations δ of the body's own axes, q exp(δ): they are led to and from r by
/// the right Jacobian of the exponential, δ = J(r) dr. After a step r is the rotation vector nearest
/// to the one before.
public struct MuJoCoDynamics: KnownDynamics {
  /// How the model is seen and driven.
  public let interface: MuJoCoInterface
  /// What bodies are displaced by, and the goal.
  public let condition: Condition
  /// For each degree of freedom the column of its position in the state, then those of the velocities, of
  /// the activations, and of the time, if the state tells it.
  private let columns: [Int]
  /// Where in a plant state the number of a column goes; rotation vectors go nowhere.
  private let places: [Int?]
  /// The plant state at the condition's start.
  private let start: [Double]
  /// Whether MuJoCo's finite differences give the whole of F.
  let usesTransitionDifferences: Bool

  /// n.
  public var state: Int { interface.layout.state.count }
  /// m.
  public var control: Int { interface.controlCount }

  /// The dynamics under a condition.
  ///
  /// - Throws: `MuJoCoError` when the state does not say where the simulation starts.
  public init(_ interface: MuJoCoInterface, in condition: Condition) throws(MuJoCoError) {
    try interface.validate(condition)
    let model = interface.model
    if let hidden = model.hiddenState {
      throw .invalidValue(
        of: "known dynamics", value: "asked of a model that remembers \(hidden)",
        allowed:
          "a model whose next state follows from its state and controls; fit the dynamics instead")
    }
    let (nq, nv) = (model.jointPositionCount, model.jointVelocityCount)
    let na = model.activationCount
    var columns = [Int?](repeating: nil, count: 2 * nv + na)
    var places = [Int?](repeating: nil, count: 2 * nv + na)
    var clock: Int?
    var isDirect = model.canTransitionByDifferences && interface.mocapControls.isEmpty
    for (i, column) in interface.layout.state.enumerated() {
      switch column.source {
      case .position, .rotation:
        guard let dof = interface.layout.dof(of: column, model: model) else {
          isDirect = false
          continue
        }
        columns[dof] = i
        if column.source == .position { places[dof] = column.index }
      case .velocity:
        columns[nv + column.index] = i
        places[nv + column.index] = nq + column.index
      case .activation:
        columns[2 * nv + column.index] = i
        places[2 * nv + column.index] = nq + nv + model.startActivations.lowerBound + column.index
      case .goal: break
      case .sensor:
        isDirect = false
        let sensor = model.sensor(at: column.index)
        if model.remembers(sensor: sensor) {
          throw .invalidValue(
            of: "known dynamics",
            value: "asked of a state with sensor '\(model.name(.sensor, sensor))', which remembers "
              + "earlier readings (delay, interval)",
            allowed: "a state of sensors that show the present; fit the dynamics instead")
        }
        if column.minus < 0, model.isClock(sensor: sensor) { clock = clock ?? i }
      default: isDirect = false
      }
    }
    let missing = columns.indices.filter { columns[$0] == nil }
    let isComplete =
      missing.isEmpty
      || missing.allSatisfy({ $0 < 2 * nv }) && interface.stand(still: missing, in: condition)
    if !missing.isEmpty { isDirect = false }
    var complete: [Int] = []
    for (i, column) in columns.enumerated() {
      if column == nil && isComplete { continue }
      guard let column else {
        let joint = model.joints.first { $0.velocities ~= i % nv }
        throw .invalidValue(
          of: "known dynamics",
          value: i >= 2 * nv
            ? "asked of a state without the actuators' activations"
            : "asked of a state without the \(i < nv ? "position" : "velocity") of joint "
              + "'\(joint?.name ?? "?")'",
          allowed: "a state of all joint positions and velocities that ever change, and activations"
        )
      }
      complete.append(column)
    }
    var start = condition.initialPlantState
    if start.count == nq + nv && (model.activationCount > 0 || clock != nil) {
      start += try model.startRest(keyframe: nil)
    }
    if let clock {
      complete.append(clock)
      // The rest of a start begins with the time.
      places.append(nq + nv)
    }
    self.interface = interface
    self.condition = condition
    self.columns = complete
    // What stands still is where the start has it.
    self.places = places.enumerated().filter { !missing.contains($0.offset) }.map(\.element)
    self.start = start
    usesTransitionDifferences = isDirect
  }

  /// A plant, and scratch.
  public struct Workspace {
    fileprivate let plant: MuJoCoPlant
    fileprivate var plantState: [Double]
    fileprivate var control: [Double]
    fileprivate var next: [Double]
    /// [A B] over joint positions, velocities and activations, row-major: A first.
    fileprivate var transition: [Double]
    fileprivate var scratch: [Double]
  }

  /// A plant, and scratch.
  ///
  /// - Throws: `MuJoCoError` when MuJoCo cannot make the model's data.
  public func makeWorkspace() throws -> Workspace {
    let (s, m) = (columns.count, control)
    // What a start says beside the state holds at every step.
    return Workspace(
      plant: try interface.makePlant(), plantState: start,
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
      turn(&workspace.transition, from: x, to: next.span)
      for (i, row) in columns.enumerated() {
        for (j, column) in columns.enumerated() {
          jacobian[row + n * column] = workspace.transition[s * i + j]
        }
        for j in 0..<m { jacobian[row + n * (n + j)] = workspace.transition[s * s + m * i + j] }
      }
      return
    }
    let plant = workspace.plant
    // Taken out, so that it can be written while the state before the step is read.
    var plantState: [Double] = []
    swap(&plantState, &workspace.plantState)
    defer { swap(&plantState, &workspace.plantState) }
    for j in 0..<s + m {
      let column = j < s ? columns[j] : n + j - s
      let y = j < s ? x[column] : u[j - s]
      let h = 1e-6 * max(1, y.magnitude)
      var (ahead, behind) = (h, h)
      if j >= s, let limits = interface.controlLimits {
        ahead = min(h, max(0, limits.upper[j - s] - y))
        behind = min(h, max(0, y - limits.lower[j - s]))
        // A control that is fixed, or beyond its limits, changes nothing.
        if ahead + behind < 0.5 * h { continue }
      }
      for shift in [ahead, -behind] {
        for i in 0..<n { workspace.next[i] = x[i] }
        if j < s { workspace.next[column] += shift }
        for i in 0..<m { workspace.control[i] = u[i] + (s + i == j ? shift : 0) }
        // `next` serves as the state before the step, then as the one after.
        try reset(workspace.next.span, plant, &plantState)
        try Self.attempt { try plant.step(control: workspace.control.span) }
        Self.read(plant, &workspace.next)
        for i in 0..<n {
          let end = workspace.next[i]
          // The first is ahead, the second behind.
          jacobian[i + n * column] =
            shift == ahead ? end : (jacobian[i + n * column] - end) / (ahead + behind)
        }
      }
    }
    try reset(x, plant, &plantState)
    try Self.attempt { try plant.step(control: u) }
    plant.readState(into: &next)
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

  /// Leads MuJoCo's derivatives from and to small rotations over to rotation vectors.
  private func turn(
    _ transition: inout [Double], from x: Span<Double>, to next: Span<Double>
  ) {
    let (s, m) = (columns.count, control)
    func triple(_ list: Span<Double>, _ i: Int) -> SIMD3<Double> {
      SIMD3(list[i], list[i + 1], list[i + 2])
    }
    for q in interface.layout.jacobianRotations {
      let turning = Rotation.rightJacobian(triple(x, q.column))
      for row in 0..<s {
        let i = s * row + q.dof
        let slope = turning.transposed(
          times: SIMD3(transition[i], transition[i + 1], transition[i + 2]))
        for axis in 0..<3 { transition[i + axis] = slope[axis] }
      }
    }
    for q in interface.layout.jacobianRotations {
      let turning = Rotation.inverseRightJacobian(triple(next, q.column))
      for column in 0..<s + m {
        // A, then B.
        let (first, stride) =
          column < s ? (s * q.dof + column, s) : (s * s + m * q.dof + column - s, m)
        let rate =
          turning
          * SIMD3(
            transition[first], transition[first + stride], transition[first + 2 * stride])
        for axis in 0..<3 { transition[first + axis * stride] = rate[axis] }
      }
    }
  }

  private func reset(_ x: Span<Double>, _ workspace: inout Workspace) throws(PlantFailure) {
    precondition(x.count == state, "\(x.count) numbers for a state of \(state)")
    let plant = workspace.plant
    try reset(x, plant, &workspace.plantState)
  }

  /// Puts a plant where a state says.
  private func reset(
    _ x: Span<Double>, _ plant: MuJoCoPlant, _ plantState: inout [Double]
  ) throws(PlantFailure) {
    for i in columns.indices {
      if let place = places[i] { plantState[place] = x[columns[i]] }
    }
    for q in interface.layout.jacobianRotations {
      let quaternion = q.quaternion
      let r = SIMD3(x[q.column], x[q.column + 1], x[q.column + 2])
      let turned = quaternion.reference * Rotation(vector: r)
      plantState[quaternion.position] = turned.w
      for axis in 0..<3 { plantState[quaternion.position + 1 + axis] = turned.v[axis] }
    }
    try Self.attempt { try plant.reset(to: condition, plantState: plantState.span) }
    plant.setRotations(from: x)
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

extension MuJoCoInterface {
  /// Whether some degrees of freedom stay where a condition starts, tried in a few rollouts with random controls.
  ///
  /// - Parameters:
  ///   - dofs: numbers of degrees of freedom, nv + the number for a velocity.
  ///   - condition: where the rollouts start.
  /// - Returns: whether they do; false where nothing can be simulated.
  fileprivate func stand(still dofs: [Int], in condition: Condition) -> Bool {
    let nv = model.jointVelocityCount
    let whole = try? MuJoCoInterface(
      model: model, substeps: substeps,
      state: [.jointPositions(joints: nil), .jointVelocities(joints: nil)],
      mocapControls: mocapControls, goalDimension: goalDimension, stateLimit: stateLimit)
    guard let whole else { return false }
    let watched = whole.layout.state.indices.filter { i in
      let column = whole.layout.state[i]
      return switch column.source {
      case .position, .rotation:
        whole.layout.dof(of: column, model: model).map(dofs.contains) ?? false
      case .velocity: dofs.contains(nv + column.index)
      default: false
      }
    }
    do {
      let plant = try whole.makePlant()
      var state = [Double](repeating: 0, count: whole.layout.state.count)
      for rollout in 0..<3 {
        var stream = RandomStream(seed: 0).child(.custom, rollout)
        try plant.reset(to: condition, plantState: condition.initialPlantState.span)
        var start: [Double]?
        for _ in 0..<50 {
          let control = (0..<controlCount).map { i -> Double in
            guard let limits = controlLimits, limits.halfRange(of: i) != nil else {
              return stream.normal()
            }
            return limits.lower[i] + stream.uniform() * (limits.upper[i] - limits.lower[i])
          }
          var span = state.mutableSpan
          plant.readState(into: &span)
          if let start, watched.contains(where: { abs(state[$0] - start[$0]) > 1e-9 }) {
            return false
          }
          start = start ?? state
          try plant.step(control: control.span)
        }
      }
      return true
    } catch {
      // What cannot be simulated says nothing.
      return false
    }
  }
}
