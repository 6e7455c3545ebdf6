import Differentiation
import Foundation
import GPSCore
import GPSTestSupport
import Testing

@testable import Sim

/// Standard control problems, beside Gymnasium's own code and beside mechanics.
@Suite("Classic control") struct ClassicControlTests {
  private struct Figures: Decodable {
    struct Rollout: Decodable {
      let states: [[Double]]
      let controls: [[Double]]
    }
    let problems: [String: [Rollout]]
  }

  @Test(
    "Every step is Gymnasium's",
    arguments: ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCarContinuous-v0"])
  func gymnasium(name: String) throws {
    let figures: Figures = try Fixture.load("classic_control")
    func check(
      _ system: some DynamicSystem, period: Double, _ integrator: Integrator, wraps: [Int] = [],
      within tolerance: Double = 1e-12
    ) throws {
      var plant = NativePlant(
        system, timeStep: TimeStep(controlPeriod: period, substeps: 1, integrator: integrator),
        observation: NativeObservation())
      for rollout in try #require(figures.problems[name]) {
        for (t, control) in rollout.controls.enumerated() {
          let (x, expected) = (rollout.states[t], rollout.states[t + 1])
          try plant.reset(to: Condition(name: "", initialPlantState: x), plantState: x.span)
          try plant.step(control: control.span)
          var next = x
          var target = next.mutableSpan
          plant.readState(into: &target)
          for i in x.indices {
            let gap = next[i] - expected[i]
            let isOff = wraps.contains(i) ? abs(sin(gap / 2)) > tolerance : abs(gap) > tolerance
            #expect(
              !isOff, "\(system.stateNames[i]) after step \(t): \(next[i]), not \(expected[i])")
          }
        }
      }
    }
    switch name {
    case "CartPole-v1":
      let cart = CartPole(
        cartMass: 1, poleMass: 0.1, poleLength: 1, cartDamping: 0, poleDamping: 0, gravity: 9.8,
        forceLimit: 10, forceLevels: 2)
      try check(cart, period: 0.02, .euler)
    case "Acrobot-v1":
      let acrobot = Acrobot(torqueLevels: 3, speedLimits: [4 * .pi, 9 * .pi])
      try check(acrobot, period: 0.2, .rungeKutta4, wraps: [0, 1])
    case "Pendulum-v1":
      let pendulum = Pendulum(gravity: 10, torqueLimit: 2, speedLimit: 8)
      try check(pendulum, period: 0.05, .semiImplicitEuler)
    default:
      // Its state has single precision there.
      try check(MountainCar(), period: 1, .semiImplicitEuler, within: 1e-7)
    }
  }

  /// Ė along the flow, by central differences, and the power of what acts: no other energy comes or goes.
  private func powerGap<S: ContinuousSystem>(
    _ system: S, _ energy: ([Double]) -> Double, _ x: [Double], _ u: [Double], power: Double
  ) -> Double {
    var rate = x
    var target = rate.mutableSpan
    system.derivative(x.span, u.span, into: &target)
    let h = 1e-5
    let later = energy(zip(x, rate).map { $0 + h * $1 })
    let earlier = energy(zip(x, rate).map { $0 - h * $1 })
    return abs((later - earlier) / (2 * h) - power)
  }

  @Test("What a motor does and friction takes is what the energy changes by")
  func power() {
    let pendulum = Pendulum(mass: 1.3, length: 0.7, damping: 0.2)
    let car = MountainCar(power: 0.3, gravity: 0.7, speedLimit: nil, forceLimit: nil)
    let acrobot = Acrobot(
      masses: [1.2, 0.7], lengths: [0.9, 0.6], centers: [0.4, 0.2], inertias: [0.2, 0.1],
      damping: 0.3, torqueLimit: nil)
    for (x, u) in [([0.3, -1.1, 2, 0.7], [0.4]), ([-2.1, 0.8, -0.3, -1.5], [-1.7])] {
      let (v, w) = (x[2], x[3])
      #expect(
        powerGap(pendulum, pendulum.energy, [x[0], v], u, power: u[0] * v - 0.2 * v * v) < 1e-8)
      #expect(powerGap(car, car.energy, [x[0], v], u, power: 0.3 * u[0] * v) < 1e-8)
      #expect(
        powerGap(acrobot, acrobot.energy, x, u, power: u[0] * w - 0.3 * (v * v + w * w)) < 1e-7)
    }
  }

  @Test("A hanging pendulum's small swings take 2π √(2 l / 3 g)")
  func period() throws {
    let pendulum = Pendulum(length: 0.9)
    let period = 2 * Double.pi * (2 * 0.9 / (3 * 9.81)).squareRoot()
    let dynamics = NativeDynamics(
      pendulum, timeStep: TimeStep(controlPeriod: period, substeps: 400))
    let end = try dynamics.stepped([.pi + 1e-3, 0], [0])
    #expect(abs(end[0] - .pi - 1e-3) < 1e-9 && abs(end[1]) < 1e-8)
  }

  @Test(
    "Semi-implicit Euler neither wins nor loses energy over many swings, where Euler's method does")
  func semiImplicit() throws {
    let pendulum = Pendulum()
    func drift(_ integrator: Integrator) throws -> Double {
      let step = TimeStep(controlPeriod: 10, substeps: 1000, integrator: integrator)
      let end = try NativeDynamics(pendulum, timeStep: step).stepped([2, 0], [0])
      return abs(pendulum.energy(end) - pendulum.energy([2, 0]))
    }
    #expect(try drift(.semiImplicitEuler) < 0.1)
    #expect(try drift(.euler) > 1)
  }

  /// What a constant control does to a resting system's acceleration.
  private func acceleration<S: ContinuousSystem>(
    _ system: S, of entry: Int, by command: Double
  ) -> Double {
    let x = [Double](repeating: 0, count: system.stateCount)
    let u = [command]
    var rate = x
    var target = rate.mutableSpan
    system.derivative(x.span, u.span, into: &target)
    return rate[entry]
  }

  @Test(
    "Levels cut the range of commands into equal parts, and what is planned with knows all between")
  func levels() throws {
    let all = CartPole(forceLimit: 10)
    for (levels, command, force) in [
      (2, 0.01, 10.0), (2, -0.01, -10), (3, 3.3, 0), (3, 3.4, 10), (3, -20, -10), (5, 5, 5),
      (5, 30, 10),
    ] {
      let few = CartPole(forceLimit: 10, forceLevels: levels)
      #expect(acceleration(few, of: 2, by: command) == acceleration(all, of: 2, by: force))
      #expect(few.relaxation == all)
    }
    #expect(all.relaxation == nil)
    #expect(acceleration(CartPole(forceLimit: 10, forceLevels: 2), of: 2, by: .nan).isNaN)
    let condition = Condition(name: "a", initialPlantState: [0, 0.1, 0, 0])
    func task(_ model: CartPole, _ integrator: Integrator = .euler) throws -> NativeTask<CartPole> {
      try NativeTask(
        name: "t", model: model, controlPeriod: 0.02, substeps: 1, integrator: integrator,
        horizon: 5,
        conditions: [condition], cost: SumCost())
    }
    let switched = try task(CartPole(forceLimit: 10, forceLevels: 2))
    let known = try #require(switched.knownDynamics(in: condition))
    #expect(known.isRelaxed && known.hasSecondDerivatives)
    #expect(try !#require(task(all).knownDynamics(in: condition)).isRelaxed)
    let x = condition.initialPlantState
    let half = try known.stepped(x, [5])
    #expect(half == (try NativeDynamics(all, timeStep: switched.timeStep).stepped(x, [5])))
    var plant = try switched.makePlant()
    try plant.reset(to: condition, plantState: x.span)
    try plant.step(control: [5].span)
    var full = x
    var target = full.mutableSpan
    plant.readState(into: &target)
    #expect(full == (try NativeDynamics(all, timeStep: switched.timeStep).stepped(x, [10])))
    #expect(throws: SimError.self) { try task(CartPole(forceLevels: 2)) }
  }

  /// A system that does not say what its velocities are.
  private struct Decay: ContinuousSystem {
    let stateCount = 2
    let controlCount = 1
    func derivative<S: DifferentiableScalar>(
      _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
    ) {
      rate[0] = -x[0]
      rate[1] = u[0] - x[1]
    }
  }

  @Test("Semi-implicit Euler is refused where no half of the state are velocities")
  func refused() {
    func message(_ integrator: Integrator) -> String {
      do {
        _ = try NativeTask(
          name: "t", model: Decay(), controlPeriod: 0.1, integrator: integrator, horizon: 2,
          conditions: [Condition(name: "a", initialPlantState: [0, 0])], cost: SumCost())
        return ""
      } catch { return "\(error)" }
    }
    #expect(message(.midpoint) == "")
    #expect(message(.semiImplicitEuler).hasPrefix("integrator: semiImplicitEuler is not allowed"))
  }

  @Test("A policy sees sine and cosine of angles that turn")
  func observations() throws {
    func seen(_ system: some DynamicSystem, _ x: [Double]) throws -> [Double] {
      var plant = NativePlant(
        system, timeStep: TimeStep(controlPeriod: 0.1), observation: NativeObservation())
      try plant.reset(to: Condition(name: "", initialPlantState: x), plantState: x.span)
      var observation = [Double](repeating: .nan, count: system.observationNames.count)
      var target = observation.mutableSpan
      plant.readObservation(into: &target)
      return observation
    }
    #expect(try seen(Pendulum(), [.pi / 2, 3]).map { ($0 * 1e12).rounded() / 1e12 } == [1, 0, 3])
    let acrobot = try seen(Acrobot(), [.pi, .pi / 2, 3, 4])
    #expect(acrobot.map { ($0 * 1e12).rounded() / 1e12 } == [0, -1, 1, 0, 3, 4])
  }
}
