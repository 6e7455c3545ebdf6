import GPSCore
import LinearAlgebra

// Numbers that are not finite, found where they come in: a pass that fed on them would fail elsewhere, or
// return them.

/// A number of an input that is NaN or infinite.
struct NonFiniteInput {
  /// Which part of which input, such as "cost's gradient".
  var field: String
  /// The time step; nil for what belongs to none.
  var step: Int?

  var error: LQRError { .inputNotFinite(field: field, step: step) }

  /// The first entry that is not finite, of `stride` numbers per step.
  init?(_ field: String, _ numbers: [Double], stride: Int) {
    guard let entry = numbers.firstNonFinite else { return nil }
    (self.field, step) = (field, entry / max(1, stride))
  }

  /// Whether some numbers of no time step are not all finite.
  init?(_ field: String, _ numbers: [Double]) {
    if numbers.isFinite { return nil }
    (self.field, step) = (field, nil)
  }
}

extension QuadraticCost {
  var nonFinite: NonFiniteInput? {
    // Cheap where all is well; the parts are told apart only if not.
    if firstNonFiniteStep == nil { return nil }
    let d = state + control
    return NonFiniteInput("cost's Hessian", hessians.storage, stride: d * d)
      ?? NonFiniteInput("cost's gradient", gradients.storage, stride: d)
      ?? NonFiniteInput("cost's constant", constants, stride: 1)
  }
}

extension LinearGaussianDynamics {
  var nonFinite: NonFiniteInput? {
    let (n, m) = (state, control)
    return NonFiniteInput("dynamics' transition", transitions.storage, stride: n * (n + m))
      ?? NonFiniteInput("dynamics' offset", offsets.storage, stride: n)
      ?? NonFiniteInput("dynamics' covariance", covariances.storage, stride: n * n)
      ?? NonFiniteInput("mean of the initial state", initialMean)
      ?? NonFiniteInput("covariance of the initial state", initialCovariance.storage)
  }
}

extension LinearGaussianController {
  var nonFinite: NonFiniteInput? {
    let (n, m) = (state, control)
    return NonFiniteInput("controller's gain", gains.storage, stride: m * n)
      ?? NonFiniteInput("controller's offset", offsets.storage, stride: m)
      ?? NonFiniteInput("controller's covariance", covariances.storage, stride: m * m)
      ?? NonFiniteInput(
        "controller's covariance factor", covarianceFactors.storage, stride: m * m)
  }
}
