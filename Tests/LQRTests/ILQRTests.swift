import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Synchronization
import Testing

@testable import LQR

@Suite("Iterative LQR") struct ILQRTests {
  static let condition = Condition(name: "only", initialPlantState: [])

  /// Linear dynamics and a convex quadratic cost.
  static func linearProblem(
    _ n: Int, _ m: Int, _ T: Int, seed: UInt64
  ) -> (LinearKnownDynamics, QuadraticCost, LinearGaussianDynamics) {
    var stream = RandomStream(seed: seed).child(.custom, n, m, T)
    var model = RandomProblem.dynamics(state: n, control: m, horizon: T, &stream)
    let (F, f) = (model.transitions[0], model.offsets.column(0))
    for t in 0..<T {
      model.transitions[t] = F
      model.offsets.setColumn(t, to: f)
    }
    let cost = RandomProblem.cost(state: n, control: m, horizon: T, &stream)
    return (LinearKnownDynamics(transition: F, offset: f), cost, model)
  }

  /// A swing-up of the pendulum: upright and at rest at the end, with little torque.
  static func swingUp(horizon T: Int) -> QuadraticTestCost {
    var cost = QuadraticCost(state: 2, control: 1, horizon: T)
    for t in 0..<T { cost.hessians[t] = Matrix(diagonal: [0.02, 0.002, 0.01]) }
    cost.hessians[T] = Matrix(diagonal: [100, 10, 0])
    return QuadraticTestCost(cost)
  }

  /// The cost of rolling out controls, and its gradient by central differences.
  static func numericalGradient(
    _ pendulum: EulerPendulum, _ cost: QuadraticTestCost, from x0: [Double], _ controls: Matrix
  ) -> Matrix {
    func J(_ controls: Matrix) -> Double {
      var states = Matrix(rows: 2, columns: controls.columns + 1)
      states.setColumn(0, to: x0)
      for t in 0..<controls.columns {
        let (angle, speed) = (states[0, t], states[1, t])
        states[0, t + 1] = angle + pendulum.period * speed
        states[1, t + 1] =
          speed + pendulum.period * (pendulum.gravity * sin(angle) + controls[0, t])
      }
      return cost.values(
        along: Trajectory(
          states: states, controls: controls,
          observations: Matrix(rows: 0, columns: states.columns)), in: condition
      ).reduce(0, +)
    }
    var gradient = controls
    for t in 0..<controls.columns {
      var (high, low) = (controls, controls)
      high[0, t] += 1e-4
      low[0, t] -= 1e-4
      gradient[0, t] = (J(high) - J(low)) / 2e-4
    }
    return gradient
  }

  @Test(
    "solves a linear-quadratic problem in one step, from a feasible start and from any states",
    arguments: [(2, 1, 1), (3, 2, 8), (5, 3, 20)], [false, true])
  func linear(_ size: (Int, Int, Int), _ isInfeasible: Bool) async throws {
    let (n, m, T) = size
    let (dynamics, cost, model) = Self.linearProblem(n, m, T, seed: 21)
    var stream = RandomStream(seed: 22).child(.custom, n)
    let x0 = stream.normals(n)
    let guess = RandomProblem.matrix(m, T, &stream)
    var states: Matrix?
    if isInfeasible {
      states = RandomProblem.matrix(n, T + 1, &stream)
      states?.setColumn(0, to: x0)
    }
    let found = try await ILQR().optimize(
      dynamics, cost: QuadraticTestCost(cost), in: Self.condition, from: x0, controls: guess,
      states: states)
    #expect(found.status == .converged)
    #expect(found.iterations.count == 1)
    #expect(found.iterations.first?.step == 1)
    #expect(found.gap < 1e-12)
    // The Riccati solution rolled out.
    let exact = try solveLinearQuadratic(cost: cost, dynamics: model)
    var x = x0
    for t in 0..<T {
      let Kx = exact.gains[t] * x
      let u = (0..<m).map { Kx[$0] + exact.offsets[$0, t] }
      for i in 0..<m { #expect(abs(found.trajectory.controls[i, t] - u[i]) < 1e-8) }
      let next = dynamics.transition * (x + u)
      x = (0..<n).map { next[$0] + dynamics.offset[$0] }
      for i in 0..<n { #expect(abs(found.trajectory.states[i, t + 1] - x[i]) < 1e-8) }
      #expect((found.gains[t] - exact.gains[t]).largestMagnitude < 1e-8)
    }
    // The promise of the one step was exact.
    let line = try #require(found.iterations.first)
    #expect(
      abs(line.predictedImprovement - line.actualImprovement)
        < 1e-8 * (1 + abs(line.actualImprovement)))
  }

  @Test(
    "swings a pendulum up to a stationary point of the cost",
    arguments: [false, true], [false, true])
  func pendulum(_ usesSecondDerivatives: Bool, _ isInfeasible: Bool) async throws {
    let (pendulum, T) = (EulerPendulum(period: 0.05), 60)
    let cost = Self.swingUp(horizon: T)
    var options = ILQR.Options()
    options.secondDerivatives = usesSecondDerivatives
    var states: Matrix?
    if isInfeasible {
      // A straight line in state space, which no torque of zero can follow.
      states = Matrix(rows: 2, columns: T + 1)
      for t in 0...T { states?[0, t] = .pi * (1 - Double(t) / Double(T)) }
    }
    let found = try await ILQR(options: options).optimize(
      pendulum, cost: cost, in: Self.condition, from: [.pi, 0],
      controls: Matrix(rows: 1, columns: T), states: states)
    #expect(found.status == .converged)
    #expect(found.gap < 1e-9)
    #expect(abs(found.trajectory.states[0, T]) < 0.1)
    let gradient = Self.numericalGradient(
      pendulum, cost, from: [.pi, 0], found.trajectory.controls)
    #expect(gradient.largestMagnitude < 1e-3, "\(gradient.largestMagnitude)")
    // Costs never rise once the states follow from the controls.
    let feasible = found.iterations.filter { $0.gap == 0 }.map(\.cost)
    for (before, after) in zip(feasible, feasible.dropFirst()) { #expect(after <= before) }
  }

  @Test("keeps control limits, and is stationary within them", arguments: [false, true])
  func limits(_ usesSecondDerivatives: Bool) async throws {
    let (pendulum, T) = (EulerPendulum(period: 0.05), 80)
    let cost = Self.swingUp(horizon: T)
    var options = ILQR.Options()
    options.secondDerivatives = usesSecondDerivatives
    options.maxIterations = 500
    let limits = ControlLimits(magnitudes: [3])
    let found = try await ILQR(options: options).optimize(
      pendulum, cost: cost, in: Self.condition, from: [.pi, 0],
      controls: Matrix(rows: 1, columns: T, repeating: 0.1), limits: limits)
    #expect(found.status == .converged)
    let controls = found.trajectory.controls
    #expect(controls.largestMagnitude <= 3)
    let gradient = Self.numericalGradient(pendulum, cost, from: [.pi, 0], controls)
    var clamped = 0
    for t in 0..<T {
      let (u, g) = (controls[0, t], gradient[0, t])
      if u == 3 || u == -3 {
        clamped += 1
        // Only pushing further out could pay.
        #expect(u * g < 1e-3, "step \(t): control \(u), gradient \(g)")
        #expect(found.gains[t].largestMagnitude == 0)
      } else {
        #expect(abs(g) < 1e-2, "step \(t): control \(u), gradient \(g)")
      }
    }
    #expect(clamped > 3, "the limits never mattered")
  }

  @Test("an open side is no limit, and a control without room stays where it is")
  func openAndFixed() async throws {
    let (pendulum, T) = (EulerPendulum(period: 0.05), 40)
    func controls(_ limits: ControlLimits?) async throws -> Matrix {
      try await ILQR().optimize(
        pendulum, cost: Self.swingUp(horizon: T), in: Self.condition, from: [.pi, 0],
        controls: Matrix(rows: 1, columns: T, repeating: 0.1), limits: limits
      ).trajectory.controls
    }
    let free = try await controls(nil)
    #expect(free.largestMagnitude > 2)
    let open = try await controls(ControlLimits(lower: [-.infinity], upper: [.infinity]))
    #expect((0..<T).allSatisfy { abs(open[0, $0] - free[0, $0]) < 1e-3 })
    let half = try await controls(ControlLimits(lower: [-.infinity], upper: [1]))
    #expect((0..<T).allSatisfy { half[0, $0] <= 1 } && half.largestMagnitude > 1)
    let fixed = try await controls(ControlLimits(lower: [0.5], upper: [0.5]))
    #expect((0..<T).allSatisfy { fixed[0, $0] == 0.5 })
  }

  @Test("second derivatives save iterations near the optimum")
  func newton() async throws {
    let (pendulum, T) = (EulerPendulum(period: 0.05), 60)
    let cost = Self.swingUp(horizon: T)
    let optimum = try await ILQR().optimize(
      pendulum, cost: cost, in: Self.condition, from: [.pi, 0],
      controls: Matrix(rows: 1, columns: T))
    var stream = RandomStream(seed: 4)
    let guess = optimum.trajectory.controls + RandomProblem.matrix(1, T, scale: 0.3, &stream)
    var iterations: [Int] = []
    for usesSecondDerivatives in [false, true] {
      var options = ILQR.Options()
      options.secondDerivatives = usesSecondDerivatives
      options.tolerance = 1e-12
      let found = try await ILQR(options: options).optimize(
        pendulum, cost: cost, in: Self.condition, from: [.pi, 0], controls: guess)
      iterations.append(found.iterations.count)
      #expect(abs(found.cost - optimum.cost) < 1e-6 * optimum.cost)
    }
    #expect(iterations[1] < iterations[0], "\(iterations)")
  }

  @Test("gives the same bytes for any number of workers")
  func workers() async throws {
    // A region in which the dynamics fail makes full steps fail.
    var pendulum = EulerPendulum(period: 0.05)
    pendulum.fastest = 7
    let T = 80
    var options = ILQR.Options()
    options.secondDerivatives = true
    var all: [ILQR.Solution] = []
    for workers in [1, 2, 5] {
      all.append(
        try await ILQR(options: options).optimize(
          pendulum, cost: Self.swingUp(horizon: T), in: Self.condition, from: [.pi, 0],
          controls: Matrix(rows: 1, columns: T, repeating: 0.1),
          limits: ControlLimits(magnitudes: [3]), workers: workers))
    }
    for other in all.dropFirst() {
      #expect(other.trajectory == all[0].trajectory)
      #expect(other.gains == all[0].gains)
      #expect(other.iterations == all[0].iterations)
    }
    // Shorter steps were needed somewhere, so that the parallel search was exercised.
    #expect(all[0].iterations.contains { $0.trials > 1 })
  }

  @Test("goes around a region in which the dynamics fail")
  func failures() async throws {
    var pendulum = EulerPendulum(period: 0.05)
    pendulum.fastest = 7
    let T = 60
    let found = try await ILQR().optimize(
      pendulum, cost: Self.swingUp(horizon: T), in: Self.condition, from: [.pi, 0],
      controls: Matrix(rows: 1, columns: T))
    for t in 0..<T { #expect(abs(found.trajectory.states[1, t]) <= 7) }
    #expect(found.cost < 500)
    // A guess that fails is an error that says where.
    await #expect(throws: ILQRError.self) {
      try await ILQR().optimize(
        pendulum, cost: Self.swingUp(horizon: T), in: Self.condition, from: [.pi, 8],
        controls: Matrix(rows: 1, columns: T))
    }
  }

  @Test("an indefinite cost is convexified, a hopeless one is a status")
  func indefinite() async throws {
    let (dynamics, _, _) = Self.linearProblem(2, 1, 5, seed: 3)
    var cost = QuadraticCost(state: 2, control: 1, horizon: 5)
    for t in 0..<5 { cost.hessians[t] = Matrix(diagonal: [1, 1, -1]) }
    var options = ILQR.Options()
    options.maxRegularization = 0.1
    let found = try await ILQR(options: options).optimize(
      dynamics, cost: QuadraticTestCost(cost), in: Self.condition, from: [1, 1],
      controls: Matrix(rows: 1, columns: 5))
    #expect(found.status == .indefinite)
  }

  /// Q_uu is −1 at one step, however the passes before it went: no pass reaches the first step.
  @Test("a pass that ends early leaves no gains behind", arguments: [false, true])
  func incompletePass(_ hasLimits: Bool) async throws {
    let (dynamics, _, _) = Self.linearProblem(2, 1, 6, seed: 3)
    var cost = QuadraticCost(state: 2, control: 1, horizon: 6)
    for t in 0...6 { cost.hessians[t] = Matrix(diagonal: [1, 1, t == 2 ? -1e6 : 1]) }
    var options = ILQR.Options()
    options.maxRegularization = 1
    let found = try await ILQR(options: options).optimize(
      dynamics, cost: QuadraticTestCost(cost), in: Self.condition, from: [1, -1],
      controls: Matrix(rows: 1, columns: 6),
      limits: hasLimits ? ControlLimits(magnitudes: [50]) : nil)
    #expect(found.status == .indefinite)
    #expect(found.gains.storage.allSatisfy { $0 == 0 })
  }

  @Test("a law is of one complete pass, with limits and without", arguments: [false, true])
  func lawOfOnePass(_ hasLimits: Bool) throws {
    let (n, m, T) = (3, 2, 7)
    var stream = RandomStream(seed: 24)
    let model = LocalModel(state: n, control: m, horizon: T)
    let d = n + m
    for t in 0...T {
      let C = RandomProblem.positiveDefinite(d, &stream)
      for i in 0..<d * d { model.hessians.pointer[t * d * d + i] = C.storage[i] }
    }
    for i in 0..<(T + 1) * d { model.gradients.pointer[i] = stream.normal() }
    for i in 0..<T * n * d { model.jacobians.pointer[i] = 0.5 * stream.normal() }
    let limits = hasLimits ? ControlLimits(magnitudes: [0.4, 30]) : nil
    let pass = ILQRBackwardPass(state: n, control: m, horizon: T)
    let controls = Matrix(rows: m, columns: T)
    var law = FeedbackLaw(state: n, control: m, horizon: T)
    func run(_ law: inout FeedbackLaw) throws -> Int? {
      var nothing: Void = ()
      return try pass.run(
        model, regularization: 0, limits: limits, controls: controls, workspace: &nothing,
        writeCurvature: nil, into: &law)
    }
    #expect(try run(&law) == nil)
    let complete = law
    #expect(complete.gains.storage.contains { $0 != 0 })
    // Another cost after step 3, and an indefinite one at it.
    for t in 4...T { for i in 0..<d { model.hessians.pointer[t * d * d + i * (d + 1)] += 5 } }
    for i in n..<d { model.hessians.pointer[3 * d * d + i * (d + 1)] = -1e4 }
    #expect(try run(&law) == 3)
    #expect(law.gains.storage == complete.gains.storage)
    #expect(law.steps.storage == complete.steps.storage)
  }

  @Test("numbers that are not finite are named with their field and step")
  func notFinite() async throws {
    let (dynamics, cost, _) = Self.linearProblem(2, 1, 5, seed: 3)
    func expect(
      _ field: String, _ step: Int, from x0: [Double] = [1, 2],
      controls: Matrix = Matrix(rows: 1, columns: 5), states: Matrix? = nil,
      cost: QuadraticCost = cost, limits: ControlLimits? = nil
    ) async {
      await #expect(throws: ILQRError.notFinite(field: field, step: step)) {
        try await ILQR().optimize(
          dynamics, cost: QuadraticTestCost(cost), in: Self.condition, from: x0,
          controls: controls, states: states, limits: limits)
      }
    }
    for bad in [Double.nan, .infinity] {
      await expect("the initial state", 0, from: [1, bad])
      var controls = Matrix(rows: 1, columns: 5)
      controls[0, 3] = bad
      await expect("the control of the guess", 3, controls: controls)
      await expect(
        "the control of the guess", 3, controls: controls, limits: ControlLimits(magnitudes: [1]))
      var states = Matrix(rows: 2, columns: 6)
      states[1, 4] = bad
      await expect("the state of the guess", 4, states: states)
      var wrong = cost
      wrong.constants[2] = bad
      await expect("the cost of the guess", 2, cost: wrong)
    }
  }

  /// x' = x + 0.1 u − 0.05 |x|^1.5: at 0 all is finite but the second derivative, which is −∞ · 0.0375.
  private struct Drag: KnownDynamics {
    var state: Int { 1 }
    var control: Int { 1 }
    var hasSecondDerivatives: Bool { true }
    func makeWorkspace() {}
    func step(
      _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
      into next: inout MutableSpan<Double>
    ) { next[0] = x[0] + 0.1 * u[0] - 0.05 * pow(abs(x[0]), 1.5) }
    func linearize(
      _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
      into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
    ) {
      step(x, u, workspace: &workspace, into: &next)
      jacobian[0] = 1 - 0.075 * abs(x[0]).squareRoot() * (x[0] < 0 ? -1 : 1)
      jacobian[1] = 0.1
    }
    func contractSecondDerivatives(
      _ x: Span<Double>, _ u: Span<Double>, costate: Span<Double>, workspace: inout Void,
      into hessian: inout MutableSpan<Double>
    ) {
      for i in 0..<4 { hessian[i] = 0 }
      hessian[0] = costate[0] * -0.0375 / abs(x[0]).squareRoot()
    }
  }

  @Test(
    "an infinite second derivative leaves the search to first ones", arguments: [false, true],
    [false, true])
  func infiniteCurvature(_ hasLimits: Bool, _ startsAtRest: Bool) async throws {
    var cost = QuadraticCost(state: 1, control: 1, horizon: 30)
    for t in 0...30 {
      cost.hessians[t] = Matrix(diagonal: [1, 0.01])
      cost.gradients[0, t] = -1
      cost.constants[t] = 0.5
    }
    func search(_ usesSecondDerivatives: Bool) async throws -> ILQR.Solution {
      var options = ILQR.Options()
      options.secondDerivatives = usesSecondDerivatives
      // At rest from the first step to the last, so that the curvature is infinite at all of them.
      if startsAtRest { options.tolerance = 0.5 }
      return try await ILQR(options: options).optimize(
        Drag(), cost: QuadraticTestCost(cost), in: Self.condition, from: [0],
        controls: Matrix(rows: 1, columns: 30),
        limits: hasLimits ? ControlLimits(magnitudes: [3]) : nil)
    }
    let (first, second) = (try await search(false), try await search(true))
    #expect(second.status == .converged && second.gains.isFinite)
    #expect(abs(second.cost - first.cost) < 1e-5 * first.cost)
  }

  @Test("options out of range are refused by name")
  func options() {
    var options = ILQR.Options()
    options.stepReduction = 1
    #expect {
      try options.validated()
    } throws: {
      "\($0)".contains("stepReduction")
    }
    #expect {
      try ControlLimits(lower: [1, 0.5], upper: [2, 0]).validated(controls: 2)
    } throws: {
      "\($0)".contains("limits.lower[1]")
    }
  }
}

@Suite("Quadratic programs with bounds") struct BoxQPTests {
  /// The best of all choices of clamped coordinates whose solution keeps the bounds.
  static func enumerated(
    _ Q: Matrix, _ q: [Double], _ lower: [Double], _ upper: [Double]
  ) -> [Double] {
    let m = q.count
    var best: (value: Double, z: [Double]) = (.infinity, [])
    for choice in 0..<Int(pow(3, Double(m))) {
      let states = (0..<m).map { choice / Int(pow(3, Double($0))) % 3 }
      let free = (0..<m).filter { states[$0] == 0 }
      var z = (0..<m).map { states[$0] == 1 ? lower[$0] : states[$0] == 2 ? upper[$0] : 0 }
      if !free.isEmpty {
        var A = Matrix(rows: free.count, columns: free.count)
        var b = [Double](repeating: 0, count: free.count)
        for (r, i) in free.enumerated() {
          b[r] = -q[i] - (0..<m).reduce(0) { $0 + (free.contains($1) ? 0 : Q[i, $1] * z[$1]) }
          for (c, j) in free.enumerated() { A[r, c] = Q[i, j] }
        }
        for (r, value) in denseSolve(A, b).enumerated() { z[free[r]] = value }
      }
      let inside = (0..<m).allSatisfy { z[$0] >= lower[$0] - 1e-12 && z[$0] <= upper[$0] + 1e-12 }
      let Qz = Q * z
      let value = (0..<m).reduce(0) { $0 + z[$1] * (0.5 * Qz[$1] + q[$1]) }
      if inside && value < best.value { best = (value, z) }
    }
    return best.z
  }

  @Test("agree with the best of all active sets", arguments: 0..<60)
  func enumeration(_ trial: Int) {
    var stream = RandomStream(seed: 5).child(.custom, trial)
    let m = 1 + trial % 4
    let Q = RandomProblem.positiveDefinite(m, floor: 0.1, &stream)
    let q = stream.normals(m).map { 2 * $0 }
    let lower = (0..<m).map { _ in -abs(stream.normal()) }
    let upper = (0..<m).map { _ in abs(stream.normal()) }
    let box = BoxQP(controls: m)
    let free = box.solve(Q.storage, stride: m, q, lower: lower, upper: upper)
    let exact = Self.enumerated(Q, q, lower, upper)
    #expect(free != nil)
    for i in 0..<m { #expect(abs(box.solution.pointer[i] - exact[i]) < 1e-8) }
  }

  @Test("an indefinite matrix is told")
  func indefinite() {
    let box = BoxQP(controls: 2)
    let Q: [Double] = [1, 0, 0, -1]
    #expect(
      box.solve(Q, stride: 2, [0, 0], lower: [-1, -1], upper: [1, 1]) == nil)
  }
}
