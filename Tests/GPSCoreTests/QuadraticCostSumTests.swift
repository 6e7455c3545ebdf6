import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@Suite("Sums and values of quadratic costs") struct QuadraticCostSumTests {
  @Test("a sum costs what its parts cost, step by step")
  func sum() {
    var stream = RandomStream(seed: 41)
    let a = RandomProblem.cost(state: 3, control: 2, horizon: 4, &stream)
    let b = RandomProblem.cost(state: 3, control: 2, horizon: 4, &stream)
    let states = RandomProblem.matrix(3, 5, &stream)
    let controls = RandomProblem.matrix(2, 4, &stream)
    let parts = zip(
      a.values(states: states, controls: controls), b.values(states: states, controls: controls)
    ).map { $0 + $1 }
    #expect(relativeError((a + b).values(states: states, controls: controls), parts) < 1e-14)
    var added = a
    added.add(b)
    #expect(added == a + b)
    #expect(a + QuadraticCost(state: 3, control: 2, horizon: 4) == a)
  }

  @Test("values are those of the formula, and of the last state alone at the end")
  func values() {
    var stream = RandomStream(seed: 42)
    let cost = RandomProblem.cost(state: 2, control: 3, horizon: 3, &stream)
    let trajectory = Trajectory(
      states: RandomProblem.matrix(2, 4, &stream), controls: RandomProblem.matrix(3, 3, &stream),
      observations: Matrix(rows: 0, columns: 4))
    let values = cost.values(along: trajectory)
    for t in 0...3 {
      let y =
        trajectory.states.column(t) + (t < 3 ? trajectory.controls.column(t) : [0, 0, 0])
      let exact =
        0.5 * cost.hessians[t].bilinear(y, y)
        + zip(cost.gradients.column(t), y).reduce(cost.constants[t]) { $0 + $1.0 * $1.1 }
      #expect(abs(values[t] - exact) < 1e-13)
    }
  }
}
