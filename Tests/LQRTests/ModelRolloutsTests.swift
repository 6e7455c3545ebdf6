import GPSCore
import GPSTestSupport
import LQR
import LinearAlgebra
import Statistics
import Testing

@Suite("Trajectories drawn from a model") struct ModelRolloutsTests {
  let dynamics: LinearGaussianDynamics
  let controller: LinearGaussianController
  let observations: ObservationModel
  let n = 3
  let m = 2
  let T = 5

  init() throws {
    var stream = RandomStream(seed: 31)
    dynamics = RandomProblem.dynamics(state: 3, control: 2, horizon: 5, &stream)
    controller = try RandomProblem.controller(state: 3, control: 2, horizon: 5, &stream)
    let states = RandomProblem.matrix(3, 6, &stream)
    observations = try ObservationModel(about: [
      Trajectory(
        states: states, controls: Matrix(rows: 2, columns: 5), observations: states[1..<3, 0..<6])
    ])
  }

  @Test("means and covariances of states and controls agree with the marginals")
  func monteCarlo() throws {
    let marginals = try marginals(of: controller, under: dynamics)
    let (d, count) = (n + m, 20_000)
    var sums = Matrix(rows: d, columns: T + 1)
    var products = MatrixSequence(rows: d, columns: d, count: T + 1)
    let root = RandomStream(seed: 32)
    let sampler = try TrajectorySampler(
      dynamics: dynamics, controller: controller, observations: observations)
    for sample in 0..<count {
      var stream = root.child(.custom, sample)
      let trajectory = try #require(sampler.trajectory(stream: &stream))
      for t in 0...T {
        // About the means, so that the products do not cancel.
        var e = zip(trajectory.states.column(t), marginals.stateMeans.column(t)).map(-)
        e +=
          t < T
          ? zip(trajectory.controls.column(t), marginals.controlMeans.column(t)).map(-) : [0, 0]
        for i in 0..<d {
          sums[i, t] += e[i]
          for j in 0..<d { products.storage[(t * d + j) * d + i] += e[i] * e[j] }
        }
      }
    }
    let N = Double(count)
    for t in 0...T {
      let size = t < T ? d : n
      let covariance =
        t < T ? marginals.jointCovariance(t, under: controller) : marginals.stateCovariances[T]
      for i in 0..<size {
        let deviation = covariance[i, i].squareRoot()
        #expect(abs(sums[i, t] / N) < 5 * deviation / N.squareRoot())
        for j in 0..<size {
          let scale = deviation * covariance[j, j].squareRoot()
          let found = products[t][i, j] / N
          #expect(abs(found - covariance[i, j]) < 8 * scale / N.squareRoot())
        }
      }
    }
  }

  @Test("a stream gives the same trajectory again, another stream another one")
  func reproducible() throws {
    func draw(_ seed: UInt64) throws -> Trajectory? {
      var stream = RandomStream(seed: seed)
      return try TrajectorySampler(
        dynamics: dynamics, controller: controller, observations: observations
      ).trajectory(stream: &stream)
    }
    let first = try #require(try draw(1))
    #expect(try draw(1) == first)
    #expect(try draw(2) != first)
    #expect(first.observations == first.states[1..<3, 0..<6])
    #expect(first.points.rows == 0 && first.horizon == 5)
  }

  @Test("without noise in the model, states follow the dynamics to the last bit of rounding")
  func deterministicModel() throws {
    var still = dynamics
    still.initialCovariance = Matrix(rows: 3, columns: 3)
    still.covariances = MatrixSequence(rows: 3, columns: 3, count: 5)
    var stream = RandomStream(seed: 4)
    let sampler = try TrajectorySampler(
      dynamics: still, controller: controller, observations: observations)
    let trajectory = try #require(sampler.trajectory(stream: &stream))
    #expect(trajectory.states.column(0) == still.initialMean)
    for t in 0..<5 {
      let y = trajectory.states.column(t) + trajectory.controls.column(t)
      let next = zip(still.transitions[t] * y, still.offsets.column(t)).map(+)
      #expect(relativeError(trajectory.states.column(t + 1), next) < 1e-14)
    }
  }

  /// Variances 1e12 apart, one of them 0, with and without a singular correlation that takes jitter.
  @Test("a dimension's noise is its own, whatever the others' units", arguments: [false, true])
  func ownJitter(_ isSingular: Bool) throws {
    let scale = [1e6, 1e-6, 0]
    var covariance = Matrix(rows: 3, columns: 3)
    for i in 0..<3 {
      for j in 0..<3 {
        covariance[i, j] = (isSingular ? 1 : i == j ? 1 : 0.5) * scale[i] * scale[j]
      }
    }
    var model = LinearGaussianDynamics(
      transitions: MatrixSequence(rows: 3, columns: 5, count: 5),
      offsets: Matrix(rows: 3, columns: 5),
      covariances: MatrixSequence(repeating: covariance, count: 5), initialMean: [0, 0, 7],
      initialCovariance: covariance)
    for t in 0..<5 { model.offsets[2, t] = 7 }
    let sampler = try TrajectorySampler(
      dynamics: model, controller: controller, observations: observations)
    var (squares, product, count) = ([0.0, 0, 0], 0.0, 0.0)
    for sample in 0..<400 {
      var stream = RandomStream(seed: 6).child(.custom, sample)
      let states = try #require(sampler.trajectory(stream: &stream)).states
      for t in 0...5 {
        count += 1
        for i in 0..<2 { squares[i] += states[i, t] * states[i, t] }
        product += states[0, t] * states[1, t]
        #expect(states[2, t] == 7)
      }
    }
    // Chi-square of 2400: a deviation of 3 % in the variance.
    for i in 0..<2 { #expect(abs(squares[i] / count / (scale[i] * scale[i]) - 1) < 0.15) }
    #expect(abs(product / count - (isSingular ? 1 : 0.5)) < 0.15)
  }

  @Test("a covariance that is none is named with its step")
  func indefiniteCovariance() {
    var wrong = dynamics
    wrong.covariances[3] = Matrix([[1, 2, 0], [2, 1, 0], [0, 0, 1]])
    #expect {
      try TrajectorySampler(dynamics: wrong, controller: controller, observations: observations)
    } throws: { error in
      guard case LQRError.covariance(field: "dynamics' covariance", step: 3, _) = error else {
        return false
      }
      return true
    }
  }

  @Test("the visited region is as wide as the rollouts and the model's noise say")
  func region() {
    let seen = Trajectory(
      states: Matrix([[0, 1, 2], [5, 5, 5], [-3, -3, -3]]), controls: Matrix(rows: 1, columns: 2),
      observations: Matrix(rows: 0, columns: 3))
    var model = LinearGaussianDynamics(
      transitions: MatrixSequence(rows: 3, columns: 4, count: 2),
      offsets: Matrix(rows: 3, columns: 2),
      covariances: MatrixSequence(repeating: Matrix(diagonal: [1e-4, 4e-4, 0]), count: 2),
      initialMean: [0, 5, -3], initialCovariance: Matrix(diagonal: [0, 1e-4, 0]))
    // Margins: 2 · 2; 4 √(1e-4 + 2 · 4e-4) = 0.12; rounding.
    let region = VisitedRegion(of: [seen], under: model)
    func contains(_ x: [Double]) -> Bool {
      var moved = seen
      moved.states.setColumn(1, to: x)
      return region.contains(moved)
    }
    #expect(contains([-3.9, 5.11, -3]) && contains([5.9, 4.89, -3]))
    #expect(!contains([-4.1, 5, -3]) && !contains([6.1, 5, -3]))
    #expect(!contains([0, 5.13, -3]) && !contains([0, 4.87, -3]))
    #expect(contains([0, 5, -3 - 1e-9]) && !contains([0, 5, -3.001]) && !contains([0, .nan, -3]))
    model.covariances[1] = Matrix(diagonal: [100, 0, 0])
    #expect(VisitedRegion(of: [seen], under: model).contains(seen))
  }

  @Test("a trajectory that overflows is none")
  func overflow() throws {
    var wild = dynamics
    for i in wild.transitions.storage.indices { wild.transitions.storage[i] *= 1e120 }
    var stream = RandomStream(seed: 5)
    let sampler = try TrajectorySampler(
      dynamics: wild, controller: controller, observations: observations)
    #expect(sampler.trajectory(stream: &stream) == nil)
  }
}
