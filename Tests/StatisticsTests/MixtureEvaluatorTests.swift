import Foundation
import LinearAlgebra
import Testing

@testable import Statistics

@Suite struct MixtureEvaluatorTests {
  /// Far and near clusters, one of them nearly singular, one without weight.
  private func mixture(_ d: Int, _ K: Int, _ stream: inout RandomStream) -> GaussianMixture {
    let base = randomMixture(d, K, spread: 0.5, &stream)
    var covariances = base.covariances
    covariances[0] = 1e-4 * covariances[0]
    var weights = base.weights
    weights[K - 1] = 0
    return GaussianMixture(weights: weights, means: base.means, covariances: covariances)
  }

  private func evaluated(
    _ mixture: GaussianMixture, _ points: Matrix, cutoff: Double = MixtureEvaluator.cutoff,
    variant: Kernels.Variant = .best, order: [Int32]? = nil, homes: [Int32]? = nil
  ) throws -> (densities: [Double], shares: Matrix) {
    let (d, K, N) = (mixture.dimension, mixture.clusters, points.columns)
    let evaluator = MixtureEvaluator(
      dimension: d, clusters: K, cutoff: cutoff, variant: variant)
    let workspace = MixtureEvaluator.Workspace(dimension: d, clusters: K)
    try evaluator.load(mixture, workspace)
    let shares = MixtureShares(points: N, clusters: K)
    for (n, home) in (homes ?? []).enumerated() { shares.home.pointer[n] = home }
    points.storage.withUnsafeBufferPointer { z in
      (order ?? (0..<Int32(N)).map { $0 }).withUnsafeBufferPointer { order in
        guard let z = z.baseAddress else { return }
        evaluator.evaluate(
          z, 0..<N, order: order.baseAddress, homesKnown: homes != nil, into: shares, workspace)
      }
    }
    var dense = Matrix(rows: K, columns: N)
    for n in 0..<N {
      var largest = -1.0
      for entry in n * K..<n * K + Int(shares.count.pointer[n]) {
        let k = Int(shares.cluster.pointer[entry])
        dense[k, n] = shares.share.pointer[entry]
        largest = max(largest, dense[k, n])
      }
      #expect(dense[Int(shares.home.pointer[n]), n] == largest)
    }
    return ((0..<N).map { shares.logDensity.pointer[$0] }, dense)
  }

  @Test(arguments: [(1, 2), (4, 3), (7, 4), (33, 8), (59, 20)])
  func leavingOutWhatIsBelowRoundingChangesNothing(_ d: Int, _ K: Int) throws {
    var stream = RandomStream(seed: 51).child(.custom, d, K)
    let mixture = mixture(d, K, &stream)
    let points = draw(301, from: mixture, &stream)
    let short = try evaluated(mixture, points)
    let full = try evaluated(mixture, points, cutoff: .infinity)
    var leftOut = 0
    for n in 0..<301 {
      #expect(abs(short.densities[n] - full.densities[n]) <= 1e-12 * abs(full.densities[n]))
      for k in 0..<K {
        #expect(abs(short.shares[k, n] - full.shares[k, n]) <= 1e-12)
        if short.shares[k, n] == 0 && full.shares[k, n] > 0 { leftOut += 1 }
      }
    }
    #expect(d < 33 || leftOut > 0)
  }

  @Test(arguments: [(3, 3), (18, 5), (59, 20)])
  func instructionSetsAgree(_ d: Int, _ K: Int) throws {
    var stream = RandomStream(seed: 52).child(.custom, d, K)
    let mixture = mixture(d, K, &stream)
    let points = draw(77, from: mixture, &stream)
    let plain = try evaluated(mixture, points, variant: .plain)
    for variant in Kernels.Variant.allCases where variant.isSupported {
      let other = try evaluated(mixture, points, variant: variant)
      for n in 0..<77 {
        #expect(abs(plain.densities[n] - other.densities[n]) < 1e-11 * abs(plain.densities[n]))
        for k in 0..<K { #expect(abs(plain.shares[k, n] - other.shares[k, n]) < 1e-9) }
      }
    }
  }

  /// In blocks of other company, and from other guesses, a point comes out the same to the last bit.
  @Test func resultsDependNeitherOnTheOrderNorOnTheGuess() throws {
    var stream = RandomStream(seed: 53)
    let mixture = mixture(21, 7, &stream)
    let points = draw(203, from: mixture, &stream)
    let plain = try evaluated(mixture, points)
    for guesses in [nil, (0..<203).map { _ in Int32(stream.index(below: 7)) }] {
      let other = try evaluated(
        mixture, points, order: stream.permutation(203).map { Int32($0) }, homes: guesses)
      #expect(plain.densities == other.densities)
      #expect(plain.shares == other.shares)
    }
  }
}

@Suite struct ParallelMixtureTests {
  @Test(arguments: [false, true])
  func theFitIsTheSameForAnyNumberOfWorkers(_ emptyClusters: Bool) async throws {
    var stream = RandomStream(seed: 54)
    // Unequal clusters: some are cut into chunks, some are not.
    let base = randomMixture(30, 7, spread: 0.6, &stream)
    let truth = GaussianMixture(
      weights: [0.6, 0.2, 0.1, 0.04, 0.03, 0.02, 0.01], means: base.means,
      covariances: base.covariances)
    let points = draw(1500, from: truth, &stream)
    var options = GaussianMixture.Options()
    options.maxClusters = 9
    options.maxIterations = 12
    options.tolerance = 0
    var start: GaussianMixture?
    if emptyClusters {
      start = GaussianMixture(
        weights: [0.5, 0.5],
        means: Matrix(
          rows: 30, columns: 2,
          columnMajor: [Double](repeating: 0, count: 30) + [Double](repeating: 1e4, count: 30)),
        covariances: MatrixSequence(repeating: .identity(30), count: 2))
      options.maxClusters = 2
    }
    var seeds = stream
    let alone = try {
      try GaussianMixture.fitted(
        to: points, options: options, warmStart: start, stream: &seeds)
    }()
    #expect(alone.iterations > 1 && (alone.reseeded > 0) == emptyClusters)
    for workers in [1, 2, 5] {
      var seeds = stream
      let fit = try await GaussianMixture.fitted(
        to: points, options: options, warmStart: start, stream: &seeds, workers: workers)
      #expect(fit.objectives == alone.objectives)
      #expect(fit.mixture == alone.mixture)
    }
  }

  @Test func aFailureIsTheSameForAnyNumberOfWorkers() async throws {
    var stream = RandomStream(seed: 55)
    let points = Matrix(rows: 3, columns: 200, columnMajor: stream.normals(600))
    let start = GaussianMixture(
      weights: [0.5, 0.5], means: Matrix(rows: 3, columns: 2),
      covariances: MatrixSequence(repeating: Matrix(diagonal: [1, -1, 1]), count: 2))
    var options = GaussianMixture.Options()
    options.maxClusters = 2
    for workers in [1, 3] {
      do {
        _ = try await GaussianMixture.fitted(
          to: points, options: options, warmStart: start, stream: &stream, workers: workers)
        Issue.record("a covariance with a negative entry was accepted")
      } catch {
        #expect(error == .component(0, .notPositiveDefinite(leadingMinor: 2, size: 3)))
      }
    }
  }

  /// Every task of every phase once, and no task before the phases before it are done.
  @Test(arguments: [1, 2, 8]) func phasesAreDoneInOrder(_ workers: Int) async {
    let sizes = (0..<200).map { 1 + $0 % 7 }
    let phases = PhasedTasks(count: sizes[0])
    let log = Log()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<workers {
        group.addTask {
          while let task = await phases.next() {
            log.add(task)
            if phases.finishedLast() {
              if let count = log.closePhase(sizes) {
                phases.open(count: count)
              } else {
                phases.close()
              }
            }
          }
        }
      }
    }
    #expect(log.done.map { $0.sorted() } == sizes.map { Array(0..<$0) })
  }

  // Sendable: all access to the state is under the lock, one that ThreadSanitizer knows.
  private final class Log: @unchecked Sendable {
    private let lock = NSLock()
    private var state: (done: [[Int]], present: [Int]) = ([], [])

    var done: [[Int]] { lock.withLock { state.done } }

    func add(_ task: Int) { lock.withLock { state.present.append(task) } }

    func closePhase(_ sizes: [Int]) -> Int? {
      lock.withLock {
        state.done.append(state.present)
        state.present = []
        return state.done.count < sizes.count ? sizes[state.done.count] : nil
      }
    }
  }
}
