import GPSTestSupport
import LinearAlgebra

/// Tests/Fixtures/statistics.json, written by scripts/fixtures/statistics.py.
struct StatisticsFixture: Decodable {
  struct Philox: Decodable {
    var key: [String]
    var counter: [String]
    var words: [String]
  }
  struct Normal: Decodable {
    var dimension: Int
    var mean: [Double]
    var covariance: [Double]
    var otherMean: [Double]
    var otherCovariance: [Double]
    var point: [Double]
    var logDensity: Double
    var divergence: Double
  }
  struct Prior: Decodable {
    var mean: [Double]
    var scale: [Double]
    var strength: Double
    var degrees: Double
  }
  struct Posterior: Decodable {
    var prior: Prior
    var dimension: Int
    var count: Int
    var points: [Double]
    var mean: [Double]
    var scale: [Double]
    var strength: Double
    var degrees: Double
  }
  struct EM: Decodable {
    var dimension: Int
    var clusters: Int
    var count: Int
    var passes: Int
    var floor: Double
    var points: [Double]
    var startMeans: [Double]
    var startCovariances: [Double]
    var weights: [Double]
    var means: [Double]
    var covariances: [Double]
    var objectives: [Double]
    var logLikelihood: Double
  }
  struct Regression: Decodable {
    var inputs: Int
    var outputs: Int
    var count: Int
    var steps: Int
    var strength: Double
    var regularization: Double
    var floor: Double
    var points: [Double]
    var center: [Double]
    var scale: [Double]
    var coefficients: [Double]
    var offsets: [Double]
    var covariances: [Double]
    var weights: [Double]?
    var means: [Double]?
    var mixtureCovariances: [Double]?
  }
  var philox: [Philox]
  var gaussians: [Normal]
  var normalInverseWishart: Posterior
  var em: [EM]
  var regressions: [Regression]

  static func load() throws -> StatisticsFixture { try Fixture.load("statistics") }
}

/// K matrices d × d from their entries.
func sequence(_ d: Int, _ count: Int, _ storage: [Double]) -> MatrixSequence {
  var result = MatrixSequence(rows: d, columns: d, count: count)
  precondition(storage.count == result.storage.count)
  result.storage = storage
  return result
}
