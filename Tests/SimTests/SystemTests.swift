import Differentiation
import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

/// x'_i = x_i + 0.1 sin(x_{i+1}) u_{i mod 3} + 0.01 x_i², with 12 states and 3 controls: more
/// directions than one sweep takes.
private struct Ring: DiscreteSystem {
  let stateCount = 12
  let controlCount = 3

  func step<S: DifferentiableScalar>(_ x: Span<S>, _ u: Span<S>, into next: inout MutableSpan<S>) {
    for i in 0..<12 {
      next[i] = x[i] + 0.1 * sin(x[(i + 1) % 12]) * u[i % 3] + 0.01 * x[i] * x[i]
    }
  }

  /// F and the Hessian of x'_i, by hand.
  func closedForm(_ x: [Double], _ u: [Double]) -> (F: Matrix, hessian: (Int) -> Matrix) {
    var F = Matrix(rows: 12, columns: 15)
    for i in 0..<12 {
      F[i, i] = 1 + 0.02 * x[i]
      F[i, (i + 1) % 12] = 0.1 * Foundation.cos(x[(i + 1) % 12]) * u[i % 3]
      F[i, 12 + i % 3] = 0.1 * Foundation.sin(x[(i + 1) % 12])
    }
    return (
      F,
      { i in
        let (j, k) = ((i + 1) % 12, 12 + i % 3)
        var H = Matrix(rows: 15, columns: 15)
        H[i, i] = 0.02
        H[j, j] = -0.1 * Foundation.sin(x[j]) * u[i % 3]
        H[j, k] = 0.1 * Foundation.cos(x[j])
        H[k, j] = H[j, k]
        return H
      }
    )
  }
}

/// A pendulum over doubles alone, with a Jacobian of its own that may be wrong in one entry.
private struct HandMadePendulum: OpaqueContinuousSystem {
  var givesJacobian = true
  var error = 0.0
  let stateCount = 2
  let controlCount = 1

  func derivative(_ x: Span<Double>, _ u: Span<Double>, into rate: inout MutableSpan<Double>) {
    rate[0] = x[1]
    rate[1] = u[0] - 0.3 * x[1] - 9.81 * Foundation.sin(x[0])
  }

  var hasAnalyticJacobian: Bool { givesJacobian }

  func analyticJacobian(
    _ x: Span<Double>, _ u: Span<Double>, into jacobian: inout MutableSpan<Double>
  ) {
    jacobian[2] = 1
    jacobian[1] = -9.81 * Foundation.cos(x[0])
    jacobian[3] = -0.3
    jacobian[5] = 1 + error
  }
}

/// The same for every type of scalar.
private struct Pendulum: ContinuousSystem {
  let stateCount = 2
  let controlCount = 1

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = x[1]
    rate[1] = u[0] - 0.3 * x[1] - 9.81 * sin(x[0])
  }
}

/// A step over doubles alone, with a Jacobian of its own.
private struct HandMadeStep: OpaqueDiscreteSystem {
  var givesJacobian = true
  var hasWalls = false
  let stateCount = 2
  let controlCount = 1

  func step(_ x: Span<Double>, _ u: Span<Double>, into next: inout MutableSpan<Double>) {
    next[0] = x[0] + x[1] * x[1]
    next[1] = x[0] * u[0]
  }

  var hasAnalyticJacobian: Bool { givesJacobian }

  func analyticJacobian(
    _ x: Span<Double>, _ u: Span<Double>, into jacobian: inout MutableSpan<Double>
  ) {
    (jacobian[0], jacobian[2]) = (1, 2 * x[1])
    (jacobian[1], jacobian[5]) = (u[0], x[0])
  }

  func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) { if hasWalls { fold(&x) } }
}

/// A wall at x₀ = 0.2, at which the rest of the way turns into x₁: a mending that is no mere clamp.
private func fold<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) {
  guard x[0].value > 0.2 else { return }
  x[1] = x[1] - 0.7 * square(x[0] - 0.2)
  x[0] = S(0.2) + 0.1 * sin(x[0] - 0.2)
}

/// A generic step with walls, with and without a Jacobian of its own.
private struct WalledStep: DiscreteSystem {
  var givesJacobian: Bool
  let stateCount = 2
  let controlCount = 1

  func step<S: DifferentiableScalar>(_ x: Span<S>, _ u: Span<S>, into next: inout MutableSpan<S>) {
    next[0] = x[0] + x[1] * x[1]
    next[1] = x[0] * u[0]
  }

  var hasAnalyticJacobian: Bool { givesJacobian }

  func analyticJacobian(
    _ x: Span<Double>, _ u: Span<Double>, into jacobian: inout MutableSpan<Double>
  ) { HandMadeStep().analyticJacobian(x, u, into: &jacobian) }

  func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) { fold(&x) }
}

/// A pendulum with walls at ±0.4 rad and a Jacobian of its own, integrated.
private struct WalledPendulum: ContinuousSystem {
  var givesJacobian: Bool
  let stateCount = 2
  let controlCount = 1

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) { Pendulum().derivative(x, u, into: &rate) }

  var hasAnalyticJacobian: Bool { givesJacobian }

  func analyticJacobian(
    _ x: Span<Double>, _ u: Span<Double>, into jacobian: inout MutableSpan<Double>
  ) { HandMadePendulum().analyticJacobian(x, u, into: &jacobian) }

  func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) {
    if x[0].value > 0.4 {
      x[1] = -0.5 * x[1] * (x[0] + 0.6)
      x[0] = S(0.4)
    }
  }
}

/// Twelve states and three controls, more than one sweep takes, with walls and a Jacobian of its own.
private struct WalledRing: DiscreteSystem {
  let stateCount = 12
  let controlCount = 3

  func step<S: DifferentiableScalar>(_ x: Span<S>, _ u: Span<S>, into next: inout MutableSpan<S>) {
    Ring().step(x, u, into: &next)
  }

  var hasAnalyticJacobian: Bool { true }

  func analyticJacobian(
    _ x: Span<Double>, _ u: Span<Double>, into jacobian: inout MutableSpan<Double>
  ) {
    let F = Ring().closedForm((0..<12).map { x[$0] }, (0..<3).map { u[$0] }).F
    for i in 0..<jacobian.count { jacobian[i] = F.storage[i] }
  }

  func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) {
    for i in 0..<11 where x[i].value > 0.5 { x[i] = S(0.5) + 0.1 * (x[i] - 0.5) * x[i + 1] }
  }
}

extension KnownDynamics {
  func linearization(_ x: [Double], _ u: [Double]) throws -> (next: [Double], F: Matrix) {
    var workspace = try makeWorkspace()
    var next = [Double](repeating: .nan, count: state)
    var F = [Double](repeating: .nan, count: state * (state + control))
    var target = next.mutableSpan
    var jacobian = F.mutableSpan
    try linearize(x.span, u.span, workspace: &workspace, into: &target, jacobian: &jacobian)
    return (next, Matrix(rows: state, columns: state + control, columnMajor: F))
  }

  func stepped(_ x: [Double], _ u: [Double]) throws -> [Double] {
    var workspace = try makeWorkspace()
    var next = [Double](repeating: .nan, count: state)
    var target = next.mutableSpan
    try step(x.span, u.span, workspace: &workspace, into: &target)
    return next
  }

  func hessian(_ x: [Double], _ u: [Double], costate: [Double]) throws -> Matrix {
    var workspace = try makeWorkspace()
    let d = state + control
    var H = [Double](repeating: .nan, count: d * d)
    var target = H.mutableSpan
    try contractSecondDerivatives(
      x.span, u.span, costate: costate.span, workspace: &workspace, into: &target)
    return Matrix(rows: d, columns: d, columnMajor: H)
  }

  fileprivate var checker: DynamicsChecker {
    DynamicsChecker(
      stateNames: (0..<state).map { "x\($0)" }, controlNames: (0..<control).map { "u\($0)" })
  }
}

private let period = TimeStep(controlPeriod: 0.1, substeps: 3)

@Suite struct SystemTests {
  @Test("Derivatives of every native system agree with central differences, the second ones too")
  func nativeSystems() throws {
    var stream = RandomStream(seed: 11)
    func check(_ system: some DynamicSystem) throws {
      let dynamics = NativeDynamics(system, timeStep: period)
      let checker = DynamicsChecker(
        stateNames: system.stateNames, controlNames: system.controlNames)
      for _ in 0..<4 {
        let (x, u) = (stream.normals(system.stateCount), stream.normals(system.controlCount))
        let report = try checker.check(dynamics, state: x, control: u)
        #expect(report.isCorrect, "\(system): \(report)")
        #expect(report.largestRelativeError < 1e-6)
        #expect(try dynamics.linearization(x, u).next == dynamics.stepped(x, u))
      }
    }
    try check(PointMass(mass: 2, damping: 0.7))
    try check(
      PointMass(forceLimit: 0.1, walls: .init(lower: [-0.2, -0.2], upper: [0.2, 0.2])))
    try check(CartPole(poleMass: 0.4, poleLength: 0.8, forceLimit: 50))
    try check(TwoLinkArm(masses: [1.2, 0.7], lengths: [0.5, 0.3], gravity: 9.81))
    try check(Acrobot(masses: [1.2, 0.7], inertias: [0.3, 0.2], torqueLimit: nil))
    try check(Acrobot(torqueLevels: 3, speedLimits: [0.5, 0.5]))
    try check(MountainCar(gravity: 0.3, ends: [-0.5, 0.5], speedLimit: nil))
    try check(Sim.Pendulum(damping: 0.2, torqueLimit: 0.5, speedLimit: 0.7))
    try check(Ring())
    try check(Pendulum())
    try check(HandMadePendulum())
    try check(HandMadePendulum(givesJacobian: false))
    try check(HandMadeStep())
    try check(HandMadeStep(givesJacobian: false))
    try check(HandMadeStep(hasWalls: true))
    try check(HandMadeStep(givesJacobian: false, hasWalls: true))
    try check(WalledRing())
    for givesJacobian in [true, false] {
      try check(WalledStep(givesJacobian: givesJacobian))
      try check(WalledPendulum(givesJacobian: givesJacobian))
    }
  }

  @Test("A system's own Jacobian is chained through the walls that its state has run into")
  func walls() throws {
    // x' = (0.5 + 0.25, 0.4) before the wall; fold by hand: x₀' = 0.2 + 0.1 sin 0.55, x₁' = 0.4 − 0.7 · 0.55².
    let (x, u) = ([0.5, 0.5], [0.8])
    for system in [
      HandMadeStep(hasWalls: true), HandMadeStep(givesJacobian: false, hasWalls: true),
    ] {
      let (next, F) = try NativeDynamics(system, timeStep: period).linearization(x, u)
      #expect(abs(next[0] - 0.2 - 0.1 * Foundation.sin(0.55)) < 1e-15)
      #expect(abs(next[1] - 0.4 + 0.7 * 0.55 * 0.55) < 1e-15)
      let (slope, drop) = (0.1 * Foundation.cos(0.55), 1.4 * 0.55)
      let expected = Matrix([[slope, slope, 0], [0.8 - drop, -drop, 0.5]])
      #expect((F - expected).largestMagnitude < 1e-9)
    }
    let own = NativeDynamics(WalledStep(givesJacobian: true), timeStep: period)
    let automatic = NativeDynamics(WalledStep(givesJacobian: false), timeStep: period)
    #expect(
      (try own.linearization(x, u).F - automatic.linearization(x, u).F).largestMagnitude < 1e-15)
    #expect(try own.hessian(x, u, costate: [1, 2]) == automatic.hessian(x, u, costate: [1, 2]))
  }

  @Test("More directions than fit one sweep have the closed form's derivatives")
  func sweeps() throws {
    var stream = RandomStream(seed: 3)
    let (x, u, costate) = (stream.normals(12), stream.normals(3), stream.normals(12))
    let dynamics = NativeDynamics(Ring(), timeStep: period)
    let (F, hessian) = Ring().closedForm(x, u)
    #expect((try dynamics.linearization(x, u).F - F).largestMagnitude < 1e-15)
    var expected = Matrix(rows: 15, columns: 15)
    for i in 0..<12 { expected += costate[i] * hessian(i) }
    #expect(
      (try dynamics.hessian(x, u, costate: costate) - expected).largestMagnitude < 1e-15)
  }

  @Test("A system's own Jacobian, chained through the integrator, is what differentiation finds")
  func analytic() throws {
    let (x, u) = ([0.7, -1.2], [0.4])
    for integrator in Integrator.allCases {
      let step = TimeStep(controlPeriod: 0.1, substeps: 3, integrator: integrator)
      let automatic = try NativeDynamics(Pendulum(), timeStep: step).linearization(x, u)
      let own = try NativeDynamics(HandMadePendulum(), timeStep: step).linearization(x, u)
      let differences = try NativeDynamics(
        HandMadePendulum(givesJacobian: false), timeStep: step
      ).linearization(x, u)
      #expect(zip(own.next, automatic.next).allSatisfy { abs($0 - $1) < 1e-14 })
      #expect((own.F - automatic.F).largestMagnitude < 1e-14)
      #expect((differences.F - automatic.F).largestMagnitude < 1e-9)
    }
  }

  @Test("One Euler step of a pendulum has its derivatives by hand")
  func eulerByHand() throws {
    let (h, x, u) = (0.1, [0.7, -1.2], [0.4])
    let dynamics = NativeDynamics(
      Pendulum(), timeStep: TimeStep(controlPeriod: h, substeps: 1, integrator: .euler))
    let F = Matrix([
      [1, h, 0], [-h * 9.81 * Foundation.cos(0.7), 1 - 0.3 * h, h],
    ])
    #expect((try dynamics.linearization(x, u).F - F).largestMagnitude < 1e-15)
    var H = Matrix(rows: 3, columns: 3)
    H[0, 0] = 2 * h * 9.81 * Foundation.sin(0.7)
    #expect((try dynamics.hessian(x, u, costate: [5, 2]) - H).largestMagnitude < 1e-15)
  }

  @Test(
    "Integrators converge with their order",
    arguments: [
      (Integrator.euler, 1.0), (.semiImplicitEuler, 1), (.midpoint, 2), (.rungeKutta4, 4),
    ])
  func order(integrator: Integrator, expected: Double) throws {
    func end(_ substeps: Int, _ integrator: Integrator) throws -> [Double] {
      try NativeDynamics(
        Pendulum(),
        timeStep: TimeStep(controlPeriod: 1, substeps: substeps, integrator: integrator)
      ).stepped([1, 0.5], [0.3])
    }
    let exact = try end(4000, .rungeKutta4)
    func error(_ substeps: Int) throws -> Double {
      zip(try end(substeps, integrator), exact).reduce(0) { max($0, abs($1.0 - $1.1)) }
    }
    let order = log2(try error(64) / error(128))
    #expect(abs(order - expected) < 0.2, "order \(order)")
  }

  @Test("The checker names the entry that is off, and finds nothing else")
  func plantedJacobian() throws {
    let step = TimeStep(controlPeriod: 0.1, substeps: 1, integrator: .euler)
    let dynamics = NativeDynamics(HandMadePendulum(error: 0.01), timeStep: step)
    let checker = DynamicsChecker(stateNames: ["angle", "speed"], controlNames: ["torque"])
    let report = try checker.check(dynamics, state: [0.7, -1.2], control: [0.4])
    #expect(report.mismatches.count == 1)
    let mismatch = try #require(report.mismatches.first)
    #expect((mismatch.row, mismatch.column, mismatch.step) == ("speed", "torque", 0))
    #expect(mismatch.quantity == "dynamics Jacobian")
    #expect(abs(mismatch.given - 0.101) < 1e-12 && abs(mismatch.expected - 0.1) < 1e-9)
    #expect(abs(mismatch.relativeError - 0.001 / 0.101) < 1e-6)
    #expect(mismatch.difference > 0)
    #expect("\(report)".contains("speed by torque at step 0 is 0.101"))
  }

  /// Known dynamics with an error in what they claim.
  private struct Wrong: KnownDynamics {
    enum Error { case next, hessian, notANumber }
    let base = NativeDynamics(Pendulum(), timeStep: period)
    let error: Error
    var state: Int { 2 }
    var control: Int { 1 }
    var hasSecondDerivatives: Bool { true }
    func makeWorkspace() -> FlowScratch { base.makeWorkspace() }
    func step(
      _ x: Span<Double>, _ u: Span<Double>, workspace: inout FlowScratch,
      into next: inout MutableSpan<Double>
    ) { base.step(x, u, workspace: &workspace, into: &next) }
    func linearize(
      _ x: Span<Double>, _ u: Span<Double>, workspace: inout FlowScratch,
      into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
    ) {
      base.linearize(x, u, workspace: &workspace, into: &next, jacobian: &jacobian)
      if error == .next { next[0] += 0.1 }
      if error == .notANumber { jacobian[2] = .nan }
    }
    func contractSecondDerivatives(
      _ x: Span<Double>, _ u: Span<Double>, costate: Span<Double>, workspace: inout FlowScratch,
      into hessian: inout MutableSpan<Double>
    ) {
      base.contractSecondDerivatives(
        x, u, costate: costate, workspace: &workspace, into: &hessian)
      if error == .hessian { hessian[3] += 0.2 * costate[1] }
    }
  }

  @Test("The checker finds wrong next states, Hessians and numbers that are none")
  func plantedOthers() throws {
    func report(_ error: Wrong.Error) throws -> DerivativeReport {
      let dynamics = Wrong(error: error)
      return try dynamics.checker.check(dynamics, state: [0.7, -1.2], control: [0.4])
    }
    let next = try report(.next).mismatches
    #expect(next.map(\.quantity) == ["next state of the linearisation"] && next[0].row == "x0")
    let hessian = try report(.hessian).mismatches
    #expect(hessian.map(\.quantity) == ["dynamics Hessian"])
    #expect(hessian.map(\.row) == ["x1 by x0"] && hessian.map(\.column) == ["x1"])
    #expect(try report(.notANumber).mismatches.contains { $0.row == "x0" && $0.column == "x1" })
  }

  @Test("The checker compares a rollout's states with the dynamics")
  func rolloutOfOthers() throws {
    let dynamics = NativeDynamics(Pendulum(), timeStep: period)
    var trajectory = Trajectory(
      states: Matrix([[0.7, 0], [-1.2, 0]]), controls: Matrix([[0.4]]),
      observations: Matrix(rows: 0, columns: 2))
    trajectory.states.setColumn(1, to: try dynamics.stepped([0.7, -1.2], [0.4]))
    #expect(try dynamics.checker.check(dynamics, along: trajectory).isCorrect)
    trajectory.states[1, 1] += 0.01
    let report = try dynamics.checker.check(dynamics, along: trajectory)
    #expect(report.mismatches.map(\.row) == ["x1"])
    #expect(report.mismatches.map(\.quantity) == ["next state"])
  }

  @Test("Names have defaults, and must be as many as there are numbers")
  func names() throws {
    #expect(Ring().stateNames.last == "x11" && Ring().controlNames == ["u0", "u1", "u2"])
    struct Misnamed: DiscreteSystem {
      let stateCount = 2
      let controlCount = 1
      var stateNames: [String] { ["alone"] }
      func step<S: DifferentiableScalar>(
        _ x: Span<S>, _ u: Span<S>, into next: inout MutableSpan<S>
      ) {
        for i in 0..<2 { next[i] = x[i] }
      }
    }
    #expect(throws: SimError.length(key: "stateNames", found: 1, expected: "2")) {
      try NativeTask(
        name: "t", model: Misnamed(), controlPeriod: 0.1, horizon: 2,
        conditions: [Condition(name: "a", initialPlantState: [0, 0])], cost: NoCost())
    }
  }
}

// MARK: - Costs

/// ½ xᵀ Q x + sin(x₀ u₀) + |p − goal|², whose derivatives are known.
private struct OwnCost: DifferentiableCost {
  func running<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S {
    var sum = sin(x[0] * u[0]) * Double(moment.step + 1)
    for i in 0..<3 {
      let gap = points[i] - moment.condition.goal[i]
      sum += gap * gap
    }
    return sum
  }

  func final<S: DifferentiableScalar>(_ x: Span<S>, points: Span<S>, at moment: CostMoment) -> S {
    exp(x[0]) * x[1]
  }
}

/// The same, value only.
private struct OwnCostOverDoubles: OpaqueCost {
  func running(
    _ x: Span<Double>, _ u: Span<Double>, points: Span<Double>, at moment: CostMoment
  ) -> Double { OwnCost().running(x, u, points: points, at: moment) }
  func final(_ x: Span<Double>, points: Span<Double>, at moment: CostMoment) -> Double {
    OwnCost().final(x, points: points, at: moment)
  }
}

/// A cost with one wrong entry.
private struct WrongCost: Cost {
  var isGradient: Bool
  func addValues(to values: inout [Double], along: Trajectory, in condition: Condition) {
    OwnCost().addValues(to: &values, along: along, in: condition)
  }
  func addExpansion(to expansion: inout CostExpansion, along: Trajectory, in condition: Condition) {
    OwnCost().addExpansion(to: &expansion, along: along, in: condition)
    if isGradient { expansion.gradients[4, 2] *= 1.01 }
    if !isGradient {
      var H = expansion.hessians[1]
      H[0, 1] += 0.1
      expansion.hessians[1] = H
    }
  }
}

@Suite struct OwnCostTests {
  private let condition = Condition(name: "c", initialPlantState: [], goal: [0.3, -0.1, 0])

  private func trajectory() throws -> Trajectory {
    let task = try NativeTask(
      name: "arm", model: TwoLinkArm(), controlPeriod: 0.1, horizon: 4,
      conditions: [Condition(name: "a", initialPlantState: [0.2, 0.5, 1, -1])], cost: NoCost())
    var plant = try task.makePlant()
    let policy = try LinearGaussianController(
      gains: MatrixSequence(rows: 2, columns: 4, count: 4), offsets: Matrix(rows: 2, columns: 4),
      covariances: MatrixSequence(repeating: .identity(2), count: 4))
    var workspace = policy.makeWorkspace()
    var stream = RandomStream(seed: 5)
    return try rollout(
      &plant, under: policy, workspace: &workspace, dimensions: task.dimensions,
      condition: task.conditions[0], plantState: task.conditions[0].initialPlantState,
      noise: stream.normals(8))
  }

  private let checker = CostChecker(
    stateNames: ["q1", "q2", "v1", "v2"], controlNames: ["t1", "t2"])

  @Test("A cost of one's own has the derivatives found by hand and by differences")
  func automatic() throws {
    let trajectory = try trajectory()
    let report = checker.check(OwnCost(), along: trajectory, in: condition)
    #expect(report.isCorrect, "\(report)")
    checkCost(OwnCost(), along: trajectory, in: condition)
    // At the end: ∂²/∂q₁² = e^q₁ q₂, ∂²/∂q₁∂q₂ = e^q₁; nothing for the controls.
    let expansion = OwnCost().expansion(along: trajectory, in: condition)
    let (q1, q2) = (trajectory.states[0, 4], trajectory.states[1, 4])
    let H = expansion.hessians[4]
    #expect(abs(H[0, 0] - Foundation.exp(q1) * q2) < 1e-12)
    #expect(abs(H[0, 1] - Foundation.exp(q1)) < 1e-12 && H[0, 1] == H[1, 0])
    #expect(H[2..<6, 0..<6].largestMagnitude == 0)
  }

  @Test("A cost given by its value alone has the same derivatives, nearly")
  func differences() throws {
    let trajectory = try trajectory()
    let exact = OwnCost().expansion(along: trajectory, in: condition)
    let near = OwnCostOverDoubles().expansion(along: trajectory, in: condition)
    checkCost(OwnCostOverDoubles(), along: trajectory, in: condition, checksHessians: false)
    #expect(zip(exact.values, near.values).allSatisfy { abs($0 - $1) < 1e-14 })
    #expect((exact.gradients - near.gradients).largestMagnitude < 1e-7)
    for t in 0...4 {
      #expect((exact.hessians[t] - near.hessians[t]).largestMagnitude < 1e-5)
    }
  }

  @Test("The checker names the entry of a cost that is off")
  func planted() throws {
    let trajectory = try trajectory()
    var checker = checker
    checker.checksHessians = false
    let gradient = checker.check(WrongCost(isGradient: true), along: trajectory, in: condition)
    #expect(gradient.mismatches.map(\.column) == ["t1"] && gradient.mismatches[0].step == 2)
    checker.checksHessians = true
    let hessian = checker.check(WrongCost(isGradient: false), along: trajectory, in: condition)
    #expect(hessian.mismatches.count == 1)
    let mismatch = try #require(hessian.mismatches.first)
    #expect(mismatch.quantity == "cost Hessian" && mismatch.step == 1)
    #expect((mismatch.row, mismatch.column) == ("cost by q1", "q2"))
  }

  @Test("The shipped terms pass the checker")
  func shipped() throws {
    let trajectory = try trajectory()
    let cost = SumCost(
      .state(StateCost(entries: [0, 3], target: .numbers([0.1, 0.2]), weights: [2, 0.5])),
      .control(ControlCost(weights: [0.1, 0.3])),
      .point(PointCost(points: [0], target: .goal(first: 0), weights: [1, 1, 1])))
    let report = checker.check(cost, along: trajectory, in: condition)
    #expect(report.isCorrect, "\(report)")
  }
}

// MARK: - Plants that wait

/// Where all plants of a test meet.
private final class Meeting: Sendable {
  private let state = Locked((present: 0, peak: 0, computed: 0))

  var peak: Int { state.withLock { $0.peak } }
  var computed: Int { state.withLock { $0.computed } }
  func compute() { state.withLock { $0.computed += 1 } }

  /// Blocks the thread until `count` plants are here at once and the computation is done, or 20 s.
  func attend(_ count: Int) {
    state.withLock {
      $0.present += 1
      $0.peak = max($0.peak, $0.present)
    }
    for _ in 0..<10_000 where peak < count || computed == 0 { usleep(2000) }
    state.withLock { $0.present -= 1 }
  }
}

/// A robot: a step takes its time, whatever the processor does.
private struct WaitingPlant: Plant {
  static var waitsForRealTime: Bool { true }
  let meeting: Meeting
  let count: Int
  var state = 0.0

  mutating func reset(to condition: Condition, plantState: Span<Double>) { state = plantState[0] }
  mutating func step(control: Span<Double>) {
    meeting.attend(count)
    state += control[0]
  }
  func readState(into target: inout MutableSpan<Double>) { target[0] = state }
  func readObservation(into target: inout MutableSpan<Double>) { target[0] = state }
}

private struct WaitingTask: ControlTask {
  let meeting = Meeting()
  let count: Int
  let name = "robots"
  let dimensions = Dimensions(state: 1, control: 1, observation: 1, horizon: 3)
  let controlPeriod = 0.02
  let stateNames = ["x"]
  let controlNames = ["u"]
  let conditions = [Condition(name: "a", initialPlantState: [1])]
  let cost: any Cost = NoCost()
  func makePlant() -> WaitingPlant { WaitingPlant(meeting: meeting, count: count) }
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool { true }
}

@Suite struct WaitingPlantTests {
  @Test(
    "More robots than cores step at once, and other work goes on", .slow, .timeLimit(.minutes(30)))
  func concurrency() async throws {
    let task = WaitingTask(count: ProcessInfo.processInfo.activeProcessorCount + 6)
    let policy = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 1, count: 3), offsets: Matrix([[1, 2, 3]]),
      covariances: MatrixSequence(repeating: .identity(1), count: 3))
    async let batches = collectRollouts(
      of: task, in: task.conditions, under: [policy],
      plan: RolloutPlan(iteration: 0, samples: task.count, noise: nil, workers: task.count),
      stream: RandomStream(seed: 0))
    // Needs a thread of the shared pool while all robots wait.
    await Task.detached { task.meeting.compute() }.value
    let result = try await batches
    #expect(task.meeting.peak == task.count)
    #expect(result[0].trajectories.count == task.count)
    #expect(result[0].trajectories.allSatisfy { $0.states == Matrix([[1, 2, 4, 7]]) })
  }
}
