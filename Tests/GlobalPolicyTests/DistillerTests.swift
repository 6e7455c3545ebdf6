import Foundation
import GPSCore
import LinearAlgebra
import Statistics
import Testing

@testable import GlobalPolicy
@testable import Networks

@Suite struct DistillerTests {
  let stream = RandomStream(seed: 1)

  func distiller(
    cores: Int? = nil, _ change: (inout PolicyDistiller.Options) -> Void
  ) throws -> PolicyDistiller {
    var options = PolicyDistiller.Options()
    change(&options)
    var distiller = try PolicyDistiller(options: options)
    if let cores { distiller.cores = cores }
    return distiller
  }

  @Test("the labels' variance is the loss of the best constant, found by descent")
  func labelVariance() async throws {
    let set = try makeSet(observation: 5, control: 2, count: 60) { [1e3 + $0[0], $0[1] * $0[2]] }
    let (precisions, scale) = (set.precisions, [2.0, 0.5])
    func loss(_ c: [Double]) -> Double {
      (0..<60).reduce(0) { sum, s in
        let e = (0..<2).map { (set.parts[0].targets[$0, s] - c[$0]) / scale[$0] }
        return sum + 0.5 * precisions[s % 10].bilinear(e, e) / 60
      }
    }
    var c = [1e3, 0.0]
    // Coordinate descent by parabolas.
    for _ in 0..<200 {
      for i in 0..<2 {
        func moved(_ step: Double) -> Double {
          var other = c
          other[i] += step
          return loss(other)
        }
        let (a, b) = (moved(1) - moved(-1), moved(1) + moved(-1) - 2 * moved(0))
        c[i] -= 0.5 * a / b
      }
    }
    let variance = set.labelVariance(precisions: precisions, scale: scale)
    #expect(abs(variance - loss(c)) < 1e-9 * loss(c))
    // A part without a sample, as of a rollout that ended where it began, says nothing.
    let empty = DistillationSet.Part(
      observations: Matrix(rows: 5, columns: 0), targets: Matrix(rows: 2, columns: 0))
    for parts in [[empty] + set.parts, set.parts + [empty]] {
      let other = try DistillationSet(
        parts: parts, precisions: precisions, precisionIndices: set.precisionIndices)
      #expect(other.labelVariance(precisions: precisions, scale: scale) == variance)
    }
  }

  @Test("training goes on while it leaves much unexplained and still gets somewhere")
  func rounds() async throws {
    let whole = try makeSet(observation: 6, control: 3, count: 600, target: nonlinear)
    let set = try parts(of: whole, 24)
    let start = NeuralPolicy.initial(
      observation: 6, control: 3, options: network([30], .tanh), stream: stream)
    func distilled(_ rounds: Int, tolerance: Double) async throws -> PolicyDistiller.Outcome {
      try await distiller {
        $0.steps = 200
        $0.maxRounds = rounds
        $0.unexplainedTolerance = tolerance
      }.distill(start, onto: set, stream: stream, workers: 1)
    }
    let one = try await distilled(1, tolerance: 1e-3)
    let many = try await distilled(6, tolerance: 1e-3)
    #expect(one.steps == 200 && many.steps > 200 && many.steps <= 63 * 200)
    #expect(many.finalLoss < 0.9 * one.finalLoss)
    #expect(many.labelVariance == one.labelVariance && one.finalLoss < one.labelVariance)
    // What is explained is not trained on.
    try #require(one.finalLoss < 0.9 * one.labelVariance)
    let lazy = try await distilled(6, tolerance: 1.5 * one.finalLoss / one.labelVariance)
    #expect(lazy.steps == 200)
    // Fewer than eight parts leave nothing to hold out.
    let few = try await distiller {
      $0.steps = 200
      $0.maxRounds = 6
    }.distill(start, onto: whole, stream: stream, workers: 1)
    #expect(few.steps == 200)
  }

  @Test("training ends where rollouts that were held out gain nothing from it")
  func overfitting() async throws {
    // Labels without any relation to what is seen.
    var random = RandomStream(seed: 9)
    let set = try parts(
      of: makeSet(observation: 6, control: 3, count: 64) { _ in
        (0..<3).map { _ in random.normal() }
      }, 16)
    let start = NeuralPolicy.initial(
      observation: 6, control: 3, options: network([40], .tanh), stream: stream)
    let outcome = try await distiller {
      $0.steps = 100
      $0.maxRounds = 20
    }.distill(start, onto: set, stream: stream, workers: 1)
    // The third is the first that may be the last.
    #expect(outcome.steps == (1 + 2 + 4) * 100, "\(outcome.steps)")
    // Every eighth part is held out, as it is.
    let split = try #require(set.holdingOut())
    #expect(split.heldOut.parts.count == 2 && split.rest.parts.count == 14)
    #expect(split.heldOut.parts[0].targets == set.parts[7].targets)
    #expect(split.heldOut.count + split.rest.count == set.count)
    #expect(
      split.heldOut.precisionIndices == Array(set.precisionIndices[28..<32])
        + Array(set.precisionIndices[60..<64]))
  }

  /// The same samples in so many parts of the same length.
  func parts(of set: DistillationSet, _ count: Int) throws -> DistillationSet {
    let (whole, length) = (set.parts[0], set.count / count)
    return try DistillationSet(
      parts: (0..<count).map { part in
        func columns(_ matrix: Matrix) -> Matrix {
          Matrix(
            rows: matrix.rows, columns: length,
            columnMajor: Array(
              matrix.storage[part * length * matrix.rows..<(part + 1) * length * matrix.rows]))
        }
        return DistillationSet.Part(
          observations: columns(whole.observations), targets: columns(whole.targets))
      }, precisions: set.precisions, precisionIndices: set.precisionIndices)
  }

  func nonlinear(_ o: [Double]) -> [Double] {
    [tanh(o[0] + o[1]), 30 * sin(o[2]) + 5, 0.01 * o[3] * o[4]]
  }

  @Test(arguments: [25, 100, 256, 1024], [false, true])
  func sameBytesForAnyNumberOfWorkers(batch: Int, clip: Bool) async throws {
    let set = try makeSet(observation: 6, control: 3, count: 2100, target: nonlinear)
    let start = NeuralPolicy.initial(
      observation: 6, control: 3, options: network([70, 65], clip ? .tanh : .relu),
      stream: stream)
    let distiller = try distiller(cores: 5) {
      $0.batchSize = batch
      $0.steps = 40
      $0.weightDecay = 1e-3
      $0.gradientClipping = clip ? 0.05 : nil
    }
    let one = try await distiller.distill(start, onto: set, stream: stream, workers: 1)
    #expect(one.finalLoss < one.initialLoss)
    for workers in [2, 5] {
      let many = try await distiller.distill(start, onto: set, stream: stream, workers: workers)
      // Compared outside the macro, which would print every weight.
      let isSame = many.policy == one.policy && many.optimizer == one.optimizer
      #expect(isSame, "\(workers) workers")
      #expect(many.finalLoss == one.finalLoss && many.initialLoss == one.initialLoss)
    }
    let other = try await distiller.distill(
      start, onto: set, stream: RandomStream(seed: 2), workers: 1)
    let isOther = other.policy != one.policy
    #expect(isOther, "the stream must matter")
  }

  /// A training with the defaults, of a network as small as those of the shipped tasks, is shared.
  @Test func twoWorkersShareTheDefaultTraining() throws {
    let set = try makeSet(observation: 26, control: 7, count: 200) { Array($0[0..<7]) }
    let start = NeuralPolicy.initial(observation: 26, control: 7, stream: stream)
    func workers(_ requested: Int, batch: Int? = nil) throws -> Int {
      try distiller { if let batch { $0.batchSize = batch } }.trainer(
        start, set: set, precisions: set.precisions, state: nil, stream: stream,
        workers: requested
      ).workers
    }
    #expect(try workers(2) == 2)
    #expect(try workers(1) == 1)
    #expect(try workers(2, batch: 25) == 1)
  }

  @Test func learnsALinearController() async throws {
    let gain = Matrix([[1, -2, 0.5, 0], [0, 10, 0, 3], [0.1, 0, 0, -0.1]])
    let set = try makeSet(observation: 4, control: 3, count: 1000) { gain * $0 }
    let start = NeuralPolicy.initial(
      observation: 4, control: 3, options: network([]), stream: stream)
    let outcome = try await distiller {
      $0.learningRate = 0.02
      $0.steps = 2000
    }.distill(start, onto: set, stream: stream, workers: 1)
    #expect(outcome.finalLoss < 1e-8 && outcome.initialLoss > 0.1)
    var probe = RandomStream(seed: 77)
    let inputs = randomMatrix(4, 20, &probe)
    #expect((outcome.policy.mean(for: inputs) - gain * inputs).largestMagnitude < 2e-2)
  }

  @Test(arguments: NetworkOptions.Activation.allCases)
  func learnsANonlinearFunction(activation: NetworkOptions.Activation) async throws {
    let set = try makeSet(observation: 5, control: 3, count: 2000, target: nonlinear)
    let start = NeuralPolicy.initial(
      observation: 5, control: 3, options: network([32, 32], activation), stream: stream)
    let outcome = try await distiller { $0.learningRate = 3e-3 }.distill(
      start, onto: set, stream: stream, workers: 1)
    #expect(outcome.finalLoss < 0.02 * outcome.initialLoss, "\(outcome.finalLoss)")
    #expect(outcome.steps == 1600 && outcome.notes.isEmpty)
  }

  /// An affine network under full-batch training is generalised least squares with a weight matrix per
  /// sample; the normal equations give its solution.
  @Test func precisionsWeighTheRegression() async throws {
    let (o, m, S, G) = (2, 2, 60, 6)
    var draw = RandomStream(seed: 8)
    let observations = randomMatrix(o, S, &draw)
    let targets = randomMatrix(m, S, &draw)
    var precisions = MatrixSequence(rows: m, columns: m, count: G)
    for g in 0..<G {
      precisions[g] = randomPrecision(m, &draw, scale: pow(4, Double(g % 3)))
    }
    let indices = (0..<S).map { $0 % G }
    let set = try DistillationSet(
      observations: observations, targets: targets, precisions: precisions,
      precisionIndices: indices)
    let outcome = try await distiller {
      $0.precisionClipping = false
      $0.batchSize = S
      $0.steps = 6000
      $0.learningRate = 0.01
    }.distill(
      .initial(observation: o, control: m, options: network([]), stream: stream), onto: set,
      stream: stream, workers: 1)

    /// Σ (x̃ x̃ᵀ ⊗ P) vec θ = Σ x̃ ⊗ P u with x̃ = [o; 1].
    func solution(_ weight: (Int) -> Matrix) throws -> Matrix {
      let size = (o + 1) * m
      var normal = Matrix(rows: size, columns: size)
      var right = [Double](repeating: 0, count: size)
      for s in 0..<S {
        let x = observations.column(s) + [1]
        let P = weight(indices[s])
        let Pu = P * targets.column(s)
        for a in 0...o {
          for i in 0..<m {
            right[a * m + i] += x[a] * Pu[i]
            for b in 0...o {
              for j in 0..<m { normal[a * m + i, b * m + j] += x[a] * x[b] * P[i, j] }
            }
          }
        }
      }
      let theta = try CholeskyFactor(normal).solve(right)
      return Matrix(rows: m, columns: o + 1, columnMajor: theta)
    }
    let weighted = try solution { precisions[$0] }
    let plain = try solution { _ in .identity(m) }
    #expect((weighted - plain).largestMagnitude > 0.05, "the case must tell the two apart")
    let probes = Matrix([[0, 1, 0], [0, 0, 1]])
    let found = outcome.policy.mean(for: probes)
    for p in 0..<3 {
      let exact = weighted * (probes.column(p) + [1])
      for i in 0..<m { #expect(abs(found[i, p] - exact[i]) < 2e-4) }
    }
  }

  /// Iterates of prefixes of one run, averaged by hand.
  @Test(arguments: [PolicyDistiller.Options.Averaging.tail, .exponential])
  func averagesTheIterates(averaging: PolicyDistiller.Options.Averaging) async throws {
    let set = try makeSet(observation: 5, control: 3, count: 100, target: nonlinear)
    let start = NeuralPolicy.initial(
      observation: 5, control: 3, options: network([8]), stream: stream)
    func parameters(_ steps: Int, _ kind: PolicyDistiller.Options.Averaging) async throws -> [Float]
    {
      try await distiller {
        $0.decay = .none
        $0.steps = steps
        $0.averaging = kind
        $0.averagingDecay = 0.7
        $0.averagingFraction = 0.4
        $0.learningRate = 0.05
      }.distill(start, onto: set, stream: stream, workers: 1).policy.network.parameters.map { $0 }
    }
    var iterates: [[Float]] = []
    for steps in 1...10 { iterates.append(try await parameters(steps, .none)) }
    let average = try await parameters(10, averaging)
    for i in average.indices {
      var expected = 0.0
      switch averaging {
      case .tail: for step in 6..<10 { expected += Double(iterates[step][i]) / 4 }
      default:
        for step in 0..<10 {
          let weight = max(0.3, 1 / Double(step + 1))
          expected += weight * (Double(iterates[step][i]) - expected)
        }
      }
      #expect(abs(Double(average[i]) - expected) < 1e-6)
    }
    #expect(average != iterates[9])
  }

  @Test func learningRateDecaysWithinTheStep() {
    var options = PolicyDistiller.Options()
    options.learningRate = 1
    options.steps = 101
    options.finalLearningRateFraction = 0.1
    for (decay, middle, end) in [
      (PolicyDistiller.Options.Decay.none, 1.0, 1.0), (.cosine, 0.55, 0.1), (.linear, 0.55, 0.1),
    ] {
      options.decay = decay
      #expect(abs(options.training.learningRate(at: 0) - 1) < 1e-12)
      #expect(abs(options.training.learningRate(at: 50) - middle) < 1e-12)
      #expect(abs(options.training.learningRate(at: 100) - end) < 1e-12)
    }
    options.decay = .cosine
    #expect(abs(options.training.learningRate(at: 25) - (0.1 + 0.9 * (2 + sqrt(2)) / 4)) < 1e-12)
    options.decay = .none
    options.warmUpSteps = 3
    #expect((0..<5).map { options.training.learningRate(at: $0) } == [0.25, 0.5, 0.75, 1, 1])
  }

  @Test(arguments: [1, 3])
  func aLossThatExplodesIsRolledBack(workers: Int) async throws {
    let set = try makeSet(observation: 300, control: 200, count: 400) { Array($0[0..<200]) }
    let start = NeuralPolicy.initial(
      observation: 300, control: 200, options: network([]), stream: stream)
    let outcome = try await distiller(cores: 4) {
      $0.optimizer = .sgd
      $0.momentum = 0
      $0.learningRate = 200
      $0.batchSize = 390
      $0.steps = 150
      $0.averaging = .none
    }.distill(start, onto: set, stream: stream, workers: workers)
    #expect(outcome.finalLoss.isFinite && outcome.finalLoss < outcome.initialLoss)
    #expect(outcome.notes.count == 1 && outcome.notes[0].contains("halved"))

    await #expect {
      _ = try await distiller(cores: 4) {
        $0.optimizer = .sgd
        $0.learningRate = 1e35
        $0.batchSize = 390
        $0.steps = 50
      }.distill(start, onto: set, stream: stream, workers: workers)
    } throws: { error in
      guard case GlobalPolicyError.diverged(_, _, let attempts) = error else { return false }
      return attempts == Trainer.attempts + 1
    }
  }

  /// Retreats must be as independent of the workers as everything else.
  @Test func rollBackGivesTheSameBytes() async throws {
    let set = try makeSet(observation: 300, control: 200, count: 400) { Array($0[0..<200]) }
    let start = NeuralPolicy.initial(
      observation: 300, control: 200, options: network([]), stream: stream)
    let distiller = try distiller(cores: 4) {
      $0.optimizer = .sgd
      $0.learningRate = 200
      $0.batchSize = 384
      $0.steps = 60
    }
    let one = try await distiller.distill(start, onto: set, stream: stream, workers: 1)
    let three = try await distiller.distill(start, onto: set, stream: stream, workers: 3)
    let isSame = one.policy == three.policy
    #expect(isSame && one.notes == three.notes && !one.notes.isEmpty)
  }

  /// Σ_π = (mean of C⁻¹)⁻¹: precisions 1 and 3 with shares ¾ and ¼ give 1 / 1.5.
  @Test func covarianceIsTheInverseOfTheMeanPrecision() async throws {
    var draw = RandomStream(seed: 4)
    var precisions = MatrixSequence(rows: 2, columns: 2, count: 2)
    precisions[0] = Matrix([[1, 0], [0, 4]])
    precisions[1] = Matrix([[3, 0], [0, 1000]])
    let set = try DistillationSet(
      observations: randomMatrix(3, 8, &draw), targets: randomMatrix(2, 8, &draw),
      precisions: precisions, precisionIndices: [0, 0, 0, 1, 0, 1, 0, 0])
    let policy = try await distiller { $0.steps = 3 }.distill(
      .initial(observation: 3, control: 2, stream: stream), onto: set, stream: stream, workers: 1
    ).policy
    let exact = Matrix([[1 / 1.5, 0], [0, 1 / 253.0]])
    #expect((policy.covariance - exact).largestMagnitude < 1e-12)
    #expect(
      (policy.covarianceFactor * policy.covarianceFactor.transposed - exact).largestMagnitude
        < 1e-12)
    #expect((policy.precision - Matrix([[1.5, 0], [0, 253]])).largestMagnitude < 1e-12)
  }

  @Test func singularPrecisionsAreATypedError() async throws {
    var draw = RandomStream(seed: 4)
    let set = try DistillationSet(
      observations: randomMatrix(3, 8, &draw), targets: randomMatrix(2, 8, &draw),
      precisions: MatrixSequence(rows: 2, columns: 2, count: 1),
      precisionIndices: [Int](repeating: 0, count: 8))
    await #expect(throws: GlobalPolicyError.self) {
      try await distiller { $0.steps = 3 }.distill(
        .initial(observation: 3, control: 2, stream: stream), onto: set, stream: stream, workers: 1)
    }
  }

  /// Two S-steps that keep the optimizer's averages are one of double length.
  @Test func optimizerStateLivesOn() async throws {
    let set = try makeSet(observation: 5, control: 3, count: 64, target: nonlinear)
    let start = NeuralPolicy.initial(
      observation: 5, control: 3, options: network([8], .tanh), stream: stream)
    func train(_ policy: NeuralPolicy, _ steps: Int, _ state: PolicyDistiller.OptimizerState?)
      async throws -> PolicyDistiller.Outcome
    {
      try await distiller {
        $0.decay = .none
        $0.averaging = .none
        $0.batchSize = 64
        $0.steps = steps
        $0.keepOptimizerState = true
      }.distill(policy, onto: set, optimizer: state, stream: stream, workers: 1)
    }
    let whole = try await train(start, 60, nil)
    let half = try await train(start, 30, nil)
    let kept = try await train(half.policy, 30, half.optimizer)
    let forgotten = try await train(half.policy, 30, nil)
    func distance(_ outcome: PolicyDistiller.Outcome) -> Float {
      zip(outcome.policy.network.parameters, whole.policy.network.parameters)
        .reduce(0) { max($0, abs($1.0 - $1.1)) }
    }
    #expect(distance(kept) < 1e-5)
    #expect(distance(forgotten) > 1e-3)
    #expect(kept.optimizer?.steps == 60)

    let other = NeuralPolicy.initial(
      observation: 5, control: 3, options: network([9]), stream: stream)
    let foreign = try await train(other, 2, half.optimizer)
    #expect(foreign.notes.count == 1 && foreign.optimizer?.steps == 2)
  }

  @Test func stopsWhenCancelled() async throws {
    let set = try makeSet(observation: 6, control: 3, count: 2000, target: nonlinear)
    let start = NeuralPolicy.initial(
      observation: 6, control: 3, options: network([70, 65]), stream: stream)
    for workers in [1, 2] {
      let distiller = try distiller(cores: 2) {
        $0.steps = 100_000_000
        $0.batchSize = 256
      }
      let task = Task {
        try await distiller.distill(start, onto: set, stream: stream, workers: workers)
      }
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
    }
  }
}

@Suite struct EndedRolloutTests {
  @Test("A policy learns nothing from what follows the end of a rollout")
  func endedRollouts() throws {
    var stream = RandomStream(seed: 8)
    var trajectory = Trajectory(
      states: Matrix(rows: 2, columns: 6, columnMajor: stream.normals(12)),
      controls: Matrix(rows: 1, columns: 5, columnMajor: stream.normals(5)),
      observations: Matrix(rows: 3, columns: 6, columnMajor: stream.normals(18)))
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 2, count: 5, columnMajor: stream.normals(10)),
      offsets: Matrix(rows: 1, columns: 5, columnMajor: stream.normals(5)),
      covariances: MatrixSequence(repeating: Matrix.identity(1), count: 5))
    let whole = DistillationSet.Part(along: trajectory, under: controller)
    for end in [0, 2, 5] {
      trajectory.endStep = end
      let part = DistillationSet.Part(along: trajectory, under: controller)
      #expect(part.count == end)
      #expect(part.targets.storage == Array(whole.targets.storage.prefix(end)))
    }
    trajectory.endStep = 2
    let set = try DistillationSet(
      batches: [RolloutBatch(condition: 0, trajectories: [trajectory, trajectory])],
      controllers: [controller])
    #expect(set.count == 4)
  }
}
