import Configuration
import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

/// Points of a made-up system with five state numbers: linear in the state, or not.
struct SyntheticPoints: Sendable {
  let isLinear: Bool

  static let n = 5
  static let m = 2
  static let count = 3
  static let horizon = 4

  func positions(_ x: [Double]) -> [Double] {
    isLinear
      ? [
        x[0], 0.3 * x[1] - x[2], 0.1, x[1] + 2 * x[4], -x[0], 0.5 * x[2], 0.2 * x[0] + 0.1, x[3],
        x[2],
      ]
      : [
        sin(x[0]), x[1] * x[2], 0.1, x[1] + 2 * x[4] * x[0], -x[0], cos(x[2]),
        0.2 * x[0] * x[0] + 0.1, x[3], sin(x[2] + x[1]),
      ]
  }

  /// 9 × 5.
  func jacobian(_ x: [Double]) -> Matrix {
    isLinear
      ? Matrix([
        [1, 0, 0, 0, 0], [0, 0.3, -1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 2], [-1, 0, 0, 0, 0],
        [0, 0, 0.5, 0, 0], [0.2, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0],
      ])
      : Matrix([
        [cos(x[0]), 0, 0, 0, 0], [0, x[2], x[1], 0, 0], [0, 0, 0, 0, 0],
        [2 * x[4], 1, 0, 0, 2 * x[0]], [-1, 0, 0, 0, 0], [0, 0, -sin(x[2]), 0, 0],
        [0.4 * x[0], 0, 0, 0, 0], [0, 0, 0, 1, 0],
        [0, cos(x[2] + x[1]), cos(x[2] + x[1]), 0, 0],
      ])
  }

  func trajectory(states: Matrix, controls: Matrix) -> Trajectory {
    var points = Matrix(rows: 9, columns: states.columns)
    var jacobians = MatrixSequence(rows: 9, columns: Self.n, count: states.columns)
    for t in 0..<states.columns {
      points.setColumn(t, to: positions(states.column(t)))
      jacobians[t] = jacobian(states.column(t))
    }
    return Trajectory(
      states: states, controls: controls,
      observations: Matrix(rows: 0, columns: states.columns), points: points,
      pointJacobians: jacobians)
  }

  func random(_ stream: inout RandomStream) -> Trajectory {
    trajectory(
      states: Matrix(rows: Self.n, columns: 5, columnMajor: stream.normals(25)),
      controls: Matrix(rows: Self.m, columns: 4, columnMajor: stream.normals(8)))
  }
}

struct NamedTerm: Sendable, CustomTestStringConvertible {
  let name: String
  let term: CostTerm
  /// Whether the Hessian is the exact second derivative (for linear points), not Gauss–Newton.
  let isExact: Bool
  var weight = 1.7
  var testDescription: String { name }
}

private let norms: [(String, Norm)] = [
  ("l2", Norm(l2: 1.3)),
  ("l1", Norm(l2: 0, l1: 0.7, alpha: 0.01, gaussNewton: false)),
  ("log", Norm(l2: 0, log: 2, alpha: 0.05, gaussNewton: false)),
  ("all", Norm(l2: 0.5, l1: 0.7, log: 1.1, alpha: 0.03, gaussNewton: false)),
  ("all Gauss-Newton", Norm(l2: 0.5, l1: 0.7, log: 1.1, alpha: 0.03)),
]

private let regions: [(String, Region)] = [
  ("ball", .ball(center: .position([0.2, -0.1, 0.3]), radius: 0.8)),
  ("ball about a point", .ball(center: .points([2]), radius: 0.8)),
  ("box", .box(center: .goal(first: 0), halfExtents: [0.5, nil, 0.9])),
]

private let ordinary: [NamedTerm] =
  norms.flatMap { name, norm in
    [
      NamedTerm(
        name: "state \(name)",
        term: .state(
          StateCost(
            entries: [3, 0, 4], target: .numbers([0.3, -0.2, 1]), weights: [1, 0.5, 2], norm: norm,
            ramp: .linear)), isExact: !norm.gaussNewton || norm.log == 0),
      NamedTerm(
        name: "state to goal \(name)",
        term: .state(StateCost(entries: [1, 2], target: .goal(first: 1), norm: norm)),
        isExact: !norm.gaussNewton || norm.log == 0),
      NamedTerm(
        name: "point \(name)",
        term: .point(
          PointCost(
            points: [0], target: .position([0.4, 0.1, -0.2]), weights: [1, 3, 0.1], norm: norm,
            ramp: .quadratic)), isExact: !norm.gaussNewton || norm.log == 0),
      NamedTerm(
        name: "points to goal \(name)",
        term: .point(PointCost(points: [2, 1], target: .goal(first: 0), norm: norm)),
        isExact: !norm.gaussNewton || norm.log == 0),
      NamedTerm(
        name: "points to points \(name)",
        term: .point(
          PointCost(
            points: [0, 1], target: .points([2, 0]), norm: norm,
            ramp: Ramp(.constant, finalMultiplier: 7))),
        isExact: !norm.gaussNewton || norm.log == 0),
    ]
  }
  + regions.flatMap { name, region in
    RegionCost.Side.allCases.flatMap { side in
      RegionCost.Profile.allCases.flatMap { profile in
        [false, true].map { gaussNewton in
          NamedTerm(
            name: "\(name) \(side) \(profile) \(gaussNewton)",
            term: .region(
              RegionCost(
                points: [0, 1], region: region, side: side, profile: profile, smoothing: 0.3,
                margin: 0.05, gaussNewton: gaussNewton)), isExact: !gaussNewton)
        }
      }
    }
  } + [
    NamedTerm(
      name: "control", term: .control(ControlCost(weights: [0.2, 3], ramp: .linear)), isExact: true),
    NamedTerm(
      name: "linear",
      term: .linear(LinearCost(entries: [4, 1], weights: [-2, 0.5], ramp: .quadratic)),
      isExact: true),
    NamedTerm(
      name: "a part of the horizon",
      term: .state(
        StateCost(
          entries: [1, 3], target: .numbers([0]),
          ramp: Ramp(.linear, from: .share(0.25), until: .step(2)))), isExact: true),
  ]

private let oneSided: [NamedTerm] =
  norms.flatMap { (name: String, norm: Norm) -> [NamedTerm] in
    [Side.above, Side.below].flatMap { (side: Side) -> [NamedTerm] in
      [
        NamedTerm(
          name: "state \(side) \(name)",
          term: .state(
            StateCost(
              entries: [3, 0, 4], target: .numbers([0.3, -0.2, 1]), weights: [1, 0.5, 2],
              side: side, norm: norm)), isExact: !norm.gaussNewton || norm.log == 0),
        NamedTerm(
          name: "points \(side) \(name)",
          term: .point(
            PointCost(
              points: [0, 1], target: .points([2, 0]), weights: [1, 0.5, 2, 3, 1, 1], side: side,
              norm: norm)), isExact: !norm.gaussNewton || norm.log == 0),
      ]
    }
  }

private let rewards: [NamedTerm] =
  regions.flatMap { (name: String, region: Region) -> [NamedTerm] in
    RegionCost.Profile.allCases.flatMap { (profile: RegionCost.Profile) -> [NamedTerm] in
      [false, true].map { (gaussNewton: Bool) -> NamedTerm in
        NamedTerm(
          name: "\(name) \(profile) reward \(gaussNewton)",
          term: .region(
            RegionCost(
              points: [0, 1], region: region, profile: profile, smoothing: 0.3,
              gaussNewton: gaussNewton)), isExact: !gaussNewton, weight: -1.3)
      }
    }
  }

private let terms: [NamedTerm] = ordinary + oneSided + rewards

/// Formulas in the made-up system, whose names they need.
private let formulaTexts = [
  "a", "2", "-a ^ 2 + b * c / (2 + d ^ 2)", "sin(a) * cos(b) - tanh(c) ^ 3 * exp(0.1 * d)",
  "p.x * 'q r.z' + goal.1 * a", "square(p.y - goal.0) + hypot(1 + b ^ 2, d)",
  "u * v ^ 2 + a * u", "max(0, a - 0.1) ^ 2 * e + min(b, 0.5 * c)", "abs(a) + 2 ^ b - 3.5e-1 * pi",
  "sqrt(1 + a ^ 2) * log(2 + b ^ 2) + atan2(c, 3 + d ^ 2) + atan(e) + tan(0.1 * a)",
  "(a + b) * (c + d) * (e + p.x) * (p.y + 'q r.x')", "2 - 3 - a - -b", "a / 2 / 2 * b",
]

private let formulas: [NamedTerm] = formulaTexts.map { (text: String) -> NamedTerm in
  NamedTerm(
    name: text, term: resolved(.expression(ExpressionCost(text, ramp: .linear))), isExact: true)
}

private var scope: Scope {
  Scope(
    boxDimensions, [condition], states: ["a", "b", "c", "d", "e"], points: ["p", "o", "q r"],
    controls: ["u", "v"])
}

private func resolved(_ term: CostTerm) -> CostTerm {
  do { return try SumCost(term).resolved(in: scope).entries[0].term } catch {
    Issue.record("\(error)")
    return term
  }
}

private let boxDimensions = Dimensions(
  state: SyntheticPoints.n, control: SyntheticPoints.m, observation: 0,
  horizon: SyntheticPoints.horizon, points: SyntheticPoints.count)

private let condition = Condition(
  name: "test", initialPlantState: [], goal: [0.3, -0.4, 0.2, 0.1, 0.6, -0.5])

/// Central differences of `f` in every entry of y_t.
private func differences(
  _ trajectory: Trajectory, _ points: SyntheticPoints, at t: Int,
  _ f: (Trajectory) -> [Double]
) -> [[Double]] {
  let h = 1e-5
  return (0..<(t < trajectory.horizon ? 7 : 5)).map { i in
    let sides = [h, -h].map { step -> [Double] in
      var (states, controls) = (trajectory.states, trajectory.controls)
      if i < 5 { states[i, t] += step } else { controls[i - 5, t] += step }
      return f(points.trajectory(states: states, controls: controls))
    }
    return zip(sides[0], sides[1]).map { ($0 - $1) / (2 * h) }
  }
}

@Suite struct CostTests {
  @Test("A box without ends is everywhere: a step costs its weight, a hinge is refused or 0")
  func boxWithoutEnds() throws {
    let region = Region.box(center: .position([0, 0, 0]), halfExtents: [nil, nil, nil])
    #expect(region.depth(1e9, -3, 0) == .infinity)
    let points = SyntheticPoints(isLinear: true)
    var stream = RandomStream(seed: 9)
    let trajectory = points.random(&stream)
    for (side, profile, price) in [
      (RegionCost.Side.inside, RegionCost.Profile.step, 1.0), (.outside, .step, 0),
      (.outside, .hinge, 0),
    ] {
      let term = RegionCost(points: [0, 1], region: region, side: side, profile: profile)
      let cost = SumCost([.init(weight: 2.5, .region(term))])
      #expect(
        cost.values(along: trajectory, in: condition)
          == [Double](repeating: 2 * 2.5 * price, count: trajectory.horizon + 1))
      let expansion = cost.expansion(along: trajectory, in: condition)
      #expect(expansion.firstNonFiniteStep == nil)
      #expect(
        expansion.gradients.largestMagnitude == 0
          && expansion.hessians.storage.allSatisfy { $0 == 0 })
      #expect(throws: Never.self) {
        try cost.validated(for: boxDimensions, conditions: [condition])
      }
    }
    #expect {
      try SumCost(.region(RegionCost(points: [0], region: region, profile: .hinge)))
        .validated(for: boxDimensions, conditions: [condition])
    } throws: { error in
      "\(error)".contains("region.region.box.halfExtents") && "\(error)".contains("infinitely deep")
    }
  }

  @Test("Gradients are those of the values", arguments: terms + formulas, [true, false])
  func gradients(_ case: NamedTerm, linear: Bool) {
    let points = SyntheticPoints(isLinear: linear)
    let cost = SumCost([.init(weight: `case`.weight, `case`.term)])
    var stream = RandomStream(seed: 3)
    for _ in 0..<4 {
      let trajectory = points.random(&stream)
      let expansion = cost.expansion(along: trajectory, in: condition)
      #expect(
        zip(expansion.values, cost.values(along: trajectory, in: condition)).allSatisfy {
          abs($0 - $1) <= 1e-14 * max(1, abs($0))
        })
      let tolerance = 1e-7 * max(1, expansion.gradients.largestMagnitude)
      for t in 0...trajectory.horizon {
        let numeric = differences(trajectory, points, at: t) {
          cost.values(along: $0, in: condition)
        }
        for (i, row) in numeric.enumerated() {
          #expect(abs(row[t] - expansion.gradients[i, t]) < tolerance, "entry \(i), step \(t)")
          // A step's state and control matter to no other step.
          for s in row.indices where s != t { #expect(row[s] == 0) }
        }
      }
    }
  }

  @Test(
    "Hessians are those of the gradients, for points linear in the state",
    arguments: terms + formulas)
  func hessians(_ case: NamedTerm) throws {
    let points = SyntheticPoints(isLinear: true)
    let cost = SumCost([.init(weight: `case`.weight, `case`.term)])
    var stream = RandomStream(seed: 4)
    for _ in 0..<4 {
      let trajectory = points.random(&stream)
      let expansion = cost.expansion(along: trajectory, in: condition)
      for t in 0...trajectory.horizon {
        let hessian = expansion.hessians[t]
        #expect((hessian - hessian.transposed).largestMagnitude < 1e-12)
        if !`case`.isExact {
          let lowest = try hessian.symmetricEigen().values[0]
          #expect(lowest > -1e-9 * max(1, hessian.largestMagnitude), "step \(t)")
          continue
        }
        let numeric = differences(trajectory, points, at: t) {
          cost.expansion(along: $0, in: condition).gradients.column(t)
        }
        // A hinge has no second derivative at its corner; random points do not meet it.
        let tolerance = 2e-6 * max(1, hessian.largestMagnitude)
        for (i, row) in numeric.enumerated() {
          for j in 0..<7 {
            #expect(abs(row[j] - hessian[i, j]) < tolerance, "entry (\(i), \(j)), step \(t)")
          }
        }
      }
    }
  }

  @Test("Every term keeps what a cost promises", arguments: terms + formulas)
  func conformance(_ case: NamedTerm) {
    var stream = RandomStream(seed: 6)
    checkCost(
      SumCost([.init(weight: `case`.weight, `case`.term)]),
      along: SyntheticPoints(isLinear: true).random(&stream), in: condition,
      checksHessians: `case`.isExact, name: `case`.name)
  }

  @Test("The log norm's Gauss-Newton quadratic lies above it")
  func majorization() {
    let norm = Norm(l2: 0, log: 1, alpha: 0.01)
    for d0 in [0.01, 0.1, 1.0] {
      let (value, a, _) = norm.derivatives(d0 * d0)
      for d in stride(from: -2, through: 2, by: 0.05) {
        let quadratic = value + a * d0 * (d - d0) + 0.5 * a * (d - d0) * (d - d0)
        #expect(quadratic >= norm.value(d * d) - 1e-12)
      }
    }
  }

  @Test func ramps() {
    func factors(_ ramp: Ramp) -> [Double] { (0...3).map { ramp.factor(at: $0, horizon: 3) } }
    #expect(factors(.constant) == [1, 1, 1, 1])
    #expect(factors(.linear) == [0.25, 0.5, 0.75, 1])
    #expect(factors(.quadratic) == [0.0625, 0.25, 0.5625, 1])
    #expect(factors(.finalOnly) == [0, 0, 0, 1])
    #expect(factors(.finalMultiplier(9)) == [1, 1, 1, 9])
    #expect(factors(Ramp(.linear, finalMultiplier: 2)) == [0.25, 0.5, 0.75, 2])
    #expect(factors(Ramp(.linear, from: .step(1), until: .step(2))) == [0, 0.5, 0.75, 0])
    #expect(factors(Ramp(finalMultiplier: 5, from: .share(0.5))) == [0, 0, 1, 5])
    #expect(factors(Ramp(until: .share(0.5))) == [1, 1, 1, 0])
    #expect(factors(Ramp(until: .share(0))) == [1, 0, 0, 0])
  }

  @Test("A step region costs one inside and nothing outside")
  func binaryRegion() {
    // With x at the centre, on the boundary and far outside: σ(r/2h) ≈ 1, 1/2, 0.
    let cost = RegionCost(
      points: [0], region: .ball(center: .position([0, 0, 0]), radius: 1), smoothing: 0.01)
    let states = Matrix(rows: 1, columns: 3)
    let trajectory = Trajectory(
      states: states, controls: Matrix(rows: 1, columns: 2),
      observations: Matrix(rows: 0, columns: 3),
      points: Matrix([[0, 1, 0], [0, 0, 2], [0, 0, 0]]))
    let values = SumCost(.region(cost)).values(
      along: Trajectory(
        states: trajectory.states, controls: trajectory.controls,
        observations: trajectory.observations, points: trajectory.points,
        pointJacobians: MatrixSequence(rows: 3, columns: 1, count: 3)), in: condition)
    #expect(abs(values[0] - 1) < 1e-12 && abs(values[1] - 0.5) < 1e-12 && values[2] < 1e-12)
  }

  @Test("A cost survives being written and read")
  func coding() throws {
    let box = Region.box(center: .goal(first: 1), halfExtents: [1, nil, 2])
    let entries =
      norms.flatMap { _, norm in
        [
          SumCost.Entry(
            weight: 0.3,
            .state(StateCost(entries: ["a", "b"], target: .goal(first: 2), norm: norm))),
          .init(
            .point(
              PointCost(
                points: ["p"], target: .points(["q"]), weights: [1, 2, 3], norm: norm,
                ramp: Ramp(.linear, finalMultiplier: 3)))),
        ]
      } + [
        .init(.state(StateCost(entries: [String]?.none, target: .numbers([1, 2])))),
        .init(weight: 0, .control(ControlCost(weights: [0.2, 3], ramp: .quadratic))),
        .init(
          .region(
            RegionCost(
              points: ["p", "q"], region: .ball(center: .position([1, 2, 3]), radius: 0.5),
              side: .outside, profile: .hinge, smoothing: 0.3, margin: -1, gaussNewton: false))),
        .init(.region(RegionCost(points: ["p"], region: box))),
        .init(weight: -2, .region(RegionCost(points: ["p"], region: box))),
        .init(
          .linear(
            LinearCost(
              entries: ["a"], weights: [-1], ramp: Ramp(from: .step(3), until: .share(0.29))))),
        .init(
          .state(StateCost(entries: ["a"], target: .numbers([0]), side: .above, ramp: .finalOnly))),
        .init(.point(PointCost(points: ["p"], target: .goal(first: 0), side: .below))),
        .init(weight: -1, .expression(ExpressionCost("a * -b", ramp: .quadratic))),
      ]
    #expect(try writtenAndRead(entries) == entries)
  }

  @Test("What does not fit the problem is refused by name")
  func validation() throws {
    let dimensions = Dimensions(state: 5, control: 2, observation: 0, horizon: 4, points: 3)
    _ = try SumCost(terms.map { .init(weight: 1, $0.term) })
      .validated(for: dimensions, conditions: [condition])
    func refusal(_ term: CostTerm) -> String {
      do {
        _ = try SumCost(term).validated(for: dimensions, conditions: [condition])
        return ""
      } catch { return "\(error)" }
    }
    #expect(
      refusal(.state(StateCost(entries: [5], target: .numbers([0]))))
        == "cost[0].state.entries refers to number 5, but there are 5, counted from 0")
    #expect(
      refusal(.point(PointCost(points: [0], target: .position([0, 0]))))
        == "cost[0].point.target: a list of 2 is not allowed (must be 3 numbers: x, y, z of each point)"
    )
    #expect(
      refusal(.control(ControlCost(weights: [1, 2, 3])))
        == "cost[0].control.weights: a list of 3 is not allowed (must be one number, or 2 (one per control))"
    )
    #expect(
      refusal(.point(PointCost(points: [0], target: .goal(first: 4)))).hasPrefix(
        "cost[0].point.target: 3 numbers of the goal from number 4 on are needed"))
    #expect(
      refusal(.state(StateCost(entries: [0], target: .numbers([0]), norm: Norm(alpha: 0))))
        == "cost[0].state.alpha: 0.0 is not allowed (must be more than 0)")
    #expect(
      refusal(
        .region(
          RegionCost(points: [0], region: .ball(center: .points([3]), radius: 1)))
      )
      .contains("region.ball.center"))
  }

  @Test("Parts that a horizon does not have are refused by name")
  func partsOfTheHorizon() {
    func refusal(_ ramp: Ramp) -> String {
      do {
        _ = try SumCost(.control(ControlCost(weights: [1], ramp: ramp)))
          .validated(for: boxDimensions, conditions: [condition])
        return ""
      } catch { return "\(error)" }
    }
    #expect(refusal(Ramp(from: .step(4), until: .share(1))).isEmpty)
    #expect(
      refusal(Ramp(from: .step(5)))
        == "cost[0].control.ramp.from: 5 is not allowed (must be a step from 0 to 4, or a share such as 50%)"
    )
    #expect(
      refusal(Ramp(from: .share(0.5), until: .step(1)))
        == "cost[0].control.ramp.until: step 1 is not allowed (must be no earlier than from, step 2)"
    )
  }

  @Test("Shares of the horizon read as they are written, and nothing else does")
  func instants() throws {
    func read(_ text: String) throws -> Ramp {
      try Ramp.codec.read(SettingsTree(yaml: text, name: "f"), "ramp")
    }
    #expect(try read("{from: 25%, until: 7}") == Ramp(from: .share(0.25), until: .step(7)))
    #expect(try read("{until: \"12.5 %\"}") == Ramp(until: .share(0.125)))
    for percent in (0...100).map(Double.init) + [0.1, 12.5, 33.3, 66.67] {
      let ramp = Ramp(from: .share(percent / 100))
      #expect(try writtenAndRead(ramp) == ramp)
    }
    for wrong in ["-1", "101%", "half", "0.5", "%", "[1]", "nan%"] {
      #expect(throws: SettingsError.self) { try read("{from: \(wrong)}") }
    }
  }

  @Test("A weight may be negative where a price can be a reward, and nowhere else")
  func rewards() throws {
    func read(_ text: String) throws -> SumCost.Entry {
      try SumCost.Entry.codec.read(SettingsTree(yaml: text, name: "f"), "cost.0")
    }
    for text in [
      "linear: {entries: [x], weight: -1}", "expression: {formula: x, weight: -1}",
      "region: {points: [p], region: {ball: {center: goal, radius: 1}}, weight: -1}",
    ] {
      #expect(try read(text).weight == -1)
    }
    for text in [
      "control: {weight: -1}", "state: {weight: -1}",
      "point: {points: [p], target: goal, weight: -1}",
      "linear: {entries: [x], weight: .inf}",
    ] {
      #expect(throws: SettingsError.self, "\(text)") { try read(text) }
    }
  }

  @Test("A formula is worth what its text says")
  func formulaValues() throws {
    let values: [String: Double] = ["x": 1.5, "y": -0.7, "z": 2]
    for (text, expected) in [
      ("1 + 2 * 3", 7.0), ("(1 + 2) * 3", 9), ("2 ^ 3 ^ 2", 512), ("-2 ^ 2", -4), ("2 ^ -1", 0.5),
      ("(-2) ^ 3", -8), ("10 - 4 - 3", 3), ("12 / 3 / 2", 2), ("--3", 3), ("2 * -3", -6),
      ("1e3 + .5", 1000.5), ("pi", .pi), ("x * y", 1.5 * -0.7), ("y ^ 2", 0.7 * 0.7),
      ("max(x, min(y, z))", 1.5), ("atan2(y, x)", atan2(-0.7, 1.5)), ("abs(y)", 0.7),
      ("hypot(3, 4)", 5), ("square(y)", 0.7 * 0.7), (" x\n^ z ", 2.25), ("exp(log(z))", 2),
    ] {
      let formula = try Formula(text)
      var numbers = formula.names.map { values[$0.text] ?? .nan }
      var stack = [Double](repeating: 0, count: formula.depth)
      let value = numbers.withUnsafeMutableBufferPointer { numbers in
        stack.withUnsafeMutableBufferPointer { formula.value(of: numbers, stack: $0) }
      }
      #expect(abs(value - expected) <= 1e-15 * max(1, abs(expected)), "\(text)")
    }
  }

  @Test("A formula that is wrong is refused with the place in it")
  func formulaFailures() throws {
    for (text, place, words) in [
      ("", 0, "expected instead of the end"), ("1 +", 3, "expected instead of the end"),
      ("(1", 2, "\")\" is expected"), ("1 2", 2, "an operator or the end"), ("a b", 2, "operator"),
      ("sni(x)", 0, "no function \"sni\""), ("min(1)", 5, "\",\" is expected"),
      ("sin(1, 2)", 5, "\")\" is expected"), ("2e", 1, "an operator"), ("1.2.3", 0, "is no number"),
      ("'open", 0, "has no end"), ("a $ b", 2, "an operator"), ("* a", 0, "expected instead"),
      ("1e999", 0, "is no number"),
      (String(repeating: "a+", count: 6000), 10_000, "longer than 10000"),
      (String(repeating: "(", count: 200), 50, "50 deep"),
      (Array(repeating: "2", count: 200).joined(separator: "^"), 100, "50 deep"),
    ] {
      let failure = #expect(throws: Formula.Failure.self, "\(text)") { try Formula(text) }
      #expect(failure?.place == place, "\(text)")
      #expect(failure?.problem.contains(words) == true, "\(text): \(failure?.problem ?? "")")
    }
    for (text, place, words) in [
      ("a + f", 5, "nothing is called \"f\" (nearest:"), ("goal.6", 1, "the goal has no number 6"),
      ("goal.-1", 1, "nothing is called \"goal.\""), ("1 + p", 5, "nothing is called \"p\""),
      ("p.w", 1, "nothing is called \"p.w\" (nearest: p.x"),
    ] {
      let error = #expect(throws: SimError.self, "\(text)") {
        try SumCost(.expression(ExpressionCost(text))).resolved(in: scope)
      }
      let message = error.map { "\($0)" } ?? ""
      #expect(message.hasPrefix("cost[0].expression.formula: \"\(text)\" is not allowed"))
      #expect(message.contains("at character \(place), \(words)"), "\(message)")
    }
  }

  /// The same cost by name and by number, in a task that knows the names.
  @Test func namesAndNumbersAreOneCost() throws {
    func cost(of cost: SumCost, _ success: SuccessCriterion) throws -> (SumCost?, SuccessCriterion?)
    {
      let task = try NativeTask(
        name: "t", model: CartPole(), controlPeriod: 0.1, horizon: 3,
        conditions: [Condition(name: "a", initialPlantState: [0, 0, 0, 0])], cost: cost,
        success: success)
      return (task.cost as? SumCost, task.success as? SuccessCriterion)
    }
    let named = try cost(
      of: SumCost(
        .state(
          StateCost(entries: ["pole", "cart_velocity_m_per_s"], target: .numbers([1]))),
        .control(ControlCost(weights: [2])),
        .point(PointCost(points: ["tip"], target: .points(["tip"]))),
        .region(RegionCost(points: ["tip"], region: .ball(center: .points(["tip"]), radius: 1)))),
      .all([
        .pointDistance(point: "tip", to: .position([0, 0, 1]), below: 0.1, at: .final),
        .stateWithin(entries: ["pole"], target: .numbers([0]), tolerance: [0.1], at: .last(2)),
      ]))
    let numbered = try cost(
      of: SumCost(
        .state(
          StateCost(entries: [1, 3, 2], target: .numbers([1, 1, 1]), weights: [1, 1, 1])),
        .control(ControlCost(weights: [2])),
        .point(PointCost(points: [0], target: .points([0]), weights: [1, 1, 1])),
        .region(RegionCost(points: [0], region: .ball(center: .points([0]), radius: 1)))),
      .all([
        .pointDistance(point: 0, to: .position([0, 0, 1]), below: 0.1, at: .final),
        .stateWithin(
          entries: [1, 3], target: .numbers([0, 0]), tolerance: [0.1, 0.1], at: .last(2)),
      ]))
    #expect(named.0 != nil && named.0 == numbered.0)
    #expect(named.1 != nil && named.1 == numbered.1)

    let error = #expect(throws: SimError.self) {
      try cost(
        of: SumCost(.point(PointCost(points: ["tpi"], target: .position([0, 0, 0])))), .all([]))
    }
    #expect(
      error?.description
        == "cost[0].point.points[0]: tpi is not allowed (must be a point: tip)")
    let twice = #expect(throws: SimError.self) {
      try cost(
        of: SumCost(.state(StateCost(entries: ["pole", "pole_angle_rad"], target: .numbers([0])))),
        .all([]))
    }
    #expect(twice?.description.contains("pole_angle_rad is)") == true)
  }
}
