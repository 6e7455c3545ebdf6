import Foundation
import GPSTestSupport
import Testing

@testable import GuidedPolicySearch

/// Whatever the number of workers and whoever comes first, the bytes are the same.
@Suite("Stress") struct StressTests {
  /// How often; under a sanitizer less is enough.
  private static let repetitions =
    ProcessInfo.processInfo.environment["GPS_STRESS_REPETITIONS"].flatMap { Int($0) } ?? 100

  private static let faults: [Fault] = [
    Fault(iteration: 0, condition: 0, sample: 1, step: 3, .throwing),
    Fault(iteration: 0, condition: 1, sample: 0, step: 9, .breaking),
    Fault(iteration: 1, condition: 0, sample: 4, step: 0, .state(.nan)),
    Fault(iteration: 1, condition: 1, sample: 2, attempt: 0, step: 1, .cost(.infinity)),
  ]

  @Test(
    "whole searches, rollouts that fail included, with 1 to 16 workers", .timeLimit(.minutes(30)))
  func searches() async throws {
    // The minibatches are large enough that training too runs in parallel.
    func outcome(workers: Int) async throws -> Outcome {
      let search = try makeSearch(faults: Self.faults) { settings in
        settings.iterations = 2
        settings.network.hiddenLayers = [64, 64]
        settings.training.steps = 20
        settings.training.batchSize = 256
        settings.workers = workers
      }
      let (state, reports) = try await run(search)
      #expect(reports.map(\.discardedRollouts) == [2, 2])
      return Outcome(state, reports)
    }
    let one = try await outcome(workers: 1)
    #expect(one.policy != nil)
    for repetition in 0..<Self.repetitions {
      let workers = 1 + repetition % 16
      #expect(
        try await outcome(workers: workers) == one, "\(workers) workers, time \(repetition)")
    }
  }

  @Test("a MuJoCo experiment with 1 to 16 workers", .timeLimit(.minutes(30)))
  func muJoCo() async throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Experiments/peg-insertion/experiment.yaml")
    let loaded = try Experiment.load(
      file,
      overrides: [
        "algorithm.iterations=2", "algorithm.samples=2", "algorithm.modelSamples=1",
        "training.steps=20", "training.batchSize=512", "horizon=30",
      ])
    var other = loaded
    other.experiment.seed = 5
    func outcome(_ learner: some Learner) async throws -> Outcome {
      let (state, reports) = try await run(learner)
      return Outcome(try #require(state as? State), reports)
    }
    let one = try await outcome(other.learner(workers: 1))
    for repetition in 1..<max(2, min(16, Self.repetitions)) {
      #expect(
        try await outcome(other.learner(workers: 1 + repetition)) == one,
        "\(1 + repetition) workers")
    }
  }
}
