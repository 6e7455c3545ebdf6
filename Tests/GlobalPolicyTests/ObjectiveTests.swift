import GPSCore
import LinearAlgebra
import Statistics
import Testing

@testable import GlobalPolicy
@testable import Networks

@Suite struct ObjectiveTests {
  static let variants = KernelVariant.allCases.filter(\.isSupported)

  /// Losses and gradient of a distillation by the kernels, against the formulas in double precision and,
  /// for one sample, the quadratic form itself.
  @Test(arguments: variants)
  func kernelsAgreeWithTheFormulas(variant: KernelVariant) async throws {
    var stream = RandomStream(seed: 4)
    for (m, samples) in [(1, 5), (7, 40), (19, 150)] {
      let network = Network(layerSizes: [4, 9, m], activation: .tanh)
      let parameters = network.initialParameters(.glorot, stream: stream)
      let (inputs, targets) = (randomMatrix(4, samples, &stream), randomMatrix(m, samples, &stream))
      var precisions = MatrixSequence(rows: m, columns: m, count: 3)
      for g in 0..<3 { precisions[g] = randomPrecision(m, &stream) }
      let objective = DistillationObjective(variant: variant)
      let batch = DistillationObjective.Batch(
        targets: Rows(targets), precisions: precisions, groups: (0..<samples).map { ($0 * 2) % 3 })
      let fast = try await gradient(
        of: network, at: parameters, inputs: Rows(inputs), objective: objective, batch: batch,
        workers: 1, variant: variant)
      let doubles = network.withoutPadding(parameters).map { Double($0) }
      let slow = network.gradientByFormulas(
        at: doubles, inputs: Rows(inputs), objective: objective, batch: batch)
      #expect(abs(fast.loss - slow.loss) < 1e-5 * slow.loss)
      let scale = slow.gradient.reduce(0) { max($0, abs($1)) }
      for (mine, exact) in zip(network.withoutPadding(fast.gradient), slow.gradient) {
        #expect(abs(Double(mine) - exact) < 2e-5 * scale)
      }

      let output = network.output(inputs.column(1), parameters: doubles)
      let error = zip(output, targets.column(1)).map { $0 - $1 }
      let one = objective.loss(output, sample: 1, of: batch)
      let exact = 0.5 * precisions[2].bilinear(error, error)
      #expect(abs(one.value - exact) < 1e-5 * exact)
    }
  }
}
