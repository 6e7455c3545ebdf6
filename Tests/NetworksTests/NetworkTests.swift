import Differentiation
import LinearAlgebra
import Statistics
import Testing

@testable import Networks

/// Architectures that reach every way through a plan.
enum Architecture: String, CaseIterable {
  /// Dense layers alone.
  case perceptron
  /// Values with several readers, one of them twice in one concatenation.
  case skips
  /// Norms between a dense op and its activation, and at both ends.
  case norms
  /// An output whose step is not the last, and a value that nobody reads.
  case outOfOrder

  func network(_ activation: Activation) -> Network {
    switch self {
    case .perceptron: return Network(layerSizes: [5, 17, 9, 3], activation: activation)
    case .skips:
      var network = Network(inputs: 5)
      let dense = network.append(.dense(outputs: 11), to: network.input)
      let active = network.append(.activation(activation), to: dense)
      let second = network.append(.dense(outputs: 6), to: active)
      // `dense` has two readers, so that its activation is a step of its own.
      let all = network.append(.concatenation, to: [dense, second, network.input, second])
      let bent = network.append(.activation(.tanh), to: all)
      network.append(.dense(outputs: 3), to: bent)
      return network
    case .norms:
      var network = Network(inputs: 5)
      var value = network.append(.layerNorm(epsilon: 1e-3), to: network.input)
      value = network.append(.dense(outputs: 18), to: value)
      value = network.append(.layerNorm(), to: value)
      value = network.append(.activation(activation), to: value)
      value = network.append(.dense(outputs: 7), to: value)
      value = network.append(.activation(activation), to: value)
      network.append(.layerNorm(epsilon: 0.1), to: value)
      return network
    case .outOfOrder:
      var network = Network(inputs: 5)
      let first = network.append(.dense(outputs: 4), to: network.input)
      network.append(.dense(outputs: 2), to: network.input)
      network.append(.activation(activation), to: first)
      return network
    }
  }
}

@Suite struct NetworkTests {
  static let variants = KernelVariant.allCases.filter(\.isSupported)

  /// A network with random parameters, biases and gains included, and a data set.
  struct Case {
    let network: Network
    let parameters: Parameters
    let inputs, targets: Rows
    var doubles: [Double] { network.withoutPadding(parameters).map { Double($0) } }

    init(_ architecture: Architecture, _ activation: Activation, samples: Int = 23) {
      var stream = RandomStream(seed: 31)
      network = architecture.network(activation)
      parameters = network.padding(
        stream.normals(network.parameterCount).map { 0.5 * Float($0) })
      inputs = Rows(randomMatrix(5, samples, &stream))
      targets = Rows(randomMatrix(network.outputs, samples, &stream))
    }

    func gradient(workers: Int, _ variant: KernelVariant = .best) async throws -> (
      loss: Double, gradient: Parameters
    ) {
      try await Networks.gradient(
        of: network, at: parameters, inputs: inputs, objective: MeanSquaredError(), batch: targets,
        workers: workers, variant: variant)
    }

    func formulas<S: DifferentiableScalar>(_ parameters: [S]) -> (loss: S, gradient: [S]) {
      network.gradientByFormulas(
        at: parameters, inputs: inputs, objective: MeanSquaredError(), batch: targets)
    }
  }

  @Test(arguments: Architecture.allCases, Activation.allCases)
  func formulasAgreeWithFiniteDifferences(architecture: Architecture, activation: Activation) {
    let one = Case(architecture, activation)
    let gradient = one.formulas(one.doubles).gradient
    let scale = gradient.reduce(0) { max($0, abs($1)) }
    #expect(scale > 0.01)
    for i in gradient.indices {
      func loss(_ by: Double) -> Double {
        var shifted = one.doubles
        shifted[i] += by
        return one.formulas(shifted).loss
      }
      let difference = (loss(1e-6) - loss(-1e-6)) / 2e-6
      #expect(abs(gradient[i] - difference) < 1e-7 * max(1, scale), "parameter \(i)")
    }
  }

  @Test(arguments: Architecture.allCases, Activation.allCases)
  func kernelsAgreeWithTheFormulas(
    architecture: Architecture, activation: Activation
  ) async throws {
    let one = Case(architecture, activation)
    let slow = one.formulas(one.doubles)
    let scale = slow.gradient.reduce(0) { max($0, abs($1)) }
    for variant in Self.variants {
      let fast = try await one.gradient(workers: 1, variant)
      #expect(abs(fast.loss - slow.loss) < 1e-5 * slow.loss)
      for (i, (mine, exact)) in zip(one.network.withoutPadding(fast.gradient), slow.gradient)
        .enumerated()
      {
        #expect(abs(Double(mine) - exact) < 2e-5 * scale, "\(variant), parameter \(i)")
      }
      let padded = one.network.padding(one.network.withoutPadding(fast.gradient))
      #expect(padded == fast.gradient, "padding must not learn")

      let plan = one.network.plan
      for s in 0..<one.inputs.count {
        let input = (0..<5).map { one.inputs[s, $0] }
        let exact = one.network.output(input, parameters: one.doubles)
        var rows = [Float](repeating: 0, count: plan.rowsWidth)
        for i in 0..<5 { rows[i] = Float(input[i]) }
        let output = rows.withUnsafeMutableBufferPointer { rows in
          one.parameters.withUnsafeBufferPointer { parameters -> [Double] in
            guard let base = rows.baseAddress, let parameters = parameters.baseAddress else {
              return []
            }
            let output = plan.forwardRow(buffer: base, parameters: parameters, variant: variant)
            return exact.indices.map { Double(output[$0]) }
          }
        }
        for (mine, value) in zip(output, exact) { #expect(abs(mine - value) < 3e-5 * scale + 3e-5) }
        #expect(output.count == one.network.outputs)
      }
    }
  }

  /// Minibatches of several parts: what the workers share must not show.
  @Test(arguments: Architecture.allCases)
  func sameGradientForAnyNumberOfWorkers(architecture: Architecture) async throws {
    let one = Case(architecture, .silu, samples: 8000)
    let alone = try await one.gradient(workers: 1)
    for workers in [2, 3, 16] {
      let shared = try await one.gradient(workers: workers)
      let isSame = shared.loss == alone.loss && shared.gradient == alone.gradient
      #expect(isSame, "\(workers) workers")
    }
    let slow = one.formulas(one.doubles).gradient
    let scale = slow.reduce(0) { max($0, abs($1)) }
    for (mine, exact) in zip(one.network.withoutPadding(alone.gradient), slow) {
      #expect(abs(Double(mine) - exact) < 3e-5 * scale)
    }
  }

  /// H v against differences of gradients along v; ReLU's Hessian is that between its kinks.
  @Test(arguments: Architecture.allCases, Activation.allCases)
  func hessianVectorProductsAgreeWithFiniteDifferences(
    architecture: Architecture, activation: Activation
  ) {
    let one = Case(architecture, activation)
    var stream = RandomStream(seed: 32)
    let direction = stream.normals(one.network.parameterCount)
    let product = one.network.hessianVectorProduct(
      direction, at: one.doubles, inputs: one.inputs, objective: MeanSquaredError(),
      batch: one.targets)
    func gradient(_ by: Double) -> [Double] {
      one.formulas(zip(one.doubles, direction).map { $0 + by * $1 }).gradient
    }
    let h = 1e-6
    let (above, below) = (gradient(h), gradient(-h))
    let scale = product.reduce(0) { max($0, abs($1)) }
    #expect(scale > 0.01)
    for i in product.indices {
      #expect(abs(product[i] - (above[i] - below[i]) / (2 * h)) < 1e-6 * max(1, scale), "\(i)")
    }
  }

  @Test func parametersSurviveTheirPadding() {
    for architecture in Architecture.allCases {
      let network = architecture.network(.relu)
      let numbers = (0..<network.parameterCount).map { Float($0 + 1) }
      let padded = network.padding(numbers)
      #expect(network.withoutPadding(padded) == numbers)
      #expect(padded.count % 16 == 0 && padded.filter { $0 != 0 }.count == numbers.count)
    }
    // Dense 5 → 4, then dense 5 → 2: Wᵀ row by row, then b.
    let padded = Architecture.outOfOrder.network(.relu).padding((0..<36).map { Float($0) })
    #expect(Array(padded[16..<21]) == [4, 5, 6, 7, 0])
    #expect(Array(padded[80..<84]) == [20, 21, 22, 23])
    #expect(Array(padded[96..<99]) == [24, 25, 0])
  }

  @Test func initialWeightsHaveTheVarianceTheyShould() {
    for (initialization, variance) in [(Initialization.he, 2.0 / 100), (.glorot, 2.0 / 300)] {
      var network = Network(inputs: 100)
      network.append(.layerNorm(), to: network.append(.dense(outputs: 200), to: network.input))
      let numbers = network.withoutPadding(
        network.initialParameters(initialization, stream: RandomStream(seed: 21)))
      let found = numbers[..<20000].reduce(0) { $0 + Double($1 * $1) } / 20000
      #expect(abs(found / variance - 1) < 0.04)
      #expect(numbers[20000..<20200].allSatisfy { $0 == 0 }, "biases")
      #expect(numbers[20200..<20400].allSatisfy { $0 == 1 }, "gains")
      #expect(numbers[20400...].allSatisfy { $0 == 0 }, "the norm's biases")
    }
  }

  @Test func sharesCoverEveryRowOnce() {
    for sizes in [[6, 70, 65, 3], [26, 256, 256, 7], [1, 1], [3, 5, 2]] {
      let plan = Network(layerSizes: sizes, activation: .relu).plan
      for workers in 1...6 {
        let shares = RowShares(plan, workers: workers).rows
        for s in plan.steps.indices {
          #expect(shares.flatMap { Array($0[s]) } == Array(0..<plan.steps[s].rows))
        }
      }
    }
  }
}
