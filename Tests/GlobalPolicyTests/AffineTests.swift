import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import GlobalPolicy

@Suite struct AffineTests {
  let stream = RandomStream(seed: 51)

  func weightedSet(samples S: Int) throws -> (set: DistillationSet, weights: [Double]) {
    var draw = stream
    let observations = randomMatrix(3, S, &draw)
    let targets = randomMatrix(2, S, &draw)
    var precisions = MatrixSequence(rows: 2, columns: 2, count: S)
    for t in 0..<S { precisions[t] = randomPrecision(2, &draw) }
    let weights = (0..<S).map { [0.1, 1, 0, 7][$0 % 4] }
    let set = try DistillationSet(shares: [
      DistillationSet.Share(
        condition: 0, parts: [.init(observations: observations, targets: targets)],
        precisions: precisions, weights: weights)
    ])
    return (set, weights)
  }

  @Test func anAffineControllerIsRecovered() async throws {
    let W = Matrix([[1, -2, 0.5], [0, 10, 0.1]])
    var draw = stream
    // One dimension in other units, and far from zero; one that never moves.
    var observations = randomMatrix(3, 80, &draw)
    for s in 0..<80 {
      observations[0, s] = 1e4 + 1e3 * observations[0, s]
      observations[2, s] = 6
    }
    var targets = W * observations
    for s in 0..<80 { targets[1, s] -= 3 }
    let set = try DistillationSet(
      observations: observations, targets: targets,
      precisions: MatrixSequence(repeating: Matrix([[2, 0.5], [0.5, 1]]), count: 1),
      precisionIndices: [Int](repeating: 0, count: 80))
    let result = try await AffineDistiller(regularization: 1e-12).distill(
      nil, onto: set, memory: nil, stream: stream, workers: 1)
    let scale = targets.largestMagnitude
    #expect((result.policy.mean(for: observations) - targets).largestMagnitude < 1e-9 * scale)
    for j in 0..<2 {
      for i in 0..<2 { #expect(abs(result.policy.gain[i, j] - W[i, j]) < 1e-8) }
    }
    #expect(result.policy.gain.column(2).allSatisfy { abs($0) < 1e-9 }, "nothing is known of it")
    #expect(result.finalLoss < 1e-12 && result.initialLoss > 0.1)
    #expect((result.policy.precision - Matrix([[2, 0.5], [0.5, 1]])).largestMagnitude < 1e-12)
  }

  /// Where the loss is least its derivatives by W and b vanish: Σ ν P (W o + b − û) [o; 1]ᵀ = 0.
  @Test func weightsAndPrecisionsWeighTheRegression() async throws {
    let (set, weights) = try weightedSet(samples: 40)
    let policy = try await AffineDistiller(regularization: 1e-12).distill(
      nil, onto: set, memory: nil, stream: stream, workers: 1
    ).policy
    let means = policy.mean(for: set.parts[0].observations)
    var slope = Matrix(rows: 2, columns: 4)
    var unweighted = slope
    var mean = Matrix(rows: 2, columns: 2)
    for s in 0..<40 {
      let error = (0..<2).map { means[$0, s] - set.parts[0].targets[$0, s] }
      let share = Matrix.outer(
        set.precisions[s] * error, set.parts[0].observations.column(s) + [1])
      slope += weights[s] * share
      unweighted += share
      mean += weights[s] / weights.reduce(0, +) * set.precisions[s]
    }
    #expect(slope.largestMagnitude < 1e-8)
    #expect(unweighted.largestMagnitude > 1, "the case must tell the two apart")
    // Σ_π minimises Σ ν (½ tr(C⁻¹ Σ_π) − ½ ln|Σ_π|).
    #expect((policy.precision - mean).largestMagnitude < 1e-12)
    #expect((policy.covariance * mean - .identity(2)).largestMagnitude < 1e-12)
    let square = policy.covarianceFactor * policy.covarianceFactor.transposed
    #expect((square - policy.covariance).largestMagnitude < 1e-12)
  }

  /// A network without hidden layers minimises the same loss, weights included.
  @Test func aNetworkWithoutHiddenLayersAgrees() async throws {
    let (set, _) = try weightedSet(samples: 40)
    let affine = try await AffineDistiller().distill(
      nil, onto: set, memory: nil, stream: stream, workers: 1)
    var training = PolicyDistiller.Options()
    training.batchSize = 40
    training.steps = 6000
    training.learningRate = 0.01
    let neural = try await NeuralDistiller(
      network: network([]), training: training, initialization: stream
    ).distill(nil, onto: set, memory: nil, stream: stream, workers: 1)
    let observations = set.parts[0].observations
    let gap = neural.policy.mean(for: observations) - affine.policy.mean(for: observations)
    #expect(gap.largestMagnitude < 1e-3)
    #expect(neural.policy.precision == affine.policy.precision)
    let again = try await AffineDistiller().distill(
      affine.policy, onto: set, memory: nil, stream: stream, workers: 1)
    #expect(again.policy == affine.policy && again.initialLoss == affine.finalLoss)
    #expect(affine.finalLoss < affine.initialLoss)
  }

  @Test func actIsTheMeanPlusTheFactorTimesTheNoise() async throws {
    let (set, _) = try weightedSet(samples: 12)
    let policy = try await AffineDistiller().distill(
      nil, onto: set, memory: nil, stream: stream, workers: 1
    ).policy
    var draw = stream
    let (observation, noise) = (draw.normals(3), draw.normals(2))
    var action = [0.0, 0.0]
    var span = action.mutableSpan
    var workspace = policy.makeWorkspace()
    policy.act(
      step: 0, state: [Double]().span, observation: observation.span, noise: noise.span,
      workspace: &workspace, action: &span)
    let mean = policy.mean(for: Matrix(rows: 3, columns: 1, columnMajor: observation))
    let shift = policy.covarianceFactor * noise
    for i in 0..<2 { #expect(abs(action[i] - mean[i, 0] - shift[i]) < 1e-12) }
  }

  /// Linear in, linear out: the regression finds W and b again.
  @Test func itsLinearizationIsItself() async throws {
    let W = Matrix([[0.5, -1, 0.25], [2, 0.1, -0.7]])
    let policy = try AffinePolicy(
      gain: W, offset: [3, -4], precision: Matrix([[4, 1], [1, 2]]))
    var draw = stream
    let rollouts = (0..<20).map { _ in
      let states = randomMatrix(3, 7, &draw)
      return Trajectory(
        states: states, controls: Matrix(rows: 2, columns: 6), observations: states)
    }
    var options = PolicyLinearizer.Options()
    options.regression.regularization = 1e-10
    let controller = try PolicyLinearizer(options: options).linearize(
      policy, about: rollouts, updating: PolicyPrior(), stream: stream
    ).controller
    for t in 0..<6 {
      #expect(relativeError(controller.gains[t].storage, W.storage) < 1e-6)
      #expect(relativeError(controller.offsets.column(t), [3, -4]) < 1e-6)
      #expect(
        relativeError(controller.covariances[t].storage, policy.covariance.storage) < 1e-5)
    }
  }

  @Test func badSetsAndOptionsAreTypedErrors() async throws {
    #expect(throws: InvalidOption.self) { try AffineDistiller(regularization: 0) }
    let singular = try DistillationSet(
      observations: Matrix(rows: 1, columns: 2), targets: Matrix(rows: 2, columns: 2),
      precisions: MatrixSequence(rows: 2, columns: 2, count: 1), precisionIndices: [0, 0])
    await #expect(throws: GlobalPolicyError.self) {
      try await AffineDistiller().distill(
        nil, onto: singular, memory: nil, stream: stream, workers: 1)
    }
  }
}

@Suite struct WeightedSetTests {
  func share(weights: [Double]?, targets: Matrix = Matrix([[1, 2]])) -> DistillationSet.Share {
    DistillationSet.Share(
      condition: 3, parts: [.init(observations: Matrix([[1, 2, 3]]), targets: targets)],
      precisions: MatrixSequence(rows: 1, columns: 1, count: 2, columnMajor: [4, 10]),
      weights: weights)
  }

  /// Weights 0.5 and 2 on precisions 4 and 10: mean (0.5 · 4 + 2 · 10) / 2.5, losses in the ratio 2 : 20.
  @Test func weightsScalePrecisionsByStep() throws {
    let set = try DistillationSet(shares: [share(weights: [0.5, 2])])
    #expect(set.meanPrecision == Matrix([[8.8]]))
    let normalized = set.normalizedPrecisions(scale: [3], clipping: nil).0
    #expect(abs(normalized[0][0, 0] - 2.0 / 11) < 1e-15)
    #expect(abs(normalized[1][0, 0] - 20.0 / 11) < 1e-15)
    #expect(set.precisions.storage == [4, 10], "the controllers' own")
    let plain = try DistillationSet(shares: [share(weights: nil), share(weights: [1, 1])])
    #expect(plain.meanPrecision == Matrix([[7]]))
    #expect(plain.precisionIndices == [0, 1, 2, 3])
  }

  @Test func observationsAreShared() throws {
    let observations = Matrix(rows: 2, columns: 50)
    let share = DistillationSet.Share(
      condition: 0,
      parts: [.init(observations: observations, targets: Matrix(rows: 1, columns: 49))],
      precisions: MatrixSequence(repeating: .identity(1), count: 49))
    let set = try DistillationSet(shares: [share])
    #expect(sharesStorage(set.parts[0].observations, observations))
  }

  @Test func badSharesAreNamed() throws {
    #expect(
      throws: GlobalPolicyError.notFinite(field: "weight", condition: 3, sample: 0, step: 1)
    ) { try DistillationSet(shares: [share(weights: [1, .nan])]) }
    #expect(
      throws: GlobalPolicyError.notFinite(field: "target", condition: 3, sample: 0, step: 1)
    ) { try DistillationSet(shares: [share(weights: nil, targets: Matrix([[1, .nan]]))]) }
    #expect(throws: GlobalPolicyError.emptySet) {
      try DistillationSet(shares: [share(weights: [0, 0])])
    }
  }
}

@Suite struct NeuralDistillerTests {
  let stream = RandomStream(seed: 52)

  /// A training that explodes at its rate is begun again with a hundredth of it, from the previous
  /// network and then from new weights; what that gives is what `PolicyDistiller` gives when asked for it.
  @Test func divergedTrainingsBeginAgain() async throws {
    let set = try makeSet(observation: 4, control: 2, count: 100) { [$0[0], $0[1] - $0[2]] }
    var training = PolicyDistiller.Options()
    training.optimizer = .sgd
    training.momentum = 0
    training.steps = 200
    training.learningRate = 1e35
    await #expect(throws: GlobalPolicyError.self) {
      try await PolicyDistiller(options: training).distill(
        .initial(observation: 4, control: 2, options: network([8]), stream: stream), onto: set,
        stream: stream, workers: 1)
    }
    await #expect(throws: GlobalPolicyError.self) {
      try await NeuralDistiller(network: network([8]), training: training, initialization: stream)
        .distill(nil, onto: set, memory: nil, stream: stream, workers: 1)
    }
    training.learningRate = 10_000
    let result = try await NeuralDistiller(
      network: network([8]), training: training, initialization: stream
    ).distill(nil, onto: set, memory: nil, stream: stream, workers: 1)
    training.learningRate = 100
    let direct = try await PolicyDistiller(options: training).distill(
      .initial(observation: 4, control: 2, options: network([8]), stream: stream), onto: set,
      stream: stream, workers: 1)
    let isSame = result.policy == direct.policy
    #expect(isSame && result.notes.first?.contains("trained again from the previous") == true)
  }

  @Test func withoutTroubleItIsThePolicyDistiller() async throws {
    let set = try makeSet(observation: 4, control: 2, count: 100) { [$0[0], $0[1] - $0[2]] }
    var training = PolicyDistiller.Options()
    training.steps = 50
    training.keepOptimizerState = true
    let distiller = try NeuralDistiller(
      network: network([8]), training: training, initialization: stream)
    let first = try await distiller.distill(
      nil, onto: set, memory: nil, stream: stream, workers: 1)
    let second = try await distiller.distill(
      first.policy, onto: set, memory: first.memory, stream: stream, workers: 1)
    let direct = try await PolicyDistiller(options: training).distill(
      first.policy, onto: set, optimizer: first.memory, stream: stream, workers: 1)
    let isSame = second.policy == direct.policy && second.memory == direct.optimizer
    #expect(isSame && second.memory?.steps == 100 && second.notes.isEmpty)
    #expect(second.initialLoss == first.finalLoss)
  }
}
