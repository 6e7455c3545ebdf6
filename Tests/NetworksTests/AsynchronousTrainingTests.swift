import Statistics
import Testing

@testable import Networks

@Suite("Asynchronous training") struct AsynchronousTrainingTests {
  private let stream = RandomStream(seed: 47)

  /// A training of a smooth map that can be learned.
  private func trainer(
    workers: Int, _ change: (inout TrainingOptions) -> Void = { _ in }
  ) -> Trainer {
    let network = Network(layerSizes: [3, 24, 2], activation: .tanh)
    var draw = stream
    let inputs = randomMatrix(3, 900, &draw)
    var targets = randomMatrix(2, 900, &draw)
    for s in 0..<900 {
      targets[0, s] = inputs[0, s] * inputs[1, s]
      targets[1, s] = inputs[2, s] - 0.5 * inputs[0, s]
    }
    var options = TrainingOptions()
    options.parallel = .asynchronous
    options.batchSize = 40
    options.steps = 700
    options.learningRate = 0.01
    change(&options)
    return Trainer(
      network, from: network.initialParameters(.glorot, stream: stream), inputs: Rows(inputs),
      objective: MeanSquaredError(), batch: Rows(targets), options: options, state: nil,
      stream: stream, workers: workers, variant: .best)
  }

  @Test("One worker alone trains as it does synchronously, bit for bit", arguments: [40, 160, 900])
  func alone(batch: Int) async throws {
    func change(_ options: inout TrainingOptions) {
      options.batchSize = batch
      options.steps = 90
      options.gradientClipping = batch == 160 ? 0.05 : nil
      options.weightDecay = 0.01
      options.averaging = .tail
    }
    let one = try await trainer(workers: 1, change).train(evaluationWorkers: 1)
    let other = try await trainer(workers: 1) { options in
      change(&options)
      options.parallel = .synchronous
    }.train(evaluationWorkers: 1)
    #expect(one.parameters == other.parameters && one.state == other.state)
    #expect(one.finalLoss == other.finalLoss && one.steps == other.steps)
    #expect(one.staleness == [90] && other.staleness == [])
  }

  @Test("One worker alone goes back from a loss that explodes as it does synchronously")
  func retreat() async throws {
    func change(_ options: inout TrainingOptions) {
      options.optimizer = .sgd
      options.learningRate = 40
      options.steps = 300
    }
    let one = try await trainer(workers: 1, change).train(evaluationWorkers: 1)
    let other = try await trainer(workers: 1) { options in
      change(&options)
      options.parallel = .synchronous
    }.train(evaluationWorkers: 1)
    #expect(one.notes == other.notes && one.notes.contains { $0.contains("exploded") })
    #expect(one.parameters == other.parameters)
  }

  @Test("Several workers learn, and no gradient is staler than allowed", arguments: [0, 1, 16])
  func several(bound: Int) async throws {
    for workers in [2, 4] {
      let outcome = try await trainer(workers: workers) { $0.gradientStalenessBound = bound }
        .train(evaluationWorkers: workers)
      #expect(outcome.steps == 700)
      #expect(outcome.staleness.reduce(0, +) == 700)
      #expect(outcome.staleness.count <= bound + 1)
      #expect(outcome.finalLoss < 0.1 * outcome.initialLoss, "\(workers) workers")
      #expect(outcome.notes.isEmpty && outcome.state.steps == 700)
    }
  }

  @Test("Several workers give a training up together that nothing can save")
  func divergence() async throws {
    let trainer = trainer(workers: 3) { options in
      options.optimizer = .sgd
      options.learningRate = 1e30
    }
    await #expect(throws: NetworkError.self) { try await trainer.train(evaluationWorkers: 1) }
  }

  @Test("A training that is cancelled ends")
  func cancelled() async throws {
    let trainer = trainer(workers: 2) { $0.steps = 1_000_000_000 }
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await trainer.train(evaluationWorkers: 1)
    }
    await #expect(throws: CancellationError.self) { try await task.value }
  }
}
