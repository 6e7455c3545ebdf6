// The inputs of the benchmarks. Every number comes from a stream of its own seed in the order in which
// the functions below draw it, matrices by columns, so that another program with NumPy's Philox makes
// the same ones (scripts/peers/inputs.py does).

import Foundation
import GuidedPolicySearch

enum BenchmarkInputs {
  /// Seeds of the inputs.
  enum Seed {
    static let lqr: UInt64 = 10
    static let mixture: UInt64 = 20
    static let dynamics: UInt64 = 30
    static let policy: UInt64 = 40
  }

  private static func matrix(
    _ rows: Int, _ columns: Int, _ stream: inout RandomStream
  ) -> Matrix {
    Matrix(rows: rows, columns: columns, columnMajor: stream.normals(rows * columns))
  }

  /// I + ¼ S Sᵀ with S random of about unit norm: well conditioned.
  private static func curvature(_ size: Int, _ stream: inout RandomStream) -> Matrix {
    let S = (1 / Double(size).squareRoot()) * matrix(size, size, &stream)
    return (.identity(size) + 0.25 * (S * S.transposed)).symmetrized
  }

  /// A stable time-varying linear-quadratic problem: A = 0.6 I + 0.15 R / √n, B = R / √n.
  static func linearQuadratic(
    n: Int, m: Int, T: Int
  ) -> (cost: QuadraticCost, dynamics: LinearGaussianDynamics) {
    var stream = RandomStream(seed: Seed.lqr)
    var cost = QuadraticCost(state: n, control: m, horizon: T)
    var F = MatrixSequence(rows: n, columns: n + m, count: T)
    var f = Matrix(rows: n, columns: T)
    let root = Double(n).squareRoot()
    for t in 0..<T {
      let A = 0.6 * Matrix.identity(n) + (0.15 / root) * matrix(n, n, &stream)
      let B = (1 / root) * matrix(n, m, &stream)
      F[t] = Matrix(rows: n, columns: n + m, columnMajor: A.storage + B.storage)
      cost.hessians[t] = curvature(n + m, &stream)
      f.setColumn(t, to: stream.normals(n).map { 0.1 * $0 })
      cost.gradients.setColumn(t, to: stream.normals(n + m))
    }
    var last = Matrix(rows: n + m, columns: n + m)
    last[0..<n, 0..<n] = curvature(n, &stream)
    cost.hessians[T] = last
    cost.gradients.setColumn(T, to: stream.normals(n) + [Double](repeating: 0, count: m))
    let dynamics = LinearGaussianDynamics(
      transitions: F, offsets: f,
      covariances: MatrixSequence(repeating: 0.01 * .identity(n), count: T),
      initialMean: stream.normals(n), initialCovariance: 0.1 * .identity(n))
    return (cost, dynamics)
  }

  /// A controller that does nothing but explore: the reference of the KL-constrained step.
  static func idleController(n: Int, m: Int, T: Int) throws -> LinearGaussianController {
    try LinearGaussianController(
      gains: MatrixSequence(rows: m, columns: n, count: T), offsets: Matrix(rows: m, columns: T),
      covariances: MatrixSequence(repeating: .identity(m), count: T))
  }

  /// N points of K overlapping normal distributions in d dimensions, each dimension brought to mean 0
  /// and deviation 1, and the mixture that EM starts from: the mean of twenty points of each
  /// distribution, unit covariances.
  static func clusteredPoints(d: Int, K: Int, N: Int) -> (points: Matrix, start: GaussianMixture) {
    var stream = RandomStream(seed: Seed.mixture)
    var points = Matrix(rows: d, columns: N)
    for k in 0..<K {
      let spread = .identity(d) + (0.5 / Double(d).squareRoot()) * matrix(d, d, &stream)
      let center = stream.normals(d).map { 0.5 * $0 }
      for n in stride(from: k, to: N, by: K) {
        let offset = spread * stream.normals(d)
        points.setColumn(n, to: zip(center, offset).map(+))
      }
    }
    standardize(&points)
    var means = Matrix(rows: d, columns: K)
    for k in 0..<K {
      for sample in 0..<20 {
        let point = points.column((k + K * sample) % N)
        for i in 0..<d { means[i, k] += 0.05 * point[i] }
      }
    }
    let start = GaussianMixture(
      weights: [Double](repeating: 1 / Double(K), count: K), means: means,
      covariances: MatrixSequence(repeating: .identity(d), count: K))
    return (points, start)
  }

  private static func standardize(_ points: inout Matrix) {
    let (d, N) = (points.rows, points.columns)
    for i in 0..<d {
      var mean = 0.0
      for n in 0..<N { mean += points[i, n] / Double(N) }
      var variance = 0.0
      for n in 0..<N {
        points[i, n] -= mean
        variance += points[i, n] * points[i, n] / Double(N)
      }
      for n in 0..<N { points[i, n] /= variance.squareRoot() }
    }
  }

  /// Rollouts of a stable time-varying linear system, N for each of M conditions.
  static func trajectories(
    n: Int, m: Int, T: Int, N: Int, M: Int
  ) -> [[Trajectory]] {
    var stream = RandomStream(seed: Seed.dynamics)
    let root = Double(n).squareRoot()
    var A: [Matrix] = []
    var B: [Matrix] = []
    for _ in 0..<T {
      A.append(0.6 * Matrix.identity(n) + (0.15 / root) * matrix(n, n, &stream))
      B.append((1 / root) * matrix(n, m, &stream))
    }
    return (0..<M).map { _ in
      let center = stream.normals(n)
      return (0..<N).map { _ in
        var x = zip(center, stream.normals(n)).map { $0 + 0.1 * $1 }
        var states = Matrix(rows: n, columns: T + 1)
        var controls = Matrix(rows: m, columns: T)
        states.setColumn(0, to: x)
        for t in 0..<T {
          let u = stream.normals(m)
          let (Ax, Bu, noise) = (A[t] * x, B[t] * u, stream.normals(n))
          x = (0..<n).map { Ax[$0] + Bu[$0] + 0.05 * noise[$0] }
          controls.setColumn(t, to: u)
          states.setColumn(t + 1, to: x)
        }
        return Trajectory(states: states, controls: controls, observations: states)
      }
    }
  }

  /// The points [x_t; u_t; x_{t+1}] of a condition: T matrices (2 n + m) × N.
  static func points(of trajectories: [Trajectory]) -> MatrixSequence {
    let N = trajectories.count
    guard let first = trajectories.first else {
      return MatrixSequence(rows: 1, columns: 1, count: 0)
    }
    let (n, m, T) = (first.states.rows, first.controls.rows, first.horizon)
    let d = 2 * n + m
    var points = MatrixSequence(rows: d, columns: N, count: T)
    for (sample, trajectory) in trajectories.enumerated() {
      for t in 0..<T {
        let z =
          trajectory.states.column(t) + trajectory.controls.column(t)
          + trajectory.states.column(t + 1)
        points.storage.replaceSubrange((t * N + sample) * d..<(t * N + sample + 1) * d, with: z)
      }
    }
    return points
  }

  /// A mixture of the right shape for some points, without EM: K means among the points, and their
  /// pooled covariance scaled by 0.5 … 1.5, in whitened coordinates.
  static func pooledPrior(of points: MatrixSequence, clusters K: Int) throws -> MixturePrior {
    let whitening = try Whitening(of: points)
    let (d, N) = (points.rows, points.columns * points.count)
    let flat = whitening.whitened(Matrix(rows: d, columns: N, columnMajor: points.storage))
    let pooled =
      ((1 / Double(N)) * (flat * flat.transposed) + 1e-3 * .identity(d)).symmetrized
    var means = Matrix(rows: d, columns: K)
    var covariances = MatrixSequence(rows: d, columns: d, count: K)
    for k in 0..<K {
      means.setColumn(k, to: flat.column(k * (N / K)))
      covariances[k] = (0.5 + Double(k) / Double(K)) * pooled
    }
    return MixturePrior(
      whitening: whitening,
      mixture: GaussianMixture(
        weights: [Double](repeating: 1 / Double(K), count: K), means: means,
        covariances: covariances))
  }
}
