import Foundation
import GPSTestSupport
import PathIntegral
import Statistics
import Testing

@Suite("Relative entropy weights") struct RelativeEntropyWeightsTests {
  struct Figures: Decodable {
    struct Case: Decodable {
      let costs: [Double]
      let bound: Double
      let temperature: Double
      let weights: [Double]
      let divergence: Double
      let effectiveSampleSize: Double
    }
    let weights: [Case]
  }

  /// The minimiser of the dual is flat: SciPy finds it to the root of the rounding.
  @Test("temperature and weights are those of SciPy's minimiser of the dual")
  func agreesWithSciPy() throws {
    for figures in try Fixture.load("path_integral", as: Figures.self).weights {
      let result = try RelativeEntropyWeights(
        costs: figures.costs, bound: figures.bound, temperatureFloor: 1e-9)
      #expect(abs(result.temperature / figures.temperature - 1) < 1e-6)
      #expect(relativeError(result.weights, figures.weights) < 1e-6)
      #expect(abs(result.effectiveSampleSize / figures.effectiveSampleSize - 1) < 1e-6)
      #expect(abs(result.divergence - figures.bound) < 1e-12 * (1 + figures.bound))
      #expect(result.status == .atBound)
      let given = try RelativeEntropyWeights(
        costs: figures.costs, temperature: figures.temperature)
      #expect(relativeError(given.weights, figures.weights) < 1e-10)
      #expect(abs(given.divergence - figures.divergence) < 1e-10)
      #expect(given.status == .given)
    }
  }

  /// Two samples, costs 0 and c: w = (p, 1 − p) with p = 1 / (1 + exp(−c/η)).
  @Test(
    "two samples are a logistic function", arguments: [0.501, 0.6, 0.9, 0.999], [1e-6, 3.0, 1e9])
  func twoSamples(_ p: Double, _ cost: Double) throws {
    let bound = p * log(2 * p) + (1 - p) * log(2 * (1 - p))
    let result = try RelativeEntropyWeights(costs: [0, cost], bound: bound)
    #expect(abs(result.weights[0] - p) < 1e-9)
    #expect(abs(result.temperature * log(p / (1 - p)) / cost - 1) < 1e-7)
    #expect(abs(result.weights.reduce(0, +) - 1) < 1e-15)
  }

  /// KL = Var(S) / (2 η²) to first order.
  @Test("at a small bound the temperature is the costs' deviation over the root of twice the bound")
  func smallBound() throws {
    var stream = RandomStream(seed: 51)
    let costs = stream.normals(50)
    let mean = costs.reduce(0, +) / 50
    let variance = costs.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 50
    let result = try RelativeEntropyWeights(costs: costs, bound: 1e-8)
    #expect(abs(result.temperature / (variance / 2e-8).squareRoot() - 1) < 1e-3)
  }

  @Test("the divergence is at its bound, and the cheaper weighs more", arguments: 0..<40)
  func bound(_ seed: Int) throws {
    var stream = RandomStream(seed: UInt64(seed))
    let count = 4 + stream.index(below: 60)
    let costs = stream.normals(count).map { exp(4 * $0) - 100 }
    let bound = log(Double(count)) * stream.uniform() * 0.8 + 1e-6
    let result = try RelativeEntropyWeights(costs: costs, bound: bound, temperatureFloor: 1e-12)
    #expect(abs(result.divergence - bound) < 1e-11)
    #expect(result.status == .atBound)
    let direct = result.weights.reduce(0) { $1 > 0 ? $0 + $1 * log(Double(count) * $1) : $0 }
    #expect(abs(direct - bound) < 1e-11)
    let order = costs.indices.sorted { costs[$0] < costs[$1] }
    for (a, b) in zip(order, order.dropFirst()) {
      #expect(result.weights[a] >= result.weights[b])
    }
  }

  @Test("neither a constant nor a factor on the costs changes the weights")
  func invariance() throws {
    var stream = RandomStream(seed: 52)
    let costs = stream.normals(25)
    for bound in [0.3, 1.0, 2.9, 40.0] {
      let plain = try RelativeEntropyWeights(costs: costs, bound: bound)
      let exact = try RelativeEntropyWeights(costs: costs.map { 1024 * $0 }, bound: bound)
      #expect(exact.weights == plain.weights && exact.temperature == 1024 * plain.temperature)
      for (factor, shift) in [(10.0, 0.0), (1.0, 1000.0), (1e-9, 0.0), (1e200, 0.0)] {
        let other = try RelativeEntropyWeights(
          costs: costs.map { factor * $0 + shift }, bound: bound)
        #expect(relativeError(other.weights, plain.weights) < 1e-11)
        #expect(abs(other.temperature / factor / plain.temperature - 1) < 1e-11)
        #expect(other.status == plain.status)
      }
    }
  }

  @Test("one sample, and samples of one cost, weigh alike at every bound")
  func indifferent() throws {
    for costs in [[3.0], [5, 5, 5], [1e300, 1e300], [-0.0, 0.0]] {
      for bound in [1e-3, 1.0, Double.infinity] {
        let result = try RelativeEntropyWeights(costs: costs, bound: bound)
        #expect(result.status == .indifferent)
        #expect(result.weights == costs.map { _ in 1 / Double(costs.count) })
        #expect(result.divergence == 0 && result.effectiveSampleSize == Double(costs.count))
      }
    }
  }

  @Test("a bound out of reach gives the lowest temperature; the best samples share the weight")
  func outOfReach() throws {
    for bound in [2.0, 1e9, Double.infinity] {
      let result = try RelativeEntropyWeights(costs: [4, 1, 3, 1], bound: bound)
      #expect(result.status == .lowestTemperature)
      #expect(relativeError(result.weights, [0, 0.5, 0, 0.5]) < 1e-12)
      #expect(abs(result.divergence - log(2)) < 1e-12)
      // The median of 1, 1, 3, 4 is one above the lowest.
      #expect(abs(result.temperature - 1e-3) < 1e-15)
    }
  }

  @Test("one sample that is better beyond all measure takes all weight, one that is worse none")
  func extremes() throws {
    let big = Double.greatestFiniteMagnitude
    let best = try RelativeEntropyWeights(costs: [big, -big, big, big], bound: 10)
    #expect(best.weights == [0, 1, 0, 0] && best.effectiveSampleSize == 1)
    #expect(abs(best.divergence - log(4)) < 1e-12)
    // The others are told apart as if the bad one had not been so bad.
    let costs = [1.0, 2, 3, 4, 5, 6]
    let mild = try RelativeEntropyWeights(costs: costs + [1e3], bound: 1)
    let wild = try RelativeEntropyWeights(costs: costs + [1e300], bound: 1)
    #expect(wild.status == .atBound && wild.weights[6] == 0)
    #expect(relativeError(wild.weights, mild.weights) < 1e-9)
  }

  @Test(
    "a cost that is not finite is an error that names the sample",
    arguments: [Double.nan, .infinity, -.infinity])
  func notFinite(_ value: Double) {
    do {
      _ = try RelativeEntropyWeights(costs: [1, 2, value, 3], bound: 1)
      Issue.record("no error")
    } catch {
      guard case .costNotFinite(sample: 2, step: nil, let found) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(found == value || (found.isNaN && value.isNaN))
      #expect(error.description == "the cost of sample 2 is \(value)")
    }
  }

  @Test("temperatures from 0 to infinity")
  func givenTemperatures() throws {
    #expect(try RelativeEntropyWeights(costs: [2, 1, 1], temperature: 0).weights == [0, 0.5, 0.5])
    let equal = try RelativeEntropyWeights(costs: [2, 1, 1], temperature: .infinity).weights
    #expect(relativeError(equal, [1.0 / 3, 1.0 / 3, 1.0 / 3]) < 1e-15)
    let two = try RelativeEntropyWeights(costs: [0, 1], temperature: 1).weights
    #expect(abs(two[0] - 1 / (1 + exp(-1))) < 1e-15)
  }
}
