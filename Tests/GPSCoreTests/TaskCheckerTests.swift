import GPSCore
import GPSTestSupport
import LinearAlgebra
import Synchronization
import Testing

/// What is wrong with a cart.
private enum Fault: CaseIterable {
  case none, noHorizon, noPeriod, fewNames, emptyName, doubleName, noConditions, sameConditions
  case goalLength, startLength, startNotFinite, negativeDeviation, actuator
  case plantCannotBeMade, resetThrows, stepThrows
  case missingObservation, missingState, addsToObservation, missingPoint, missingJacobian
  case nanState, infiniteObservation, readingMoves
  case countsPlants, keepsVelocity, sharesState
  case costSetsValues, costAppends, costIsNaN, costGradient, costHessian, costAsymmetric
  case costOfLastControl, expansionSets
  case dynamicsShape, dynamicsStep, dynamicsJacobian, dynamicsPoint, dynamicsThrow
  case moodySuccess

  /// The kind of problem that is to be reported, alone, with some words of the report.
  var expected: (kind: TaskReport.Kind, words: String)? {
    switch self {
    case .none: nil
    case .noHorizon: (.dimensions, "dimensions.horizon is 0 instead of 1 or more")
    case .noPeriod: (.controlPeriod, "controlPeriod is 0.0 s instead of a positive time")
    case .fewNames: (.names, "stateNames has 1 name, but dimensions.state is 2")
    case .emptyName: (.names, "name number 0 of controlNames is empty")
    case .doubleName: (.names, "\"position_m\" stands more than once in stateNames")
    case .noConditions: (.conditions, "there is no training condition")
    case .sameConditions: (.names, "\"left\" stands more than once in the conditions")
    case .goalLength:
      (.goals, "condition \"right\": the goal has 2 numbers, that of \"left\" has 1")
    case .startLength:
      (
        .initialState,
        "condition \"right\": initialPlantState has 3 numbers, that of \"left\" has 2"
      )
    case .startNotFinite: (.initialState, "condition \"left\": initial number 1 is nan")
    case .negativeDeviation:
      (.initialState, "condition \"left\": initial deviation number 0 is -1.0 instead of 0 or more")
    case .actuator:
      (.actuatedCoordinates, "velocity is number 2, but there are 2, counted from 0")
    case .plantCannotBeMade: (.failure, "no plant could be made: no cart left")
    case .resetThrows: (.failure, "condition \"left\": the plant cannot be reset: stuck")
    case .stepThrows: (.failure, "condition \"left\", step 3: the plant cannot be stepped under")
    case .missingObservation:
      (.unwritten, "condition \"left\", step 0: observation number 2 is declared and never written")
    case .missingState:
      (.unwritten, "state number 1 (velocity_m_per_s) is declared and never written")
    case .addsToObservation:
      (.unwritten, "observation number 0 is computed from what stood there before")
    case .missingPoint: (.unwritten, "coordinate z of point 0 is declared and never written")
    case .missingJacobian:
      (
        .unwritten,
        "the derivative of coordinate y of point 0 by velocity_m_per_s is declared and never written"
      )
    case .nanState: (.notFinite, "condition \"left\", step 2: state number 0 (position_m) is nan")
    case .infiniteObservation: (.notFinite, "observation number 1 is inf")
    case .readingMoves: (.determinism, "and, read again,")
    case .countsPlants: (.determinism, "on a second plant, and ")
    case .keepsVelocity:
      (.memory, "condition \"left\", step 0: state number 1 (velocity_m_per_s) is ")
    case .sharesState: (.independence, "while a second plant moves, and ")
    case .costSetsValues: (.cost, "the cost's value is written over what was there")
    case .costAppends: (.cost, "the cost makes 8 values out of 7")
    case .costIsNaN: (.notFinite, "condition \"left\", step 4: the cost is nan")
    case .costGradient: (.costDerivatives, "cost gradient: cost by position_m is ")
    case .costHessian: (.costDerivatives, "cost Hessian: cost by force_N by force_N is ")
    case .costAsymmetric: (.cost, "the Hessian of the cost is not symmetric: 0.5 for position_m")
    case .costOfLastControl:
      (.cost, "step 6: the cost depends on force_N after the last step")
    case .expansionSets: (.cost, "the gradient of the cost's expansion is written over")
    case .dynamicsShape:
      (.knownDynamics, "known dynamics' control is 2, but dimensions.control is 1")
    case .dynamicsStep: (.knownDynamics, "next state: position_m is ")
    case .dynamicsJacobian: (.knownDynamics, "dynamics Jacobian: velocity_m_per_s by force_N is ")
    case .dynamicsPoint:
      (.knownDynamics, "point coordinate number 1 of known dynamics is 1.0, the plant's 0.0")
    case .dynamicsThrow:
      (.failure, "known dynamics cannot be evaluated along a rollout: derailed")
    case .moodySuccess: (.success, "condition \"left\": the same rollout is judged true once")
    }
  }
}

private let h = 0.1

/// A cart on a rail: p' = p + h v, v' = v + h u.
private struct Cart: Plant {
  final class Box: Sendable {
    let value = Atomic<UInt64>(0)
    func take() -> UInt64 { value.wrappingAdd(1, ordering: .relaxed).oldValue }
    var number: Double {
      get { Double(bitPattern: value.load(ordering: .relaxed)) }
      set { value.store(newValue.bitPattern, ordering: .relaxed) }
    }
  }

  let fault: Fault
  let box: Box
  let serial: Double
  var p = 0.0
  var v = 0.0
  var goal = 0.0
  var steps = 0

  mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    if fault == .resetThrows { throw PlantFailure("stuck") }
    if fault != .keepsVelocity { v = plantState[1] }
    (p, steps, goal) = (plantState[0] + serial, 0, condition.goal[0])
    if fault == .sharesState { box.number = p }
  }

  mutating func step(control: Span<Double>) throws {
    if fault == .stepThrows && steps == 3 { throw PlantFailure("at the rail's end") }
    if fault == .sharesState { p = box.number }
    p += h * v
    v += h * control[0]
    steps += 1
    if fault == .sharesState { box.number = p }
  }

  func readState(into state: inout MutableSpan<Double>) {
    state[0] = fault == .nanState && steps >= 2 ? .nan : p
    if fault != .missingState { state[1] = v }
  }

  func readObservation(into observation: inout MutableSpan<Double>) {
    if fault == .addsToObservation { observation[0] += p } else { observation[0] = p }
    observation[1] = fault == .infiniteObservation ? .infinity : v
    if fault == .readingMoves { observation[1] += Double(box.take()) }
    if fault != .missingObservation { observation[2] = goal }
  }

  func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) {
    (positions[0], positions[1]) = (p, 0)
    if fault != .missingPoint { positions[2] = 0.2 }
    for i in 0..<6 where fault != .missingJacobian || i != 4 { jacobians[i] = i == 0 ? 1 : 0 }
  }
}

/// ½ (p − goal)² + 0.005 u² at each step, and the first alone at the last.
private struct CartCost: Cost {
  let fault: Fault

  func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    let T = trajectory.horizon
    for t in 0...T {
      let gap = trajectory.states[0, t] - condition.goal[0]
      let u = t < T ? trajectory.controls[0, t] : 0
      let value = 0.5 * gap * gap + 0.005 * u * u
      if fault == .costSetsValues { values[t] = value } else { values[t] += value }
      if fault == .costIsNaN && t == 4 { values[t] = .nan }
    }
    if fault == .costAppends { values.append(0) }
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    let T = trajectory.horizon
    CartCost(fault: .none).addValues(to: &expansion.values, along: trajectory, in: condition)
    for t in 0...T {
      let gap = trajectory.states[0, t] - condition.goal[0]
      if fault == .expansionSets {
        expansion.gradients[0, t] = gap
      } else {
        expansion.gradients[0, t] += fault == .costGradient ? 2 * gap : gap
      }
      var H = expansion.hessians[t]
      H[0, 0] += 1
      if t < T {
        expansion.gradients[2, t] += 0.01 * trajectory.controls[0, t]
        H[2, 2] += fault == .costHessian ? 1 : 0.01
        if fault == .costAsymmetric { H[0, 1] += 0.5 }
      } else if fault == .costOfLastControl {
        H[2, 2] += 0.01
      }
      expansion.hessians[t] = H
    }
  }
}

private struct CartDynamics: KnownDynamics {
  let fault: Fault
  let state = 2
  var control: Int { fault == .dynamicsShape ? 2 : 1 }
  let points = 1

  func makeWorkspace() {}

  func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
    into next: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    if fault == .dynamicsThrow { throw PlantFailure("derailed") }
    next[0] = x[0] + (fault == .dynamicsStep ? 2 : 1) * h * x[1]
    next[1] = x[1] + h * u[0]
  }

  func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    try step(x, u, workspace: &workspace, into: &next)
    (jacobian[0], jacobian[1]) = (1, 0)
    (jacobian[2], jacobian[3]) = ((fault == .dynamicsStep ? 2 : 1) * h, 1)
    (jacobian[4], jacobian[5]) = (0, fault == .dynamicsJacobian ? -h : h)
  }

  func locatePoints(
    _ x: Span<Double>, workspace: inout Void, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) {
    positions[0] = x[0]
    positions[1] = fault == .dynamicsPoint ? 1 : 0
    positions[2] = 0.2
    for i in 0..<6 { jacobians[i] = i == 0 ? 1 : 0 }
  }
}

private struct CartTask: ControlTask {
  let fault: Fault
  let box = Cart.Box()
  let name = "cart"

  init(_ fault: Fault) { self.fault = fault }

  var dimensions: Dimensions {
    Dimensions(
      state: 2, control: 1, observation: 3, horizon: fault == .noHorizon ? 0 : 6, points: 1)
  }
  var controlPeriod: Double { fault == .noPeriod ? 0 : h }
  var stateNames: [String] {
    switch fault {
    case .fewNames: ["position_m"]
    case .doubleName: ["position_m", "position_m"]
    default: ["position_m", "velocity_m_per_s"]
    }
  }
  var controlNames: [String] { [fault == .emptyName ? "" : "force_N"] }
  var conditions: [Condition] {
    if fault == .noConditions { return [] }
    var left = Condition(
      name: "left", initialPlantState: [-1, 0.5], initialPlantStateDeviation: [0.1, 0], goal: [0])
    if fault == .startNotFinite { left.initialPlantState[1] = .nan }
    if fault == .negativeDeviation { left.initialPlantStateDeviation[0] = -1 }
    return [left]
  }
  var testConditions: [Condition] {
    if fault == .noConditions { return [] }
    var right = Condition(name: "right", initialPlantState: [1, 0.2], goal: [0.3])
    if fault == .sameConditions { right.name = "left" }
    if fault == .goalLength { right.goal.append(1) }
    if fault == .startLength { right.initialPlantState.append(1) }
    return [right]
  }
  var cost: any Cost { CartCost(fault: fault) }
  var actuatedCoordinates: [ActuatedCoordinate] {
    [ActuatedCoordinate(control: 0, position: 0, velocity: fault == .actuator ? 2 : 1)]
  }

  func knownDynamics(in condition: Condition) throws -> (any KnownDynamics)? {
    CartDynamics(fault: fault)
  }

  func makePlant() throws -> Cart {
    if fault == .plantCannotBeMade { throw PlantFailure("no cart left") }
    return Cart(fault: fault, box: box, serial: fault == .countsPlants ? Double(box.take()) : 0)
  }

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    fault != .moodySuccess || box.take().isMultiple(of: 2)
  }
}

/// A cart that waits for real time, and says how often it was made and reset.
private struct SlowCart: Plant {
  static var waitsForRealTime: Bool { true }
  var base = Cart(fault: .none, box: Cart.Box(), serial: 0)
  let resets: Cart.Box

  mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    _ = resets.take()
    try base.reset(to: condition, plantState: plantState)
  }
  mutating func step(control: Span<Double>) throws { try base.step(control: control) }
  func readState(into state: inout MutableSpan<Double>) { base.readState(into: &state) }
  func readObservation(into observation: inout MutableSpan<Double>) {
    base.readObservation(into: &observation)
  }
  func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) { base.readPoints(positions: &positions, jacobians: &jacobians) }
}

private struct SlowTask: ControlTask {
  let base = CartTask(.none)
  let resets = Cart.Box()
  var name: String { base.name }
  var dimensions: Dimensions { base.dimensions }
  var controlPeriod: Double { base.controlPeriod }
  var stateNames: [String] { base.stateNames }
  var controlNames: [String] { base.controlNames }
  var conditions: [Condition] { base.conditions }
  var cost: any Cost { base.cost }
  func makePlant() throws -> SlowCart { SlowCart(resets: resets) }
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool { true }
}

@Suite("Task checker") struct TaskCheckerTests {
  private func report(_ fault: Fault) -> TaskReport {
    var checker = TaskChecker(CartTask(fault))
    checker.checksCostHessians = true
    return checker.check()
  }

  @Test("each fault is found, named, and the only thing that is found", arguments: Fault.allCases)
  private func findsFaults(_ fault: Fault) throws {
    let report = report(fault)
    guard let (kind, words) = fault.expected else {
      #expect(report.isCorrect, "\(report)")
      return
    }
    #expect(!report.isCorrect)
    #expect(report.problems.allSatisfy { $0.kind == kind }, "\(fault): \(report)")
    #expect(report.description.contains(words), "\(fault): \(report)")
  }

  @Test("there is a faulty task for every kind of problem")
  func allKindsAreTried() {
    #expect(Set(Fault.allCases.compactMap { $0.expected?.kind }) == Set(TaskReport.Kind.allCases))
  }

  @Test("a sound task is rolled out four times and twice in turns per condition")
  func soundTask() {
    let report = report(.none)
    #expect(report.rollouts == 2 * 6)
    #expect("\(report)" == "no problem found in 12 rollouts")
  }

  @Test("a Hessian that is an approximation is no fault unless it is to be exact")
  func approximateHessian() {
    #expect(TaskChecker(CartTask(.costHessian)).check().isCorrect)
  }

  @Test("a plant that waits for real time is moved for one rollout")
  func realTime() {
    let task = SlowTask()
    let report = TaskChecker(task).check()
    #expect(report.isCorrect, "\(report)")
    #expect(report.rollouts == 1 && task.resets.take() == 1)
  }

  @Test("the controls of the rollouts can be given")
  func givenControls() {
    var checker = TaskChecker(CartTask(.stepThrows))
    checker.controls = Matrix(rows: 1, columns: 6, repeating: 0.25)
    let report = checker.check()
    #expect(report.problems.first?.message.contains("under [0.25]") == true, "\(report)")
  }
}
