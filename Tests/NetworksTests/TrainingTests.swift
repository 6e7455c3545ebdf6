import Differentiation
import Foundation
import LinearAlgebra
import Statistics
import Testing

@testable import Networks

/// A loss written by its formulas alone: √(1 + e²) − 1 per entry.
private struct Huber: Objective {
  func loss<S: DifferentiableScalar>(
    _ outputs: [S], sample: Int, of targets: Rows
  ) -> (value: S, derivatives: [S]) {
    let errors = outputs.indices.map { outputs[$0] - targets[sample, $0] }
    let lengths = errors.map { sqrt(1 + square($0)) }
    return (lengths.reduce(S.zero) { $0 + $1 - 1 }, zip(errors, lengths).map { $0 / $1 })
  }
}

/// The squared error by the formulas that every objective inherits.
private struct SlowSquaredError: Objective {
  func loss<S: DifferentiableScalar>(
    _ outputs: [S], sample: Int, of batch: Rows
  ) -> (value: S, derivatives: [S]) {
    MeanSquaredError().loss(outputs, sample: sample, of: batch)
  }
}

@Suite struct TrainingTests {
  let stream = RandomStream(seed: 41)

  /// y = A x with one sample in ten far off.
  func outliers(_ A: Matrix, count: Int) -> (inputs: Rows, targets: Rows) {
    var draw = stream
    let inputs = randomMatrix(A.columns, count, &draw)
    var targets = A * inputs
    for s in stride(from: 0, to: count, by: 10) { targets[0, s] += 50 }
    return (Rows(inputs), Rows(targets))
  }

  @Test func anObjectiveOfFormulasAloneIsTrained() async throws {
    let A = Matrix([[1, -2, 0.5], [0.3, 0, -1]])
    let (inputs, targets) = outliers(A, count: 500)
    let network = Network(layerSizes: [3, 2], activation: .relu)
    func slope(_ objective: some Objective<Rows>) async throws -> Double {
      var options = TrainingOptions()
      options.learningRate = 0.02
      options.steps = 3000
      let outcome = try await train(
        network, from: network.initialParameters(.glorot, stream: stream), inputs: inputs,
        objective: objective, batch: targets, options: options, stream: stream, workers: 1)
      #expect(outcome.finalLoss < outcome.initialLoss && outcome.notes.isEmpty)
      let parameters = network.withoutPadding(outcome.parameters).map { Double($0) }
      // Outputs at the origin: what the outliers shift.
      return network.output([0, 0, 0], parameters: parameters)[0]
    }
    let robust = try await slope(Huber())
    let squared = try await slope(MeanSquaredError())
    #expect(abs(robust) < 0.5, "\(robust)")
    #expect(abs(squared - 5) < 1, "the mean of the outliers: \(squared)")
  }

  @Test func inheritedLossesAreThoseOfTheKernels() async throws {
    let (inputs, targets) = outliers(Matrix([[1, -2, 0.5], [0.3, 0, -1]]), count: 77)
    let network = Network(layerSizes: [3, 8, 2], activation: .silu)
    let parameters = network.initialParameters(.he, stream: stream)
    let fast = try await gradient(
      of: network, at: parameters, inputs: inputs, objective: MeanSquaredError(), batch: targets)
    let slow = try await gradient(
      of: network, at: parameters, inputs: inputs, objective: SlowSquaredError(), batch: targets)
    #expect(abs(fast.loss - slow.loss) < 1e-6 * slow.loss)
    let scale = Double(slow.gradient.reduce(0) { max($0, abs($1)) })
    for (a, b) in zip(fast.gradient, slow.gradient) {
      #expect(abs(Double(a - b)) < 1e-5 * scale)
    }
  }

  /// Training by whole batches is gradient and optimizer in turn.
  @Test(arguments: Optimizer.Rule.allCases)
  func aTrainingIsGradientAndOptimizerInTurn(rule: Optimizer.Rule) async throws {
    let network = Architecture.norms.network(.tanh)
    var draw = stream
    let data = Rows(randomMatrix(5, 40, &draw))
    let labels = Rows(randomMatrix(network.outputs, 40, &draw))
    var options = TrainingOptions()
    options.optimizer = rule
    options.batchSize = 40
    options.steps = 12
    options.decay = .none
    options.averaging = .none
    options.learningRate = 0.01
    options.weightDecay = 0.1
    let start = network.initialParameters(.glorot, stream: stream)
    let outcome = try await train(
      network, from: start, inputs: data, objective: MeanSquaredError(), batch: labels,
      options: options, stream: stream, workers: 1)
    var (parameters, state) = (start, Optimizer.State(for: network))
    for _ in 0..<12 {
      let slope = try await gradient(
        of: network, at: parameters, inputs: data, objective: MeanSquaredError(), batch: labels
      ).gradient
      (parameters, state) = options.stepRule.step(
        parameters, along: slope, state: state, rate: 0.01, network: network)
    }
    #expect(state.steps == 12 && outcome.state.steps == 12)
    for (a, b) in zip(outcome.parameters, parameters) { #expect(abs(a - b) < 2e-5) }
    for (a, b) in zip(outcome.state.first, state.first) { #expect(abs(a - b) < 2e-5) }
    let moved = zip(start, parameters).contains { abs($0 - $1) > 1e-2 }
    #expect(moved)
  }

  /// Biases and gains do not decay: with no gradient they stay, and weights shrink by 1 − η λ.
  @Test(arguments: Optimizer.Rule.allCases)
  func onlyWeightsDecay(rule: Optimizer.Rule) {
    var network = Network(inputs: 3)
    network.append(.layerNorm(), to: network.append(.dense(outputs: 2), to: network.input))
    var optimizer = Optimizer()
    optimizer.rule = rule
    optimizer.weightDecay = 0.5
    let ones = network.padding([Float](repeating: 1, count: network.parameterCount))
    let next = optimizer.step(
      ones, along: network.zeros, state: Optimizer.State(for: network), rate: 0.2, network: network)
    let numbers = network.withoutPadding(next.parameters)
    #expect(numbers[..<6].allSatisfy { abs($0 - 0.9) < 1e-6 })
    #expect(numbers[6...].allSatisfy { $0 == 1 })
  }

  /// Adam by value, against NumPy.
  @Test func optimizerAgreesWithNumPy() throws {
    struct Fixture: Decodable {
      var rate, momentum, secondMomentum, epsilon, decay: Double
      var start, result: [Double]
      var gradients: [[Double]]
    }
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Fixtures/adam.json")
    let fixture = try JSONDecoder().decode(Fixture.self, from: Data(contentsOf: file))
    // One input, so that all but the last `count` parameters are weights.
    let count = fixture.start.count
    let network = Network(layerSizes: [1, count], activation: .relu)
    var optimizer = Optimizer()
    optimizer.momentum = fixture.momentum
    optimizer.secondMomentum = fixture.secondMomentum
    optimizer.epsilon = fixture.epsilon
    optimizer.weightDecay = fixture.decay
    func padded(_ weights: [Double]) -> Parameters {
      network.padding(weights.map { Float($0) } + [Float](repeating: 0, count: count))
    }
    var (parameters, state) = (padded(fixture.start), Optimizer.State(for: network))
    for gradient in fixture.gradients {
      (parameters, state) = optimizer.step(
        parameters, along: padded(gradient), state: state, rate: fixture.rate, network: network)
    }
    let found = network.withoutPadding(parameters)
    for (mine, exact) in zip(found, fixture.result) { #expect(abs(Double(mine) - exact) < 2e-6) }
    #expect(found[count...].allSatisfy { $0 == 0 })
  }

  @Test(arguments: [40, 600])
  func trainingIsTheSameForAnyNumberOfWorkers(batch: Int) async throws {
    let network = Architecture.skips.network(.softplus)
    var draw = stream
    let inputs = Rows(randomMatrix(5, 1500, &draw))
    let targets = Rows(randomMatrix(3, 1500, &draw))
    func outcome(_ workers: Int) async throws -> TrainingOutcome {
      var options = TrainingOptions()
      options.batchSize = batch
      options.steps = 60
      options.gradientClipping = 0.1
      let trainer = Trainer(
        network, from: network.initialParameters(.he, stream: stream), inputs: inputs,
        objective: MeanSquaredError(), batch: targets, options: options, state: nil,
        stream: stream, workers: workers, variant: .best)
      return try await trainer.train(evaluationWorkers: workers)
    }
    let one = try await outcome(1)
    #expect(one.finalLoss < one.initialLoss)
    for workers in [2, 3] {
      let many = try await outcome(workers)
      let isSame =
        many.parameters == one.parameters && many.state == one.state
        && many.finalLoss == one.finalLoss
      #expect(isSame, "\(workers) workers")
    }
  }
}
