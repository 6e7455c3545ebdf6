import Differentiation
import Foundation
import GPSCore
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

private func derivative<S: ContinuousSystem>(_ system: S, _ x: [Double], _ u: [Double]) -> [Double]
{
  var result = [Double](repeating: 0, count: x.count)
  var target = result.mutableSpan
  system.derivative(x.span, u.span, into: &target)
  return result
}

private func points<S: DynamicSystem>(_ system: S, _ x: [Double]) -> (p: [Double], J: Matrix) {
  var p = [Double](repeating: .nan, count: 3 * system.pointNames.count)
  var J = [Double](repeating: .nan, count: p.count * x.count)
  var scratch = PointScratch(state: x.count, points: system.pointNames.count)
  var positions = p.mutableSpan
  var jacobians = J.mutableSpan
  system.locatePoints(x.span, scratch: &scratch, positions: &positions, jacobians: &jacobians)
  return (p, Matrix(rows: p.count, columns: x.count, columnMajor: J))
}

/// The state after `steps` control periods of a constant control.
private func simulate<S: ContinuousSystem>(
  _ system: S, from x: [Double], control: [Double], period: Double, substeps: Int, steps: Int
) throws -> [Double] {
  var plant = NativePlant(
    system, timeStep: TimeStep(controlPeriod: period, substeps: substeps),
    observation: NativeObservation())
  try plant.reset(to: Condition(name: "", initialPlantState: x), plantState: x.span)
  for _ in 0..<steps { try plant.step(control: control.span) }
  var state = x
  var target = state.mutableSpan
  plant.readState(into: &target)
  return state
}

/// Residual of Lagrange's equations d/dt ∂L/∂v = ∂L/∂q + Q, with L from the energy by finite
/// differences, for a state [q, v] of two coordinates and generalised forces Q.
private func lagrangeResidual(
  energy: ([Double]) -> Double, x: [Double], acceleration: [Double], forces: [Double]
) -> Double {
  let h = 1e-4
  func kinetic(_ x: [Double]) -> Double { energy(x) - energy([x[0], x[1], 0, 0]) }
  func lagrangian(_ x: [Double]) -> Double { kinetic(x) - energy([x[0], x[1], 0, 0]) }
  func slope(_ f: ([Double]) -> Double, _ x: [Double], _ i: Int) -> Double {
    var (up, down) = (x, x)
    up[i] += h
    down[i] -= h
    return (f(up) - f(down)) / (2 * h)
  }
  var worst = 0.0
  for i in 0..<2 {
    // dp_i/dt = Σ_j ∂p_i/∂q_j v_j + ∂p_i/∂v_j a_j, with p_i = ∂T/∂v_i.
    var rate = 0.0
    for j in 0..<2 {
      rate += slope({ slope(kinetic, $0, 2 + i) }, x, j) * x[2 + j]
      rate += slope({ slope(kinetic, $0, 2 + i) }, x, 2 + j) * acceleration[j]
    }
    worst = max(worst, abs(rate - slope(lagrangian, x, i) - forces[i]))
  }
  return worst
}

/// Kinetic and potential energy of a rod cut into small pieces; `end` maps the share of the rod to a
/// position, velocities come by differences along the motion.
private func rodEnergy(
  mass: Double, gravity: Double, upAxis: Int, x: [Double],
  position: (_ q: [Double], _ share: Double) -> [Double]
) -> Double {
  let pieces = 2000
  let h = 1e-5
  var energy = 0.0
  for k in 0..<pieces {
    let share = (Double(k) + 0.5) / Double(pieces)
    let later = position([x[0] + h * x[2], x[1] + h * x[3]], share)
    let earlier = position([x[0] - h * x[2], x[1] - h * x[3]], share)
    let speed = zip(later, earlier).reduce(0) { $0 + pow(($1.0 - $1.1) / (2 * h), 2) }
    let height = position([x[0], x[1]], share)[upAxis]
    energy += mass / Double(pieces) * (0.5 * speed + gravity * height)
  }
  return energy
}

@Suite struct NativeTests {
  @Test("A point mass follows the closed form under constant force")
  func pointMass() throws {
    // v(t) = f/c + (v₀ − f/c) e^(−ct/m),  p(t) = p₀ + f t/c + (v₀ − f/c) (m/c) (1 − e^(−ct/m))
    let (m, c, time) = (2.0, 0.7, 1.5)
    let system = PointMass(mass: m, damping: c)
    let start = [0.3, -0.2, 1, -0.5]
    let force = [0.8, -1.1]
    let end = try simulate(
      system, from: start, control: force, period: 0.05, substeps: 2, steps: 30)
    let decay = exp(-c * time / m)
    for i in 0..<2 {
      let terminal = force[i] / c
      let velocity = terminal + (start[2 + i] - terminal) * decay
      let position =
        start[i] + terminal * time + (start[2 + i] - terminal) * (m / c) * (1 - decay)
      #expect(abs(end[2 + i] - velocity) < 1e-10)
      #expect(abs(end[i] - position) < 1e-10)
    }
    // Without damping: p = p₀ + v₀ t + f t² / 2m, which Runge-Kutta reproduces to rounding.
    let free = try simulate(
      PointMass(mass: m, damping: 0), from: start, control: force, period: 0.05, substeps: 1,
      steps: 30)
    #expect(abs(free[0] - (0.3 + 1.5 + 0.8 * 1.5 * 1.5 / 4)) < 1e-12)
  }

  @Test("Walls stop the mass, limits bound the force")
  func wallsAndLimits() throws {
    let room = PointMass(
      mass: 1, damping: 0, forceLimit: 2, walls: .init(lower: [-1, -1], upper: [1, 1]))
    let end = try simulate(
      room, from: [0, 0, 1, -0.1], control: [0, 0], period: 0.1, substeps: 2, steps: 20)
    #expect(end[0] == 1 && end[2] == 0)
    #expect(abs(end[1] + 0.2) < 1e-12 && end[3] == -0.1)
    #expect(derivative(room, [0, 0, 0, 0], [50, -50]) == [0, 0, 2, -2])
    #expect(
      derivative(CartPole(forceLimit: 3), [0, 0, 0, 0], [9])
        == derivative(CartPole(), [0, 0, 0, 0], [3]))
    #expect(
      derivative(TwoLinkArm(torqueLimit: 3), [0, 1, 0, 0], [9, -9])
        == derivative(TwoLinkArm(), [0, 1, 0, 0], [3, -3]))
  }

  @Test("Energy is that of rods cut into pieces")
  func energies() {
    var stream = RandomStream(seed: 1)
    let pole = CartPole(cartMass: 1.3, poleMass: 0.4, poleLength: 0.8)
    let arm = TwoLinkArm(masses: [1.2, 0.7], lengths: [0.5, 0.3], gravity: 9.81)
    for _ in 0..<5 {
      let x = stream.normals(4)
      let cartPole =
        0.5 * 1.3 * x[2] * x[2]
        + rodEnergy(mass: 0.4, gravity: 9.81, upAxis: 1, x: x) { q, share in
          [q[0] + 0.8 * share * sin(q[1]), 0.8 * share * cos(q[1])]
        }
      #expect(abs(pole.energy(x) - cartPole) < 1e-6 * max(1, cartPole))
      let upper = rodEnergy(mass: 1.2, gravity: 9.81, upAxis: 1, x: x) { q, share in
        [0.5 * share * cos(q[0]), 0.5 * share * sin(q[0])]
      }
      let lower = rodEnergy(mass: 0.7, gravity: 9.81, upAxis: 1, x: x) { q, share in
        [
          0.5 * cos(q[0]) + 0.3 * share * cos(q[0] + q[1]),
          0.5 * sin(q[0]) + 0.3 * share * sin(q[0] + q[1]),
        ]
      }
      #expect(abs(arm.energy(x) - upper - lower) < 1e-6 * max(1, upper + lower))
    }
  }

  @Test("Accelerations obey Lagrange's equations")
  func lagrange() {
    var stream = RandomStream(seed: 2)
    let pole = CartPole(poleMass: 0.4, poleLength: 0.8, cartDamping: 0.3, poleDamping: 0.2)
    let arm = TwoLinkArm(masses: [1.2, 0.7], lengths: [0.5, 0.3], damping: 0.3, gravity: 9.81)
    for _ in 0..<10 {
      let (x, u) = (stream.normals(4), stream.normals(2))
      let a = derivative(pole, x, [u[0]])
      #expect(Array(a[0..<2]) == Array(x[2..<4]))
      #expect(
        lagrangeResidual(
          energy: pole.energy, x: x, acceleration: Array(a[2...]),
          forces: [u[0] - 0.3 * x[2], -0.2 * x[3]]) < 1e-5)
      let b = derivative(arm, x, u)
      #expect(Array(b[0..<2]) == Array(x[2..<4]))
      #expect(
        lagrangeResidual(
          energy: arm.energy, x: x, acceleration: Array(b[2...]),
          forces: [u[0] - 0.3 * x[2], u[1] - 0.3 * x[3]]) < 1e-5)
    }
  }

  @Test("Energy is conserved without damping, to fourth order in the step")
  func conservation() throws {
    func order<S: ContinuousSystem>(
      _ system: S, _ energy: ([Double]) -> Double, from x: [Double], control: [Double]
    ) throws -> (order: Double, drift: Double) {
      let drifts = try [8, 16].map { substeps in
        let end = try simulate(
          system, from: x, control: control, period: 0.1, substeps: substeps, steps: 20)
        return abs(energy(end) - energy(x))
      }
      return (log2(drifts[0] / drifts[1]), drifts[1])
    }
    let pole = CartPole(cartDamping: 0, poleDamping: 0)
    let arm = TwoLinkArm(damping: 0, gravity: 9.81)
    let first = try order(pole, pole.energy, from: [0, 2, 0.3, 1], control: [0])
    let second = try order(arm, arm.energy, from: [0.3, 0.8, 1, -2], control: [0, 0])
    for result in [first, second] {
      #expect(result.order > 3.5, "order \(result.order)")
      #expect(result.drift < 1e-3, "drift \(result.drift)")
    }
  }

  @Test("A pole that hangs from a heavy cart swings with the period of a rod")
  func period() throws {
    // 2π √(J / (m g l)) = 2π √(2 L / 3 g)
    let system = CartPole(
      cartMass: 1e9, poleMass: 0.2, poleLength: 0.9, cartDamping: 0, poleDamping: 0)
    let period = 2 * Double.pi * (2 * 0.9 / (3 * 9.81)).squareRoot()
    let end = try simulate(
      system, from: [0, .pi + 1e-3, 0, 0], control: [0], period: period / 100, substeps: 4,
      steps: 100)
    #expect(abs(end[1] - .pi - 1e-3) < 1e-9)
    #expect(abs(end[3]) < 1e-8)
    let half = try simulate(
      system, from: [0, .pi + 1e-3, 0, 0], control: [0], period: period / 100, substeps: 4,
      steps: 50)
    #expect(abs(half[1] - .pi + 1e-3) < 1e-9)
  }

  @Test("Point Jacobians are the derivatives of the points")
  func jacobians() {
    func check<S: ContinuousSystem>(_ system: S, _ x: [Double]) {
      let (_, J) = points(system, x)
      let h = 1e-6
      for j in x.indices {
        var (up, down) = (x, x)
        up[j] += h
        down[j] -= h
        let (high, low) = (points(system, up).p, points(system, down).p)
        for r in high.indices { #expect(abs((high[r] - low[r]) / (2 * h) - J[r, j]) < 1e-8) }
      }
    }
    var stream = RandomStream(seed: 6)
    for _ in 0..<5 {
      check(PointMass(), stream.normals(4))
      check(CartPole(poleLength: 0.7), stream.normals(4))
      check(TwoLinkArm(lengths: [0.4, 0.3]), stream.normals(4))
    }
    #expect(points(TwoLinkArm(), [0, .pi / 2, 0, 0]).p[1] == 0.5)
    #expect(points(CartPole(), [2, 0, 0, 0]).p == [2, 0, 1])
  }

  @Test("Known dynamics locate the hand where the arm's trigonometry has it")
  func locatedPoints() {
    let dynamics = NativeDynamics(
      TwoLinkArm(lengths: [0.4, 0.3]), timeStep: TimeStep(controlPeriod: 0.05))
    var workspace = dynamics.makeWorkspace()
    for x in [[0.3, -1.1, 5, 6], [-2, 0.4, 0, 1]] {
      var p = [Double](repeating: .nan, count: 3)
      var J = [Double](repeating: .nan, count: 12)
      var positions = p.mutableSpan
      var jacobians = J.mutableSpan
      dynamics.locatePoints(
        x.span, workspace: &workspace, positions: &positions, jacobians: &jacobians)
      let (a, b) = (x[0], x[0] + x[1])
      let hand = [0.4 * cos(a) + 0.3 * cos(b), 0.4 * sin(a) + 0.3 * sin(b), 0]
      let byElbow = [-0.3 * sin(b), 0.3 * cos(b), 0]
      let byShoulder = [-hand[1], hand[0], 0]
      for i in 0..<3 { #expect(abs(p[i] - hand[i]) < 1e-15) }
      for (found, expected) in zip(J, byShoulder + byElbow + [0, 0, 0, 0, 0, 0]) {
        #expect(abs(found - expected) < 1e-15)
      }
    }
  }

  @Test("Known dynamics step like the plant and linearise a linear system exactly")
  func knownDynamics() throws {
    let condition = Condition(name: "a", initialPlantState: [0.3, -0.2, 1, -0.5])
    let task = try NativeTask(
      name: "mass", model: PointMass(mass: 2, damping: 0.7), controlPeriod: 0.1, horizon: 3,
      conditions: [condition], cost: SumCost(), success: .all([]))
    let dynamics = try #require(task.knownDynamics(in: condition))
    func check(_ dynamics: some KnownDynamics) throws {
      #expect(dynamics.state == 4 && dynamics.control == 2)
      var workspace = try dynamics.makeWorkspace()
      let (x, u) = (condition.initialPlantState, [0.8, -1.1])
      var (next, F) = ([Double](repeating: .nan, count: 4), [Double](repeating: .nan, count: 24))
      var y = next.mutableSpan
      var J = F.mutableSpan
      try dynamics.linearize(x.span, u.span, workspace: &workspace, into: &y, jacobian: &J)
      #expect(
        next
          == (try simulate(
            task.model, from: x, control: u, period: 0.1, substeps: 4, steps: 1)))
      // v' = e^(−ch/m) v + (1 − e^(−ch/m)) f/c
      let decay = exp(-0.7 * 0.1 / 2)
      let expected = Matrix([
        [1, 0, (1 - decay) * 2 / 0.7, 0, (0.1 - (1 - decay) * 2 / 0.7) / 0.7, 0],
        [0, 1, 0, (1 - decay) * 2 / 0.7, 0, (0.1 - (1 - decay) * 2 / 0.7) / 0.7],
        [0, 0, decay, 0, (1 - decay) / 0.7, 0],
        [0, 0, 0, decay, 0, (1 - decay) / 0.7],
      ])
      #expect((Matrix(rows: 4, columns: 6, columnMajor: F) - expected).largestMagnitude < 1e-9)
    }
    try check(dynamics)
  }

  @Test("An observation holds state entries, points and goal in this order")
  func observation() throws {
    let condition = Condition(name: "a", initialPlantState: [0, .pi / 2, 3, 4], goal: [7, 8])
    let task = try NativeTask(
      name: "arm", model: TwoLinkArm(), controlPeriod: 0.1, horizon: 3, conditions: [condition],
      cost: SumCost(), success: .all([]),
      observation: NativeObservation(stateEntries: [3, 1], points: [0]))
    #expect(
      task.dimensions
        == Dimensions(state: 4, control: 2, observation: 7, horizon: 3, points: 1))
    var plant = try task.makePlant()
    try plant.reset(to: condition, plantState: condition.initialPlantState.span)
    var observation = [Double](repeating: .nan, count: 7)
    var target = observation.mutableSpan
    plant.readObservation(into: &target)
    #expect(observation == [4, .pi / 2, 0.5, 0.5, 0, 7, 8])
    #expect(try initialState(of: task, in: condition) == condition.initialPlantState)
  }

  @Test("A task that does not fit together is refused by name")
  func taskValidation() {
    func refusal(
      _ model: PointMass = PointMass(), conditions: [Condition], observation: [Int]? = nil,
      substeps: Int = 1, success: SuccessCriterion = .all([])
    ) -> String {
      do {
        _ = try NativeTask(
          name: "t", model: model, controlPeriod: 0.1, substeps: substeps, horizon: 3,
          conditions: conditions, cost: SumCost(), success: success,
          observation: NativeObservation(stateEntries: observation))
        return ""
      } catch { return "\(error)" }
    }
    let good = Condition(name: "a", initialPlantState: [0, 0, 0, 0])
    #expect(refusal(conditions: [good]) == "")
    #expect(refusal(conditions: []).contains("conditions"))
    #expect(
      refusal(PointMass(mass: 0), conditions: [good])
        == "pointMass.mass: 0.0 is not allowed (must be positive)")
    #expect(
      refusal(conditions: [good, Condition(name: "b", initialPlantState: [0])])
        == "initialPlantState of condition \"b\" has 1 number instead of 4")
    #expect(
      refusal(conditions: [good, Condition(name: "b", initialPlantState: [0, 0, 0, 0], goal: [1])])
        .contains("the goal of condition \"b\""))
    #expect(refusal(conditions: [good], observation: [4]).contains("observation.state"))
    #expect(refusal(conditions: [good], substeps: 0).contains("substeps"))
    #expect(
      refusal(
        conditions: [good],
        success: .all([
          .pointDistance(point: 1, to: .position([0, 0, 0]), below: 0.1, at: .final)
        ]))
        == "success.all[0].pointDistance.point refers to number 1, but there are 1, counted from 0")
  }
}

@Suite struct SuccessTests {
  /// One state, one point that moves along x: 3, 2, 1, 0.
  private let trajectory = Trajectory(
    states: Matrix([[0, 1, 2, 3]]), controls: Matrix(rows: 1, columns: 3),
    observations: Matrix(rows: 0, columns: 4),
    points: Matrix([
      [3, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0],
    ]))
  private let condition = Condition(name: "c", initialPlantState: [], goal: [9, 2, 0, 0])

  private func succeeds(_ criterion: SuccessCriterion) -> Bool {
    criterion.isSuccess(trajectory, in: condition)
  }

  @Test func moments() {
    func near(_ target: PointTarget, _ moment: SuccessCriterion.Moment) -> Bool {
      succeeds(.pointDistance(point: 0, to: target, below: 0.5, at: moment))
    }
    #expect(near(.position([0, 0, 0]), .final))
    #expect(!near(.position([1, 0, 0]), .final))
    #expect(near(.position([1, 0, 0]), .any))
    #expect(!near(.position([0, 5, 0]), .any))
    #expect(near(.goal(first: 1), .any))
    #expect(!near(.goal(first: 1), .final))
    #expect(near(.position([0, 0, 0]), .last(1)))
    #expect(!near(.position([0, 0, 0]), .last(2)))
    #expect(!near(.position([0, 0, 0]), .always))
    #expect(succeeds(.pointDistance(point: 0, to: .points([1]), below: 1.01, at: .final)))
    #expect(!succeeds(.pointDistance(point: 0, to: .points([1]), below: 0.99, at: .final)))
  }

  @Test func statesAndRegions() {
    #expect(
      succeeds(.stateWithin(entries: [0], target: .numbers([3.1]), tolerance: [0.2], at: .final)))
    #expect(
      !succeeds(.stateWithin(entries: [0], target: .goal(first: 0), tolerance: [0.2], at: .any)))
    let ball = Region.ball(center: .position([2, 0.5, 0]), radius: 0.6)
    let box = Region.box(center: .position([2, 0.5, 0]), halfExtents: [0.1, nil, 1])
    for region in [ball, box] {
      #expect(!succeeds(.pointOutside(point: 0, region: region, at: .always)))
      #expect(succeeds(.pointOutside(point: 0, region: region, at: .final)))
      #expect(succeeds(.pointInside(point: 0, region: region, at: .any)))
      #expect(succeeds(.pointOutside(point: 1, region: region, at: .always)))
    }
    #expect(
      !succeeds(
        .all([
          .pointDistance(point: 0, to: .position([0, 0, 0]), below: 0.5, at: .final),
          .pointOutside(point: 0, region: ball, at: .always),
        ])))
  }

  @Test func coding() throws {
    let criterion = SuccessCriterion.all([
      .pointDistance(point: "a", to: .points(["b"]), below: 0.5, at: .last(3)),
      .stateWithin(entries: ["x", "y"], target: .numbers([0]), tolerance: [0.1, 2], at: .any),
      .all([.pointInside(point: "b", region: .ball(center: .points(["a"]), radius: 2), at: .final)]
      ),
      .pointOutside(
        point: "a", region: .box(center: .goal(first: 0), halfExtents: [1, nil, 2]), at: .always),
      .any([
        .stateAbove(entries: ["x"], target: .numbers([1, 2]), at: .final),
        .stateBelow(entries: ["x"], target: .goal(first: 1), at: .any),
        .pointAbove(point: "a", height: -1, at: .always),
        .pointBelow(point: "a", height: 1, at: .last(2)),
      ]),
    ])
    #expect(try writtenAndRead(criterion) == criterion)
  }
}
