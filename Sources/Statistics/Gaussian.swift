import Foundation
public import LinearAlgebra

/// A multivariate normal distribution N(μ, Σ) with Σ positive definite.
public struct Gaussian: Sendable, Equatable {
  /// μ: d numbers.
  public let mean: [Double]
  /// Σ: d × d, symmetric.
  public let covariance: Matrix
  /// The Cholesky factor of Σ.
  public let factor: CholeskyFactor

  /// d.
  public var dimension: Int { mean.count }

  /// The normal distribution of a mean and covariance.
  ///
  /// - Throws: `LinearAlgebraError` when the covariance is not finite and positive definite.
  public init(mean: [Double], covariance: Matrix) throws(LinearAlgebraError) {
    precondition(
      covariance.rows == mean.count && covariance.columns == mean.count,
      "a \(covariance.rows) × \(covariance.columns) covariance for a mean of \(mean.count)")
    self.mean = mean
    self.covariance = covariance.symmetrized
    factor = try CholeskyFactor(covariance.symmetrized)
  }

  /// log N(x; μ, Σ) = −½ (d log 2π + log |Σ| + ‖L⁻¹ (x − μ)‖²) [nats].
  public func logDensity(_ x: [Double]) -> Double {
    precondition(x.count == dimension, "\(x.count) numbers for a density in \(dimension)")
    let whitened = factor.solveLower(
      Matrix(rows: dimension, columns: 1, columnMajor: zip(x, mean).map { $0 - $1 }))
    let squares = whitened.storage.reduce(0) { $0 + $1 * $1 }
    return -0.5 * (Double(dimension) * log(2 * Double.pi) + factor.logDeterminant + squares)
  }

  /// KL(self ‖ other) = ½ (tr(Σ₂⁻¹ Σ₁) − d + log |Σ₂| − log |Σ₁| + ‖L₂⁻¹ (μ₂ − μ₁)‖²) [nats].
  public func divergence(from other: Gaussian) -> Double {
    precondition(
      other.dimension == dimension, "densities in \(dimension) and \(other.dimension) dimensions")
    let whitenedFactor = other.factor.solveLower(factor.lower)
    let whitenedGap = other.factor.solveLower(
      Matrix(rows: dimension, columns: 1, columnMajor: zip(other.mean, mean).map { $0 - $1 }))
    let squares = (whitenedFactor.storage + whitenedGap.storage).reduce(0) { $0 + $1 * $1 }
    return 0.5
      * (squares - Double(dimension) + other.factor.logDeterminant - factor.logDeterminant)
  }

  /// A draw μ + L ε with ε standard normal.
  public func sample(using stream: inout RandomStream) -> [Double] {
    let noise = factor.lower * stream.normals(dimension)
    return zip(mean, noise).map { $0 + $1 }
  }
}
