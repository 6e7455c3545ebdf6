import GPSCore
import LinearAlgebra
import Sim
import Testing

@testable import Starts

@Suite struct InitialControllerTests {
  // The state holds something else first, then velocities before positions.
  private let dimensions = Dimensions(state: 5, control: 2, observation: 5, horizon: 60)
  private let coordinates = [
    ActuatedCoordinate(control: 0, position: 3, velocity: 1),
    ActuatedCoordinate(control: 1, position: 4, velocity: 2),
  ]
  private let start = [7, 0, 0, 0.4, -0.3]
  private let h = 0.05
  private let gains = [3.0, 0.2]

  /// The guessed dynamics [A B] over the full state; entry 0 goes to zero.
  private var transition: Matrix {
    var F = Matrix(rows: 5, columns: 7)
    for (u, c) in coordinates.enumerated() {
      guard let q = c.position, let v = c.velocity else { continue }
      F[q, q] = 1
      F[q, v] = h
      F[q, 5 + u] = 0.5 * h * h / gains[u]
      F[v, v] = 1
      F[v, 5 + u] = h / gains[u]
    }
    return F
  }

  @Test(
    "Gains and covariances are those of a dense Riccati recursion",
    arguments: InitialController.LQROptions.Effort.allCases)
  func riccati(effort: InitialController.LQROptions.Effort) throws {
    let options = InitialController.LQROptions(
      gains: gains, variance: [2, 0.5], stiffness: 3, velocityStiffness: 0.4, finalWeight: 20,
      effort: effort)
    let controller = try InitialController.lqr(options).controller(
      dimensions: dimensions, controlPeriod: h, actuatedCoordinates: coordinates,
      initialState: start)

    let F = transition
    var C = Matrix(rows: 7, columns: 7)
    for c in coordinates {
      guard let q = c.position, let v = c.velocity else { continue }
      C[q, q] = 3
      C[v, v] = 3 * 0.4
      C[5 + c.control, 5 + c.control] =
        effort == .acceleration ? 1 / (gains[c.control] * gains[c.control]) : 1
    }
    var V = 20.0 * C[0..<5, 0..<5]
    for t in (0..<60).reversed() {
      let Q = C + F.transposed * V * F
      let Quu = Q[5..<7, 5..<7]
      let inverse = try CholeskyFactor(Quu).inverse
      let K = -1.0 * (inverse * Q[5..<7, 0..<5])
      V = (Q[0..<5, 0..<5] + Q[0..<5, 5..<7] * K).symmetrized
      #expect((controller.gains[t] - K).largestMagnitude < 1e-9 * max(1, K.largestMagnitude))
      for i in 0..<2 {
        #expect(abs(controller.covariances[t][i, i] / ([2, 0.5][i] * inverse[i, i]) - 1) < 1e-9)
      }
      #expect(abs(controller.covariances[t][0, 1]) == 0)
      // The initial state is where nothing is done.
      let u = zip(controller.gains[t] * start, controller.offsets.column(t)).map(+)
      #expect(u.allSatisfy { abs($0) < 1e-12 })
    }
  }

  @Test("The closed loop returns to the initial position")
  func stability() throws {
    for initial in [
      InitialController.lqr(.init(gains: gains, stiffness: 100, velocityStiffness: 0.1)),
      .pd(.init(positionGains: [30, 2], velocityGains: [15, 1])),
    ] {
      let controller = try initial.controller(
        dimensions: dimensions, controlPeriod: h, actuatedCoordinates: coordinates,
        initialState: start)
      var x = start
      x[3] += 1
      x[2] = -2
      for t in 0..<60 {
        let u = zip(controller.gains[t] * x, controller.offsets.column(t)).map(+)
        x = transition * (x + u)
      }
      #expect(abs(x[3] - 0.4) < 0.05 && abs(x[4] + 0.3) < 0.05, "\(x)")
      #expect(abs(x[1]) < 0.1 && abs(x[2]) < 0.1, "\(x)")
    }
  }

  @Test("PD gains are written as given")
  func pd() throws {
    let controller = try InitialController.pd(
      .init(positionGains: [10], velocityGains: [1, 2], variance: [0.25])
    ).controller(
      dimensions: dimensions, controlPeriod: h, actuatedCoordinates: coordinates,
      initialState: start)
    #expect(controller.gains[9] == Matrix([[0, -1, 0, -10, 0], [0, 0, -2, 0, -10]]))
    #expect(controller.offsets.column(59) == [4, -3])
    #expect(controller.covariances[0] == Matrix(diagonal: [0.25, 0.25]))
  }

  @Test("What is missing or out of range is named")
  func errors() {
    func refusal(
      _ initial: InitialController, _ coordinates: [ActuatedCoordinate]
    ) -> SimError? {
      do {
        _ = try initial.controller(
          dimensions: dimensions, controlPeriod: h, actuatedCoordinates: coordinates,
          initialState: start)
        return nil
      } catch { return error as? SimError }
    }
    let lqr = InitialController.lqr(.init(gains: gains))
    #expect(refusal(lqr, coordinates) == nil)
    #expect(refusal(lqr, []) == .actuator(control: 0, missing: .coordinate))
    #expect(
      refusal(lqr, [coordinates[0], ActuatedCoordinate(control: 1, position: nil, velocity: 2)])
        == .actuator(control: 1, missing: .position))
    #expect(
      refusal(lqr, [coordinates[0], ActuatedCoordinate(control: 1, position: 4, velocity: nil)])
        == .actuator(control: 1, missing: .velocity))
    #expect(
      refusal(.lqr(.init(gains: [1, 2, 3])), coordinates)
        == .length(key: "lqr.gains", found: 3, expected: "1 or 2"))
    #expect(
      refusal(.pd(.init(positionGains: [1], velocityGains: [1], variance: [0])), coordinates)
        == .option(InvalidOption(key: "pd.variance", value: "0", allowed: "more than 0")))
  }
}
