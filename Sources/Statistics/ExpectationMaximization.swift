// One run of EM, as tasks that workers share (see GaussianMixture+EM.swift for the mathematics).
//
//   factorize   one task a cluster    Σ_k → W_k, c_k
//   evaluate    one task a block      r_kn, ℓ_n of some points
//   scatter     one task a chunk      mass, mean and scatter of some points of one cluster
//   combine     one task a cluster    π_k, μ_k, Σ_k from its chunks
//
// Tasks are cut by the data alone, each task's sums run in a fixed order, and what is summed over tasks
// is summed in the order of their numbers: the result is the same for any number of workers.
//
// Chunks are merged by the formula of Chan, Golub and LeVeque (1983), exact for means far apart:
//
//   Σ_k = Σ_c S_c / m + Σ_c (m_c / m) (μ_c − μ)(μ_c − μ)ᵀ + φ I,   m = Σ_c m_c,   μ = Σ_c m_c μ_c / m

import Foundation
import LinearAlgebra

/// One run of EM with its scratch.
///
/// Unchecked: buffers are written by tasks at places that belong to the task alone, and all other state
/// by `advance`, which runs when no task does; `PhasedTasks` orders the two.
final class ExpectationMaximization: @unchecked Sendable {
  private enum Phase { case factorize, evaluate, scatter, combine }

  /// Points in one task of `evaluate`.
  private static let block = 128
  /// Points in one task of `scatter`, unless there would be too many.
  static let chunk = 128

  private let d: Int
  private let N: Int
  private let K: Int
  private let options: GaussianMixture.Options
  /// d × N.
  private let z: Scratch<Double>
  private let weights: Scratch<Double>
  private let means: Scratch<Double>
  private let covariances: Scratch<Double>
  /// Σ_k of the pass before.
  private let previous: Scratch<Double>
  private let evaluator: MixtureEvaluator
  private let shares: MixtureShares
  /// The points, those with the same home side by side.
  private let order: Scratch<Int32>
  /// The shares again, cluster by cluster: point, share, and where each cluster begins.
  private let entryPoint: Scratch<Int32>
  private let entryShare: Scratch<Double>
  private let entryStart: Scratch<Int>
  /// Σ_n r_kn.
  private let masses: Scratch<Double>
  /// Ranges of entries, those of one cluster side by side, and where each cluster's begin.
  private let chunkBounds: Scratch<Int>
  private let chunkStart: Scratch<Int>
  private let chunkMass: Scratch<Double>
  private let chunkMeans: Scratch<Double>
  private let chunkScatters: Scratch<Double>
  private let chunkSlots: Int
  private let pooled: Scratch<Double>
  /// For each cluster 0, or the leading minor for which its covariance does not factor.
  private let minors: Scratch<Int>

  private var phase = Phase.factorize
  private var objectives: [Double] = []
  private var reseeded = 0
  private var isConverged = false
  private var rested = true
  private var failure: StatisticsError?

  /// What one worker needs.
  struct Workspace: ~Copyable {
    fileprivate let evaluation: MixtureEvaluator.Workspace
    fileprivate let columns: Scratch<Double>
  }

  /// A run over N points (d × N, taken over) from a mixture.
  init(
    points z: consuming Scratch<Double>, start: GaussianMixture, options: GaussianMixture.Options
  ) {
    (d, K) = (start.dimension, start.clusters)
    N = z.count / d
    self.z = z
    self.options = options
    weights = Scratch(K)
    means = Scratch(d * K)
    covariances = Scratch(d * d * K)
    previous = Scratch(d * d * K)
    evaluator = MixtureEvaluator(dimension: d, clusters: K)
    shares = MixtureShares(points: N, clusters: K)
    order = Scratch(N, repeating: 0)
    entryPoint = Scratch(N * K, repeating: 0)
    entryShare = Scratch(N * K)
    entryStart = Scratch(K + 1, repeating: 0)
    masses = Scratch(K)
    chunkSlots = N / Self.chunk + 2 * K
    chunkBounds = Scratch(chunkSlots + 1, repeating: 0)
    chunkStart = Scratch(K + 1, repeating: 0)
    chunkMass = Scratch(chunkSlots)
    chunkMeans = Scratch(chunkSlots * d)
    chunkScatters = Scratch(chunkSlots * d * d)
    pooled = Scratch(d * d)
    minors = Scratch(K, repeating: 0)
    for n in 0..<N { order.pointer[n] = Int32(n) }
    for k in 0..<K { weights.pointer[k] = start.weights[k] }
    start.means.storage.withUnsafeBufferPointer { mu in
      if let mu = mu.baseAddress { means.pointer.update(from: mu, count: d * K) }
    }
    start.covariances.storage.withUnsafeBufferPointer { sigma in
      if let sigma = sigma.baseAddress { covariances.pointer.update(from: sigma, count: d * d * K) }
    }
    objectives.reserveCapacity(options.maxIterations + 1)
  }

  /// Runs to the end.
  func fit() throws(StatisticsError) -> GaussianMixture.Fit {
    let workspace = makeWorkspace()
    var count: Int? = K
    while let tasks = count {
      for task in 0..<tasks { execute(task, workspace) }
      count = advance()
    }
    return try result()
  }

  /// Runs to the end on several workers.
  func fit(workers: Int) async throws(StatisticsError) -> GaussianMixture.Fit {
    if workers <= 1 { return try fit() }
    let phases = PhasedTasks(count: K)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<workers {
        group.addTask { [self] in
          let workspace = makeWorkspace()
          while let task = await phases.next() {
            execute(task, workspace)
            if phases.finishedLast() {
              if let count = advance() { phases.open(count: count) } else { phases.close() }
            }
          }
        }
      }
    }
    return try result()
  }

  private func makeWorkspace() -> Workspace {
    Workspace(
      evaluation: MixtureEvaluator.Workspace(dimension: d, clusters: K),
      columns: Scratch(d * max(Self.chunk, chunkSlots)))
  }

  /// Does one task of the present phase.
  private func execute(_ task: Int, _ workspace: borrowing Workspace) {
    switch phase {
    case .factorize:
      if weights.pointer[task] > 0 { mend(task, workspace.evaluation) }
      minors.pointer[task] = evaluator.set(
        task, weight: weights.pointer[task], mean: means.pointer + task * d,
        covariance: covariances.pointer + task * d * d, floor: options.covarianceFloor,
        workspace.evaluation)
    case .evaluate:
      let start = task * Self.block
      evaluator.evaluate(
        z.pointer, start..<min(start + Self.block, N), order: order.pointer,
        homesKnown: !objectives.isEmpty, into: shares, workspace.evaluation)
    case .scatter:
      let first = chunkBounds.pointer[task]
      chunkMass.pointer[task] = scatter(
        of: z.pointer, d: d, count: chunkBounds.pointer[task + 1] - first,
        points: entryPoint.pointer + first, weights: entryShare.pointer + first,
        mean: chunkMeans.pointer + task * d, columns: workspace.columns.pointer,
        scatter: chunkScatters.pointer + task * d * d)
    case .combine:
      combine(task, workspace.columns.pointer)
    }
  }

  /// Replaces a covariance that is singular to rounding: by that of the pass before, or, at the start, by
  /// itself with a growing share of each variance added.
  private func mend(_ k: Int, _ workspace: borrowing MixtureEvaluator.Workspace) {
    let sigma = covariances.pointer + k * d * d
    if evaluator.isSound(sigma, workspace) { return }
    if !objectives.isEmpty {
      sigma.update(from: previous.pointer + k * d * d, count: d * d)
      return
    }
    var share = 1e-10
    while share < 1e-2 {
      for i in 0..<d { sigma[i + d * i] += share * sigma[i + d * i] + 1e-20 }
      if evaluator.isSound(sigma, workspace) { return }
      share *= 10
    }
  }

  /// What follows when all tasks of a phase are done.
  ///
  /// - Returns: the tasks of the next phase, or nil at the end.
  private func advance() -> Int? {
    switch phase {
    case .factorize:
      if let k = (0..<K).first(where: { minors.pointer[$0] != 0 }) {
        failure = .component(
          k, .notPositiveDefinite(leadingMinor: minors.pointer[k], size: d))
        return nil
      }
      phase = .evaluate
      return (N + Self.block - 1) / Self.block
    case .evaluate:
      var objective = 0.0
      for n in 0..<N { objective += shares.logDensity.pointer[n] }
      if let last = objectives.last, rested {
        let scale = max(abs(objective), Double(N))
        isConverged = abs(objective - last) <= options.tolerance * scale
      }
      objectives.append(objective)
      if isConverged || objectives.count > options.maxIterations { return nil }
      sortByHome()
      sortByCluster()
      phase = .scatter
      return chunkStart.pointer[K]
    case .scatter:
      phase = .combine
      return K
    case .combine:
      reseed()
      phase = .factorize
      return K
    }
  }

  private func result() throws(StatisticsError) -> GaussianMixture.Fit {
    if let failure { throw failure }
    return GaussianMixture.Fit(
      mixture: mixture(), objectives: objectives, isConverged: isConverged, reseeded: reseeded)
  }

  /// Puts points with the same home side by side, so that few clusters matter to a block.
  private func sortByHome() {
    let next = entryStart.pointer
    for k in 0...K { next[k] = 0 }
    for n in 0..<N { next[Int(shares.home.pointer[n]) + 1] += 1 }
    for k in 0..<K { next[k + 1] += next[k] }
    for n in 0..<N {
      let k = Int(shares.home.pointer[n])
      order.pointer[next[k]] = Int32(n)
      next[k] += 1
    }
  }

  /// Lists each cluster's points and cuts the lists into chunks. Clusters that hold less than half a
  /// point get none.
  private func sortByCluster() {
    let start = entryStart.pointer
    for k in 0...K { start[k] = 0 }
    for k in 0..<K { masses.pointer[k] = 0 }
    for n in 0..<N {
      for entry in n * K..<n * K + Int(shares.count.pointer[n]) {
        let k = Int(shares.cluster.pointer[entry])
        start[k] += 1
        masses.pointer[k] += shares.share.pointer[entry]
      }
    }
    var total = 0
    for k in 0..<K { (start[k], total) = (total, total + start[k]) }
    start[K] = total
    for n in 0..<N {
      for entry in n * K..<n * K + Int(shares.count.pointer[n]) {
        let k = Int(shares.cluster.pointer[entry])
        entryPoint.pointer[start[k]] = Int32(n)
        entryShare.pointer[start[k]] = shares.share.pointer[entry]
        start[k] += 1
      }
    }
    // Each cluster's start has moved on to the next one's.
    for k in stride(from: K, to: 0, by: -1) { start[k] = start[k - 1] }
    start[0] = 0
    // At most one chunk a cluster is not full, so that the slots suffice.
    let full = chunkSlots - K
    let size = max(Self.chunk, (total + full - 1) / full)
    var chunks = 0
    for k in 0..<K {
      chunkStart.pointer[k] = chunks
      guard masses.pointer[k] >= 0.5 else { continue }
      for first in stride(from: start[k], to: start[k + 1], by: size) {
        chunkBounds.pointer[chunks] = first
        chunkBounds.pointer[chunks + 1] = min(first + size, start[k + 1])
        chunks += 1
      }
    }
    chunkStart.pointer[K] = chunks
  }

  /// π_k, μ_k and Σ_k (lower triangle) from the cluster's chunks; an empty cluster keeps them.
  private func combine(_ k: Int, _ columns: UnsafeMutablePointer<Double>) {
    let chunks = chunkStart.pointer[k]..<chunkStart.pointer[k + 1]
    let (mean, sigma) = (means.pointer + k * d, covariances.pointer + k * d * d)
    (previous.pointer + k * d * d).update(from: sigma, count: d * d)
    if chunks.isEmpty { return }
    var mass = 0.0
    for c in chunks { mass += chunkMass.pointer[c] }
    for i in 0..<d { mean[i] = 0 }
    for c in chunks {
      let share = chunkMass.pointer[c] / mass
      for i in 0..<d { mean[i] += share * chunkMeans.pointer[c * d + i] }
    }
    for c in chunks {
      let scatter = chunkScatters.pointer + c * d * d
      let inverse = 1 / mass
      if c == chunks.lowerBound {
        for i in 0..<d * d { sigma[i] = inverse * scatter[i] }
      } else {
        for i in 0..<d * d { sigma[i] += inverse * scatter[i] }
      }
    }
    if chunks.count > 1 {
      for (column, c) in chunks.enumerated() {
        let root = (chunkMass.pointer[c] / mass).squareRoot()
        for i in 0..<d {
          columns[column * d + i] = root * (chunkMeans.pointer[c * d + i] - mean[i])
        }
      }
      Kernels.syrkLower(n: d, k: chunks.count, alpha: 1, columns, d, 1, sigma, d)
    }
    for i in 0..<d { sigma[i + d * i] += options.covarianceFloor }
    weights.pointer[k] = masses.pointer[k] / Double(N)
  }

  /// Puts clusters that hold less than half a point where the data is explained worst, with the mean
  /// covariance of the others. Each gets one new start on average; after that it is dropped.
  private func reseed() {
    rested = true
    for k in 0..<K where weights.pointer[k] > 0 && masses.pointer[k] < 0.5 {
      weights.pointer[k] = 0
      rested = false
    }
    if rested { return }
    for i in 0..<d * d { pooled.pointer[i] = 0 }
    for k in 0..<K where weights.pointer[k] > 0 {
      for i in 0..<d * d {
        pooled.pointer[i] += weights.pointer[k] * covariances.pointer[k * d * d + i]
      }
    }
    let logDensities = shares.logDensity.pointer
    for k in 0..<K where weights.pointer[k] == 0 && reseeded < K {
      reseeded += 1
      var worst = 0
      for n in 1..<N where logDensities[n] < logDensities[worst] { worst = n }
      logDensities[worst] = .infinity
      (means.pointer + k * d).update(from: z.pointer + worst * d, count: d)
      (covariances.pointer + k * d * d).update(from: pooled.pointer, count: d * d)
      weights.pointer[k] = 1 / Double(N)
    }
    var total = 0.0
    for k in 0..<K { total += weights.pointer[k] }
    for k in 0..<K { weights.pointer[k] /= total }
  }

  /// The present parameters, dropped clusters left out.
  private func mixture() -> GaussianMixture {
    let kept = (0..<K).filter { weights.pointer[$0] > 0 }
    var means = Matrix(rows: d, columns: kept.count)
    var covariances = MatrixSequence(rows: d, columns: d, count: kept.count)
    var total = 0.0
    for k in kept { total += weights.pointer[k] }
    for (target, k) in kept.enumerated() {
      for i in 0..<d { means[i, target] = self.means.pointer[k * d + i] }
      covariances.storage.withUnsafeMutableBufferPointer { all in
        guard let sigma = all.baseAddress.map({ $0 + target * d * d }) else { return }
        sigma.update(from: self.covariances.pointer + k * d * d, count: d * d)
        // Only lower triangles are kept up to date.
        Kernels.mirrorLower(n: d, sigma, d)
      }
    }
    return GaussianMixture(
      weights: kept.map { weights.pointer[$0] / total }, means: means, covariances: covariances)
  }
}

/// The mean and the scatter Σ_n w_n (z_n − μ)(z_n − μ)ᵀ of some points.
///
/// - Parameters:
///   - z: d × N.
///   - d: numbers a point.
///   - count: how many points, at least 1.
///   - points: which columns of z.
///   - weights: of each; their sum is not 0.
///   - mean: d numbers, written.
///   - columns: scratch, d × `ExpectationMaximization.chunk`.
///   - result: d × d, lower triangle written.
/// - Returns: the sum of the weights.
func scatter(
  of z: UnsafePointer<Double>, d: Int, count: Int, points: UnsafePointer<Int32>,
  weights: UnsafePointer<Double>, mean: UnsafeMutablePointer<Double>,
  columns: UnsafeMutablePointer<Double>, scatter result: UnsafeMutablePointer<Double>
) -> Double {
  var mass = 0.0
  for i in 0..<d { mean[i] = 0 }
  for q in 0..<count {
    let (w, point) = (weights[q], z + Int(points[q]) * d)
    mass += w
    for i in 0..<d { mean[i] += w * point[i] }
  }
  for i in 0..<d { mean[i] /= mass }
  var start = 0
  while start < count {
    let here = min(ExpectationMaximization.chunk, count - start)
    for q in 0..<here {
      let root = weights[start + q].squareRoot()
      let point = z + Int(points[start + q]) * d
      let column = columns + q * d
      for i in 0..<d { column[i] = root * (point[i] - mean[i]) }
    }
    Kernels.syrkLower(
      n: d, k: here, alpha: 1, columns, d, start == 0 ? 0 : 1, result, d)
    start += here
  }
  return mass
}
