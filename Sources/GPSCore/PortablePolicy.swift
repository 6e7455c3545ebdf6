/// A policy that a program of another kind can evaluate, from what is written of it: so that a whole rollout in
/// another process takes one message.
///
/// Documentation/Python.md tells what the kinds are and what their arrays mean.
package protocol PortablePolicy: Policy {
  /// What the other program knows it as: "linear-gaussian", "network" or "affine".
  var kind: String { get }

  /// Writes what its actions follow from.
  func writeForEvaluation(in writer: inout ValueWriter)
}

extension LinearGaussianController: PortablePolicy {
  /// u = K_t x + k_t + L_t noise.
  package var kind: String { "linear-gaussian" }

  /// Gains, offsets and factors of the covariances.
  package func writeForEvaluation(in writer: inout ValueWriter) {
    writer.put("gains", gains)
    writer.put("offsets", offsets)
    writer.put("covariance_factors", covarianceFactors)
  }
}
