import Configuration
import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Networks
import Statistics
import Testing

@testable import GlobalPolicy

@Suite struct PolicyTests {
  let stream = RandomStream(seed: 21)

  func trained() async throws -> NeuralPolicy {
    let set = try makeSet(observation: 4, control: 3, count: 200) {
      [100 * $0[0] + 7, $0[1] * $0[2], 0.01 * $0[3]]
    }
    var options = PolicyDistiller.Options()
    options.steps = 50
    return try await PolicyDistiller(options: options).distill(
      .initial(observation: 4, control: 3, options: network([9, 8]), stream: stream), onto: set,
      stream: stream, workers: 1
    ).policy
  }

  @Test func actIsTheMeanPlusTheFactorTimesTheNoise() async throws {
    let policy = try await trained()
    var draw = stream
    var workspace = policy.makeWorkspace()
    for _ in 0..<10 {
      let observation = draw.normals(4)
      let noise = draw.normals(3)
      var action = [Double](repeating: .nan, count: 3)
      var span = action.mutableSpan
      policy.act(
        step: 0, state: [Double]().span, observation: observation.span, noise: noise.span,
        workspace: &workspace, action: &span)
      let mean = policy.mean(for: Matrix(rows: 4, columns: 1, columnMajor: observation))
      let shift = policy.covarianceFactor * noise
      for i in 0..<3 {
        #expect(abs(action[i] - mean[i, 0] - shift[i]) < 1e-5 * (1 + abs(mean[i, 0])))
      }
    }
  }

  @Test("A trained policy keeps what a policy promises, and acts on arrays as on spans")
  func conformance() async throws {
    let policy = try await trained()
    checkPolicy(policy, state: 0, observation: 4, horizon: 5)
    let observation = [0.3, -1, 2, 0.5]
    let action = policy.action(for: observation)
    let mean = policy.mean(for: Matrix(rows: 4, columns: 1, columnMajor: observation))
    for i in 0..<3 { #expect(abs(action[i] - mean[i, 0]) < 1e-5 * (1 + abs(mean[i, 0]))) }
    let noise = [1.0, -0.5, 2]
    let shift = policy.covarianceFactor * noise
    let noisy = policy.action(for: observation, noise: noise)
    for i in 0..<3 { #expect(abs(noisy[i] - action[i] - shift[i]) < 1e-12 * (1 + abs(noisy[i]))) }
  }

  /// The network between its scalings, against its formulas in double precision.
  @Test func meanUndoesBothScalings() async throws {
    let policy = try await trained()
    let network = policy.network.network
    let parameters = network.withoutPadding(policy.network.parameters).map { Double($0) }
    var draw = stream
    let inputs = randomMatrix(4, 150, &draw)
    let means = policy.mean(for: inputs)
    for s in 0..<150 {
      let x = (0..<4).map {
        (inputs[$0, s] - policy.observationWhitening.mean[$0])
          / policy.observationWhitening.deviation[$0]
      }
      let y = network.output(x, parameters: parameters)
      for i in 0..<3 {
        let deviation = policy.controlScaling.deviation[i]
        #expect(
          abs(means[i, s] - policy.controlScaling.mean[i] - deviation * y[i]) < 1e-5 * deviation)
      }
    }
  }

  @Test func whiteningIsFrozenAtFirstUse() {
    let start = NeuralPolicy.initial(observation: 3, control: 1, stream: stream)
    // One dimension moves, one stands still, one moves by less than the floor.
    let samples = Matrix([[1, 3, 5, 7], [4, 4, 4, 4], [-2, -2.0001, -2, -2.0001]])
    let white = start.whitening(from: samples)
    #expect(white.observationWhitening.mean == [4, 4, -2.00005])
    #expect(white.observationWhitening.deviation == [sqrt(5), 4, 1e-3 * 2.0001])
    #expect(white.whitening(from: 2 * samples) == white)
    #expect(white.mean(for: samples).isFinite)
  }

  /// Kilometres, metres and millimetres: what the network sees is the same, whether a dimension moves a lot,
  /// a little, less than the floor or not at all.
  @Test(arguments: [1e-3, 0.2, 1, 3]) func whiteningHasNoUnit(_ floor: Double) {
    var options = NetworkOptions()
    options.deviationFloor = floor
    let start = NeuralPolicy.initial(
      observation: 5, control: 1, options: options, stream: stream)
    let samples = Matrix([
      [1, 3, 5, 7], [4, 4, 4, 4], [-2, -2.0001, -2, -2.0001], [0, 0.01, -0.01, 0.02], [0, 0, 0, 0],
    ])
    func seen(_ unit: Double) -> [Double] {
      let white = start.whitening(from: unit * samples).observationWhitening
      return (0..<4).flatMap { s in
        (0..<5).map { (unit * samples[$0, s] * 1.5 - white.mean[$0]) / white.deviation[$0] }
      }
    }
    let inMetres = seen(1)
    for unit in [1e-6, 1e-3, 1e3, 1e9] {
      for (a, b) in zip(seen(unit), inMetres) { #expect(abs(a - b) <= 1e-9 * max(1, abs(b))) }
    }
    // Half as much again is no more than the floor makes of it, for what stands still half its size.
    #expect(abs(inMetres[1] - 0.5) < 1e-15 && inMetres[4] == 0)
    #expect(inMetres.allSatisfy { abs($0) <= 1.5 * max(4, 1 / floor) })
  }

  /// What is left of 0 by rounding is not blown up to unit deviation.
  @Test func roundingIsNotMotion() {
    let start = NeuralPolicy.initial(observation: 4, control: 1, stream: stream)
    let white = start.whitening(
      from: Matrix([
        [1, 3, 5, 8], [1e-17, -2e-17, 0, 1e-17], [1e-62, 0, 0, 0], [0.001, 0, 0, 0],
      ]))
    #expect(white.observationWhitening.deviation[1] == 8e-6)
    #expect(white.observationWhitening.deviation[2] == 8e-6)
    #expect(abs(white.observationWhitening.deviation[3] - 0.001 * (3.0 / 16).squareRoot()) < 1e-15)
  }

  /// Scaling covers what the controllers do: deviation of means and noise together.
  @Test func controlsAreScaledByTheirTotalDeviation() {
    let start = NeuralPolicy.initial(observation: 1, control: 2, stream: stream)
    let scaled = start.scaling(
      from: [(Matrix([[-1, 1], [2, 2]]), 2), (Matrix([[-1, 1, 9], [2, 2, 9]]), 2)],
      noise: Matrix(diagonal: [3, 0.25]))
    #expect(scaled.controlScaling.mean == [0, 2])
    #expect(scaled.controlScaling.deviation == [2, 0.5])
  }

  @Test func survivesCoding() async throws {
    let policy = try await trained()
    let data = try JSONEncoder().encode(policy)
    #expect(try JSONDecoder().decode(NeuralPolicy.self, from: data) == policy)

    let torn = try #require(String(data: data, encoding: .utf8)).replacingOccurrences(
      of: "[4,9,8,3]", with: "[4,9,9,3]")
    #expect(throws: NetworkError.self) {
      try JSONDecoder().decode(NeuralPolicy.self, from: Data(torn.utf8))
    }
  }

  @Test func optionsNameWhatIsWrong() throws {
    var options = NetworkOptions()
    options.hiddenLayers = [42, 0]
    #expect(
      throws: InvalidOption(
        key: "hiddenLayers.1", value: "0", allowed: "between 1 and 65536")
    ) { try options.validated() }

    for (key, change) in [
      ("steps", { $0.steps = 0 }), ("batchSize", { $0.batchSize = 0 }),
      ("learningRate", { $0.learningRate = -1 }), ("learningRate", { $0.learningRate = .nan }),
      ("finalLearningRateFraction", { $0.finalLearningRateFraction = 1.5 }),
      ("warmUpSteps", { $0.warmUpSteps = -1 }), ("momentum", { $0.momentum = 1 }),
      ("secondMomentum", { $0.secondMomentum = 1 }), ("epsilon", { $0.epsilon = 0 }),
      ("weightDecay", { $0.weightDecay = -1 }), ("gradientClipping", { $0.gradientClipping = 0 }),
      ("averagingDecay", { $0.averagingDecay = 1 }),
      ("averagingFraction", { $0.averagingFraction = 0 }),
      ("precisionClippingFactor", { $0.precisionClippingFactor = 0.5 }),
    ] as [(String, (inout PolicyDistiller.Options) -> Void)] {
      var options = PolicyDistiller.Options()
      change(&options)
      #expect {
        try options.validated()
      } throws: { error in
        (error as? InvalidOption)?.key == key
      }
    }
  }

  @Test func missingKeysTakeTheirDefaults() throws {
    func read<Value: Configurable>(_ text: String) throws -> Value {
      try Value.codec.read(SettingsTree(yaml: text, name: "f"), "")
    }
    var expected = PolicyDistiller.Options()
    expected.batchSize = 7
    expected.decay = .linear
    #expect(try read("{batchSize: 7, decay: linear}") == expected)
    #expect(try read("activation: silu") == network([42, 42], .silu))
    let text = SettingsTree(PolicyDistiller.Options.codec.write(expected)).yaml
    #expect(try read(text) == expected)
  }
}

@Suite struct DistillationSetTests {
  func controller(horizon: Int) throws -> LinearGaussianController {
    var gains = MatrixSequence(rows: 1, columns: 2, count: horizon)
    var covariances = MatrixSequence(rows: 1, columns: 1, count: horizon)
    for t in 0..<horizon {
      gains[t] = Matrix([[Double(t + 1), -1]])
      covariances[t] = Matrix([[1 / Double(t + 2)]])
    }
    return try LinearGaussianController(
      gains: gains, offsets: Matrix(rows: 1, columns: horizon, repeating: 0.5),
      covariances: covariances)
  }

  func trajectory(_ first: Double, horizon: Int) -> Trajectory {
    var states = Matrix(rows: 2, columns: horizon + 1)
    for t in 0...horizon { states.setColumn(t, to: [first + Double(t), 2]) }
    return Trajectory(
      states: states, controls: Matrix(rows: 1, columns: horizon), observations: 10 * states)
  }

  @Test func targetsAreTheControllersMeans() throws {
    let batches = [
      RolloutBatch(condition: 0, trajectories: [trajectory(0, horizon: 3)]),
      RolloutBatch(
        condition: 1, trajectories: [trajectory(5, horizon: 2), trajectory(7, horizon: 2)]),
    ]
    let set = try DistillationSet(
      batches: batches, controllers: [try controller(horizon: 3), try controller(horizon: 2)])
    // (t + 1) x_0 − 2 + 0.5
    #expect(set.parts.flatMap(\.targets.storage) == [-1.5, 0.5, 4.5, 3.5, 10.5, 5.5, 14.5])
    #expect(set.parts.map(\.count) == [3, 2, 2] && set.count == 7)
    #expect(set.parts[0].observations.column(1) == [10, 20])
    #expect(set.precisionIndices == [0, 1, 2, 3, 4, 3, 4])
    for (found, exact) in zip(set.precisions.storage, [2.0, 3, 4, 2, 3]) {
      #expect(abs(found - exact) < 1e-12)
    }
    #expect(abs(set.meanPrecision[0, 0] - (2 + 3 + 4 + 2 * 2 + 2 * 3) / 7) < 1e-12)
  }

  @Test func badNumbersAreNamed() throws {
    var bad = trajectory(0, horizon: 3)
    bad.states[0, 1] = .nan
    let batch = RolloutBatch(condition: 4, trajectories: [trajectory(0, horizon: 3), bad])
    let controller = try controller(horizon: 3)
    #expect(
      throws: GlobalPolicyError.notFinite(field: "target", condition: 4, sample: 1, step: 1)
    ) { try DistillationSet(batches: [batch], controllers: [controller]) }
    #expect(throws: GlobalPolicyError.emptySet) {
      try DistillationSet(
        batches: [RolloutBatch(condition: 0, trajectories: [])], controllers: [controller])
    }
    #expect(
      throws: GlobalPolicyError.notFinite(field: "target", condition: nil, sample: 1, step: nil)
    ) {
      try DistillationSet(
        observations: Matrix(rows: 2, columns: 2), targets: Matrix([[1, .infinity]]),
        precisions: MatrixSequence(rows: 1, columns: 1, count: 1), precisionIndices: [0, 0])
    }
  }

  /// Traces of the samples 2, 2, 4, 40: mean 12, median 4, so 40 is clipped at 8.
  @Test func precisionsAreNormalizedAndClipped() throws {
    var precisions = MatrixSequence(rows: 2, columns: 2, count: 3)
    precisions[0] = Matrix([[1, 0], [0, 1]])
    precisions[1] = Matrix([[2, 1], [1, 2]])
    precisions[2] = Matrix([[10, 5], [5, 30]])
    let set = try DistillationSet(
      observations: Matrix(rows: 1, columns: 4), targets: Matrix(rows: 2, columns: 4),
      precisions: precisions, precisionIndices: [0, 0, 1, 2])
    let (clipped, count) = set.normalizedPrecisions(scale: [1, 1], clipping: 2)
    #expect(count == 1)
    #expect((clipped[1] - 1 / 12 * precisions[1]).largestMagnitude < 1e-15)
    #expect((clipped[2] - 0.2 / 12 * precisions[2]).largestMagnitude < 1e-15)
    let (whole, none) = set.normalizedPrecisions(scale: [1, 1], clipping: nil)
    #expect(none == 0 && (whole[2] - 1 / 12 * precisions[2]).largestMagnitude < 1e-15)
    // In units of controls scaled by (3, 0.5): S P S, up to the normalisation.
    let scaled = set.normalizedPrecisions(scale: [3, 0.5], clipping: nil).0[2]
    #expect(abs(scaled[0, 1] / scaled[0, 0] - 7.5 / 90) < 1e-12)
    #expect(abs(scaled[1, 1] / scaled[0, 0] - 7.5 / 90) < 1e-12)
  }
}
