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
