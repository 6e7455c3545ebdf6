// Flops of training, per sample, with P weights of which P_1 in the first layer: forward 2 P, gradient by
// the weights 2 P, gradient by the inputs of all layers but the first 2 (P − P_1). Activations, the loss
// and Adam are not counted.

import Foundation
import GuidedPolicySearch

extension BenchmarkRunner {
  /// The training of networks, and one action.
  public mutating func timePolicy() async {
    let peak = await singlePeak()
    let (o, m) = stateControlSizes(default: [(26, 7)])[0]
    let M = settings.conditions ?? 4
    let (N, T) = (settings.samples ?? 20, settings.horizon ?? 100)
    for hidden in settings.hidden.map({ [$0] }) ?? [[64, 64], [256, 256]] {
      for batch in settings.batch.map({ [$0] }) ?? [25, 256, 1024] {
        // Small minibatches are timed on one thread, to compare with others.
        let counts = batch >= 1000 || settings.workers != nil ? threadCounts : [1]
        for workers in counts {
          await timeTraining(
            o: o, m: m, hidden: hidden, batch: batch, conditions: M, samples: N, T: T,
            workers: workers, peak: peak)
        }
      }
    }
    await timeAction(o: o, m: m, hidden: settings.hidden ?? [64, 64], peak: peak)
  }

  /// What local controllers would do: û = tanh(G o), with a precision per condition and step.
  private static func distillationSet(
    o: Int, m: Int, conditions M: Int, samples N: Int, T: Int
  ) throws -> DistillationSet {
    var stream = RandomStream(seed: BenchmarkInputs.Seed.policy)
    let count = M * N * T
    let observations = Matrix(rows: o, columns: count, columnMajor: stream.normals(o * count))
    let map =
      (1 / Double(o).squareRoot())
      * Matrix(rows: m, columns: o, columnMajor: stream.normals(m * o))
    var targets = map * observations
    for i in targets.storage.indices { targets.storage[i] = tanh(targets.storage[i]) }
    var precisions = MatrixSequence(rows: m, columns: m, count: M * T)
    for g in 0..<M * T {
      let half =
        (1 / Double(m).squareRoot())
        * Matrix(rows: m, columns: m, columnMajor: stream.normals(m * m))
      precisions[g] = (half * half.transposed + .identity(m)).symmetrized
    }
    return try DistillationSet(
      observations: observations, targets: targets, precisions: precisions,
      precisionIndices: (0..<count).map { $0 % (M * T) })
  }

  private func timeTraining(
    o: Int, m: Int, hidden: [Int], batch: Int, conditions M: Int, samples N: Int, T: Int,
    workers: Int, peak: Double?
  ) async {
    let layers = [o] + hidden + [m]
    let weights = zip(layers, layers.dropFirst()).map { $0 * $1 }
    let P = Double(weights.reduce(0, +))
    // About as many samples for each batch size.
    let steps = min(4000, max(100, 256_000 / batch))
    let samples = Double(steps * batch)
    let line = BenchmarkLine(
      .policy, "training",
      sizes: [
        BenchmarkSize("obs", o),
        BenchmarkSize("hidden", hidden.map(String.init).joined(separator: "-")),
        BenchmarkSize("act", m), BenchmarkSize("batch", batch), BenchmarkSize("steps", steps),
      ], threads: workers, flops: samples * (4 * P + 2 * (P - Double(weights[0]))),
      units: BenchmarkUnits(name: "samples", count: samples))
    _ = await time(line, peak: peak) {
      let set = try Self.distillationSet(o: o, m: m, conditions: M, samples: N, T: T)
      if set.count < batch {
        throw BenchmarkFailure("\(set.count) samples are fewer than a batch of \(batch)")
      }
      var network = NetworkOptions()
      network.hiddenLayers = hidden
      var options = PolicyDistiller.Options()
      options.steps = steps
      options.batchSize = batch
      let stream = RandomStream(seed: BenchmarkInputs.Seed.policy)
      let distiller = try PolicyDistiller(options: options)
      let policy = NeuralPolicy.initial(
        observation: o, control: m, options: network,
        stream: stream.child(.networkInitialization))
      var outcome: PolicyDistiller.Outcome?
      return PreparedWork(
        run: {
          outcome = try await distiller.distill(
            policy, onto: set, stream: stream.child(.minibatches), workers: workers)
        },
        extras: {
          guard let outcome, outcome.steps == steps, outcome.finalLoss < outcome.initialLoss else {
            throw BenchmarkFailure("the training did not lower the loss")
          }
          return [("initial_loss", outcome.initialLoss), ("final_loss", outcome.finalLoss)]
        })
    }
  }

  private func timeAction(o: Int, m: Int, hidden: [Int], peak: Double?) async {
    let layers = [o] + hidden + [m]
    let P = zip(layers, layers.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 }
    let line = BenchmarkLine(
      .policy, "action",
      sizes: [
        BenchmarkSize("obs", o),
        BenchmarkSize("hidden", hidden.map(String.init).joined(separator: "-")),
        BenchmarkSize("act", m),
      ], flops: 2 * Double(P), units: BenchmarkUnits(name: "actions", count: 1))
    _ = await time(line, peak: peak) {
      var network = NetworkOptions()
      network.hiddenLayers = hidden
      var stream = RandomStream(seed: BenchmarkInputs.Seed.policy)
      let policy = NeuralPolicy.initial(
        observation: o, control: m, options: network, stream: stream)
      var workspace = policy.makeWorkspace()
      let observation = stream.normals(o)
      let noise = [Double](repeating: 0, count: m)
      var action = noise
      let calls = 1000
      return PreparedWork(
        run: {
          for _ in 0..<calls {
            var target = action.mutableSpan
            policy.act(
              step: 0, state: observation.span, observation: observation.span, noise: noise.span,
              workspace: &workspace, action: &target)
          }
        }, check: { sumOfSquares(action) }, runsPerCall: Double(calls))
    }
  }
}
