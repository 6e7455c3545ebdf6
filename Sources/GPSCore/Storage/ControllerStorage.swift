package import LinearAlgebra
package import Statistics

extension LinearGaussianController: Storable {
  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.put("gains", gains)
    writer.put("offsets", offsets)
    writer.put("covariances", covariances)
    writer.put("covariance_factors", covarianceFactors)
    writer.put("precisions", precisions)
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let gains = try reader.sequence("gains")
    let (m, T) = (gains.rows, gains.count)
    do {
      try self.init(
        gains: gains, offsets: try reader.matrix("offsets", m, T),
        covariances: try reader.sequence("covariances", rows: m, columns: m, count: T),
        covarianceFactors: try reader.sequence(
          "covariance_factors", rows: m, columns: m, count: T),
        precisions: try reader.sequence("precisions", rows: m, columns: m, count: T))
    } catch let error as StoredValueError {
      throw error
    } catch {
      throw StoredValueError("\(error)")
    }
  }
}

extension MixturePrior {
  /// Writes the mixture and the whitening.
  package func store(in writer: inout ValueWriter) {
    writer.put("center", whitening.center)
    writer.put("scale", whitening.scale)
    writer.put("is_constant", whitening.isConstant)
    writer.put("weights", mixture.weights)
    writer.put("means", mixture.means)
    writer.put("covariances", mixture.covariances)
  }

  /// nil if there is none.
  package init?(ifStored reader: ValueReader) throws(StoredValueError) {
    if !reader.holds("center") { return nil }
    let center = try reader.numbers("center")
    let d = center.count
    let scale = try reader.numbers("scale", d)
    let weights = try reader.numbers("weights")
    let K = weights.count
    if d == 0 || K == 0 || !scale.allSatisfy({ $0 > 0 }) {
      throw StoredValueError("a mixture without clusters, or with a scale that is not positive")
    }
    self.init(
      whitening: Whitening(
        center: center, scale: scale, isConstant: try reader.flags("is_constant", d)),
      mixture: GaussianMixture(
        weights: weights, means: try reader.matrix("means", d, K),
        covariances: try reader.sequence("covariances", rows: d, columns: d, count: K)))
  }
}

extension ValueReader {
  /// The states x_0 … x_T of as many trajectories as there are.
  package func history(_ name: String) throws(StoredValueError) -> [Matrix] {
    var states: [Matrix] = []
    while holds("\(name).\(states.count)") {
      let matrix = try matrix("\(name).\(states.count)", states.first?.rows)
      if matrix.rows == 0 || matrix.columns < 2 { throw StoredValueError("its history is empty") }
      states.append(matrix)
    }
    return states
  }
}
