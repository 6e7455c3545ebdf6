import CNeuralKernels
import Foundation
import LinearAlgebra
import Statistics
import Testing

@testable import Networks

@Suite struct KernelTests {
  static let variants = KernelVariant.allCases.filter(\.isSupported)

  @Test func plainAlwaysRunsAndTheBestIsSupported() {
    #expect(KernelVariant.plain.isSupported)
    #expect(KernelVariant.best.isSupported)
  }

  /// Every size that a tile, a panel or a packed block can end at, against the formulas.
  @Test(arguments: variants)
  func forwardAgreesWithTheReference(variant: KernelVariant) {
    var stream = RandomStream(seed: 11)
    for (sizes, samples) in [
      ([1, 1], 1), ([3, 5, 2], 1), ([26, 42, 42, 7], 25), ([5, 17, 70, 3], 13),
      ([9, 130, 33, 19], 40), ([600, 80, 1], 14), ([2, 260, 4], 64), ([7, 3], 31),
    ] {
      for activation in Activation.allCases {
        let network = randomPerceptron(sizes, activation, &stream)
        let reference = ReferenceNetwork(network)
        let inputs = randomMatrix(sizes[0], samples, &stream)
        var fast = Matrix(rows: sizes[sizes.count - 1], columns: samples)
        network.forEachOutput(samples, variant: variant) { s, input in
          for i in 0..<sizes[0] { input[i] = Float(inputs[i, s]) }
        } read: { s, output in
          for i in 0..<fast.rows { fast[i, s] = Double(output[i]) }
        }
        for s in 0..<samples {
          let slow = reference.output(inputs.column(s))
          let scale = max(1, slow.reduce(0) { max($0, abs($1)) })
          for i in slow.indices {
            #expect(
              abs(fast[i, s] - slow[i]) < 2e-5 * scale,
              "layers \(sizes), \(activation), sample \(s): \(fast[i, s]) for \(slow[i])")
          }
          let row = Self.row(network, inputs.column(s), variant)
          for i in slow.indices {
            #expect(
              abs(row[i] - slow[i]) < 2e-5 * scale,
              "one sample, layers \(sizes), \(activation): \(row[i]) for \(slow[i])")
          }
        }
      }
    }
  }

  /// One sample's output by the kernels for one sample.
  private static func row(
    _ network: Perceptron, _ input: [Double], _ variant: KernelVariant
  ) -> [Double] {
    var rows = [Float](repeating: 0, count: network.rowsWidth)
    for (i, value) in input.enumerated() { rows[i] = Float(value) }
    return rows.withUnsafeMutableBufferPointer { rows in
      guard let base = rows.baseAddress else { return [] }
      let output = network.forwardRow(buffer: base, variant: variant)
      return (0..<network.outputs).map { Double(output[$0]) }
    }
  }

  /// An action is the same bits on machines with AVX2 and with AVX-512: vectors of both lengths add
  /// an output's terms in one order.
  @Test(.enabled(if: KernelVariant.avx512.isSupported))
  func oneSampleIsTheSameBitsWithAnyVectors() {
    var stream = RandomStream(seed: 12)
    for sizes in [[1, 1], [7, 33, 5], [26, 64, 64, 7], [31, 100, 18]] {
      for activation in Activation.allCases {
        let network = Perceptron(
          layerSizes: sizes, activation: activation, initialization: .he, stream: stream)
        let input = stream.normals(sizes[0])
        #expect(Self.row(network, input, .avx2) == Self.row(network, input, .avx512))
      }
    }
  }

  /// Gradients of the mean loss by every parameter, against central differences in double precision.
  @Test(arguments: variants, Activation.allCases)
  func gradientsAgreeWithFiniteDifferences(
    variant: KernelVariant, activation: Activation
  ) async throws {
    var stream = RandomStream(seed: 3)
    // The last two: one part in two chunks, and two parts of two chunks each.
    for (sizes, samples) in [
      ([5, 7, 19, 33, 3], 13), ([4, 2], 1), ([3, 17, 18], 31), ([2, 4, 1], 140), ([3, 2], 300),
    ] {
      let m = sizes[sizes.count - 1]
      let inputs = randomMatrix(sizes[0], samples, &stream)
      let targets = randomMatrix(m, samples, &stream)
      let network = randomPerceptron(sizes, activation, &stream)
      let (loss, gradient) = try await Networks.gradient(
        of: network.network, at: network.parameters, inputs: Rows(inputs),
        objective: MeanSquaredError(), batch: Rows(targets), workers: 1, variant: variant)

      var reference = ReferenceNetwork(network)
      func value() -> Double { reference.loss(inputs: inputs, targets: targets) }
      #expect(abs(loss - value()) < 1e-5 * value())
      let scale = Double(gradient.reduce(0) { max($0, abs($1)) })
      let h = 1e-6
      for (l, layer) in network.network.plan.steps.enumerated() {
        for o in 0..<layer.outputsPadded {
          for i in 0...layer.inputs {
            let mine = Double(gradient[layer.offset + i * layer.outputsPadded + o])
            if o >= layer.outputs {
              #expect(mine == 0, "padding must not learn")
              continue
            }
            func shift(_ by: Double) {
              if i < layer.inputs {
                reference.weights[l][o, i] += by
              } else {
                reference.biases[l][o] += by
              }
            }
            shift(h)
            let above = value()
            shift(-2 * h)
            let below = value()
            shift(h)
            let difference = (above - below) / (2 * h)
            #expect(
              abs(mine - difference) < 2e-5 * scale,
              "layers \(sizes), layer \(l), entry (\(o), \(i)): \(mine) for \(difference)")
          }
        }
      }
    }
  }

  /// The elementary functions over their whole range, and a NaN that must not be swallowed.
  @Test(arguments: variants, Activation.allCases)
  func activationsAreAccurateEverywhere(
    variant: KernelVariant, activation: Activation
  ) {
    var network = Perceptron(layerSizes: [1, 16, 16], activation: activation)
    network.setLayer(
      0, weights: Matrix(rows: 16, columns: 1, repeating: 1),
      biases: [Double](repeating: 0, count: 16))
    network.setLayer(1, weights: .identity(16), biases: [Double](repeating: 0, count: 16))
    func value(_ z: Float) -> Double {
      var value = Double.nan
      network.forEachOutput(1, variant: variant) {
        $1[0] = z
      } read: {
        value = Double($1[3])
      }
      return value
    }
    var points: [Float] = [
      0, -0.0, 1e-30, 1e-6, -1e-6, 87, -87, 88.5, -88.5, 1e4, -1e4, 3e38, -3e38,
    ]
    for i in -400...400 { points.append(Float(i) * 0.0517) }
    for z in points {
      let exact = ReferenceNetwork.value(activation, Double(z))
      #expect(
        abs(value(z) - exact) <= 4e-7 * abs(exact) + 2e-36, "\(activation)(\(z)) = \(value(z))")
    }
    #expect(value(.nan).isNaN)
  }

  @Test(arguments: variants)
  func adamAgreesWithNumPy(variant: KernelVariant) throws {
    struct Fixture: Decodable {
      var rate, momentum, secondMomentum, epsilon, decay: Double
      var start, result: [Double]
      var gradients: [[Double]]
    }
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Fixtures/adam.json")
    let fixture = try JSONDecoder().decode(Fixture.self, from: Data(contentsOf: file))
    let count = Int64(fixture.start.count)
    var theta = fixture.start.map { Float($0) }
    var first = theta.map { _ in Float(0) }
    var second = first
    var average = first
    var expectedAverage = fixture.start.map { _ in 0.0 }
    for (t, gradient) in fixture.gradients.enumerated() {
      let update = nk_update(
        rate: Float(fixture.rate / (1 - pow(fixture.momentum, Double(t + 1)))),
        momentum: Float(fixture.momentum), secondMomentum: Float(fixture.secondMomentum),
        secondScale: Float(1 / sqrt(1 - pow(fixture.secondMomentum, Double(t + 1)))),
        epsilon: Float(fixture.epsilon), decay: Float(fixture.rate * fixture.decay),
        gradientScale: 0.5, averageStep: 1 / Float(t + 1))
      nk_adam(
        variant.rawValue, count, update, gradient.map { Float(2 * $0) }, &theta, &first, &second,
        &average)
      for i in theta.indices { expectedAverage[i] += Double(theta[i]) / 12 }
    }
    for i in theta.indices {
      #expect(abs(Double(theta[i]) - fixture.result[i]) < 2e-6)
      #expect(abs(Double(average[i]) - expectedAverage[i]) < 1e-6)
    }
  }

  @Test(arguments: variants)
  func momentumAgreesWithItsRecursion(variant: KernelVariant) {
    var stream = RandomStream(seed: 9)
    var theta = stream.normals(32).map { Float($0) }
    var velocity = theta.map { _ in Float(0) }
    var (exact, v) = (theta.map { Double($0) }, theta.map { _ in 0.0 })
    let update = nk_update(
      rate: 0.05, momentum: 0.8, secondMomentum: 0, secondScale: 0, epsilon: 0, decay: 0.01,
      gradientScale: 1, averageStep: 0)
    for _ in 0..<10 {
      let gradient = stream.normals(32)
      nk_sgd(variant.rawValue, 32, update, gradient.map { Float($0) }, &theta, &velocity, nil)
      for i in exact.indices {
        v[i] = 0.8 * v[i] + gradient[i]
        exact[i] -= 0.05 * v[i] + 0.01 * exact[i]
      }
    }
    for i in exact.indices { #expect(abs(Double(theta[i]) - exact[i]) < 1e-5) }
  }

  /// dW and db, from nothing and added to what is there, for rows and columns of every remainder.
  @Test(arguments: variants)
  func weightGradientsAgreeWithPlainLoops(variant: KernelVariant) {
    var stream = RandomStream(seed: 5)
    var scratch = [Float](repeating: 0, count: Int(NK_SCRATCH))
    for (samples, first, last, inputs, outputs) in [
      (1, 0, 1, 1, 1), (25, 4, 26, 26, 64), (7, 0, 17, 17, 100), (128, 0, 64, 64, 7),
      (600, 8, 45, 45, 80), (75, 64, 128, 256, 256),
    ] {
      let (I, O) = (padded(inputs), padded(outputs))
      let x = stream.normals(samples * I).map { Float($0) }
      let dz = stream.normals(samples * O).map { Float($0) }
      let start = stream.normals((inputs + 1) * O).map { Float($0) }
      for accumulate in [false, true] {
        var gradient = start
        gradient.withUnsafeMutableBufferPointer { gradient in
          guard let dw = gradient.baseAddress else { return }
          nk_dense_backward_weights(
            variant.rawValue, Int64(samples), Int64(first), Int64(last), Int64(O),
            accumulate ? 1 : 0, x, Int64(I), dz, dw, &scratch)
          nk_dense_backward_bias(
            variant.rawValue, Int64(samples), Int64(O), accumulate ? 1 : 0, dz, dw + inputs * O)
        }
        for i in 0...inputs {
          for o in 0..<O {
            let entry = i * O + o
            if i < inputs && !(first..<last ~= i) {
              #expect(gradient[entry] == start[entry], "a row of another call")
              continue
            }
            var sum = accumulate ? Double(start[entry]) : 0
            for s in 0..<samples {
              sum += (i < inputs ? Double(x[s * I + i]) : 1) * Double(dz[s * O + o])
            }
            #expect(
              abs(Double(gradient[entry]) - sum) < 1e-6 * Double(samples + 10),
              "\(samples) samples, \(inputs) × \(outputs), entry (\(i), \(o))")
          }
        }
      }
    }
  }

  @Test(arguments: variants)
  func partsAreSummedInTheirOrder(variant: KernelVariant) {
    var stream = RandomStream(seed: 6)
    let (count, parts, stride) = (48, 5, 64)
    let values = stream.normals(parts * stride).map { Float($0) }
    var target = [Float](repeating: 9, count: stride)
    nk_sum_parts(variant.rawValue, Int64(count), Int64(parts), Int64(stride), values, &target)
    for i in target.indices {
      let sum = (1..<parts).reduce(values[i]) { $0 + values[$1 * stride + i] }
      #expect(target[i] == (i < count ? sum : 9), "entry \(i)")
    }
  }

  /// Losses and dZ for widths on both sides of a vector's, with precisions that follow each other
  /// without padding.
  @Test(arguments: variants)
  func lossAgreesWithPlainLoops(variant: KernelVariant) {
    var stream = RandomStream(seed: 7)
    for m in [1, 3, 4, 7, 8, 9, 16, 17, 33] {
      let (M, samples, groups) = (padded(m), 12, 3)
      let y = stream.normals(samples * M).map { Float($0) }
      let target = stream.normals(samples * M).map { Float($0) }
      // What follows the last precision must not matter.
      var precision = [Float](repeating: .nan, count: groups * m * m + Int(NK_PADDING))
      for g in 0..<groups {
        let P = randomPrecision(m, &stream)
        for i in 0..<m * m { precision[g * m * m + i] = Float(P.storage[i]) }
      }
      let index = (0..<samples).map { Int32((5 * $0) % samples) }
      let group = (0..<samples).map { Int32($0 % groups) }
      var dz = [Float](repeating: 9, count: samples * M)
      var loss = [Float](repeating: 9, count: samples)
      nk_loss(
        variant.rawValue, Int64(samples), Int64(m), Int64(M), 0.25, index, group, y, target,
        precision, &dz, &loss)
      for s in 0..<samples {
        let n = Int(index[s])
        let e = (0..<m).map { Double(y[s * M + $0]) - Double(target[n * M + $0]) }
        var value = 0.0
        for o in 0..<m {
          var row = 0.0
          for j in 0..<m { row += Double(precision[(Int(group[n]) * m + o) * m + j]) * e[j] }
          value += 0.5 * e[o] * row
          #expect(abs(Double(dz[s * M + o]) - 0.25 * row) < 1e-5 * Double(m * m), "\(m), \(s)")
        }
        #expect(abs(Double(loss[s]) - value) < 1e-5 * value + 1e-5 * Double(m), "\(m), \(s)")
        #expect((m..<M).allSatisfy { dz[s * M + $0] == 0 }, "padding of \(m)")
      }
    }
  }

  @Test func transposeCoversEveryEdge() {
    var stream = RandomStream(seed: 2)
    for (inputs, outputs) in [(1, 1), (16, 16), (17, 5), (42, 42), (33, 64), (4, 19)] {
      let (I, O) = (padded(inputs), padded(outputs))
      let w = stream.normals(inputs * O).map { Float($0) }
      var v = [Float](repeating: 0, count: outputs * I)
      let middle = inputs / 8 * 4
      for (first, last) in [(0, middle), (middle, inputs)] {
        nk_transpose(
          Int64(first), Int64(last), Int64(outputs), Int64(O), Int64(I), w, &v)
      }
      for o in 0..<outputs {
        for i in 0..<I { #expect(v[o * I + i] == (i < inputs ? w[i * O + o] : 0)) }
      }
    }
  }

  @Test func subnormalsAreFlushedAndTheModeIsRestored() {
    // 16 (1e-22)² lies below the smallest normal number.
    let values = [Float](repeating: 1e-22, count: 16)
    for variant in Self.variants {
      #expect(flushingSubnormals { nk_sum_of_squares(variant.rawValue, 16, values) } == 0)
      #expect(nk_sum_of_squares(variant.rawValue, 16, values) > 0)
    }
  }

  /// Parameters start a cache line however the heap places their array, and copies are values.
  @Test func parametersStartACacheLine() {
    var kept: [AlignedFloats] = []
    for count in [16, 32, 48, 1040, 7000, 100_000] {
      kept.append(AlignedFloats(zeros: count))
      var changed = kept[kept.count - 1]
      changed[count - 1] = 3
      #expect(kept[kept.count - 1].allSatisfy { $0 == 0 })
      #expect(changed != kept[kept.count - 1])
      #expect(changed.reduce(0, +) == 3)
      #expect(changed.withUnsafeBufferPointer { $0[count - 1] } == 3)
      let copy = changed.withUnsafeBufferPointer { source in
        source.baseAddress.map { AlignedFloats(copying: $0, count: count) }
      }
      #expect(copy == changed)
      for floats in [kept[kept.count - 1], copy].compactMap({ $0 }) {
        #expect(floats.withUnsafeBufferPointer { Int(bitPattern: $0.baseAddress) % 64 } == 0)
      }
    }
  }
}
