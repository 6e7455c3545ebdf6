import Foundation
import GPSCore
import LinearAlgebra
import Testing

@testable import Sim

/// A free body with a ball joint on it, and frames on both.
private let text = """
  <mujoco>
    <option timestep="0.002"/>
    <worldbody>
      <body name="base" pos="0 0 2">
        <joint name="root" type="free"/>
        <geom name="plate" type="box" size="0.2 0.1 0.05"/>
        <body name="upper" pos="0.2 0 0" quat="0.8 0 0.6 0">
          <joint name="shoulder" type="ball"/>
          <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" contype="0" conaffinity="0"/>
          <site name="hand" pos="0.25 0.02 0.01" euler="20 30 -40"/>
        </body>
      </body>
    </worldbody>
    <actuator><motor name="m" joint="shoulder" gear="1 0 0"/></actuator>
  </mujoco>
  """

@Suite("Costs and criteria of orientations") struct OrientationCostTests {
  private let dynamics: MuJoCoDynamics
  private let names = ["hand", "hand.x", "hand.y", "hand.z", "base", "base.x", "base.y", "base.z"]

  init() throws {
    let model = try MuJoCoModel(mjcf: text)
    let interface = try MuJoCoInterface(
      model: model, state: [.jointPositions(), .jointVelocities()],
      points: [
        MuJoCoPoint(.site, "hand", axes: true), MuJoCoPoint(.body, "base", axes: true), "hand2",
      ].filter { $0.element != "hand2" })
    dynamics = try MuJoCoDynamics(
      interface, in: Condition(name: "c", initialPlantState: try model.plantState()))
    #expect(interface.points == names)
  }

  /// A trajectory of one step whose states are given.
  private func trajectory(_ states: [[Double]]) throws -> Trajectory {
    var workspace = try dynamics.makeWorkspace()
    let n = dynamics.state
    var positions: [Double] = []
    var jacobians: [Double] = []
    for x in states {
      var p = [Double](repeating: 0, count: 24)
      var J = [Double](repeating: 0, count: 24 * n)
      var target = p.mutableSpan
      var slopes = J.mutableSpan
      try dynamics.locatePoints(
        x.span, workspace: &workspace, positions: &target, jacobians: &slopes)
      positions += p
      jacobians += J
    }
    return Trajectory(
      states: Matrix(rows: n, columns: states.count, columnMajor: states.flatMap { $0 }),
      controls: Matrix(rows: 1, columns: states.count - 1),
      observations: Matrix(rows: 0, columns: states.count),
      points: Matrix(rows: 24, columns: states.count, columnMajor: positions),
      pointJacobians: MatrixSequence(
        rows: 24, columns: n, count: states.count, columnMajor: jacobians))
  }

  private func state(_ base: SIMD3<Double>, _ shoulder: SIMD3<Double>) -> [Double] {
    [0.3, -0.2, 1.7, base.x, base.y, base.z, shoulder.x, shoulder.y, shoulder.z]
      + (0..<9).map { sin(Double($0)) }
  }

  private let condition = Condition(
    name: "c", initialPlantState: [], goal: [7, 0.4, -0.2, 1.1, 0, 3, 4])

  private func resolved(_ term: CostTerm) throws -> SumCost {
    try SumCost(term).resolved(
      in: Scope(
        Dimensions(state: dynamics.state, control: 1, observation: 0, horizon: 1, points: 8),
        [condition], points: names))
  }

  private static let norms = [
    Norm(), Norm(l2: 0.5, l1: 0.7, log: 1.1, alpha: 0.03), Norm(l2: 0, l1: 1, alpha: 0.01),
  ]

  private static let terms: [(String, @Sendable (Norm) -> CostTerm)] = [
    (
      "vector",
      {
        .orientation(
          OrientationCost(point: "hand", target: .rotationVector([0.2, 1, -0.3]), norm: $0))
      }
    ),
    (
      "quaternion",
      {
        .orientation(OrientationCost(point: "base", target: .quaternion([2, 1, 0, -1]), norm: $0))
      }
    ),
    ("goal", { .orientation(OrientationCost(point: "hand", target: .goal(first: 1), norm: $0)) }),
    ("point", { .orientation(OrientationCost(point: "hand", target: .point("base"), norm: $0)) }),
    (
      "axis",
      { .axis(AxisCost(point: "hand", axis: .y, target: .direction([0, -2, 1]), norm: $0)) }
    ),
    ("axis to goal", { .axis(AxisCost(point: "base", target: .goal(first: 4), norm: $0)) }),
  ]

  @Test(
    "Gradients are central differences, and curvatures those of Gauss and Newton", arguments: 0..<6)
  func derivatives(index: Int) throws {
    let (name, make) = Self.terms[index]
    for norm in Self.norms {
      let cost = try resolved(make(norm))
      for (base, shoulder) in [
        (SIMD3(0.3, -0.5, 0.2), SIMD3(0.1, 0.2, -0.4)), (SIMD3(2.5, 2, -1.5), SIMD3(0, 0, 0)),
      ] {
        let x = state(base, shoulder)
        func value(_ x: [Double]) throws -> Double {
          cost.values(along: try trajectory([x, x]), in: condition)[0]
        }
        let expansion = cost.expansion(along: try trajectory([x, x]), in: condition)
        #expect(abs(expansion.values[0] - (try value(x))) < 1e-12)
        for j in 0..<18 {
          var (above, below) = (x, x)
          above[j] += 1e-5
          below[j] -= 1e-5
          let slope = (try value(above) - value(below)) / 2e-5
          #expect(
            abs(expansion.gradients[j, 0] - slope) < 1e-7 * max(1, abs(slope)),
            "\(name), \(j): \(expansion.gradients[j, 0]) for \(slope)")
        }
        // Positive semidefinite, as Gauss and Newton's is: no direction of negative curvature.
        let H = expansion.hessians[0]
        for direction in 0..<12 {
          let v = (0..<18).map { sin(Double(3 * direction + 1) * Double($0 + 1)) }
          let curvature = (0..<18).reduce(0.0) { sum, i in
            sum + (0..<18).reduce(0.0) { $0 + v[i] * H[i, $1] * v[$1] }
          }
          #expect(curvature > -1e-9)
        }
      }
    }
  }

  @Test(
    "At the target, curvature is the exact second derivative and the cost half the angle squared")
  func nearTarget() throws {
    let turn = SIMD3(0.4, -0.3, 0.9)
    let x = state(turn, .zero)
    let q = Rotation(vector: turn)
    let cost = try resolved(
      .orientation(
        OrientationCost(point: "base", target: .quaternion([q.w, q.v.x, q.v.y, q.v.z]))))
    let expansion = cost.expansion(along: try trajectory([x, x]), in: condition)
    #expect(abs(expansion.values[0]) < 1e-15)
    #expect(expansion.gradients.column(0).allSatisfy { abs($0) < 1e-12 })
    // H = Jᵀ J with J from rotation vectors to small rotations.
    let J = Rotation.rightJacobian(turn)
    let columns = [J.columns.0, J.columns.1, J.columns.2]
    for i in 0..<3 {
      for j in 0..<3 {
        #expect(abs(expansion.hessians[0][3 + i, 3 + j] - (columns[i] * columns[j]).sum()) < 1e-12)
      }
    }
    for angle in [0.01, 0.5, 2, 3.1] {
      let turned = q * Rotation(vector: angle * SIMD3(0, 0.6, 0.8))
      let y = state(turned.vector, .zero)
      let value = cost.values(along: try trajectory([y, y]), in: condition)[0]
      #expect(abs(value - 2 * sin(0.5 * angle) * sin(0.5 * angle)) < 1e-12)
    }
  }

  @Test("Turning about an aligned axis costs nothing")
  func axis() throws {
    let cost = try resolved(.axis(AxisCost(point: "base", target: .direction([0, 0, 5]))))
    for (turn, angle) in [(SIMD3(0, 0, 1.3), 0.0), (SIMD3(0.7, 0, 0), 0.7), (SIMD3(0, -2, 0), 2)] {
      let x = state(turn, .zero)
      let value = cost.values(along: try trajectory([x, x]), in: condition)[0]
      #expect(abs(value - 2 * sin(0.5 * angle) * sin(0.5 * angle)) < 1e-12)
    }
  }

  @Test("A criterion holds up to its angle, and no further")
  func criteria() throws {
    let turn = SIMD3(0.4, -0.3, 0.9)
    let q = Rotation(vector: turn)
    let target = OrientationTarget.quaternion([q.w, q.v.x, q.v.y, q.v.z])
    let scope = Scope(
      Dimensions(state: 18, control: 1, observation: 0, horizon: 1, points: 8), [condition],
      points: names)
    for angle in [0.05, 0.5, 3] {
      let turned = q * Rotation(vector: angle * SIMD3(0, 0.6, 0.8))
      let far = try trajectory([state(turn, .zero), state(turned.vector, .zero)])
      for (below, holds) in [(angle - 1e-6, false), (angle + 1e-6, true)] {
        func isSuccess(_ moment: SuccessCriterion.Moment) throws -> Bool {
          try SuccessCriterion.orientationWithin(
            point: "base", target: target, below: below, at: moment
          ).resolved(in: scope).isSuccess(far, in: condition)
        }
        #expect(try isSuccess(.final) == holds)
        #expect(try isSuccess(.any))
        // The axis of a body that is tipped by the angle from upright, whatever it was turned by.
        let tipped = Rotation(vector: SIMD3(angle, 0, 0)) * Rotation(vector: SIMD3(0, 0, 1))
        let x = state(tipped.vector, .zero)
        let upright = try SuccessCriterion.axisWithin(
          point: "base", target: .direction([0, 0, 2]), below: below, at: .final
        ).resolved(in: scope)
        #expect(upright.isSuccess(try trajectory([x, x]), in: condition) == holds)
      }
    }
    let criterion = SuccessCriterion.all([
      .orientationWithin(point: "a", target: .point("b"), below: 0.2, at: .final),
      .orientationWithin(point: "a", target: .goal(first: 3), below: 0.2, at: .any),
      .axisWithin(point: "a", axis: .x, target: .goal(first: 0), below: 1, at: .always),
    ])
    #expect(try writtenAndRead(criterion) == criterion)
  }

  @Test("Terms are written as they are read")
  func files() throws {
    let terms = Self.terms.map { SumCost.Entry(weight: 2, $0.1(Norm(l2: 3))) }
    #expect(try writtenAndRead(terms) == terms)
  }

  @Test("What does not fit is refused with the place and what is allowed")
  func refusals() throws {
    func reason(_ term: CostTerm, names: [String]? = nil) -> String {
      do {
        _ = try SumCost(term).resolved(
          in: Scope(
            Dimensions(state: 18, control: 1, observation: 0, horizon: 1, points: 8), [condition],
            points: names ?? self.names))
        return ""
      } catch { return "\(error)" }
    }
    func orientation(_ point: String, _ target: OrientationTarget) -> CostTerm {
      .orientation(OrientationCost(point: point, target: target))
    }
    #expect(
      reason(orientation("hand.x", .goal(first: 0)))
        .contains("a point with axes: add axes: true where points declares it"))
    #expect(reason(orientation("hans", .goal(first: 0))).contains("hand"))
    #expect(reason(orientation("hand", .goal(first: 5))).contains("goal"))
    #expect(reason(orientation("hand", .quaternion([0, 0, 0, 0]))).contains("all zero"))
    #expect(reason(orientation("hand", .quaternion([1, 0]))).contains("quaternion w, x, y, z"))
    #expect(reason(orientation("hand", .rotationVector([1, .nan, 0]))).contains("finite"))
    #expect(reason(orientation("hand", .point("base.x"))).contains("a point with axes"))
    #expect(
      reason(.axis(AxisCost(point: "hand", target: .direction([0, 0, 0])))).contains("all zero"))
  }
}
